//! `effects`: taking back what was done; for undos only.

use super::{denied, too_many_calls};
use crate::bindings::stepback::effects::effects::{Failure, Host, Reversal};
use crate::guest::Guest;
use crate::invocation::Mode;
use crate::port::Reversed;

impl Host for Guest {
    async fn reverse(&mut self, id: String) -> Result<Reversal, Failure> {
        match self.mode {
            Mode::Undo => {}
            Mode::Check | Mode::Run { .. } => {
                return Err(denied("effects.reverse is for undos only".to_owned()));
            }
        }
        let _in_host = self.watch.enter_host().ok_or_else(too_many_calls)?;
        Ok(match self.port.reverse(&id).await? {
            Reversed::Reversed => Reversal::Reversed,
            Reversed::NothingToDo => Reversal::NothingToDo,
            Reversed::Kept(why) => Reversal::Kept(why),
            Reversed::Cannot(why) => Reversal::Cannot(why),
        })
    }
}
