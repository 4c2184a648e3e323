//! What ran before an operation, and whether it runs in the end.

use std::collections::BTreeSet;
use stepback_core::expr::{SERVING, WorldFacts};
use stepback_core::{Facts, Resource};
use stepback_simulated::world::World;

/// The containers that ran before, and run no more: neither there, nor under another name, nor one
/// of the name on a host where none of it ran before. One that the operation removed on purpose is
/// none of them, unless it was to be brought back.
pub(crate) fn stopped(before: &World, now: &World, is_back: bool) -> Vec<Resource> {
    let (before, now) = (containers(before), containers(now));
    let ran_on = |host: &str, name: &str| {
        before.iter().any(|one| one.host == host && one.name == name && one.runs)
    };
    let ran = before.iter().filter(|one| one.runs);
    let is_stopped = |was: &&Placed| {
        // Whoever ran before under another name is no stand-in.
        let ran_itself = |one: &Placed| {
            let is_it = |other: &&Placed| other.runs && other.is_itself(one) && !was.is_itself(one);
            before.iter().any(|other| is_it(&other))
        };
        let mut its = now.iter().filter(|one| one.is(was) && !ran_itself(one)).peekable();
        let is_there = its.peek().is_some();
        let took_over =
            |one: &Placed| one.runs && one.name == was.name && !ran_on(one.host, one.name);
        !its.any(|one| one.runs) && !now.iter().any(took_over) && (is_back || is_there)
    };
    ran.filter(is_stopped).map(Placed::resource).collect()
}

/// What becomes of containers where nothing goes wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services {
    /// Those that ran before and are gone: neither there, nor under another name.
    pub removed: BTreeSet<Resource>,
    /// Those that run in the end.
    pub run: BTreeSet<Resource>,
}

impl Services {
    pub fn of(before: &World, now: &World) -> Self {
        let (before, now) = (containers(before), containers(now));
        let is_gone = |was: &&Placed| was.runs && !now.iter().any(|one| one.is(was));
        let removed = before.iter().filter(is_gone).map(Placed::resource).collect();
        let run = now.iter().filter(|one| one.runs).map(Placed::resource).collect();
        Self { removed, run }
    }
}

/// Those of these containers that do not run.
pub(crate) fn missing(wanted: &BTreeSet<Resource>, now: &World) -> Vec<Resource> {
    let all = containers(now);
    let run: BTreeSet<Resource> = all.iter().filter(|one| one.runs).map(Placed::resource).collect();
    wanted.difference(&run).cloned().collect()
}

/// The pools of which some target served before, and none does now.
pub(crate) fn idle(began: &WorldFacts, now: &WorldFacts) -> Vec<Resource> {
    let serves = |facts: Option<&Facts>| {
        facts.and_then(|facts| facts.get(SERVING)?.as_u64()).is_some_and(|count| count > 0)
    };
    let is_idle = |pool: &&Resource| !serves(now.get(*pool));
    let served = began.iter().filter(|(_, facts)| serves(Some(facts))).map(|(pool, _)| pool);
    served.filter(is_idle).cloned().collect()
}

/// Whether an instance that ran before runs no more.
pub(crate) fn is_an_instance_down(before: &World, now: &World) -> bool {
    let runs = |world: &World, id: &str| {
        world.instances.get(id).is_some_and(|instance| instance.state == "running")
    };
    before.instances.keys().any(|id| runs(before, id) && !runs(now, id))
}

/// A container, where it is.
struct Placed<'a> {
    host: &'a str,
    name: &'a str,
    id: &'a str,
    runs: bool,
}

impl Placed<'_> {
    fn resource(&self) -> Resource {
        Resource::Container { host: self.host.to_owned(), name: self.name.to_owned() }
    }

    /// Whether this is the same one, or has its place.
    fn is(&self, other: &Placed<'_>) -> bool {
        self.host == other.host && self.name == other.name || self.is_itself(other)
    }

    fn is_itself(&self, other: &Placed<'_>) -> bool {
        self.host == other.host && !self.id.is_empty() && self.id == other.id
    }
}

