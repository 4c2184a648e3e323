//! Containers that run what no manifest says: what they did once they were started is not known.
//!
//! A container that a step makes of an image, a command and variables in its own `with`, or like
//! one that is named there, runs what whoever wrote the manifest meant; stopping it takes the start
//! back as far as they care. What a plugin thought up by itself may have done anything: starting
//! that can't be taken back. A variable is enough for that: a shell runs what `BASH_ENV` names, and
//! a linker loads what `LD_PRELOAD` does.

use super::*;
use crate::calls::{ContainerSpec, Like};
use crate::expr::MARK_EDGE;
use crate::image::ImageName;

/// What the operation gave names to that no step's `with` says.
///
/// A `with` that names a container, or an image, means what has that name then. A step that gives
/// the name to something else says it by its own `with`, or what is made by the name is unsaid.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unsaid {
    /// Containers that were made to run it, each with its identity.
    pub containers: BTreeMap<Resource, Option<String>>,
    /// Containers that were renamed so, each with the name that it had.
    renamed: BTreeMap<Resource, Resource>,
    /// Images that were tagged so: their hosts and their whole names.
    tagged: BTreeSet<(String, String)>,
}

impl Unsaid {
    /// Whether a container is one of those, by the name that it has, or by its id.
    fn has(&self, container: &Resource, identity: Option<&str>) -> bool {
        self.containers.iter().any(|(made, known)| match (known.as_deref(), identity) {
            // A name may be another one's by now.
            (Some(known), Some(identity)) => known == identity,
            (None, _) | (_, None) => made == container,
        })
    }

    /// Whether a container that another one is to be like is said: by its name, and by the one that
    /// it had before the operation gave it this one.
    fn says_model(&self, like: &Like, with: &Value) -> bool {
        let name = like.container.as_str();
        let model = Resource::Container { host: like.host.clone(), name: name.to_owned() };
        let is_id = |known: &Option<String>| {
            name.len() >= SHORT_ID && known.as_ref().is_some_and(|id| id.starts_with(name))
        };
        let is_unsaid = self.has(&model, None) || self.containers.values().any(is_id);
        let is_origin_said = match self.renamed.get(&model) {
            Some(Resource::Container { name, .. }) => says(with, name),
            Some(_) | None => true,
        };
        !is_unsaid && is_origin_said && says(with, &like.host) && says(with, name)
    }

    fn rename(&mut self, renamed: &Change, to: &Resource, is_said: bool) {
        let from = &renamed.resource;
        let identity = renamed.before.identity();
        // An engine takes an id for a name.
        let is_it = |(made, known): &(&Resource, &Option<String>)| {
            *made == from || identity.is_some() && known.as_deref() == identity
        };
        let known = self.containers.iter().find(is_it).map(|(made, _)| made.clone());
        match known.and_then(|known| self.containers.remove(&known)) {
            Some(identity) => self.containers.insert(to.clone(), identity),
            None => self.containers.remove(to),
        };
        let origin = match self.renamed.remove(from) {
            None if is_said => None,
            None => Some(from.clone()),
            origin => origin,
        };
        match origin.filter(|origin| origin != to) {
            Some(origin) => self.renamed.insert(to.clone(), origin),
            None => self.renamed.remove(to),
        };
    }

    fn made(&mut self, container: &Change, is_said: bool) {
        self.renamed.remove(&container.resource);
        match is_said {
            true => {
                self.containers.remove(&container.resource);
            }
            false => {
                let identity = container.after.as_ref().and_then(Facts::identity);
                let identity = identity.map(str::to_owned);
                self.containers.insert(container.resource.clone(), identity);
            }
        }
    }

    fn tag(&mut self, host: &str, image: &str, is_said: bool) {
        let named = (host.to_owned(), ImageName::of(image).to_string());
        match is_said {
            true => self.tagged.remove(&named),
            false => self.tagged.insert(named),
        };
    }

    /// Whether a container was made of an image whose name the operation gave to it. One that names
    /// none has that of its model, by its name: if nobody could see which, it may be any.
    fn is_of_tagged(&self, host: &str, spec: &ContainerSpec, made: &Change) -> bool {
        let seen = made.after.as_ref().and_then(|after| after.get("image")).and_then(Value::as_str);
        let named = (!spec.image.is_empty()).then_some(spec.image.as_str());
        match named.or(seen) {
            Some(image) => {
                self.tagged.contains(&(host.to_owned(), ImageName::of(image).to_string()))
            }
            None => self.tagged.iter().any(|(on, _)| on == host),
        }
    }
}

/// A container is known by so much of its id, as `docker ps` prints it.
const SHORT_ID: usize = 12;

