//! A guest's own time and its host calls, both counted and bounded.
//!
//! The guest's time is what it computes between host calls: neither what the host takes to answer
//! nor what other guests use of the thread. It is counted in ticks of the engine's epoch that
//! find it computing, as a sampling profiler counts; no clock is read. After a tick the guest
//! stands aside for as long as others need, so however late it goes on, that is one tick.

use crate::fault::GuestFault;
use crate::invocation::Mode;
use crate::limits::Limits;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the engine's epoch advances: how late a guest's time can be noticed to be up.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(10);

/// The watch over one guest, shared with whoever waits for its end.
pub(crate) struct Watch(Mutex<Counts>);

struct Counts {
    ticks: u64,
    ticks_max: u64,
    /// Whether an answered host call begins the guest's time anew.
    calls_renew_time: bool,
    calls_left: u32,
    /// What is left of the time to end by itself, once it was told to.
    grace_ticks: Option<u64>,
    /// Whether a host call is under way.
    is_in_host: bool,
}

fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / EPOCH_TICK.as_nanos()).unwrap_or(u64::MAX)
}

/// What a mode leaves a guest of time, and whether host calls renew it.
fn time_of(mode: Mode, limits: &Limits) -> (u64, bool) {
    match mode {
        Mode::Check => (ticks(limits.check_time_max), false),
        Mode::Run { .. } | Mode::Undo => (ticks(limits.run_time_max), true),
    }
}

impl Watch {
    pub(crate) fn new(mode: Mode, limits: &Limits) -> Arc<Self> {
        let (ticks_max, calls_renew_time) = time_of(mode, limits);
        Arc::new(Self(Mutex::new(Counts {
            ticks: 0,
            ticks_max,
            calls_renew_time,
            calls_left: limits.calls_max,
            grace_ticks: None,
            is_in_host: false,
        })))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest goes on in another mode: its time begins anew, its calls stay counted.
    pub(crate) fn enter_mode(&self, mode: Mode, limits: &Limits) {
        let mut counts = self.counts();
        (counts.ticks_max, counts.calls_renew_time) = time_of(mode, limits);
        counts.ticks = 0;
    }

    /// The guest was told to end: it is stopped where it stands after so much time of its own.
    pub(crate) fn end_within(&self, grace: Duration) {
        self.counts().grace_ticks = Some(ticks(grace));
    }

    /// It should have ended by now: one that computes is stopped, and one that a host call keeps
    /// has a moment of its own time to tell how that came out.
    pub(crate) fn end_now(&self, moment: Duration) {
        let mut counts = self.counts();
        let left = if counts.is_in_host { ticks(moment) } else { 0 };
        counts.grace_ticks = Some(counts.grace_ticks.unwrap_or(u64::MAX).min(left));
    }

    /// A host call begins, if the guest has any left; it ends when what is returned is dropped.
    pub(crate) fn enter_host(self: &Arc<Self>) -> Option<InHost> {
        let mut counts = self.counts();
        counts.calls_left = counts.calls_left.checked_sub(1)?;
        counts.is_in_host = true;
        Some(InHost(self.clone()))
    }

    /// The epoch advanced while the guest was computing.
    pub(crate) fn on_tick(&self) -> Result<(), GuestFault> {
        let mut counts = self.counts();
        if let Some(left) = counts.grace_ticks {
            let left = left.checked_sub(1).ok_or(GuestFault::Stopped)?;
            counts.grace_ticks = Some(left);
        }
        counts.ticks += 1;
        if counts.ticks <= counts.ticks_max {
            return Ok(());
        }
        let tick_ms = u64::try_from(EPOCH_TICK.as_millis()).unwrap_or(u64::MAX);
        Err(GuestFault::OutOfTime { limit_ms: counts.ticks_max.saturating_mul(tick_ms) })
    }
}

/// Marks a host call as running, until dropped.
pub(crate) struct InHost(Arc<Watch>);

impl Drop for InHost {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        counts.is_in_host = false;
        if counts.calls_renew_time {
            counts.ticks = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(mode: Mode, ticks: u32) -> Arc<Watch> {
        let time = EPOCH_TICK * ticks;
        let limits =
            Limits { check_time_max: time, run_time_max: time, calls_max: 3, ..Limits::default() };
        Watch::new(mode, &limits)
    }

    #[test]
    fn a_guest_has_as_many_ticks_as_its_limit() {
        let watch = watch(Mode::Undo, 2);
        assert_eq!(watch.on_tick(), Ok(()));
        assert_eq!(watch.on_tick(), Ok(()));
        assert_eq!(watch.on_tick(), Err(GuestFault::OutOfTime { limit_ms: 20 }));
    }

    #[test]
    fn a_check_can_not_renew_its_time_with_calls_and_an_undo_can() {
        for (mode, ends) in [(Mode::Check, true), (Mode::Undo, false)] {
            let watch = watch(mode, 1);
            assert_eq!(watch.on_tick(), Ok(()));
            drop(watch.enter_host().expect("it has calls left"));
            assert_eq!(watch.on_tick().is_err(), ends, "{mode:?}");
        }
    }

    #[test]
    fn a_guest_that_was_told_to_end_has_its_grace() {
        let watch = watch(Mode::Undo, 100);
        watch.end_within(EPOCH_TICK * 2);
        assert_eq!(watch.on_tick(), Ok(()));
        assert_eq!(watch.on_tick(), Ok(()));
        assert_eq!(watch.on_tick(), Err(GuestFault::Stopped));
    }

    #[test]
    fn one_that_should_have_ended_has_a_moment_only_after_a_host_call() {
        let computes = watch(Mode::Undo, 100);
        computes.end_within(EPOCH_TICK * 9);
        computes.end_now(EPOCH_TICK * 2);
        assert_eq!(computes.on_tick(), Err(GuestFault::Stopped));
        let calls = watch(Mode::Undo, 100);
        calls.end_within(EPOCH_TICK * 9);
        let call = calls.enter_host().expect("it has calls left");
        calls.end_now(EPOCH_TICK * 2);
        drop(call);
        // Another call gives it no more.
        drop(calls.enter_host().expect("it has calls left"));
        assert_eq!(calls.on_tick(), Ok(()));
        assert_eq!(calls.on_tick(), Ok(()));
        assert_eq!(calls.on_tick(), Err(GuestFault::Stopped));
    }

    #[test]
    fn calls_are_counted_through_a_change_of_mode() {
        let watch = watch(Mode::Check, 1);
        assert!(watch.enter_host().is_some());
        watch.enter_mode(Mode::Run { irreversible_allowed: false }, &Limits::default());
        assert!(watch.enter_host().is_some());
        assert!(watch.enter_host().is_some());
        assert!(watch.enter_host().is_none());
    }
}
