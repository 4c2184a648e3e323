//! What became of a call that nobody answered for.
//!
//! A provider tells whether the world is as the call wants it, by the names that the call gives.
//! Whoever looks later may find another thing by that name, and a world that somebody else has
//! changed: neither tells what became of the call, and it is not sent to that.

use super::WorldAccess;
use super::effects::RevealedEffect;
use serde_json::Value;
use stepback_core::calls::{DockerCall, run_once_name};
use stepback_core::reverse::changed_since_found;
use stepback_core::step::Change;
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
    pub(super) async fn after_it(&self, call: &Call, change: &Change) -> Result<Facts, Failure> {
        let after = self.observe(&change.resource).await?;
        let takes_its_name =
            call.removes() || matches!(call, Call::Docker(DockerCall::RenameContainer { .. }));
        if takes_its_name || !(after.is_absent() || change.before.is_another(&after)) {
            return Ok(after);
        }
        match self.renamed(change).await? {
            Some(there) => self.observe(&there).await,
            None => Ok(after),
        }
    }

    /// Where something is that has its old name no more: a volume has no other one; an engine takes
    /// a container's id for its name (Docker docs, *Engine API*, *ContainerInspect*).
    async fn renamed(&self, was: &Change) -> Result<Option<Resource>, Failure> {
        let (Resource::Container { host, .. }, Some(id)) = (&was.resource, was.before.identity())
        else {
            return Ok(None);
        };
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
        let has_another = |there: &&Resource| match there {
            Resource::Container { name, .. } => *name != own,
            _ => false,
        };
        match self.stamped(std::slice::from_ref(&context.token)).await {
            Ok(found) => match found.resources.iter().find(has_another) {
                Some(there) => {
                    Some(format!("somebody else has renamed the container `{own}`: it is {there}"))
                }
                None => found.not_asked(&main.resource).map(str::to_owned),
            },
            Err(failure) => Some(failure.message),
        }
    }
}

fn now_called(was: &Change, there: &Resource) -> String {
    format!("somebody else has renamed {}: it is {there}", was.resource)
}
