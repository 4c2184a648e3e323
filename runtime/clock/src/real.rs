//! The machine's own time, which goes on while it sleeps.
//!
//! Linux has a clock that counts sleep (`CLOCK_BOOTTIME`, clock_gettime(2)), but the runtime's
//! timers are of the kind that stands still meanwhile. One watcher therefore compares the two:
//! where they have drifted apart the machine slept, and every long wait is reckoned anew.

use crate::{Moment, Sleep, Source};
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use stepback_core::UnixMs;
use tokio::sync::watch;

/// How late it may be noticed that the machine slept.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Clocks that drift apart by more than this were stopped, not read one after the other.
const SLEPT_MIN: Duration = Duration::from_millis(50);

/// The two clocks that are compared: with the machine's sleep, and without it.
type Read = fn() -> (Duration, Duration);

/// Real time.
pub(crate) struct Real {
    read: Read,
    /// Unix time at the moment zero.
    base_ms: u64,
    /// Changes whenever the machine has slept.
    slept: Arc<watch::Sender<Duration>>,
    watching: OnceLock<()>,
}

fn clock(id: ClockId) -> Duration {
    let time = clock_gettime(id);
    let (secs, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(secs.unwrap_or_default(), nanos.unwrap_or_default())
}

fn read_machine() -> (Duration, Duration) {
    // In this order: what is read later can only seem to have slept less.
    let with_sleep = clock(ClockId::Boottime);
    (with_sleep, clock(ClockId::Monotonic))
}

impl Real {
    /// One for all: what never goes back must begin once.
    pub(crate) fn of_process() -> Arc<Self> {
        static PROCESS: OnceLock<Arc<Real>> = OnceLock::new();
        Arc::clone(PROCESS.get_or_init(|| Arc::new(Real::new(read_machine))))
    }

    fn new(read: Read) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let base = since.saturating_sub(read().0);
        Self {
            read,
            base_ms: u64::try_from(base.as_millis()).unwrap_or(u64::MAX),
            slept: Arc::new(watch::Sender::new(Duration::ZERO)),
            watching: OnceLock::new(),
        }
    }

    /// Hear of it when the machine has slept.
    fn subscribe(&self) -> watch::Receiver<Duration> {
        let receiver = self.slept.subscribe();
        self.watching.get_or_init(|| {
            let (read, slept) = (self.read, Arc::downgrade(&self.slept));
            let apart = move || {
                let (with_sleep, without) = read();
                with_sleep.saturating_sub(without)
            };
            let mut known = apart();
            let watch = move || {
                while let Some(slept) = slept.upgrade() {
                    let now = apart();
                    if now > known + SLEPT_MIN {
                        slept.send_replace(now);
                        known = now;
                    }
                    drop(slept);
                    thread::sleep(LOOK_EVERY);
                }
            };
            // Where no more threads can be had, a sleep of the machine is seen when a wait ends.
            let _ = thread::Builder::new().name("stepback-clock".to_owned()).spawn(watch);
        });
        receiver
    }
}

impl Source for Real {
    fn now(&self) -> Moment {
        Moment::default().after((self.read)().0)
    }

    fn unix(&self) -> UnixMs {
        UnixMs(self.base_ms.saturating_add(self.now().as_ms()))
    }

    fn sleep_until(&self, at: Moment) -> Sleep {
        let left = at.since(self.now());
        if left <= LOOK_EVERY {
            // Over before anybody could notice that the machine slept.
            return Box::pin(tokio::time::sleep(left));
        }
        let (mut slept, read) = (self.subscribe(), self.read);
        Box::pin(async move {
            loop {
                let left = at.since(Moment::default().after(read().0));
                if left.is_zero() {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(left) => {}
                    // The sender lives as long as the process's clock.
                    changed = slept.changed() => {
                        if changed.is_err() {
                            return tokio::time::sleep(left).await;
                        }
                    }
                }
            }
        })
    }

    fn rest_until(&self, at: Moment) {
        loop {
            let left = at.since(self.now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(LOOK_EVERY));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// How long this test's machine has slept.
    static SLEPT_MS: AtomicU64 = AtomicU64::new(0);

    fn read_with_sleep() -> (Duration, Duration) {
        let (_, awake) = read_machine();
        (awake + Duration::from_millis(SLEPT_MS.load(Ordering::SeqCst)), awake)
    }

    #[tokio::test]
    async fn a_wait_is_over_when_its_time_passed_while_the_machine_slept() {
        let real = Arc::new(Real::new(read_with_sleep));
        let (begun, unix) = (real.now(), real.unix());
        let hour = Duration::from_secs(3600);
        let sleep = tokio::spawn(real.sleep_until(begun.after(hour)));
        tokio::task::yield_now().await;
        SLEPT_MS.store(3_600_000, Ordering::SeqCst);
        // Not over by itself within an hour, so what ends it is the sleep.
        sleep.await.expect("no panic");
        assert!(real.now().since(begun) >= hour);
        assert!(real.unix().since_ms(unix) >= 3_600_000, "sleep counts in the journal's time too");
        real.rest_until(begun.after(hour));
    }

    #[test]
    fn the_machines_time_counts_its_sleep() {
        let (with_sleep, without) = read_machine();
        assert!(with_sleep + SLEPT_MIN >= without);
    }
}
