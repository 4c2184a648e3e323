//! Verification: the world is read again, whatever the undos said (R8).

use crate::door::Door;
use stepback_core::machine::Observation;
use stepback_core::state::State;
use stepback_core::step::EffectOutcome;
use stepback_core::{Resource, Token};

/// Read every resource with a baseline, and whatever carries one of the operation's stamps.
pub(crate) async fn observe(door: &Door, state: &State) -> Vec<Observation> {
    let mut observations = vec![];
    // What was touched last stands in the way of what was touched before, so it comes first.
    for (resource, _) in state.baselines.iter().rev() {
        let now = door.observe(resource).await.map_err(|failure| failure.message);
        observations.push(Observation { resource: resource.clone(), now });
    }
    let effects = || state.steps.values().flat_map(|step| &step.effects);
    let tokens: Vec<Token> = effects().map(|effect| effect.token.clone()).collect();
    match door.provider.stamped(&tokens).await {
        Ok(found) => {
            for (_, resource) in found {
                if !observations.iter().any(|seen| seen.resource == resource) {
                    let now = door.observe(&resource).await.map_err(|failure| failure.message);
                    observations.push(Observation { resource, now });
                }
            }
        }
        // What may exist under an unknown name could not be looked for.
        Err(failure) => {
            let nameless = effects()
                .filter(|effect| !matches!(effect.outcome, EffectOutcome::Refused(_)))
                .flat_map(|effect| effect.changes.iter().map(|change| &change.resource))
                .filter(|resource| matches!(resource, Resource::Created { .. }));
            for resource in nameless {
                let now = Err(door.secrets.redact_text(failure.message.clone()));
                observations.push(Observation { resource: resource.clone(), now });
            }
        }
    }
    observations
}
