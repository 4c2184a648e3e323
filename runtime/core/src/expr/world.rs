//! What invariants can ask of a world: functions over the facts of all that is there.

use super::{ENVIRONMENT, ExprError, Reading, Scope, context, error, evaluate_text_in, jinja};
use crate::cut;
use crate::resource::{Facts, Resource};
use minijinja::value::{Object, Value as Jinja};
use minijinja::{Environment, Error, ErrorKind, State};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// All that is there, with the facts that count.
pub type WorldFacts = BTreeMap<Resource, Facts>;

/// Each function, with how it is called, and what it gives.
pub(crate) const FUNCTIONS: [(&str, &str, &str); 9] = [
    ("running", "running('app')", "whether a container of this name runs on any host"),
    ("running_on", "running_on('app')", "the hosts on which a container of this name runs"),
    ("attached", "attached('vol-1')", "to how many instances the volume is attached"),
    ("serving", "serving('web')", "how many targets of a pool get traffic and are healthy"),
    ("served", "served('web')", "how many targets of a pool did so before the operation"),
    ("lost", "lost('web')", "what requests to a pool failed by; none, where all were served"),
    ("container", "container('i-1', 'app')", "the facts of a container; none if it is not there"),
    ("volume", "volume('vol-1')", "the facts of a volume; none if it is not there"),
    ("instance", "instance('i-1')", "the facts of an instance; none if it is not there"),
];

/// How many targets of a pool serve, and what its requests failed by: a rehearsal's world knows it.
pub const SERVING: &str = "serving";
/// See [`SERVING`].
pub const LOST: &str = "lost";

/// Where the functions find the world: no expression can name it.
const WORLD: &str = " world";

/// So much of an answer is told.
const TOLD_BYTES_MAX: usize = 200;

/// A world, and what it was asked: each question as it may be written, with its answer.
#[derive(Debug)]
struct World {
    facts: Arc<WorldFacts>,
    /// The pools as they were before the operation.
    began: Arc<WorldFacts>,
    asked: Mutex<BTreeMap<String, (String, bool)>>,
}

impl Object for World {}

/// Whether a condition holds of a world, and what it saw there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether it holds.
    pub holds: bool,
    /// What the world was asked, with its answers: `running_on('app') is ["i-1"]`.
    pub asked: Vec<String>,
    /// Each question, and whether what it is about is there: a name with a mistake in it never is.
    pub is_there: BTreeMap<String, bool>,
}

static OF_WORLDS: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = ENVIRONMENT.clone();
    environment.add_function("running", |state: &State<'_, '_>, name: String| {
        let is_running = |world: &World| {
            let answer = Jinja::from(!running_on(world, &name).is_empty());
            both(answer, is_anywhere(world, &name))
        };
        ask(state, "running", &[&name], is_running)
    });
    environment.add_function("running_on", |state: &State<'_, '_>, name: String| {
        let hosts =
            |world: &World| both(Jinja::from(running_on(world, &name)), is_anywhere(world, &name));
        ask(state, "running_on", &[&name], hosts)
    });
    environment.add_function("attached", |state: &State<'_, '_>, id: String| {
        let count = |world: &World| {
            let facts = world.facts.get(&Resource::Volume { id: id.clone() });
            let attachments = facts.and_then(|facts| facts.get("attachments"));
            let count = attachments.and_then(Value::as_array).map_or(0, Vec::len);
            both(Jinja::from(count), facts.is_some())
        };
        ask(state, "attached", &[&id], count)
    });
    environment.add_function("serving", |state: &State<'_, '_>, pool: String| {
        let resource = Resource::Pool { pool: pool.clone() };
        ask(state, "serving", &[&pool], |world| fact(&world.facts, &resource, SERVING))
    });
    environment.add_function("served", |state: &State<'_, '_>, pool: String| {
        let resource = Resource::Pool { pool: pool.clone() };
        ask(state, "served", &[&pool], |world| fact(&world.began, &resource, SERVING))
    });
    environment.add_function("lost", |state: &State<'_, '_>, pool: String| {
        let resource = Resource::Pool { pool: pool.clone() };
        ask(state, "lost", &[&pool], |world| fact(&world.facts, &resource, LOST))
    });
    environment.add_function("container", |state: &State<'_, '_>, host: String, name: String| {
        let resource = Resource::Container { host: host.clone(), name: name.clone() };
        ask(state, "container", &[&host, &name], |world| facts(world, &resource))
    });
    environment.add_function("volume", |state: &State<'_, '_>, id: String| {
        let resource = Resource::Volume { id: id.clone() };
        ask(state, "volume", &[&id], |world| facts(world, &resource))
    });
    environment.add_function("instance", |state: &State<'_, '_>, id: String| {
        let resource = Resource::Instance { id: id.clone() };
        ask(state, "instance", &[&id], |world| facts(world, &resource))
    });
    environment
});

/// The world's answer, and as it is told beside the condition.
fn ask(
    state: &State<'_, '_>,
    function: &str,
    arguments: &[&str],
    answer: impl Fn(&World) -> Answer,
) -> Result<Jinja, Error> {
    let found = state.lookup(WORLD);
    let world = found.as_ref().and_then(|found| found.downcast_object_ref::<World>());
    let world = world
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "there is no world to look at"))?;
    let Answer { answer, told, is_there } = answer(world);
    let arguments: Vec<String> = arguments.iter().map(|one| format!("'{one}'")).collect();
    let question = format!("{function}({})", arguments.join(", "));
    let told = match told.is_none() {
        true => "none".to_owned(),
        false => serde_json::to_string(&told).unwrap_or_default(),
    };
    let told = cut::beginning(&told, TOLD_BYTES_MAX);
    let mut asked = world.asked.lock().unwrap_or_else(PoisonError::into_inner);
    asked.insert(question, (told, is_there));
    Ok(answer)
}

