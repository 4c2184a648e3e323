//! What is done in a turn at the ledger, by one program at a time: a call, a look, and what follows
//! from a crash. All of it may wait for its turn, and blocks its thread meanwhile.

use crate::disk::Disk;
use crate::instances::refuse_what_it_can_not;
use serde_json::Value;
use stepback_core::step::EffectOutcome;
use stepback_core::{Call, Epoch, Facts, Failure, OperationId, Resource, StoreId, Token};
use stepback_provider::locks::LockFile;
use stepback_provider::{EffectContext, Settled, Stamped};
use stepback_simulated::world::World;
use stepback_simulated::{Simulated, apply, settle};

/// What all threads of this program share of a onebox.
pub(super) struct Shared {
    pub(super) locks: LockFile,
    pub(super) disk: Disk,
    pub(super) ledger: Simulated,
}

impl Shared {
    /// The ledger says whether it may be done; then it is done; then the ledger is kept.
    pub(super) fn apply(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        let mut is_done = false;
        match self.try_apply(call, context, &mut is_done) {
            Ok(answer) => EffectOutcome::Done(answer),
            Err(failure) if is_done => EffectOutcome::Unknown(failure.message),
            Err(failure) => EffectOutcome::Refused(failure),
        }
    }

    fn try_apply(
        &self,
        call: &Call,
        context: &EffectContext,
        is_done: &mut bool,
    ) -> Result<Value, Failure> {
        let answer = self.ledger.change(|world| {
            world.fence(context)?;
            if let Some(made) = world.effects.get(&context.token.0) {
                return Ok(made.answer.clone());
            }
            refuse_what_it_can_not(call)?;
            stepback_provider::tags::must_be_free(call)?;
            let before = world.clone();
            let answer = apply::cloud(world, call, &context.token, self.ledger.now())?;
            if let Err(failure) = self.disk.follow(call, &answer, &before) {
                // What it began is put back, or nobody knows how far it came.
                *is_done = self.disk.put_right(&mut before.clone()).is_err();
                return Err(failure);
            }
            *is_done = true;
            world.made(&context.token, call.function(), &answer);
            Ok(answer)
        })?;
        // In a turn too: what somebody else is making is not in the ledger yet.
        self.ledger.look(|world| {
            self.disk.finish(call, &answer)?;
            self.disk.throw_away(world)
        })?;
        Ok(answer)
    }

    /// Whether an effect happened. The real thing may be a step ahead of the ledger.
    pub(super) fn settle(&self, call: &Call, token: &Token) -> Result<Settled, Failure> {
        self.ledger.change(|world| {
            self.disk.put_right(world)?;
            let settled = settle::settle(world, call, token, self.ledger.now());
            match (&settled, self.disk.must_know_all(world)) {
                // An older ledger knows nothing of what was made since.
                (Settled::NotHappened, Err(failure)) => Err(failure),
                _ => Ok(settled),
            }
        })
    }

    /// From here on older epochs of an operation are refused.
    pub(super) fn take_over(
        &self,
        store: &StoreId,
        operation: OperationId,
        epoch: Epoch,
    ) -> Result<(), Failure> {
        self.ledger.change(|world| {
            world.take_over(store, operation, epoch);
            Ok(())
        })
    }

    /// The facts of a resource, which its file must bear out.
    pub(super) fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        let seen = |world: &World| {
            let facts = world.seen(resource, self.ledger.now())?;
            self.disk.must_agree(resource, &facts).map(|()| facts)
        };
        // A turn takes as long as a volume is copied; nearly always they agree without one.
        let without = seen(&self.ledger.load()?);
        // Where they do not, somebody may be half way from one to the other.
        without.or_else(|_| {
            self.ledger.look(|world| {
                self.disk.finish_what_is_known(world, resource)?;
                seen(world)
            })
        })
    }

    /// What carries the stamps of these effects, which an older ledger can't tell.
    pub(super) fn stamped(&self, tokens: &[Token]) -> Result<Stamped, Failure> {
        self.ledger.look(|world| {
            self.disk.must_know_all(world)?;
            Ok(world.carrying(tokens, None, self.ledger.now()))
        })
    }
}
