//! What puts a resource of a simulated world back.
//!
//! In a copy of production the names are production's, so nothing is said that another tool would
//! carry out: Stepback's own steps, run in the simulation, and never a command for a real world.

use stepback_core::{Facts, Resource};
use stepback_provider::advice::Advice;
use stepback_provider::mends::in_steps;

const PLACE: &str = "in the simulation, ";

pub(crate) fn advice(resource: &Resource, before: &Facts, now: &Facts) -> Advice {
    in_steps(PLACE, resource, before, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_to_do_is_said_in_steps_that_are_run_in_the_simulation() {
        let volume = Resource::Volume { id: "vol-1".into() };
        let container = Resource::Container { host: "i-1".into(), name: "main".into() };
        let running = Facts::from_json(json!({ "running": true }));
        let stopped = Facts::from_json(json!({ "running": false }));
        let tagged = Facts::from_json(json!({ "tags": { "k": "v" } }));
        let bare = Facts::from_json(json!({ "tags": {} }));
        let table = [
            (
                &volume,
                &bare,
                &tagged,
                "in the simulation, run a manifest with steps = [{ id = \"mend-1\", uses = \
                 \"ebs/untag-volume\", with = { volume = \"vol-1\", key = \"k\" } }]",
            ),
            (
                &volume,
                &tagged,
                &Facts::Absent,
                "in the simulation, ebs:volume/vol-1 is gone: make it anew as it was",
            ),
            (
                &container,
                &running,
                &stopped,
                "in the simulation, run a manifest with steps = [{ id = \"mend-1\", uses = \
                 \"docker/start-container\", with = { host = \"i-1\", container = \"main\" } }]",
            ),
            (
                &container,
                &Facts::Absent,
                &stopped,
                "in the simulation, run a manifest with steps = [{ id = \"mend-1\", uses = \
                 \"docker/remove-container\", with = { host = \"i-1\", container = \"main\" }, \
                 irreversible = \"it was not there\" }]",
            ),
        ];
        for (resource, before, now, wanted) in table {
            assert_eq!(advice(resource, before, now).to_string(), wanted);
        }
    }
}
