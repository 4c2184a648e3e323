//! The one clock: what time it is, and waiting until it is later (R15).
//!
//! The engine, providers, leases and guests are given a [`Clock`] and read no other; a test holds
//! them to it. Real time goes on while the machine sleeps, so that a laptop's lid or a paused
//! virtual machine counts in timeouts, budgets and downtime. Virtual time ([`Virtual`]) passes
//! only when everybody waits, so that a test of an hour takes a millisecond and says the same
//! every time.
//!
//! Two readings, never mixed up: a [`Moment`] measures how long something takes and can't be set;
//! [`Clock::unix`] is for people and the journal. Arithmetic on both saturates, because durations
//! come from manifests and plugins.

mod beat;
mod outside;
mod real;
mod virtual_time;

pub use beat::beat;
pub use outside::GivenUp;
pub use virtual_time::Virtual;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use stepback_core::UnixMs;

/// A point in time: nanoseconds since the machine was started, sleep included.
///
/// All processes of a machine count from the same start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// So many milliseconds after the start.
    pub fn from_ms(ms: u64) -> Self {
        Self::default().after(Duration::from_millis(ms))
    }

    /// The moment that much later; the last there is, if that is later than it.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// How long ago `earlier` was; zero if it is still to come.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Whole milliseconds since the start.
    pub fn as_ms(self) -> u64 {
        self.0 / 1_000_000
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The time was up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Keeps virtual time from passing, until dropped.
pub struct Busy(Option<Held>);

/// A wait for a moment.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where time comes from.
trait Source: Send + Sync {
    fn now(&self) -> Moment;
    fn unix(&self) -> UnixMs;
    fn sleep_until(&self, at: Moment) -> Sleep;
    /// Blocks the thread.
    fn rest_until(&self, at: Moment);
    fn busy(&self) -> Option<Held> {
        None
    }
}

use virtual_time::Held;

/// A clock to read and to wait by; a clone is the same clock.
#[derive(Clone)]
pub struct Clock {
    source: Arc<dyn Source>,
    /// How far [`Clock::unix`] is ahead of its source.
    ahead_ms: u64,
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("now", &self.now()).field("ahead_ms", &self.ahead_ms).finish()
    }
}

impl Clock {
    /// The machine's own time, the same for the whole process.
    pub fn real() -> Self {
        Self::of(real::Real::of_process())
    }

    fn of(source: Arc<dyn Source>) -> Self {
        Self { source, ahead_ms: 0 }
    }

    /// The same clock, whose Unix time is never before `at`.
    ///
    /// The system's clock may have been set back since a journal was written; whoever goes on
    /// with it counts from its last event.
    pub fn never_before(&self, at: UnixMs) -> Self {
        let behind_ms = at.since_ms(self.unix());
        Self { source: Arc::clone(&self.source), ahead_ms: self.ahead_ms.saturating_add(behind_ms) }
    }

    /// The moment it is.
    pub fn now(&self) -> Moment {
        self.source.now()
    }

    /// The time it is, for people and the journal; it never goes back while the process lives.
    pub fn unix(&self) -> UnixMs {
        UnixMs(self.source.unix().0.saturating_add(self.ahead_ms))
    }

    /// The moment at which [`Clock::unix`] is `at`; now if that is past.
    pub fn moment_of(&self, at: UnixMs) -> Moment {
        self.now().after(Duration::from_millis(at.since_ms(self.unix())))
    }

    /// Returns at that moment, or at once if it is past.
    pub fn sleep_until(&self, at: Moment) -> Sleep {
        self.source.sleep_until(at)
    }

    /// Returns after that long.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now().after(duration))
    }

    /// What the future gives, unless it takes longer; it is dropped then.
    ///
    /// # Errors
    /// [`Elapsed`] if the time was up first.
    pub async fn timeout<T>(
        &self,
        duration: Duration,
        future: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        self.timeout_at(self.now().after(duration), future).await
    }

    /// The same with the moment at which the time is up.
    ///
    /// # Errors
    /// [`Elapsed`] if the time was up first.
    pub async fn timeout_at<T>(
        &self,
        at: Moment,
        future: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        let mut future = std::pin::pin!(future);
        let mut sleep: Option<Sleep> = None;
        std::future::poll_fn(|context| {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(context) {
                return std::task::Poll::Ready(Ok(value));
            }
            // Made only for a future that has to wait, which most answers need not.
            let sleep = sleep.get_or_insert_with(|| self.sleep_until(at));
            sleep.as_mut().poll(context).map(|()| Err(Elapsed))
        })
        .await
    }

    /// Blocks this thread for that long; for threads that may block.
    pub fn rest(&self, duration: Duration) {
        self.source.rest_until(self.now().after(duration));
    }

    /// Keeps virtual time from passing while a thread of its own works on something that others
    /// wait for; real time takes no notice.
    pub fn busy(&self) -> Busy {
        Busy(self.source.busy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_duration_is_too_long() {
        let now = Moment::from_ms(u64::MAX);
        assert_eq!(now.after(Duration::MAX), now.after(Duration::from_secs(1)));
        assert_eq!(Moment::default().since(now), Duration::ZERO);
        let clock = Virtual::new(UnixMs(u64::MAX)).clock().never_before(UnixMs(u64::MAX));
        assert_eq!(clock.unix(), UnixMs(u64::MAX));
        assert_eq!(clock.moment_of(UnixMs(0)), clock.now());
    }

    #[test]
    fn a_clock_that_was_set_back_goes_on_from_the_journal() {
        let virtual_time = Virtual::new(UnixMs(1_000));
        let clock = virtual_time.clock().never_before(UnixMs(9_000));
        assert_eq!(clock.unix(), UnixMs(9_000));
        virtual_time.advance(Duration::from_millis(5));
        assert_eq!(clock.unix(), UnixMs(9_005));
        assert_eq!(virtual_time.clock().never_before(UnixMs(3)).unix(), UnixMs(1_005));
    }
}
