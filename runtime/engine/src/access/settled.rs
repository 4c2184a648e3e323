//! What became of a call that nobody answered for.
//!
//! A provider tells whether the world is as the call wants it, by the names that the call gives.
//! Whoever looks later may find another thing by that name, and a world that somebody else has
//! changed: neither tells what became of the call, and it is not sent to that.

use super::WorldAccess;
use super::effects::RevealedEffect;
use serde_json::Value;
use stepback_core::calls::{DockerCall, run_once_name};
use stepback_core::reverse::{Seen, changed_since_found};
use stepback_core::step::{Change, EffectOutcome, PastEffect};
use stepback_core::{Call, Facts, Failure, Resource};
use stepback_provider::{EffectContext, Settled};

impl WorldAccess {
    /// What became of a call: *it did not happen* means that it may be sent again.
    pub(super) async fn find_out(
        &self,
        asked: &RevealedEffect<'_>,
        context: &EffectContext,
    ) -> Settled {
        let settled = self.is_made(asked, context).await;
        let Some(main) = asked.changes.first().filter(|_| settled == Settled::NotHappened) else {
            return settled;
        };
        if let Some(why) = self.made_by_another_name(asked, context).await {
            return Settled::CantKnow(why);
        }
        let now = match self.observe(&main.resource).await {
            Ok(now) => now,
            Err(failure) => return Settled::CantKnow(failure.message),
        };
        let is_another = main.before.is_another(&now);
        if main.before.identity().is_some() && (is_another || now.is_absent()) {
            match self.renamed(main).await {
                Ok(Some(there)) => return Settled::CantKnow(now_called(main, &there)),
                Ok(None) if asked.call.removes() => return Settled::Done(Value::Null),
                Ok(None) => {}
                Err(failure) => return Settled::CantKnow(failure.message),
            }
        }
        match changed_since_found(asked.call, main, &now) {
            None => settled,
            Some(why) => Settled::CantKnow(why),
        }
    }

    /// The same, of what the world shows: that it is as wanted counts only of the very thing that
    /// the call was for.
    pub(super) async fn is_made(
        &self,
        asked: &RevealedEffect<'_>,
        context: &EffectContext,
    ) -> Settled {
        let settled = self.settle(asked.going_out, context).await;
        let (Settled::Done(_), Some(main)) = (&settled, asked.changes.first()) else {
            return settled;
        };
        // What it makes is known by its stamp.
        if main.before.identity().is_none() {
            return settled;
        }
        // What is renamed is there by its new name.
        let is_renamed = matches!(asked.call, Call::Docker(DockerCall::RenameContainer { .. }));
        let place = if is_renamed { asked.changes.get(1) } else { Some(main) };
        let Some(place) = place else { return settled };
        let is_another = |now: &Facts| main.before.is_another(now);
        match self.observe(&place.resource).await {
            Ok(now) if asked.call.removes() && (now.is_absent() || is_another(&now)) => {
                match self.renamed(main).await {
                    Ok(Some(there)) => Settled::CantKnow(now_called(main, &there)),
                    Ok(None) => Settled::Done(Value::Null),
                    Err(failure) => Settled::CantKnow(failure.message),
                }
            }
            Ok(now) if is_another(&now) => Settled::CantKnow(format!(
                "{} is another one by now: somebody else made it",
                place.resource
            )),
            Ok(_) => settled,
            Err(failure) => Settled::CantKnow(failure.message),
        }
    }

    /// The facts of what a call was for, after it: whoever renamed it meanwhile did not remove it.
    pub(super) async fn after_it(
        &self,
        call: &Call,
        change: &Change,
        outcome: &EffectOutcome,
        context: &EffectContext,
    ) -> Result<Facts, Failure> {
        let after = self.observe(&change.resource).await?;
        if !(after.is_absent() || change.before.is_another(&after)) {
            return Ok(after);
        }
        let is_known = matches!(outcome, EffectOutcome::Done(_));
        let there = match call {
            Call::Docker(DockerCall::RenameContainer { .. }) => None,
            Call::Docker(DockerCall::CreateContainer { container, .. }) if !is_known => {
                self.made_as_another(container.as_str(), context).await?
            }
            _ if call.removes() && is_known => None,
            _ => self.renamed(change).await?,
        };
        match there {
            Some(there) => self.observe(&there).await,
            None => Ok(after),
        }
    }

    /// Where something is that has its old name no more: a volume has no other one; an engine takes
    /// a container's id for its name (Docker docs, *Engine API*, *ContainerInspect*).
    async fn renamed(&self, was: &Change) -> Result<Option<Resource>, Failure> {
        self.by_id(&was.resource, was.before.identity()).await
    }

    /// Where a container is that an effect made, and that nothing has the name of.
    pub(crate) async fn is_elsewhere(
        &self,
        effect: &PastEffect,
        now: &[Seen],
    ) -> Result<Option<Resource>, Failure> {
        let Call::Docker(DockerCall::CreateContainer { .. }) = effect.call else {
            return Ok(None);
        };
        let Some(made) = effect.changes.first() else { return Ok(None) };
        let is_it = |seen: &&Seen| seen.resource == made.resource;
        let is_absent = now.iter().find(is_it).is_some_and(|seen| seen.facts.is_absent());
        let id = made.after.as_ref().and_then(Facts::identity).filter(|_| is_absent);
        self.by_id(&made.resource, id).await
    }

    async fn by_id(&self, was: &Resource, id: Option<&str>) -> Result<Option<Resource>, Failure> {
        let (Resource::Container { host, .. }, Some(id)) = (was, id) else { return Ok(None) };
        let by_id = Resource::Container { host: host.clone(), name: id.to_owned() };
        let found = self.observe(&by_id).await?;
        Ok((!found.is_absent()).then_some(by_id))
    }

    /// Why a container is not to be made once more: it is there, under a name that somebody else
    /// gave it, or that can't be told.
    async fn made_by_another_name(
        &self,
        asked: &RevealedEffect<'_>,
        context: &EffectContext,
    ) -> Option<String> {
        let own = match asked.call {
            Call::Docker(DockerCall::CreateContainer { container, .. }) => container.0.clone(),
            Call::Docker(DockerCall::RunOnce { .. }) => run_once_name(&context.token),
            _ => return None,
        };
        let main = asked.changes.first()?;
        match self.made_as_another(&own, context).await {
            Ok(Some(there)) => {
                Some(format!("somebody else has renamed the container `{own}`: it is {there}"))
            }
            Ok(None) => None,
            Err(failure) => Some(format!("{}: {}", main.resource, failure.message)),
        }
    }

    /// The container with this call's mark that has not the name which the call gave it.
    ///
    /// # Errors
    /// Its host could not be asked.
    async fn made_as_another(
        &self,
        own: &str,
        context: &EffectContext,
    ) -> Result<Option<Resource>, Failure> {
        let found = self.stamped(std::slice::from_ref(&context.token)).await?;
        let has_another = |there: &&Resource| match there {
            Resource::Container { name, .. } => *name != own,
            _ => false,
        };
        Ok(found.resources.iter().find(has_another).cloned())
    }
}

fn now_called(was: &Change, there: &Resource) -> String {
    format!("somebody else has renamed {}: it is {there}", was.resource)
}
