//! Work that can't be interrupted, done where it can be given up.

use crate::Clock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::oneshot;

/// What recurses within its own bounds must not meet the stack's.
const STACK_BYTES: usize = 16 << 20;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// It took longer than it may; its thread goes on, and nobody listens to it.
    Late,
    /// The work panicked, and gave nothing.
    Panicked,
    /// There is no thread for it.
    NoThread(String),
}

impl Clock {
    /// Do the work in a thread of its own, for so much real time at most, whatever the clock says:
    /// what it bounds is a processor's work. Virtual time does not pass meanwhile, and nothing else
    /// is done in its runtime: what comes next must not depend on how fast a thread was.
    ///
    /// # Errors
    /// [`GivenUp`] if there is no answer.
    pub async fn in_thread<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, GivenUp> {
        let (done, answer) = oneshot::channel();
        let (done_too, answer_too) = mpsc::channel();
        // Until whoever waits has the answer: between the two, nobody would know of it.
        let busy = self.busy();
        let work = move || {
            // Nobody waits any more for one that is late.
            drop(done.send(catch_unwind(AssertUnwindSafe(work))));
            let _ = done_too.send(());
        };
        let thread = std::thread::Builder::new().name("stepback-work".to_owned());
        let thread = thread.stack_size(STACK_BYTES).spawn(work);
        thread.map_err(|error| GivenUp::NoThread(error.to_string()))?;
        if busy.0.is_some() {
            // Late or not, whoever waits below sees it.
            let _ = answer_too.recv_timeout(limit);
        }
        match Clock::real().timeout(limit, answer).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(_)) | Err(_)) => Err(GivenUp::Panicked),
            Err(_) => Err(GivenUp::Late),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Virtual;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use stepback_core::UnixMs;

    /// What others of the runtime do meanwhile would depend on how fast the thread is.
    #[test]
    fn in_virtual_time_nothing_else_is_done_meanwhile() {
        let time = Virtual::new(UnixMs(0));
        let (clock, runtime) = (time.clock(), time.runtime().expect("a runtime"));
        let turns = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&turns);
        let (begin, begun) = oneshot::channel();
        let counts = runtime.spawn(async move {
            let _ = begin.send(());
            loop {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        });
        let (before, after) = runtime.block_on(async move {
            begun.await.expect("it begins");
            let seen = Arc::clone(&turns);
            // By its thread's end, others could have had any number of turns.
            let work = move || {
                let before = seen.load(Ordering::SeqCst);
                for _ in 0..1_000 {
                    std::thread::yield_now();
                }
                (before, seen.load(Ordering::SeqCst))
            };
            clock.in_thread(Duration::from_secs(600), work).await.expect("it works")
        });
        counts.abort();
        assert_eq!(before, after);
    }

    #[test]
    fn work_is_given_up_when_it_takes_too_long() {
        let time = Virtual::new(UnixMs(0));
        let (clock, runtime) = (time.clock(), time.runtime().expect("a runtime"));
        let (end, never) = mpsc::channel::<()>();
        let late =
            runtime.block_on(clock.in_thread(Duration::from_millis(10), move || never.recv()));
        assert_eq!(late.map(drop), Err(GivenUp::Late));
        drop(end);
        let long = Duration::from_secs(600);
        assert_eq!(runtime.block_on(clock.in_thread(long, || 6 * 7)), Ok(42));
        let panicked = runtime.block_on(clock.in_thread(long, || panic!("on purpose")));
        assert_eq!(panicked, Err::<(), _>(GivenUp::Panicked));
        assert_eq!(clock.unix(), UnixMs(0));
    }
}
