//! The instants at which nothing is under way.

use super::*;

impl Driver {
    /// Tell whoever wants to know that nothing is under way but what is to be begun now.
    pub(super) fn tell_if_still(&mut self, commands: &[Command]) {
        while self.forgetting.try_join_next().is_some() {}
        let is_begun = |command: &Command| match command {
            Command::StartAttempt(_)
            | Command::Evaluate { .. }
            | Command::EvaluateOutputs { .. }
            | Command::Gate { .. }
            | Command::Verify => true,
            // These are of an attempt that is under way.
            Command::Grant { .. } | Command::Deny { .. } | Command::Interrupt { .. } => false,
        };
        let is_still = !commands.is_empty()
            && commands.iter().all(is_begun)
            && self.to_be_heard == 0
            && self.inbox.is_empty()
            && self.flush.is_none()
            && self.intents.is_empty()
            && self.in_flight.is_empty()
            && self.ending.is_empty()
            && (self.pending.is_empty() || self.pending_urgent)
            && self.forgetting.is_empty()
            // Whoever takes an operation up has not sent these yet.
            && unfinished_effects(self.machine.state()).is_empty();
        if is_still {
            self.deps.reporter.on_still(&|| Still {
                machine: self.machine.clone(),
                lease: self.lease.clone(),
                pending: self.pending.clone(),
                durable: self.durable,
                commands: commands.to_vec(),
                used: self.quota.used(),
            });
        }
    }
}
