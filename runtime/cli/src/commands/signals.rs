//! Ctrl-C and SIGTERM of a running operation (R9).
//!
//! The first Ctrl-C cancels and rolls back; the second says that it is at it; the third leaves
//! the operation for `resume`. SIGTERM leaves it at once: whoever sends it wants the process gone.
//! A terminal that goes away (SIGHUP) wants nothing: the operation goes on, and its story is in
//! the journal.
//!
//! Signals are heard in a thread of their own, whatever the others are busy with. What can't be
//! left in time, because something blocks that nobody bounded, ends as with `kill -9`, which
//! loses nothing.

use crate::actor::actor;
use crate::error::Exit;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_engine::Control;
use tokio::signal::unix::{SignalKind, signal};

/// How long an operation may take to be left.
const LEAVING_MAX: Duration = Duration::from_secs(10);

/// Listen until the program ends: whatever is begun behind this can be called off.
pub fn listen(control: Control) {
    let (heard_from_now, from_now) = std::sync::mpsc::channel();
    let heard = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        // Without handlers the signals keep their default: the process ends, `resume` goes on.
        if let Ok(runtime) = runtime {
            runtime.block_on(hear(&control, heard_from_now));
        }
    };
    let thread = std::thread::Builder::new().name("stepback-signals".to_owned());
    if let Err(error) = thread.spawn(heard) {
        tell!("signals are not heard: {}", error);
        return;
    }
    // An error is that of a thread that ended.
    let _ = from_now.recv();
}

async fn hear(control: &Control, heard_from_now: std::sync::mpsc::Sender<()>) {
    let [interrupts, terms, hangups] =
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let (Ok(mut interrupts), Ok(mut terms), Ok(mut hangups)) = (interrupts, terms, hangups) else {
        return;
    };
    // Whoever waited for it is there, or gone with the program.
    let _ = heard_from_now.send(());
    let mut presses = 0;
    loop {
        tokio::select! {
            _ = interrupts.recv() => presses += 1,
            _ = terms.recv() => {
                presses = 3;
                // One that ends just then is not left.
                control.leave();
                tell!("SIGTERM: asked to leave it as it is, for `stepback resume`");
            }
            _ = hangups.recv() => continue,
        }
        match presses {
            1 => {
                // Asked before it is told: where the operation is left just then, its last word is
                // about that cancel. That it is cancelled is told when it is durable.
                control.cancel(actor(), Some("Ctrl-C"));
                tell!("cancel asked for; a third Ctrl-C leaves it for `stepback resume`");
            }
            2 => tell!("once more leaves it as it is, for `stepback resume`"),
            _ => {
                control.leave();
                Clock::real().sleep(LEAVING_MAX).await;
                tell!(
                    "error: it could not be left in {}, and ends as it is",
                    format!("{:?}", LEAVING_MAX)
                );
                tell!("  help: `stepback list` tells what is unfinished");
                std::process::exit(Exit::Unfinished as i32);
            }
        }
    }
}
