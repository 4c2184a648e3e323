//! The manifest's invariants, held against the world after every effect.

use crate::script::{Broken, Script};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use stepback_core::expr::{ExprError, Scope, Seen, WorldFacts, evaluate_over};
use stepback_core::manifest::{Holds, Invariant};
use stepback_simulated::Simulated;

/// What recurses within its own bounds must not meet the stack's.
const STACK_BYTES: usize = 16 << 20;

/// An invariant that took too long, and for how long it was waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong {
    pub nth: usize,
    pub limit: Duration,
}

/// What looks at one case's world.
pub(crate) struct Watched {
    pub invariants: Arc<[Invariant]>,
    pub scope: Arc<Scope>,
    pub world: Arc<Simulated>,
    pub script: Arc<Script>,
    /// So much real time all of them may take together: what it bounds is a processor's work.
    pub limit: Duration,
    /// Of the whole rehearsal: nobody waits twice.
    pub too_long: Arc<OnceLock<TooLong>>,
}

impl Watched {
    /// Look at the world as it is now, `after` what was just done.
    pub fn look(&self, after: &str) {
        if self.invariants.is_empty() || self.too_long.get().is_some() {
            return;
        }
        let facts = match self.world.load() {
            Ok(world) => Arc::new(world.all_facts()),
            Err(failure) => return self.script.broke(Broken::of_world(failure.message)),
        };
        let (tell, told) = mpsc::channel();
        let work = self.work(facts, tell);
        let thread = std::thread::Builder::new().name("stepback-work".to_owned());
        if let Err(error) = thread.stack_size(STACK_BYTES).spawn(work) {
            return self.script.broke(Broken::of_world(format!("there is no thread: {error}")));
        }
        for nth in 0..self.invariants.len() {
            match told.recv_timeout(self.limit) {
                Ok(seen) => self.judge(nth, seen, after),
                Err(_) => {
                    // Another case may have told it first.
                    let _ = self.too_long.set(TooLong { nth, limit: self.limit });
                    return;
                }
            }
        }
    }

    /// All of them evaluated, one after the other; nobody may listen any more.
    fn work(
        &self,
        facts: Arc<WorldFacts>,
        tell: Sender<Result<Seen, ExprError>>,
    ) -> impl FnOnce() + Send + 'static {
        let (invariants, scope) = (Arc::clone(&self.invariants), Arc::clone(&self.scope));
        move || {
            for invariant in invariants.iter() {
                let seen = evaluate_over(&invariant.condition, &scope, &facts);
                if tell.send(seen).is_err() {
                    return;
                }
            }
        }
    }

    fn judge(&self, nth: usize, seen: Result<Seen, ExprError>, after: &str) {
        let Invariant { name, holds, .. } = &self.invariants[nth];
        match (holds, seen) {
            (_, Ok(Seen { holds: true, .. })) => self.script.held(nth),
            (Holds::Sometimes, Ok(_)) => {}
            (Holds::Always, Ok(Seen { asked, .. })) => {
                let asked = match asked.is_empty() {
                    true => String::new(),
                    false => format!(": {}", asked.join(", ")),
                };
                let told = format!("the invariant `{name}` does not hold {after}{asked}");
                self.script.broke(Broken { invariant: Some(nth), told, is_unknown: false });
            }
            (_, Err(error)) => {
                let told = format!("the invariant `{name}` can't be told {after}: {error}");
                self.script.broke(Broken { invariant: Some(nth), told, is_unknown: true });
            }
        }
    }
}
