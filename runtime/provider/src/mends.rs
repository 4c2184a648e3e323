//! The changes that put a resource back, in the order in which they can be made, and Stepback's
//! own steps that make them.
//!
//! Which changes there are follows from the facts alone. A provider says them in words that reach
//! its world: a command line of its own, or, where it has none, the steps.

mod engine;

pub use engine::{EngineMend, engine_mends};

use crate::advice::Advice;
use serde_json::{Map, Value};
use stepback_core::expr::MARK_EDGE;
use stepback_core::{Facts, Resource};

/// One change of what a cloud has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend<'a> {
    /// It was not there before; what is on it is lost.
    DeleteVolume {
        /// Its id.
        volume: &'a str,
    },
    /// It was not there before.
    DeleteSnapshot {
        /// Its id.
        snapshot: &'a str,
    },
    /// It was not there before; terminated, it is gone for good.
    TerminateInstance {
        /// Its id.
        instance: &'a str,
    },
    /// It was not attached there before.
    Detach {
        /// The volume's id.
        volume: &'a str,
        /// The id of the instance that it is attached to.
        instance: &'a str,
    },
    /// It was attached there, by this name.
    Attach {
        /// The volume's id.
        volume: &'a str,
        /// The id of the instance that it was attached to.
        instance: &'a str,
        /// The device name that it had there, such as `/dev/sdf`.
        device: &'a str,
    },
    /// It did not run before, or its type is set next.
    StopInstance {
        /// Its id.
        instance: &'a str,
    },
    /// It is made only while the instance is stopped.
    SetInstanceType {
        /// The instance's id.
        instance: &'a str,
        /// The type that it had, such as `r6i.large`.
        instance_type: &'a str,
    },
    /// It ran before.
    StartInstance {
        /// Its id.
        instance: &'a str,
    },
    /// A tag of a volume is gone, or has another value.
    TagVolume {
        /// The volume's id.
        volume: &'a str,
        /// The tag's key.
        key: &'a str,
        /// The value that it had.
        value: &'a str,
    },
    /// A volume has a tag that it did not have.
    UntagVolume {
        /// The volume's id.
        volume: &'a str,
        /// The tag's key.
        key: &'a str,
    },
    /// A tag of an instance is gone, or has another value.
    TagInstance {
        /// The instance's id.
        instance: &'a str,
        /// The tag's key.
        key: &'a str,
        /// The value that it had.
        value: &'a str,
    },
    /// An instance has a tag that it did not have.
    UntagInstance {
        /// The instance's id.
        instance: &'a str,
        /// The tag's key.
        key: &'a str,
    },
}

impl Mend<'_> {
    /// Whether it writes or removes something that stands for a secret, which only the person who
    /// has the secret can do.
    pub fn needs_a_secret(&self) -> bool {
        let holds = |text: &str| text.contains(MARK_EDGE);
        match *self {
            Mend::TagVolume { key, value, .. } | Mend::TagInstance { key, value, .. } => {
                holds(key) || holds(value)
            }
            Mend::UntagVolume { key, .. } | Mend::UntagInstance { key, .. } => holds(key),
            Mend::DeleteVolume { .. }
            | Mend::DeleteSnapshot { .. }
            | Mend::TerminateInstance { .. }
            | Mend::Detach { .. }
            | Mend::Attach { .. }
            | Mend::StopInstance { .. }
            | Mend::SetInstanceType { .. }
            | Mend::StartInstance { .. } => false,
        }
    }
}

/// What is said where a tag held a secret: what stands for it must not be written in its place.
pub const HOLDS_A_SECRET: &str =
    "a tag of it held a secret: write that one yourself, as the manifest's input has it";

/// What puts a resource of a cloud back as it was; nothing for what is gone, or where nothing is
/// known.
pub fn mends<'a>(resource: &'a Resource, before: &'a Facts, now: &'a Facts) -> Vec<Mend<'a>> {
    match (resource, before.is_absent(), now.is_absent()) {
        (Resource::Volume { id: volume }, true, false) => {
            // What is attached can't be deleted.
            let mut all = attachments(volume, before, now);
            all.push(Mend::DeleteVolume { volume });
            all
        }
        (Resource::Snapshot { id }, true, false) => vec![Mend::DeleteSnapshot { snapshot: id }],
        (Resource::Instance { id }, true, false) => vec![Mend::TerminateInstance { instance: id }],
        (Resource::Volume { id: volume }, false, false) => {
            let mut all = attachments(volume, before, now);
            all.extend(tags(before, now).into_iter().map(|tag| match tag {
                Tag::Surplus { key } => Mend::UntagVolume { volume, key },
                Tag::Lost { key, value } => Mend::TagVolume { volume, key, value },
            }));
            all
        }
        (Resource::Instance { id: instance }, false, false) => {
            let mut all = runs_as_before(instance, before, now);
            all.extend(tags(before, now).into_iter().map(|tag| match tag {
                Tag::Surplus { key } => Mend::UntagInstance { instance, key },
                Tag::Lost { key, value } => Mend::TagInstance { instance, key, value },
            }));
            all
        }
        _ => vec![],
    }
}

