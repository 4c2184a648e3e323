//! Whether an effect would be permitted, asked without making it.

use super::Aws;
use super::iam::iam_actions;
use crate::{EffectContext, Notes};
use aws_sdk_ec2::types::{AttachmentLimitType, EbsInstanceBlockDevice};
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
        if let (Call::EbsAttach { volume, instance, .. }, false) =
            (call, failure.class == FailureClass::Denied && !trouble.has_code(&["DryRunOperation"]))
        {
            return self.must_have_room(instance.as_str(), volume.as_str()).await;
        }
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

    /// Whether an instance can have one more volume: its type says how many, and whether network
    /// interfaces and the disks of the instance itself count too (Amazon EC2 User Guide, *Amazon
    /// EBS volume limits for Amazon EC2 instances*). Where that can't be read it speaks against
    /// nothing.
    async fn must_have_room(&self, instance: &str, volume: &str) -> Result<(), Failure> {
        let described = self.reads.describe_instances().instance_ids(instance).send().await;
        let Ok(described) = described else { return Ok(()) };
        let mut all = described.reservations().iter().flat_map(|one| one.instances());
        let Some(found) = all.next() else { return Ok(()) };
        let attached = found.block_device_mappings();
        let is_it = |ebs: &EbsInstanceBlockDevice| ebs.volume_id() == Some(volume);
        let Some(kind) = found.instance_type() else { return Ok(()) };
        if attached.iter().any(|at| at.ebs().is_some_and(is_it)) {
            return Ok(());
        }
        let asked = self.reads.describe_instance_types().instance_types(kind.clone()).send().await;
        let Ok(types) = asked else { return Ok(()) };
        let Some(limits) = types.instance_types().first() else { return Ok(()) };
        let Some(ebs) = limits.ebs_info() else { return Ok(()) };
        let most = ebs.maximum_ebs_attachments().and_then(|most| usize::try_from(most).ok());
        let Some(most) = most else { return Ok(()) };
        let is_shared = ebs.attachment_limit_type() == Some(&AttachmentLimitType::Shared);
        let disks = limits.instance_storage_info().map_or(0, |info| {
            info.disks().iter().filter_map(|disk| usize::try_from(disk.count()?).ok()).sum()
        });
        let others = if is_shared { found.network_interfaces().len() + disks } else { 0 };
        if attached.len() + others < most {
            return Ok(());
        }
        let message = format!(
            "instance {instance} ({kind}) has {} volumes, and takes no more: its limit is {most}{}",
            attached.len(),
            if is_shared { ", network interfaces and its own disks among them" } else { "" }
        );
        Err(Failure::new(FailureClass::Precondition, message).with_code("AttachmentLimitExceeded"))
    }
}
