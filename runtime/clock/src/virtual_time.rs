//! Time that passes only when everybody waits.
//!
//! A runtime made by [`Virtual::runtime`] has one thread. Whenever it has nothing left to do, time
//! moves on to the next moment that somebody waits for. Nothing rests on how fast the machine
//! is, and an hour of waiting takes no time at all.

use crate::{Clock, Moment, Sleep, Source};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use stepback_core::UnixMs;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

/// Virtual time, and the hand on it.
#[derive(Clone)]
pub struct Virtual(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    moved: Condvar,
    /// Told when no thread is busy any more: a runtime that could not let time pass tries again.
    freed: Notify,
}

#[derive(Default)]
struct State {
    now: Moment,
    /// Unix time at the moment zero; before 1970, if the clock was set back that far.
    base_ms: i128,
    /// By moment, then by who came first.
    sleepers: BTreeMap<(Moment, u64), Waker>,
    sleepers_ever: u64,
    /// Work of other threads that everybody waits for.
    busy: usize,
    /// How much of the time passed while the machine slept.
    slept: Duration,
}

impl State {
    fn new_key(&mut self, at: Moment) -> (Moment, u64) {
        self.sleepers_ever += 1;
        (at, self.sleepers_ever)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Move to a moment, and wake everybody who waited for it.
    fn move_to(&self, at: Moment) {
        let due: Vec<Waker> = {
            let mut state = self.state();
            state.now = state.now.max(at);
            let now = state.now;
            let later = state.sleepers.split_off(&(now.after(Duration::from_nanos(1)), 0));
            std::mem::replace(&mut state.sleepers, later).into_values().collect()
        };
        self.moved.notify_all();
        due.into_iter().for_each(Waker::wake);
    }
}

impl Virtual {
    /// Time that stands at `unix`.
    pub fn new(unix: UnixMs) -> Self {
        let state = State { base_ms: i128::from(unix.0), ..State::default() };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            moved: Condvar::new(),
            freed: Notify::new(),
        }))
    }

    /// The clock that shows it to one process: a Unix time that is set afterwards is seen only by
    /// those that begin later.
    pub fn clock(&self) -> Clock {
        let base_ms = self.0.state().base_ms;
        Clock::of(Arc::new(Face { shared: Arc::clone(&self.0), base_ms, sleeps: false }))
    }

    /// A clock that stands still while the machine sleeps, as a monotonic one does: for tests that
    /// show what comes of it.
    pub fn clock_without_sleep(&self) -> Clock {
        let base_ms = self.0.state().base_ms;
        Clock::of(Arc::new(Face { shared: Arc::clone(&self.0), base_ms, sleeps: true }))
    }

    /// A runtime of one thread whose waits are this time's.
    ///
    /// What works is to be spawned on it: the future that `block_on` is given is looked at only
    /// after the runtime was about to wait, so that time may have moved on though it could have
    /// gone on.
    ///
    /// # Errors
    /// If the runtime can't be made.
    pub fn runtime(&self) -> io::Result<Runtime> {
        let this = self.clone();
        // The runtime looks again for work after this, so that whom it woke goes on.
        let pass = move || {
            this.pass();
        };
        let runtime = Builder::new_current_thread().enable_all().on_thread_park(pass).build()?;
        let shared = Arc::clone(&self.0);
        runtime.spawn(async move {
            loop {
                shared.freed.notified().await;
            }
        });
        Ok(runtime)
    }

    /// Go on to the next moment that somebody waits for; `false` if nobody does, or if another
    /// thread is busy with what everybody waits for.
    pub fn pass(&self) -> bool {
        let next = {
            let state = self.0.state();
            let next = state.sleepers.keys().next().map(|(at, _)| *at);
            next.filter(|_| state.busy == 0)
        };
        next.inspect(|at| self.0.move_to(*at)).is_some()
    }

    /// Let time pass at one go, as it does for a machine that sleeps.
    pub fn advance(&self, duration: Duration) {
        let at = {
            let mut state = self.0.state();
            state.slept = state.slept.saturating_add(duration);
            state.now.after(duration)
        };
        self.0.move_to(at);
    }

    /// Set the Unix time, forward or back, for clocks made from here on; moments take no notice.
    pub fn set_unix(&self, unix: UnixMs) {
        let mut state = self.0.state();
        state.base_ms = i128::from(unix.0) - i128::from(state.now.as_ms());
    }
}

/// Keeps time from passing until it is dropped.
pub(crate) struct Held(Arc<Shared>);

impl Drop for Held {
    fn drop(&mut self) {
        let is_free = {
            let mut state = self.0.state();
            state.busy -= 1;
            state.busy == 0
        };
        if is_free {
            self.0.freed.notify_one();
        }
    }
}

struct VirtualSleep {
    at: Moment,
    shared: Arc<Shared>,
    key: Option<(Moment, u64)>,
}

impl VirtualSleep {
    fn leave(&mut self, state: &mut State) {
        if let Some(key) = self.key.take() {
            state.sleepers.remove(&key);
        }
    }
}