fn text<'a>(facts: &'a Facts, name: &str) -> Option<&'a str> {
    facts.get(name)?.as_str()
}

fn runs_as_before<'a>(instance: &'a str, before: &'a Facts, now: &'a Facts) -> Vec<Mend<'a>> {
    let runs = |facts: &Facts| text(facts, "state") == Some("running");
    let (mut all, mut is_up) = (vec![], runs(now));
    let other_type = text(before, "type").filter(|before| text(now, "type") != Some(before));
    if let Some(instance_type) = other_type {
        if std::mem::take(&mut is_up) {
            all.push(Mend::StopInstance { instance });
        }
        all.push(Mend::SetInstanceType { instance, instance_type });
    }
    match (runs(before), is_up) {
        (true, false) => all.push(Mend::StartInstance { instance }),
        (false, true) => all.push(Mend::StopInstance { instance }),
        (true, true) | (false, false) => {}
    }
    all
}

fn attachments<'a>(volume: &'a str, before: &'a Facts, now: &'a Facts) -> Vec<Mend<'a>> {
    let list = |facts: &'a Facts| facts.get("attachments").and_then(Value::as_array);
    let (was, is) = (list(before), list(now));
    let has = |list: Option<&Vec<Value>>, one: &Value| list.is_some_and(|all| all.contains(one));
    let field = |one: &'a Value, name: &str| one.get(name).and_then(Value::as_str).unwrap_or("?");
    let surplus = is.into_iter().flatten().filter(|one| !has(was, one));
    let detach = surplus.map(|one| Mend::Detach { volume, instance: field(one, "instance") });
    let lost = was.into_iter().flatten().filter(|one| !has(is, one));
    let attach = lost.map(|one| Mend::Attach {
        volume,
        instance: field(one, "instance"),
        device: field(one, "device"),
    });
    detach.chain(attach).collect()
}

enum Tag<'a> {
    Surplus { key: &'a str },
    Lost { key: &'a str, value: &'a str },
}

fn tags<'a>(before: &'a Facts, now: &'a Facts) -> Vec<Tag<'a>> {
    let of = |facts: &'a Facts| facts.get("tags").and_then(Value::as_object);
    let (was, is) = (of(before), of(now));
    let get = |tags: Option<&'a Map<String, Value>>, key: &str| tags.and_then(|tags| tags.get(key));
    let surplus = is.into_iter().flatten().filter(|(key, _)| get(was, key).is_none());
    let surplus = surplus.map(|(key, _)| Tag::Surplus { key });
    let lost = was.into_iter().flatten().filter(|(key, value)| get(is, key) != Some(value));
    let lost =
        lost.map(|(key, value)| Tag::Lost { key, value: value.as_str().unwrap_or_default() });
    surplus.chain(lost).collect()
}

/// What to do in steps of a manifest, for a world that has no command line of its own; `place`
/// comes first and says where the manifest is run.
pub fn in_steps(place: &str, resource: &Resource, before: &Facts, now: &Facts) -> Advice {
    let all = mends(resource, before, now);
    let (secret, plain): (Vec<_>, Vec<_>) = all.into_iter().partition(|mend| mend.needs_a_secret());
    let mut steps: Vec<String> = plain.iter().filter_map(step).collect();
    let of_engine = engine_mends(resource, before, now);
    let is_look = matches!(of_engine[..], [EngineMend::Inspect { .. }]);
    steps.extend(engine::steps(&of_engine, before));
    let and = match secret.is_empty() {
        true => String::new(),
        false => format!("; {HOLDS_A_SECRET}"),
    };
    let run = |steps: &[String]| {
        let all = steps.iter().enumerate();
        let all = all.map(|(at, step)| format!("{{ id = \"mend-{}\", {step} }}", at + 1));
        let all: Vec<String> = all.collect();
        format!("{place}run a manifest with steps = [{}]{and}", all.join(", "))
    };
    let look = match resource {
        Resource::Volume { id } => uses("ebs/describe-volume", &[("volume", id)]),
        Resource::Instance { id } => uses("ec2/describe-instance", &[("instance", id)]),
        _ => String::new(),
    };
    match (before.is_absent(), now.is_absent()) {
        _ if is_look => Advice::LookAt(run(&steps)),
        _ if !steps.is_empty() => Advice::Paste(run(&steps)),
        (false, true) => Advice::LookAt(format!("{place}{}", Advice::make_anew(resource))),
        (false, false) if !look.is_empty() => Advice::LookAt(run(&[look])),
        _ => Advice::LookAt(format!("{place}{}{and}", Advice::look_at(resource))),
    }
}

