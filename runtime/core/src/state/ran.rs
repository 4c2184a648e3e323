//! Containers that run what no manifest says: what they did once they were started is not known.
//!
//! A container that a step makes of an image, a command and variables in its own `with`, or like
//! one that is named there, runs what whoever wrote the manifest meant; stopping it takes the start
//! back as far as they care. What a plugin thought up by itself may have done anything: starting
//! that can't be taken back. A variable is enough for that: a shell runs what `BASH_ENV` names, and
//! a linker loads what `LD_PRELOAD` does.

use super::*;
use crate::calls::ContainerSpec;

impl State {
    /// Whether a call would start a container that runs what no step's `with` says.
    pub fn starts_unsaid(&self, call: &Call, changes: &[Change]) -> bool {
        let Call::Docker(DockerCall::StartContainer { .. }) = call else { return false };
        let Some(container) = changes.first() else { return false };
        // By its id it may have been named as well.
        let is_it = |(made, identity): (&Resource, &Option<String>)| {
            *made == container.resource
                || identity.is_some() && identity.as_deref() == container.before.identity()
        };
        self.unsaid.iter().any(is_it)
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
        match (call, changes) {
            (Call::Docker(DockerCall::RenameContainer { .. }), [from, to]) => {
                if let Some(identity) = self.unsaid.remove(&from.resource) {
                    self.unsaid.insert(to.resource.clone(), identity);
                }
            }
            (Call::Docker(DockerCall::CreateContainer { spec, .. }), [made, ..]) => {
                let with = self.steps.get(step).map_or(&Value::Null, |step| &step.with);
                let digest = match outcome {
                    EffectOutcome::Done(value) => value.get("digest").and_then(Value::as_str),
                    EffectOutcome::Refused(_) | EffectOutcome::Unknown(_) => None,
                };
                if is_said(spec, digest, with) {
                    self.unsaid.remove(&made.resource);
                    return;
                }
                let identity = made.after.as_ref().and_then(Facts::identity).map(str::to_owned);
                self.unsaid.insert(made.resource.clone(), identity);
            }
            _ => {}
        }
    }
}

/// Whether a `with` says what a container runs; `digest` is that of the image it was made from.
fn is_said(spec: &ContainerSpec, digest: Option<&str>, with: &Value) -> bool {
    let says = |text: &str| has(with, &|value| value.as_str() == Some(text));
    let by_digest = || spec.image.split_once('@').is_some_and(|(_, digest)| says(digest));
    let image =
        spec.image.is_empty() || says(&spec.image) || by_digest() || digest.is_some_and(says);
    let command = spec.command.is_empty()
        || has(with, &|value| {
            value.as_array().is_some_and(|list| list.iter().eq(spec.command.iter()))
        });
    let like = spec.like.as_ref().is_none_or(|like| says(&like.host) && says(&like.container));
    image
        && command
        && like
        && spec.env.iter().all(|(name, value)| says_variable(with, name, value))
}

/// Whether a `with` says a variable: its name with its value, and not the one here and the other
/// there. A secret is its mark in both.
fn says_variable(with: &Value, name: &str, value: &str) -> bool {
    has(with, &|one| match one {
        Value::Object(map) => match map.get(name) {
            Some(Value::String(said)) => said == value,
            Some(Value::Bool(said)) => value == if *said { "true" } else { "false" },
            Some(Value::Number(said)) => value == format!("{said}"),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => false,
        },
        Value::String(text) => text.split_once('=') == Some((name, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
    })
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
            assert_eq!(is_said(&spec, digest, &with), wanted, "{spec:?} {digest:?} {with}");
        }
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
