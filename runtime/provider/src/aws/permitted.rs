//! Whether an effect would be permitted, asked without making it.

use super::Aws;
use super::iam::iam_actions;
use crate::{EffectContext, Notes};
use stepback_core::{Call, Epoch, Failure, FailureClass, OperationId, StoreId, Token};
use tokio_util::sync::CancellationToken;

impl Aws {
    /// Ask for the effect with *DryRun*: AWS answers *DryRunOperation* where the caller has the
    /// permission and *UnauthorizedOperation* where not. Any other answer is about a world that may
    /// be another one when the effect's turn comes, and speaks against nothing.
    pub(super) async fn would_permit(&self, call: &Call) -> Result<(), Failure> {
        self.may_change(call).await?;
        let context = EffectContext {
            store: StoreId(String::new()),
            operation: OperationId(0),
            token: Token("dry-run".to_owned()),
            epoch: Epoch(0),
            undo: false,
            cancel: CancellationToken::new(),
            notes: Notes::default(),
        };
        let function = call.function();
        let Err(trouble) = self.send_once(call, &context, Some(true)).await else { return Ok(()) };
        let failure = trouble.failure(function);
        match failure.class {
            FailureClass::Denied if !trouble.has_code(&["DryRunOperation"]) => {
                // The first action of each function is its own; others read before and after it.
                let action = iam_actions(function).first().copied().unwrap_or_default();
                let message = format!("{function} needs {action}: {}", failure.message);
                Err(Failure { message, ..failure })
            }
            _ => Ok(()),
        }
    }
}