impl State {
    /// Whether a call would start a container that runs what no step's `with` says.
    pub fn starts_unsaid(&self, call: &Call, changes: &[Change]) -> bool {
        let Call::Docker(DockerCall::StartContainer { .. }) = call else { return false };
        let Some(container) = changes.first() else { return false };
        // By its id it may have been named as well.
        self.unsaid.has(&container.resource, container.before.identity())
    }

    /// The commands that an operation ran, or may have run: nothing takes them back.
    pub fn commands_ran(&self) -> impl Iterator<Item = (&StepKey, &PastEffect)> {
        let all = self.steps.iter();
        let all = all.flat_map(|(key, step)| step.effects.iter().map(move |effect| (key, effect)));
        all.filter(|(_, effect)| {
            let ran = match &effect.call {
                Call::Docker(DockerCall::RunOnce { .. } | DockerCall::Exec { .. }) => true,
                _ => self.unsaid_starts.contains(&effect.id),
            };
            ran && !matches!(effect.outcome, EffectOutcome::Refused(_))
        })
    }

    /// Note a container that was made, renamed, or is made anew by what is said.
    pub(super) fn note_unsaid(
        &mut self,
        step: &StepKey,
        call: &Call,
        outcome: &EffectOutcome,
        changes: &[Change],
    ) {
        let with = self.steps.get(step).map_or(&Value::Null, |step| &step.with);
        match (call, changes) {
            (Call::Docker(DockerCall::RenameContainer { container, to, .. }), [from, new]) => {
                let is_said = says(with, container.as_str()) && says(with, to.as_str());
                self.unsaid.rename(from, &new.resource, is_said);
            }
            (Call::Docker(DockerCall::CreateContainer { host, spec, .. }), [made, ..]) => {
                let digest = match outcome {
                    EffectOutcome::Done(value) => value.get("digest").and_then(Value::as_str),
                    EffectOutcome::Refused(_) | EffectOutcome::Unknown(_) => None,
                };
                let is_another = self.unsaid.is_of_tagged(&host.0, spec, made)
                    && !digest.is_some_and(|digest| says(with, digest));
                let like = spec.like.as_ref();
                let is_like_said = like.is_none_or(|like| self.unsaid.says_model(like, with));
                let is_said = !is_another && is_like_said && is_said(spec, digest, with);
                self.unsaid.made(made, is_said);
            }
            (Call::Docker(DockerCall::RemoveContainer { .. }), [removed, ..])
                if matches!(outcome, EffectOutcome::Done(_)) =>
            {
                self.unsaid.containers.remove(&removed.resource);
            }
            (Call::Docker(DockerCall::TagImage { host, image, digest }), _) => {
                let is_said = says(with, image.as_str()) && says(with, digest);
                self.unsaid.tag(&host.0, image.as_str(), is_said);
            }
            // The name is what its registry says.
            (Call::Docker(DockerCall::PullImage { host, image }), _) => {
                self.unsaid.tag(&host.0, image.as_str(), true);
            }
            _ => {}
        }
    }
}

/// Whether a `with` says what a container runs, but for what it is like; `digest` is that of the
/// image it was made from.
fn is_said(spec: &ContainerSpec, digest: Option<&str>, with: &Value) -> bool {
    let says = |text: &str| says(with, text);
    let by_digest = || spec.image.split_once('@').is_some_and(|(_, digest)| says(digest));
    let image =
        spec.image.is_empty() || says(&spec.image) || by_digest() || digest.is_some_and(says);
    let is_command = |value: &Value| {
        let is_word = |(said, word): (&Value, &String)| {
            said.as_str().is_some_and(|said| may_be_same(said, word))
        };
        value.as_array().is_some_and(|list| {
            list.len() == spec.command.len() && list.iter().zip(&spec.command).all(is_word)
        })
    };
    image
        && (spec.command.is_empty() || has(with, &is_command))
        && spec.env.iter().all(|(name, value)| says_variable(with, name, value))
}

/// Whether a `with` says a text.
fn says(with: &Value, text: &str) -> bool {
    has(with, &|value| value.as_str().is_some_and(|said| may_be_same(said, text)))
}

