//! What was made a moment ago and may not be found yet (Amazon EC2 Developer Guide, *Eventual
//! consistency*): that it is not found is then no answer, whoever asks.

use super::{Aws, STAMPED_MS_MAX};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use stepback_clock::Moment;
use stepback_core::Call;
use stepback_core::calls::{EbsCall, Ec2Call};
use stepback_core::texts::MapTexts;

/// When each thing was made, by its id.
#[derive(Default)]
pub(super) struct Made(Mutex<HashMap<String, Moment>>);

impl Aws {
    pub(super) fn note_made(&self, id: &str) {
        let mut made = self.made.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        made.retain(|_, at| now.since(*at) < Duration::from_millis(STAMPED_MS_MAX));
        made.insert(id.to_owned(), now);
    }

    /// What was deleted is not looked for again.
    pub(super) fn forget_gone(&self, call: &Call) {
        let id = match call {
            Call::Ec2(Ec2Call::Terminate { instance }) => instance.as_str(),
            Call::Ebs(EbsCall::DeleteVolume { volume }) => volume.as_str(),
            Call::Ebs(EbsCall::DeleteSnapshot { snapshot }) => snapshot.as_str(),
            _ => return,
        };
        self.made.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Whether this process made it so lately that it may not be found.
    pub(super) fn is_new(&self, id: &str) -> bool {
        let made = self.made.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = Duration::from_millis(STAMPED_MS_MAX);
        made.get(id).is_some_and(|at| self.clock.now().since(*at) < lately)
    }

    /// Whether what a call names, and this code says is not there, is new (Amazon EC2 API
    /// Reference, *Error codes for the Amazon EC2 API*).
    pub(super) fn is_late(&self, call: &Call, code: &str) -> bool {
        let kinds = [
            ("InvalidInstanceID.NotFound", "i-"),
            ("InvalidVolume.NotFound", "vol-"),
            ("InvalidSnapshot.NotFound", "snap-"),
        ];
        let Some((_, prefix)) = kinds.into_iter().find(|(known, _)| *known == code) else {
            return false;
        };
        let found = Cell::new(false);
        call.map_texts(&|text| {
            found.set(found.get() || text.starts_with(prefix) && self.is_new(text));
            text.to_owned()
        });
        found.get()
    }
}
