//! What became of a call that nobody answered for.
//!
//! A provider tells whether the world is as the call wants it, by the names that the call gives.
//! Whoever looks later may find another thing by that name, and a world that somebody else has
//! changed: neither tells what became of the call, and it is not sent to that.

use super::WorldAccess;
use super::effects::RevealedEffect;
use serde_json::Value;
use stepback_core::calls::DockerCall;
use stepback_core::reverse::changed_since_found;
use stepback_core::step::Change;
use stepback_core::{Call, Facts, Resource};
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
        match self.observe(&main.resource).await {
            Ok(now) if asked.call.removes() && main.before.is_another(&now) => {
                self.is_gone(main).await
            }
            Ok(now) => match changed_since_found(asked.call, main, &now) {
                None => settled,
                Some(why) => Settled::CantKnow(why),
            },
            Err(failure) => Settled::CantKnow(failure.message),
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
        match self.observe(&place.resource).await {
            Ok(Facts::Absent) if asked.call.removes() => self.is_gone(main).await,
            Ok(now) if main.before.is_another(&now) && asked.call.removes() => {
                self.is_gone(main).await
            }
            Ok(now) if main.before.is_another(&now) => Settled::CantKnow(format!(
                "{} is another one by now: somebody else made it",
                place.resource
            )),
            Ok(_) => settled,
            Err(failure) => Settled::CantKnow(failure.message),
        }
    }

    /// Whether what was to be removed is gone, now that nothing, or another one, has its name. A
    /// volume has no other name; an engine takes a container's id for its name (Docker docs,
    /// *Engine API*, *ContainerInspect*).
    async fn is_gone(&self, was: &Change) -> Settled {
        let by_id = match (&was.resource, was.before.identity()) {
            (Resource::Container { host, .. }, Some(id)) => {
                Resource::Container { host: host.clone(), name: id.to_owned() }
            }
            _ => return Settled::Done(Value::Null),
        };
        match self.observe(&by_id).await {
            Ok(Facts::Absent) => Settled::Done(Value::Null),
            Ok(_) => {
                let resource = &was.resource;
                Settled::CantKnow(format!("somebody else has renamed {resource}: it is {by_id}"))
            }
            Err(failure) => Settled::CantKnow(failure.message),
        }
    }

    /// Why a container is not to be made once more: it is there, under a name that somebody else
    /// gave it, or that can't be told.
    async fn made_by_another_name(
        &self,
        asked: &RevealedEffect<'_>,
        context: &EffectContext,
    ) -> Option<String> {
        let Call::Docker(DockerCall::CreateContainer { .. }) = asked.call else { return None };
        let main = asked.changes.first()?;
        match self.stamped(std::slice::from_ref(&context.token)).await {
            Ok(found) => match found.resources.first() {
                Some(there) => {
                    Some(format!("somebody else has renamed {}: it is {there}", main.resource))
                }
                None => found.not_asked(&main.resource).map(str::to_owned),
            },
            Err(failure) => Some(failure.message),
        }
    }
}
