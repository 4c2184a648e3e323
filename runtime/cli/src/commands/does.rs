//! What a step does to the world, told by the first word of its name: `stop-container` stops one.
//!
//! Every shipped step is named so, and so is the advice for others' (docs/manifest.md). A name
//! with another first word is told as it is, and so is a step of somebody else's plugin that by its
//! name only looks: that is its author's word alone.

use crate::builtins;
use serde_json::Value;
use std::fmt;
use stepback_core::manifest::Uses;

/// The fields of a step's `with` that say what it is about, in the order in which they are told.
const ABOUT: [&str; 12] = [
    "container",
    "to",
    "image",
    "volume",
    "snapshot",
    "instance",
    "device",
    "key",
    "restart",
    "pool",
    "host",
    "port",
];

/// What a step does; nothing if it only looks or waits.
pub fn does(uses: &Uses) -> Option<&'static str> {
    let name = uses.step();
    Some(match name.split('-').next().unwrap_or(name) {
        "create" | "make" | "pull" => "create",
        "attach" | "detach" | "tag" | "untag" | "rename" | "set" | "modify" | "grow" | "add"
        | "enable" => "change",
        "drain" => "drain",
        "pause" => "pause",
        "unpause" => "unpause",
        "start" => "start",
        "stop" => "stop",
        "remove" | "delete" | "terminate" => "remove",
        "run" | "exec" => "run",
        "describe" | "find" | "inspect" | "survey" | "check" | "no" | "wait" | "assert"
        | "sleep"
            if builtins::bytes(uses.plugin()).is_some() =>
        {
            return None;
        }
        _ => "other",
    })
}

/// What a step waits for though nothing keeps it.
#[derive(Debug, PartialEq, Eq)]
pub struct Wait {
    /// As the manifest has it: `30s`.
    pub how_long: String,
    /// What ends it earlier; none if it is all of it.
    pub until: Option<&'static str>,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until {
            None => write!(f, "{}", self.how_long),
            Some(until) => write!(f, "{} at most, until {until}", self.how_long),
        }
    }
}

/// How long a step waits, as far as it is known: until those who are served have gone, until a
/// container has stopped, or for so long as it says.
pub fn waits(uses: &Uses, with: &Value) -> Option<Wait> {
    let (name, until) = waits_by(uses)?;
    let how_long = with.get(name)?.as_str()?.to_owned();
    Some(Wait { how_long, until })
}

/// Whether it is one of those steps.
pub fn may_wait(uses: &Uses) -> bool {
    waits_by(uses).is_some()
}

/// The input that says how long, and what ends it earlier.
fn waits_by(uses: &Uses) -> Option<(&'static str, Option<&'static str>)> {
    builtins::bytes(uses.plugin())?;
    match (uses.plugin(), uses.step()) {
        ("core", "sleep") => Some(("duration", None)),
        ("load-balancer", "drain-target") => {
            Some(("timeout", Some("nobody is served by it any more")))
        }
        ("docker", "stop-container") => Some(("grace", Some("it has stopped"))),
        _ => None,
    }
}

/// What it is about, as far as it is known: `container main, host i-db-1`.
pub fn about(with: Option<&Value>) -> String {
    let Some(with) = with else { return "of what earlier steps give".to_owned() };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let told = ABOUT.iter().filter_map(|name| {
        let value = with.get(*name).filter(|value| !value.is_null())?;
        Some(format!("{name} {}", text(value)))
    });
    told.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_step_does_is_told_by_its_name() {
        let of =
            |plugin: &str, name: &str| Uses::Named { plugin: plugin.into(), step: name.into() };
        let others = does(&of("acme", "check-label"));
        assert_eq!(others, Some("other"), "whoever wrote it says that it only looks");
        let does = |name: &str| does(&of("docker", name));
        for (name, wanted) in [
            ("create-volume", Some("create")),
            ("set-restart-policy", Some("change")),
            ("drain-target", Some("drain")),
            ("add-target", Some("change")),
            ("stop-container", Some("stop")),
            ("pause-container", Some("pause")),
            ("unpause-container", Some("unpause")),
            ("run-once", Some("run")),
            ("exec", Some("run")),
            ("no-volume", None),
            ("wait-healthy", None),
            ("label-volume", Some("other")),
        ] {
            assert_eq!(does(name), wanted, "{name}");
        }
        let with = json!({ "host": "i-1", "container": "main", "image": null, "grace": "60s" });
        assert_eq!(about(Some(&with)), "container main, host i-1");
    }

    #[test]
    fn what_a_step_waits_for_is_told_as_the_manifest_has_it() {
        let of = |plugin: &str, step: &str, with: Value| {
            let uses = Uses::Named { plugin: plugin.into(), step: step.into() };
            waits(&uses, &with).map(|wait| wait.to_string())
        };
        let drain = of("load-balancer", "drain-target", json!({ "timeout": "5m" }));
        assert_eq!(drain.as_deref(), Some("5m at most, until nobody is served by it any more"));
        assert_eq!(of("core", "sleep", json!({ "duration": "2s" })).as_deref(), Some("2s"));
        assert_eq!(of("core", "assert", json!({ "duration": "2s" })), None);
        assert_eq!(of("docker", "stop-container", json!({})), None, "it is not known");
        assert_eq!(of("acme", "sleep", json!({ "duration": "2s" })), None, "nobody knows it");
    }
}