impl Future for VirtualSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        if state.now >= self.at {
            self.leave(&mut state);
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or_else(|| state.new_key(self.at));
        self.key = Some(key);
        state.sleepers.insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for VirtualSleep {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        self.leave(&mut state);
    }
}

/// The time as one process sees it.
struct Face {
    shared: Arc<Shared>,
    base_ms: i128,
    /// Whether it stands still while the machine sleeps.
    sleeps: bool,
}

impl Source for Face {
    fn now(&self) -> Moment {
        self.shared.state().now
    }

    fn unix(&self) -> UnixMs {
        let slept_ms = match self.sleeps {
            true => i128::try_from(self.shared.state().slept.as_millis()).unwrap_or(0),
            false => 0,
        };
        let unix_ms = self.base_ms + i128::from(self.now().as_ms()) - slept_ms;
        UnixMs(u64::try_from(unix_ms.max(0)).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, at: Moment) -> Sleep {
        Box::pin(VirtualSleep { at, shared: Arc::clone(&self.shared), key: None })
    }

    fn rest_until(&self, at: Moment) {
        let mut state = self.shared.state();
        if state.now >= at {
            return;
        }
        // Among those who wait, so that time gets there.
        let key = state.new_key(at);
        state.sleepers.insert(key, Waker::noop().clone());
        while state.now < at {
            state = self.shared.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn busy(&self) -> Option<Held> {
        self.shared.state().busy += 1;
        Some(Held(Arc::clone(&self.shared)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_when_everybody_waits_and_in_order() {
        let time = Virtual::new(UnixMs(1_000));
        let runtime = time.runtime().expect("a runtime");
        let clock = time.clock();
        let order = runtime.block_on(async {
            let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
            for ms in [30, 10, 20_000_000] {
                let (clock, told) = (clock.clone(), told.clone());
                tokio::spawn(async move {
                    clock.sleep(Duration::from_millis(ms)).await;
                    told.send((ms, clock.unix())).expect("somebody hears");
                });
            }
            drop(told);
            let mut order = vec![];
            while let Some(one) = heard.recv().await {
                order.push(one);
            }
            order
        });
        let at = |ms| (ms, UnixMs(1_000 + ms));
        assert_eq!(order, [at(10), at(30), at(20_000_000)]);
    }

    #[test]
    fn a_timeout_drops_what_takes_longer() {
        let time = Virtual::new(UnixMs(0));
        let (runtime, clock) = (time.runtime().expect("a runtime"), time.clock());
        runtime.block_on(async {
            let late = clock.timeout(Duration::from_secs(9), std::future::pending::<()>()).await;
            assert_eq!((late, clock.unix()), (Err(crate::Elapsed), UnixMs(9_000)));
            let nap = clock.sleep(Duration::from_secs(1));
            assert_eq!(clock.timeout(Duration::from_secs(9), nap).await, Ok(()));
            assert_eq!(clock.unix(), UnixMs(10_000));
        });
        assert!(time.0.state().sleepers.is_empty(), "nobody waits any more");
    }

    #[test]
    fn no_time_passes_while_a_thread_is_busy() {
        let time = Virtual::new(UnixMs(0));
        let (runtime, clock) = (time.runtime().expect("a runtime"), time.clock());
        let worked = runtime.block_on(async {
            let (done, worked) = tokio::sync::oneshot::channel();
            let busy = clock.busy();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                done.send(()).expect("somebody waits");
                drop(busy);
            });
            clock.timeout(Duration::from_millis(1), worked).await
        });
        assert!(worked.is_ok());
    }

    #[test]
    fn time_goes_on_when_the_thread_is_done() {
        let time = Virtual::new(UnixMs(0));
        let (runtime, clock) = (time.runtime().expect("a runtime"), time.clock());
        runtime.block_on(async {
            let busy = clock.busy();
            // It says nothing else: only its end lets anybody go on.
            let thread = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                drop(busy);
            });
            clock.sleep(Duration::from_secs(3600)).await;
            thread.join().expect("no panic");
        });
        assert_eq!(clock.unix(), UnixMs(3_600_000));
    }

    #[test]
    fn a_machine_that_sleeps_ends_what_was_due_meanwhile() {
        let time = Virtual::new(UnixMs(0));
        let clock = time.clock();
        let resting = {
            let clock = clock.clone();
            std::thread::spawn(move || clock.rest(Duration::from_secs(60)))
        };
        let mut sleep = clock.sleep(Duration::from_secs(60));
        let mut poll = || sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll().is_pending());
        time.advance(Duration::from_secs(3600));
        assert!(poll().is_ready());
        time.set_unix(UnixMs(5));
        assert_eq!((clock.unix(), time.clock().unix()), (UnixMs(3_600_000), UnixMs(5)));
        // It may begin to rest only now.
        while !resting.is_finished() {
            time.pass();
            std::thread::yield_now();
        }
    }
}
