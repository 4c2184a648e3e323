//! Ctrl-C and SIGTERM of a running operation (R9).
//!
//! The first Ctrl-C cancels and rolls back; the second says that it is at it; the third leaves
//! the operation for `resume`. SIGTERM leaves it at once: whoever sends it wants the process gone.

use crate::environment::actor;
use stepback_engine::Control;
use tokio::signal::unix::{SignalKind, signal};

/// Listen until the program ends.
pub fn listen(control: Control) {
    tokio::spawn(async move {
        let streams = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        // Without handlers the signals keep their default: the process ends, `resume` goes on.
        let (Ok(mut interrupts), Ok(mut terms)) = streams else { return };
        let mut presses = 0;
        loop {
            tokio::select! {
                _ = interrupts.recv() => presses += 1,
                _ = terms.recv() => presses = 3,
            }
            match presses {
                1 => {
                    // That it is cancelled is told when it is durable, and whether it still can be.
                    eprintln!("cancel asked for; a third Ctrl-C leaves it for `stepback resume`");
                    control.cancel(&actor(), Some("Ctrl-C"));
                }
                2 => eprintln!("once more leaves it as it is, for `stepback resume`"),
                _ => control.leave(),
            }
        }
    });
}
