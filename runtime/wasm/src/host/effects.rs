//! `effects`: taking back what was done; for undos only.

use super::denied;
use crate::bindings::stepback::step::effects::{Failure, Host, Reversal};
use crate::guest::{Guest, InHost};
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
        let answer = {
            let _in_host = InHost::enter(&self.in_host);
            self.port.reverse(&id).await
        };
        self.meter.on_answered();
        Ok(match answer? {
            Reversed::Reversed => Reversal::Reversed,
            Reversed::NothingToDo => Reversal::NothingToDo,
            Reversed::Kept(why) => Reversal::Kept(why),
            Reversed::Cannot(why) => Reversal::Cannot(why),
        })
    }
}