/// Whether a `with` says a variable: its name with its value, and not the one here and the other
/// there.
fn says_variable(with: &Value, name: &str, value: &str) -> bool {
    let is_value = |said: &Value| match said {
        Value::String(said) => may_be_same(said, value),
        Value::Bool(said) => may_be_same(if *said { "true" } else { "false" }, value),
        Value::Number(said) => may_be_same(&format!("{said}"), value),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    };
    has(with, &|one| match one {
        Value::Object(map) => {
            map.iter().any(|(said, its)| may_be_same(said, name) && is_value(its))
        }
        Value::String(text) => text
            .split_once('=')
            .is_some_and(|(said, its)| may_be_same(said, name) && may_be_same(its, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
    })
}

/// Whether a text of a `with` is that of a call.
///
/// Wherever a call has a secret's value, its text has the secret's mark, and a `with` may say the
/// same by another secret of that value, or plainly: a user's name may be the password, too. So a
/// mark of the call is any mark here, or any text. What it stands for is the operator's anyway.
fn may_be_same(said: &str, asked: &str) -> bool {
    if said == asked || !asked.contains(MARK_EDGE) {
        return said == asked;
    }
    // Texts and marks by turns.
    let mut texts = asked.split(MARK_EDGE).step_by(2).peekable();
    let Some(mut rest) = texts.next().and_then(|first| said.strip_prefix(first)) else {
        return false;
    };
    while let Some(text) = texts.next() {
        let is_last = texts.peek().is_none();
        let at = match is_last {
            true => rest.strip_suffix(text).map(str::len),
            // Not within a mark.
            false => rest.find(text).filter(|at| rest[..*at].matches(MARK_EDGE).count() % 2 == 0),
        };
        let Some(at) = at.filter(|at| is_mark_or_plain(&rest[..*at])) else { return false };
        rest = &rest[at + text.len()..];
    }
    true
}

fn is_mark_or_plain(text: &str) -> bool {
    let within = text.strip_prefix(MARK_EDGE).and_then(|text| text.strip_suffix(MARK_EDGE));
    !within.unwrap_or(text).contains(MARK_EDGE)
}

/// Whether a value, or any within it, is such a one.
fn has(value: &Value, is_it: &dyn Fn(&Value) -> bool) -> bool {
    is_it(value)
        || match value {
            Value::Array(list) => list.iter().any(|item| has(item, is_it)),
            Value::Object(map) => map.values().any(|item| has(item, is_it)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::Like;
    use serde_json::json;

    #[test]
    fn what_a_container_runs_is_said_by_the_with_or_by_what_it_is_like() {
        let spec = |image: &str, command: &[&str], like: Option<(&str, &str)>| ContainerSpec {
            image: image.to_owned(),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            like: like.map(|(host, name)| Like { host: host.into(), container: name.into() }),
            ..ContainerSpec::default()
        };
        let like = json!({ "host": "i-1", "container": "main" });
        for (spec, digest, with, wanted) in [
            (spec("db:1", &[], None), None, json!({ "image": "db:1" }), true),
            (spec("db:2", &[], None), None, json!({ "image": "db:1" }), false),
            (spec("db@sha256:1", &[], None), None, json!({ "digest": "sha256:1" }), true),
            (spec("db:1", &[], None), Some("sha256:1"), json!({ "digest": "sha256:1" }), true),
            (spec("db:1", &[], None), Some("sha256:2"), json!({ "digest": "sha256:1" }), false),
            (spec("db:1", &["a"], None), None, json!({ "image": "db:1" }), false),
            (spec("db:1", &["a"], None), None, json!(["db:1", ["a"]]), true),
            (spec("db:1", &["a", "b"], None), None, json!(["db:1", ["a"], ["b"]]), false),
            (spec("", &[], Some(("i-1", "main"))), None, json!({ "like": like }), true),
            (spec("", &[], Some(("i-1", "other"))), None, json!({ "like": like }), false),
            (spec("", &["a"], Some(("i-1", "main"))), None, json!({ "like": like }), false),
        ] {
            let says_model = |like| Unsaid::default().says_model(like, &with);
            let is_said =
                is_said(&spec, digest, &with) && spec.like.as_ref().is_none_or(says_model);
            assert_eq!(is_said, wanted, "{spec:?} {digest:?} {with}");
        }
    }

    #[test]
    fn a_mark_of_a_call_is_any_text_of_a_with() {
        let [a, b] = ["a", "b"].map(crate::expr::secret_placeholder);
        for (said, asked, wanted) in [
            (b.as_str(), a.as_str(), true),
            ("orders", &a, true),
            ("orders_prod", &format!("{a}_prod"), true),
            ("PASSWORD", &format!("{a}WORD"), true),
            ("x-y-z", &format!("x-{a}-z"), true),
            ("x-y-z", &format!("{a}-{b}-{a}"), true),
            (&format!("u:{b}@db"), &format!("u:{a}@db"), true),
            (&format!("u:{b}@db"), &a, false),
            ("x-y", &format!("{a}-z"), false),
            ("x-y-z", &format!("y-{a}-z"), false),
            ("x-y-z", &format!("x-{a}-z-{b}"), false),
            (&a, "orders", false),
            ("orders", "order", false),
        ] {
            assert_eq!(may_be_same(said, asked), wanted, "{said:?} {asked:?}");
        }
    }

    /// What comes of a name is what the name was given to.
    #[test]
    fn what_is_said_by_a_name_is_what_had_that_name() {
        let container = |name: &str| Resource::Container { host: "i-1".into(), name: name.into() };
        let like = |name: &str| Like { host: "i-1".into(), container: name.into() };
        let with = json!({ "like": { "host": "i-1", "container": "main" }, "name": "old" });
        let mut unsaid = Unsaid::default();
        let says = |unsaid: &Unsaid, name: &str| unsaid.says_model(&like(name), &with);
        assert!(says(&unsaid, "main"));
        let was = |name: &str, id: Option<&str>| Change {
            resource: container(name),
            before: Facts::Present(id.map(|id| ("id".to_owned(), json!(id))).into_iter().collect()),
            after: None,
        };
        let named = |name: &str| was(name, None);
        unsaid.rename(&named("other"), &container("main"), false);
        assert!(!says(&unsaid, "main"), "it is `other`");
        unsaid.rename(&named("main"), &container("old"), true);
        assert!(!says(&unsaid, "old"), "it is `other` still");
        unsaid.rename(&named("old"), &container("other"), false);
        assert!(says(&unsaid, "main") && says(&unsaid, "old"));
        unsaid.rename(&named("main"), &container("old"), true);
        assert!(says(&unsaid, "old"));
        let made = |name: &str| Change {
            resource: container(name),
            before: Facts::Absent,
            after: Some(Facts::Present([("id".to_owned(), json!("0123456789abcdef"))].into())),
        };
        unsaid.made(&made("main"), false);
        assert!(!says(&unsaid, "main"));
        let by_id = json!(["i-1", "0123456789ab"]);
        assert!(!unsaid.says_model(&like("0123456789ab"), &by_id));
        // Named by its id, it is the same.
        let id = "0123456789abcdef";
        unsaid.rename(&was(id, Some(id)), &container("old"), true);
        assert!(!says(&unsaid, "old") && says(&unsaid, "main"));
        // Another one has the name since.
        assert!(!unsaid.has(&container("old"), Some("another")));
        unsaid.made(&made("old"), true);
        assert!(says(&unsaid, "old"));
        unsaid.tag("i-1", "app:1", false);
        let is_tagged = |unsaid: &Unsaid, host: &str, image: &str, seen: Option<&str>| {
            let spec = ContainerSpec { image: image.into(), ..ContainerSpec::default() };
            let seen = seen.map(|image| Facts::Present([("image".into(), json!(image))].into()));
            unsaid.is_of_tagged(host, &spec, &Change { after: seen, ..made("new") })
        };
        assert!(is_tagged(&unsaid, "i-1", "docker.io/library/app:1", None));
        assert!(!is_tagged(&unsaid, "i-2", "app:1", None));
        assert!(!is_tagged(&unsaid, "i-1", "app:2", None));
        // Its model's, where it names none.
        assert!(is_tagged(&unsaid, "i-1", "", Some("app:1")));
        assert!(!is_tagged(&unsaid, "i-1", "", Some("app:2")));
        assert!(is_tagged(&unsaid, "i-1", "", None) && !is_tagged(&unsaid, "i-2", "", None));
        unsaid.tag("i-1", "app:1", true);
        assert!(!is_tagged(&unsaid, "i-1", "app:1", None));
    }

    #[test]
    fn a_variable_is_said_by_its_name_with_its_value() {
        let mark = crate::expr::secret_placeholder("pw");
        let url = format!("postgres://u:{mark}@db");
        for (name, value, with, wanted) in [
            ("TZ", "UTC", json!({ "env": { "TZ": "UTC" } }), true),
            ("TZ", "UTC", json!({ "variables": [{ "TZ": "UTC" }] }), true),
            ("TZ", "UTC", json!({ "variables": ["TZ=UTC"] }), true),
            ("PORT", "5432", json!({ "env": { "PORT": 5432 } }), true),
            ("PW", mark.as_str(), json!({ "env": { "PW": mark } }), true),
            ("URL", url.as_str(), json!({ "env": { "URL": url } }), true),
            ("URL", mark.as_str(), json!({ "env": { "URL": url } }), false),
            ("TZ", "UTC", json!({ "env": {} }), false),
            ("TZ", "UTC", json!({ "env": { "TZ": "CET" } }), false),
            // Text of the manifest is no command because it is there.
            ("BASH_ENV", "/note", json!({ "env": { "NOTE": "/note" } }), false),
            ("BASH_ENV", "/note", json!(["BASH_ENV", "/note"]), false),
            ("A", "b=c", json!(["A=b=c"]), true),
        ] {
            let env = [(name.to_owned(), value.to_owned())].into();
            let spec = ContainerSpec { env, ..ContainerSpec::default() };
            assert_eq!(is_said(&spec, None, &with), wanted, "{name}={value} {with}");
        }
    }
}