/// What a question is answered.
struct Answer {
    answer: Jinja,
    /// So much of it as is told.
    told: Jinja,
    /// Whether what the question is about is in the world.
    is_there: bool,
}

fn both(answer: Jinja, is_there: bool) -> Answer {
    Answer { told: answer.clone(), answer, is_there }
}

/// One fact of it, which is none of those that count.
fn fact(world: &WorldFacts, resource: &Resource, name: &str) -> Answer {
    let found = world.get(resource);
    let value = found.and_then(|facts| facts.get(name));
    both(value.map_or_else(|| Jinja::from(()), jinja), found.is_some())
}

/// Its facts, and those that are told.
fn facts(world: &World, resource: &Resource) -> Answer {
    let of = |facts: &Facts| match facts {
        Facts::Present(facts) => jinja(facts),
        Facts::Absent | Facts::Unknown(_) => Jinja::from(()),
    };
    let found = world.facts.get(resource).unwrap_or(&Facts::Absent);
    let is_there = matches!(found, Facts::Present(_));
    Answer { answer: of(found), told: of(&found.for_readers()), is_there }
}

fn is_anywhere(world: &World, wanted: &str) -> bool {
    let is_it = |resource: &Resource| match resource {
        Resource::Container { name, .. } => name == wanted,
        _ => false,
    };
    world.facts.keys().any(is_it)
}

fn running_on(world: &World, wanted: &str) -> Vec<String> {
    let runs = |(resource, facts): (&Resource, &Facts)| match resource {
        Resource::Container { host, name } if name == wanted => {
            let is = |fact| facts.get(fact) == Some(&Value::Bool(true));
            // What is frozen answers nobody.
            (is("running") && !is("paused")).then(|| host.clone())
        }
        _ => None,
    };
    world.facts.iter().filter_map(runs).collect()
}

/// Whether an invariant holds of a world, and what it saw there. `began` is the world before the
/// operation, as far as that can be asked about.
///
/// # Errors
/// [`ExprError`] if it fails, or is neither true nor false.
pub fn evaluate_over(
    text: &str,
    scope: &Scope,
    world: &Arc<WorldFacts>,
    began: &Arc<WorldFacts>,
) -> Result<Seen, ExprError> {
    let (facts, began) = (Arc::clone(world), Arc::clone(began));
    let world = World { facts, began, asked: Mutex::default() };
    let world = Jinja::from_object(world);
    let seen = Jinja::from_pairs([(WORLD, world.clone())]);
    let context = minijinja::value::merge_maps([seen, context(scope)]);
    let holds = match evaluate_text_in(&OF_WORLDS, text, Reading::Expression, &context)? {
        Value::Bool(flag) => flag,
        other => {
            // What it is may be a password.
            let is = match other {
                Value::String(_) => "a text".to_owned(),
                Value::Array(_) => "a list".to_owned(),
                Value::Object(_) => "a map".to_owned(),
                other => other.to_string(),
            };
            return Err(error(text, format!("it must be true or false, not {is}")));
        }
    };
    let asked = world.downcast_object_ref::<World>().map(|world| {
        std::mem::take(&mut *world.asked.lock().unwrap_or_else(PoisonError::into_inner))
    });
    let asked = asked.unwrap_or_default();
    let told = asked.iter().map(|(question, (answer, _))| format!("{question} is {answer}"));
    let told = told.collect();
    let is_there = asked.into_iter().map(|(question, (_, is_there))| (question, is_there));
    Ok(Seen { holds, asked: told, is_there: is_there.collect() })
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
            (Resource::Pool { pool: "web".to_owned() }, facts(json!({ SERVING: 2, LOST: [] }))),
            (
                Resource::Volume { id: "vol-1".to_owned() },
                facts(json!({ "size_gib": 20, "attachments": [{ "instance": "i-1" }] })),
            ),
        ]))
    }

    /// A pool that had three targets.
    fn began() -> Arc<WorldFacts> {
        let pool = Resource::Pool { pool: "web".to_owned() };
        Arc::new(BTreeMap::from([(pool, Facts::from_json(json!({ SERVING: 3 })))]))
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
            ("serving('web') >= 2 and lost('web') == []", true),
            ("serving('wbe') is none", true),
            ("served('web') == 3 and served('wbe') is none", true),
            ("serving('web') >= [served('web'), 2] | min", true),
            ("volume('vol-1').size_gib == 20", true),
            ("{{ volume('vol-1').size_gib > 20 }}", false),
        ] {
            let seen = evaluate_over(text, &scope, &there(), &began()).map(|seen| seen.holds);
            assert_eq!(seen, Ok(wanted), "{text}");
        }
        let two = "running_on(inputs.app) == [] or attached('vol-1') > 1";
        let seen = evaluate_over(two, &scope, &there(), &began()).expect("it is told");
        assert_eq!(seen.asked, ["attached('vol-1') is 1", "running_on('app') is [\"i-1\"]"]);
        let why =
            evaluate_over("attached('vol-1')", &scope, &there(), &began()).expect_err("a number");
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