/// The step that makes a change; there is none that tags instances.
fn step(mend: &Mend<'_>) -> Option<String> {
    let step = match *mend {
        Mend::DeleteVolume { volume } => uses_up("ebs/delete-volume", &[("volume", volume)]),
        Mend::DeleteSnapshot { snapshot } => {
            uses_up("ebs/delete-snapshot", &[("snapshot", snapshot)])
        }
        Mend::TerminateInstance { instance } => {
            uses_up("ec2/terminate-instance", &[("instance", instance)])
        }
        Mend::Detach { volume, instance } => {
            uses("ebs/detach-volume", &[("volume", volume), ("instance", instance)])
        }
        Mend::Attach { volume, instance, device } => {
            let with = [("volume", volume), ("instance", instance), ("device", device)];
            uses("ebs/attach-volume", &with)
        }
        Mend::StopInstance { instance } => uses("ec2/stop-instance", &[("instance", instance)]),
        Mend::SetInstanceType { instance, instance_type } => {
            let with = [("instance", instance), ("instance_type", instance_type)];
            uses("ec2/set-instance-type", &with)
        }
        Mend::StartInstance { instance } => uses("ec2/start-instance", &[("instance", instance)]),
        Mend::TagVolume { volume, key, value } => {
            uses("ebs/tag-volume", &[("volume", volume), ("key", key), ("value", value)])
        }
        Mend::UntagVolume { volume, key } => {
            uses("ebs/untag-volume", &[("volume", volume), ("key", key)])
        }
        Mend::TagInstance { .. } | Mend::UntagInstance { .. } => return None,
    };
    Some(step)
}

/// A step with its inputs, as a manifest has them: a JSON string is one of TOML, too, and what
/// looks like an expression is written so that it is none.
fn uses(step: &str, with: &[(&str, &str)]) -> String {
    let plain = |value: &str| match ["{{", "{%", "{#"].iter().any(|mark| value.contains(mark)) {
        true => format!("{{{{ {} }}}}", Value::from(value)),
        false => value.to_owned(),
    };
    let with = with.iter().map(|(name, value)| format!("{name} = {}", Value::from(plain(value))));
    let with: Vec<String> = with.collect();
    format!("uses = \"{step}\", with = {{ {} }}", with.join(", "))
}

