//! What invariants can ask of a world: functions over the facts of all that is there.

use super::{ENVIRONMENT, ExprError, Reading, Scope, context, error, evaluate_text_in, jinja};
use crate::resource::{Facts, Resource};
use minijinja::value::{Object, Value as Jinja};
use minijinja::{Environment, Error, ErrorKind, State};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// All that is there, with the facts that count.
pub type WorldFacts = BTreeMap<Resource, Facts>;

/// Each function, with how it is called, and what it gives.
pub(crate) const FUNCTIONS: [(&str, &str, &str); 6] = [
    ("running", "running('app')", "whether a container of this name runs on any host"),
    ("running_on", "running_on('app')", "the hosts on which a container of this name runs"),
    ("attached", "attached('vol-1')", "to how many instances the volume is attached"),
    ("container", "container('i-1', 'app')", "the facts of a container; none if it is not there"),
    ("volume", "volume('vol-1')", "the facts of a volume; none if it is not there"),
    ("instance", "instance('i-1')", "the facts of an instance; none if it is not there"),
];

/// Where the functions find the world: no expression can name it.
const WORLD: &str = " world";

#[derive(Debug)]
struct World(Arc<WorldFacts>);

impl Object for World {}

static OF_WORLDS: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = ENVIRONMENT.clone();
    environment.add_function("running", |state: &State<'_, '_>, name: String| {
        running_on(state, &name).map(|hosts| !hosts.is_empty())
    });
    environment
        .add_function("running_on", |state: &State<'_, '_>, name: String| running_on(state, &name));
    environment.add_function("attached", |state: &State<'_, '_>, id: String| {
        let facts = world(state)?.get(&Resource::Volume { id }).cloned();
        let attachments = facts.as_ref().and_then(|facts| facts.get("attachments"));
        Ok::<_, Error>(attachments.and_then(Value::as_array).map_or(0, Vec::len))
    });
    environment.add_function("container", |state: &State<'_, '_>, host: String, name: String| {
        facts(state, &Resource::Container { host, name })
    });
    environment.add_function("volume", |state: &State<'_, '_>, id: String| {
        facts(state, &Resource::Volume { id })
    });
    environment.add_function("instance", |state: &State<'_, '_>, id: String| {
        facts(state, &Resource::Instance { id })
    });
    environment
});

fn world(state: &State<'_, '_>) -> Result<Arc<WorldFacts>, Error> {
    let found = state.lookup(WORLD);
    let world = found.as_ref().and_then(|found| found.downcast_object_ref::<World>());
    world
        .map(|world| Arc::clone(&world.0))
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "there is no world to look at"))
}

fn facts(state: &State<'_, '_>, resource: &Resource) -> Result<Jinja, Error> {
    Ok(match world(state)?.get(resource) {
        Some(Facts::Present(facts)) => jinja(facts),
        Some(Facts::Absent | Facts::Unknown(_)) | None => Jinja::from(()),
    })
}

fn running_on(state: &State<'_, '_>, wanted: &str) -> Result<Vec<String>, Error> {
    let world = world(state)?;
    let runs = |(resource, facts): (&Resource, &Facts)| match resource {
        Resource::Container { host, name } if name == wanted => {
            (facts.get("running") == Some(&Value::Bool(true))).then(|| host.clone())
        }
        _ => None,
    };
    Ok(world.iter().filter_map(runs).collect())
}

/// Whether an invariant holds of a world.
///
/// # Errors
/// [`ExprError`] if it fails, or is neither true nor false.
pub fn evaluate_over(
    text: &str,
    scope: &Scope,
    world: &Arc<WorldFacts>,
) -> Result<bool, ExprError> {
    let world = Jinja::from_object(World(Arc::clone(world)));
    let seen = Jinja::from_pairs([(WORLD, world)]);
    let context = minijinja::value::merge_maps([seen, context(scope)]);
    match evaluate_text_in(&OF_WORLDS, text, Reading::Expression, &context)? {
        Value::Bool(flag) => Ok(flag),
        other => Err(error(text, format!("it must be true or false, not {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn there() -> Arc<WorldFacts> {
        let container = |host: &str, name: &str| Resource::Container {
            host: host.to_owned(),
            name: name.to_owned(),
        };
        let facts = Facts::from_json;
        Arc::new(BTreeMap::from([
            (container("i-1", "app"), facts(json!({ "running": true }))),
            (container("i-2", "app"), facts(json!({ "running": false }))),
            (
                Resource::Volume { id: "vol-1".to_owned() },
                facts(json!({ "size_gib": 20, "attachments": [{ "instance": "i-1" }] })),
            ),
        ]))
    }

    #[test]
    fn a_world_is_asked_by_functions() {
        let scope = Scope {
            inputs: BTreeMap::from([("app".to_owned(), json!("app"))]),
            ..Scope::default()
        };
        for (text, wanted) in [
            ("running('app')", true),
            ("running(inputs.app)", true),
            ("running('db')", false),
            ("running_on('app') == ['i-1']", true),
            ("running_on('app') | length >= 2", false),
            ("attached('vol-1') <= 1", true),
            ("attached('vol-2') == 0", true),
            ("container('i-2', 'app').running", false),
            ("container('i-3', 'app') is none", true),
            ("volume('vol-1').size_gib == 20", true),
            ("{{ volume('vol-1').size_gib > 20 }}", false),
        ] {
            assert_eq!(evaluate_over(text, &scope, &there()), Ok(wanted), "{text}");
        }
        let why = evaluate_over("attached('vol-1')", &scope, &there()).expect_err("a number");
        assert!(why.to_string().contains("must be true or false, not 1"), "{why}");
        // A manifest's other expressions have no world, nor the functions.
        assert!(super::super::evaluate_bool("running('app')", &scope).is_err());
    }

    #[test]
    fn every_function_is_told_of() {
        let known: Vec<&str> = FUNCTIONS.iter().map(|(name, ..)| *name).collect();
        let is_new = |name: &&str| !ENVIRONMENT.globals().any(|(one, _)| one == *name);
        let mut there: Vec<&str> =
            OF_WORLDS.globals().map(|(name, _)| name).filter(is_new).collect();
        let mut known_sorted = known.clone();
        there.sort_unstable();
        known_sorted.sort_unstable();
        assert_eq!(known_sorted, there);
    }
}
