//! A guest's own time and its host calls, both counted and bounded.
//!
//! The guest's time is what it computes between host calls: neither what the host takes to answer
//! nor what other guests use of the thread. It is added up in slices that end with a host call or
//! a tick of the engine's epoch, and no slice counts for more than a tick, because after a tick
//! the guest stands aside for as long as others need.

use crate::fault::GuestFault;
use crate::invocation::Mode;
use crate::limits::Limits;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the engine's epoch advances: how late a guest's time can be noticed to be up.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(10);

/// The watch over one guest, shared with whoever waits for its end.
pub(crate) struct Watch(Mutex<Counts>);

struct Counts {
    slice_began: Instant,
    spent: Duration,
    spent_max: Duration,
    /// Whether an answered host call begins the guest's time anew.
    calls_renew_time: bool,
    calls_left: u32,
    in_host: bool,
}

impl Counts {
    fn end_slice(&mut self) {
        let now = Instant::now();
        self.spent += now.duration_since(self.slice_began).min(EPOCH_TICK);
        self.slice_began = now;
    }
}

/// What a mode leaves a guest of time, and whether host calls renew it.
fn time_of(mode: Mode, limits: &Limits) -> (Duration, bool) {
    match mode {
        Mode::Check => (limits.check_time_max, false),
        Mode::Run { .. } | Mode::Undo => (limits.run_time_max, true),
    }
}

impl Watch {
    pub(crate) fn new(mode: Mode, limits: &Limits) -> Arc<Self> {
        let (spent_max, calls_renew_time) = time_of(mode, limits);
        Arc::new(Self(Mutex::new(Counts {
            slice_began: Instant::now(),
            spent: Duration::ZERO,
            spent_max,
            calls_renew_time,
            calls_left: limits.calls_max,
            in_host: false,
        })))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest goes on in another mode: its time begins anew, its calls stay counted.
    pub(crate) fn enter_mode(&self, mode: Mode, limits: &Limits) {
        let mut counts = self.counts();
        (counts.spent_max, counts.calls_renew_time) = time_of(mode, limits);
        counts.spent = Duration::ZERO;
        counts.slice_began = Instant::now();
    }

    /// A host call begins, if the guest has any left; it ends when what is returned is dropped.
    pub(crate) fn enter_host(self: &Arc<Self>) -> Option<InHost> {
        let mut counts = self.counts();
        counts.calls_left = counts.calls_left.checked_sub(1)?;
        counts.end_slice();
        counts.in_host = true;
        drop(counts);
        Some(InHost(self.clone()))
    }

    /// Whether a host call is being answered.
    pub(crate) fn is_in_host(&self) -> bool {
        self.counts().in_host
    }

    /// The epoch advanced while the guest was computing.
    pub(crate) fn on_tick(&self) -> Result<(), GuestFault> {
        let mut counts = self.counts();
        counts.end_slice();
        if counts.spent <= counts.spent_max {
            return Ok(());
        }
        let limit_ms = u64::try_from(counts.spent_max.as_millis()).unwrap_or(u64::MAX);
        Err(GuestFault::OutOfTime { limit_ms })
    }
}

/// Marks a host call as running, until dropped.
pub(crate) struct InHost(Arc<Watch>);

impl Drop for InHost {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        counts.in_host = false;
        counts.slice_began = Instant::now();
        if counts.calls_renew_time {
            counts.spent = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(time: Duration) -> Limits {
        Limits { check_time_max: time, run_time_max: time, calls_max: 3, ..Limits::default() }
    }

    const SHORT: Duration = Duration::from_millis(4);

    #[test]
    fn time_in_the_host_is_not_the_guests() {
        let watch = Watch::new(Mode::Check, &limits(SHORT));
        let in_host = watch.enter_host().expect("it has calls left");
        assert!(watch.is_in_host());
        std::thread::sleep(SHORT * 10);
        drop(in_host);
        assert!(!watch.is_in_host());
        assert_eq!(watch.on_tick(), Ok(()));
    }

    #[test]
    fn a_check_can_not_renew_its_time_with_calls_and_an_undo_can() {
        for (mode, ends) in [(Mode::Check, true), (Mode::Undo, false)] {
            let watch = Watch::new(mode, &limits(SHORT));
            std::thread::sleep(SHORT * 2);
            drop(watch.enter_host());
            assert_eq!(watch.on_tick().is_err(), ends, "{mode:?}");
        }
    }

    #[test]
    fn a_slice_counts_for_a_tick_at_most() {
        let watch = Watch::new(Mode::Undo, &limits(EPOCH_TICK * 2));
        std::thread::sleep(EPOCH_TICK * 4);
        assert_eq!(watch.on_tick(), Ok(()), "others had the thread");
        std::thread::sleep(EPOCH_TICK * 4);
        assert_eq!(watch.on_tick(), Ok(()));
        std::thread::sleep(EPOCH_TICK);
        assert_eq!(watch.on_tick(), Err(GuestFault::OutOfTime { limit_ms: 20 }));
    }

    #[test]
    fn calls_are_counted_through_a_change_of_mode() {
        let watch = Watch::new(Mode::Check, &limits(SHORT));
        assert!(watch.enter_host().is_some());
        watch.enter_mode(Mode::Run { irreversible_allowed: false }, &limits(SHORT));
        assert!(watch.enter_host().is_some());
        assert!(watch.enter_host().is_some());
        assert!(watch.enter_host().is_none());
    }
}
