//! The manifest's invariants, held against the world after every effect.

use crate::script::{Broken, Script};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::expr::{ExprError, Scope, Seen, WorldFacts, evaluate_over};
use stepback_core::manifest::{Holds, Invariant};
use stepback_simulated::Simulated;

/// What looks at one case's world.
pub(crate) struct Watched {
    pub invariants: Arc<[Invariant]>,
    pub scope: Arc<Scope>,
    pub world: Arc<Simulated>,
    /// The pools before the operation.
    pub began: Arc<WorldFacts>,
    pub script: Arc<Script>,
    pub clock: Clock,
    /// So much real time each of them may take: what it bounds is a processor's work.
    pub limit: Duration,
    /// The one that took longer, in whichever case: nobody waits for it twice.
    pub too_long: Arc<OnceLock<usize>>,
}

impl Watched {
    /// Look at the world as it is now, `after` what was just done.
    pub async fn look(&self, after: &str) {
        if self.invariants.is_empty() || self.too_long.get().is_some() {
            return;
        }
        let facts = match self.world.load() {
            Ok(world) => {
                let mut facts = world.all_facts();
                facts.extend(world.how_pools_serve(self.world.now()));
                Arc::new(facts)
            }
            Err(failure) => return self.script.broke(Broken::of_world(failure.message)),
        };
        for nth in 0..self.invariants.len() {
            let (invariants, scope) = (Arc::clone(&self.invariants), Arc::clone(&self.scope));
            let (facts, began) = (Arc::clone(&facts), Arc::clone(&self.began));
            let work = move || evaluate_over(&invariants[nth].condition, &scope, &facts, &began);
            match self.clock.in_thread(self.limit, work).await {
                Ok(seen) => self.judge(nth, seen, after),
                Err(_) => {
                    // Another case may have told it first.
                    let _ = self.too_long.set(nth);
                    return;
                }
            }
        }
    }

    fn judge(&self, nth: usize, seen: Result<Seen, ExprError>, after: &str) {
        if let Ok(seen) = &seen {
            self.script.asked(nth, &seen.is_there);
        }
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
