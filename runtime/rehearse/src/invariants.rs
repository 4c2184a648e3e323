//! The manifest's invariants, held against the world after every effect.

use crate::script::Script;
use std::sync::Arc;
use stepback_core::expr::{Scope, evaluate_over};
use stepback_core::manifest::{Holds, Invariant};
use stepback_simulated::Simulated;

/// What looks at one case's world.
pub(crate) struct Watched {
    pub invariants: Arc<[Invariant]>,
    pub scope: Arc<Scope>,
    pub world: Arc<Simulated>,
    pub script: Arc<Script>,
}

impl Watched {
    /// Look at the world as it is now, `after` what was just done.
    pub fn look(&self, after: &str) {
        if self.invariants.is_empty() {
            return;
        }
        let world = match self.world.load() {
            Ok(world) => Arc::new(world.all_facts()),
            Err(failure) => return self.script.broke(failure.message),
        };
        for (nth, invariant) in self.invariants.iter().enumerate() {
            let holds = evaluate_over(&invariant.condition, &self.scope, &world);
            match (invariant.holds, holds) {
                (_, Ok(true)) => self.script.held(nth),
                (Holds::Sometimes, Ok(false)) => {}
                (Holds::Always, Ok(false)) => {
                    let what = format!("the invariant `{}` does not hold {after}", invariant.name);
                    self.script.broke_invariant(nth, what);
                }
                (_, Err(error)) => {
                    let what = format!("the invariant `{}` can't be told: {error}", invariant.name);
                    self.script.broke_invariant(nth, what);
                }
            }
        }
    }
}
