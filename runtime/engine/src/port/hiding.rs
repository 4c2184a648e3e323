//! What a guest says, as the journal and people may have it: no handle and no secret's value.

use super::AttemptPort;
use serde_json::Value;
use stepback_core::Failure;
use stepback_core::step::UndoAnswer;

impl AttemptPort {
    pub(super) fn hide(&self, text: String) -> String {
        self.access.secrets.redact_written(self.door.hide(text))
    }

    /// `schema` is what its plugin publishes of it.
    pub(crate) fn hide_output(&self, output: Value, schema: &Value) -> Value {
        self.access.secrets.of_output(self.door.hide_all(output), schema)
    }

    pub(crate) fn hide_failure(&self, mut failure: Failure) -> Failure {
        failure.message = self.door.hide(failure.message);
        failure.code = failure.code.map(|code| self.door.hide(code));
        self.access.secrets.redact_failure(failure)
    }

    pub(crate) fn hide_answer(&self, answer: UndoAnswer) -> UndoAnswer {
        match answer {
            UndoAnswer::Undone | UndoAnswer::NothingToUndo => answer,
            UndoAnswer::Kept(why) => UndoAnswer::Kept(self.hide(why)),
            UndoAnswer::CannotUndo(why) => UndoAnswer::CannotUndo(self.hide(why)),
        }
    }
}
