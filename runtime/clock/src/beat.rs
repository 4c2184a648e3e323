//! A metronome in real time, whatever the clock says: it meters how long a processor computes.

use std::io;
use std::thread;
use std::time::Duration;

/// Call `tick` again and again, `every` apart, in a thread of its own until it answers `false`.
///
/// # Errors
/// If the thread can't be started.
pub fn beat(
    name: &str,
    every: Duration,
    mut tick: impl FnMut() -> bool + Send + 'static,
) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        while tick() {
            thread::sleep(every);
        }
    })?;
    Ok(())
}