fn containers(world: &World) -> Vec<Placed<'_>> {
    let engines = world.engines.iter();
    let all =
        engines.flat_map(|(host, engine)| engine.containers.iter().map(move |one| (host, one)));
    let placed = all.map(|(host, (name, one))| Placed {
        host,
        name,
        id: &one.id,
        runs: one.running && !one.paused,
    });
    placed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A world of these containers: `host/name`, or `host/name=id`, with `!` if it does not run.
    fn world(all: &[&str]) -> World {
        let mut engines = json!({});
        for one in all {
            let (one, runs) = one.strip_suffix('!').map_or((*one, true), |one| (one, false));
            let (one, id) = one.split_once('=').unwrap_or((one, one));
            let (host, name) = one.split_once('/').expect("a host");
            let spec = json!({ "image": "a:1" });
            engines[host]["containers"][name] =
                json!({ "id": id, "running": runs, "digest": "sha256:1", "spec": spec });
        }
        serde_json::from_value(json!({ "engines": engines })).expect("a world")
    }

    #[test]
    fn what_ran_runs_on_under_its_name_or_as_itself_or_where_it_moved() {
        for (before, now, is_back, wanted) in [
            // It moved to another host, or has another name, or another one has its place.
            (&["a/web"][..], &["a/web!", "b/web"][..], false, &[][..]),
            (&["a/web=1"], &["a/old=1"], true, &[]),
            (&["a/web=1"], &["a/old=1!", "a/web=2"], true, &[]),
            // Its namesake elsewhere ran before, too.
            (&["a/web", "b/web"], &["a/web!", "b/web"], false, &["docker:a/container/web"]),
            (&["a/web", "b/web"], &["a/web", "b/web!"], true, &["docker:b/container/web"]),
            // It was put aside, and nobody has its place.
            (&["a/web=1"], &["a/old=1!"], false, &["docker:a/container/web"]),
            // It was removed on purpose, or was to be brought back.
            (&["a/web"], &[], false, &[]),
            (&["a/web"], &[], true, &["docker:a/container/web"]),
            // One of two has the other's place, and nobody its own.
            (&["a/web=1", "a/app=2"], &["a/old=1!", "a/web=2"], false, &["docker:a/container/web"]),
            // It did not run before.
            (&["a/web!"], &["a/web!"], true, &[]),
        ] {
            let told = stopped(&world(before), &world(now), is_back);
            let told: Vec<String> = told.iter().map(ToString::to_string).collect();
            assert_eq!(told, wanted, "{before:?} {now:?} {is_back}");
        }
    }

    #[test]
    fn what_is_removed_is_gone_by_name_and_by_itself() {
        let before = world(&["a/web=1", "a/app=2", "a/job=3", "b/old!"]);
        let now = world(&["a/web=1!", "a/was=2!", "b/job"]);
        let quiet = Services::of(&before, &now);
        let told: Vec<String> = quiet.removed.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["docker:a/container/job"]);
        // What runs in the end where nothing goes wrong is to run.
        let told = missing(&quiet.run, &world(&["b/job!"]));
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["docker:b/container/job"]);
        assert_eq!(missing(&quiet.run, &now), []);
    }

    #[test]
    fn a_pool_that_served_and_does_not_is_idle() {
        let pools = |serving: u32| {
            let facts = Facts::from_json(json!({ SERVING: serving }));
            WorldFacts::from([(Resource::Pool { pool: "web".to_owned() }, facts)])
        };
        assert_eq!(idle(&pools(2), &pools(0)).len(), 1);
        assert_eq!(idle(&pools(2), &pools(1)), []);
        assert_eq!(idle(&pools(0), &pools(0)), []);
    }
}
