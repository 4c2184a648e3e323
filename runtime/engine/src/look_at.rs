//! The world as it is, for a person who is left with an operation that nobody goes on with.

use crate::replaced::ReplacedParts;
use crate::secrets::Secrets;
use crate::secrets::seals::Seals;
use futures_util::future::join_all;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::state::State;
use stepback_core::{Facts, Resource};
use stepback_files::key::Key;
use stepback_journal::Store;
use stepback_provider::Provider;

/// Nobody who wants to know how things stand waits longer than this.
const LOOK: Duration = Duration::from_secs(10);

/// Everything that an operation touched, as it is now; what can't be read says why.
///
/// Where it has secrets they may be anywhere in the world, and nobody gave them: nothing is told.
/// Of a part of the world that is another one by now, that is told.
pub async fn look_at(
    store: &dyn Store,
    provider: &dyn Provider,
    state: &State,
    clock: &Clock,
    key: &Key,
) -> Vec<(Resource, Facts)> {
    let has_secrets = state.pinned.as_ref().is_none_or(|pinned| !pinned.secrets.is_empty());
    let pinned = state.pinned.as_ref().and_then(|pinned| pinned.key.as_deref());
    let secrets = &Secrets::none(Seals::pinned(key, store.id(), pinned));
    let replaced = &match (&state.pinned, clock.timeout(LOOK, provider.identity()).await) {
        (Some(pinned), Ok(Ok(now))) => ReplacedParts::between(&pinned.world, &now),
        // What can't tell which it is can't be read either.
        (_, Ok(Err(_)) | Err(_)) | (None, _) => ReplacedParts::default(),
    };
    let looks = state.baselines.iter().map(|(resource, _)| async move {
        if has_secrets {
            let why = "it may hold a secret, so look by hand".to_owned();
            return (resource.clone(), Facts::Unknown(why));
        }
        if let Err(failure) = replaced.must_allow_look(resource) {
            return (resource.clone(), Facts::Unknown(failure.message));
        }
        let facts = match clock.timeout(LOOK, provider.observe(resource)).await {
            Ok(Ok(facts)) => secrets.seal(facts),
            Ok(Err(failure)) => Facts::Unknown(failure.message),
            Err(_) => Facts::Unknown(format!("it did not answer in {LOOK:?}")),
        };
        (resource.clone(), facts)
    });
    join_all(looks).await
}