/// A step that has no undo, and so must say why that is right.
fn uses_up(step: &str, with: &[(&str, &str)]) -> String {
    format!("{}, irreversible = \"it was not there\"", uses(step, with))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_volume_is_detached_before_it_is_attached_and_its_tags_are_as_they_were() {
        let volume = Resource::Volume { id: "vol-1".to_owned() };
        let at = |instance: &str, tags: Value| {
            let attachments = json!([{ "instance": instance, "device": "/dev/sdf" }]);
            Facts::from_json(json!({ "attachments": attachments, "tags": tags }))
        };
        let before = at("i-a", json!({ "lost": "l", "other": "o", "same": "s" }));
        let now = at("i-b", json!({ "other": "p", "same": "s", "surplus": "u" }));
        let wanted = [
            Mend::Detach { volume: "vol-1", instance: "i-b" },
            Mend::Attach { volume: "vol-1", instance: "i-a", device: "/dev/sdf" },
            Mend::UntagVolume { volume: "vol-1", key: "surplus" },
            Mend::TagVolume { volume: "vol-1", key: "lost", value: "l" },
            Mend::TagVolume { volume: "vol-1", key: "other", value: "o" },
        ];
        assert_eq!(mends(&volume, &before, &now), wanted);
        let said = in_steps("", &volume, &before, &now).to_string();
        let step = r#"uses = "ebs/attach-volume", with = { volume = "vol-1", instance = "i-a", "#;
        assert!(said.contains(step), "{said}");
    }

    #[test]
    fn an_instance_is_stopped_before_it_gets_its_type_back() {
        let instance = Resource::Instance { id: "i-1".to_owned() };
        let of = |state: &str, kind: &str| {
            Facts::from_json(json!({ "state": state, "type": kind, "tags": {} }))
        };
        let (was, now) = (of("running", "t3.small"), of("running", "t3.large"));
        let said = in_steps("here, ", &instance, &was, &now).to_string();
        let wanted = "here, run a manifest with steps = [{ id = \"mend-1\", uses = \
                      \"ec2/stop-instance\", with = { instance = \"i-1\" } }, { id = \"mend-2\", \
                      uses = \"ec2/set-instance-type\", with = { instance = \"i-1\", \
                      instance_type = \"t3.small\" } }, { id = \"mend-3\", uses = \
                      \"ec2/start-instance\", with = { instance = \"i-1\" } }]";
        assert_eq!(said, wanted);
    }

    /// What a step can't undo is refused in a manifest that does not say why that is right.
    #[test]
    fn what_has_no_undo_says_why_that_is_right() {
        let there = Facts::from_json(json!({ "tags": {} }));
        let id = "x\"y".to_owned();
        for resource in [
            Resource::Volume { id: id.clone() },
            Resource::Snapshot { id: id.clone() },
            Resource::Instance { id: id.clone() },
        ] {
            let said = in_steps("", &resource, &Facts::Absent, &there);
            assert!(matches!(said, Advice::Paste(_)), "{said:?}");
            let said = said.to_string();
            assert!(said.ends_with("irreversible = \"it was not there\" }]"), "{said}");
            assert!(said.contains(r#" = "x\"y" }"#), "{said}");
        }
    }

    /// What stands for a secret is no value: written in its place it would be taken for one.
    #[test]
    fn a_secret_is_left_to_whoever_has_it() {
        let volume = Resource::Volume { id: "vol-1".to_owned() };
        let tagged = |tags: Value| Facts::from_json(json!({ "attachments": [], "tags": tags }));
        let mark = stepback_core::expr::secret_placeholder("pw");
        let (before, now) = (tagged(json!({ "pw": mark, "a": "b" })), tagged(json!({})));
        let said = in_steps("", &volume, &before, &now);
        assert!(matches!(&said, Advice::Paste(text) if text.ends_with(HOLDS_A_SECRET)), "{said:?}");
        assert!(!said.to_string().contains(&mark[1..]), "{said}");
        let said = in_steps("", &volume, &tagged(json!({ "pw": mark })), &now);
        assert!(
            matches!(&said, Advice::LookAt(text) if text.ends_with(HOLDS_A_SECRET)),
            "{said:?}"
        );
    }

    /// The words are a manifest's, whatever the values look like.
    #[test]
    fn a_value_that_looks_like_an_expression_is_none() {
        for value in
            ["v{{ 1 + 1 }}{% if x %}", "a{{b{# hidden #}c", " {{", "a{{\n", "${#x[@]} {{\""]
        {
            let said = uses("ebs/tag-volume", &[("value", value)]);
            let written = said.split_once("value = ").expect("a value").1;
            let written = written.strip_suffix(" }").expect("the end");
            let text: String = serde_json::from_str(written).expect("a string");
            let scope = stepback_core::expr::Scope::default();
            let read = stepback_core::expr::evaluate_value(&Value::from(text), &scope);
            assert_eq!(read, Ok(Value::from(value)), "{said}");
        }
    }

    #[test]
    fn what_no_step_puts_back_is_looked_at() {
        let of = |tags: Value| Facts::from_json(json!({ "state": "running", "tags": tags }));
        let (was, is) = (of(json!({ "k": "v" })), of(json!({})));
        let instance = Resource::Instance { id: "i-1".to_owned() };
        assert_eq!(mends(&instance, &was, &is).len(), 1);
        let said = in_steps("", &instance, &was, &is);
        let looks = "run a manifest with steps = [{ id = \"mend-1\", uses = \
                     \"ec2/describe-instance\", with = { instance = \"i-1\" } }]";
        assert_eq!(said, Advice::LookAt(looks.to_owned()));
        let snapshot = Resource::Snapshot { id: "snap-1".to_owned() };
        let said = in_steps("here, ", &snapshot, &was, &is);
        assert_eq!(said, Advice::LookAt("here, look at ebs:snapshot/snap-1".to_owned()));
        let said = in_steps("here, ", &snapshot, &was, &Facts::Absent);
        let gone = "here, ebs:snapshot/snap-1 is gone: make it anew as it was";
        assert_eq!(said, Advice::LookAt(gone.to_owned()));
    }
}
