//! What a container runs by itself: its entrypoint, its command and its health check.
//!
//! The options have the engine's own names (Docker docs, *Docker Engine API*, *ContainerInspect*).

use crate::resource::Facts;
use serde_json::Value;

/// What an engine runs a health check of one text with, unless the container says otherwise
/// (Docker docs, *Dockerfile reference*, *SHELL*).
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// What a container runs; each part is none where it is not known.
pub(super) struct Runs {
    /// What is run before what it is told to.
    pub(super) entrypoint: Option<Vec<String>>,
    /// What it is told to run.
    pub(super) command: Option<Vec<String>>,
    /// What is run in it again and again, to see how it is; empty where nothing is.
    pub(super) health_check: Option<Vec<String>>,
}

impl Runs {
    /// What one with these facts runs.
    pub(super) fn of(facts: &Facts) -> Self {
        let config = facts.get("config").filter(|config| config.is_object());
        let option = |name: &str| Some(config?.get(name).unwrap_or(&Value::Null));
        let health = option("Healthcheck");
        Self {
            entrypoint: option("Entrypoint").and_then(words_of),
            command: facts.get("command").and_then(words_of),
            health_check: health.and_then(|health| checked_by(health, option("Shell"))),
        }
    }

    /// Its entrypoint, where that takes the next word for a script: no pattern of arguments holds
    /// such a one.
    pub(super) fn takes_a_script(&self) -> Option<&Vec<String>> {
        self.entrypoint.as_ref().filter(|words| {
            let is_asked_for = words.last().is_some_and(|last| last.starts_with('-'));
            is_asked_for && words.last().is_none_or(|last| last != "--")
                || words.iter().any(|word| is_shell(word))
        })
    }
}

/// Whether a program's name is that of a shell, as those of `sh`, `mksh` and `fish` are.
fn is_shell(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word);
    name.ends_with("sh") && !name.contains('.') || name == "busybox"
}

/// What a health check runs; none if it is of a kind that is not known.
fn checked_by(health: &Value, shell: Option<&Value>) -> Option<Vec<String>> {
    let test = words_of(health.get("Test").unwrap_or(&Value::Null))?;
    let Some((kind, words)) = test.split_first() else { return Some(vec![]) };
    match (kind.as_str(), words) {
        ("NONE", _) => Some(vec![]),
        ("CMD", words) => Some(words.to_vec()),
        ("CMD-SHELL", words) => {
            let own = shell.and_then(words_of)?;
            let own = if own.is_empty() { SHELL.map(str::to_owned).to_vec() } else { own };
            Some([&own, words].concat())
        }
        _ => None,
    }
}

/// The words of a list of texts, none of an option that was not given; nothing of another shape.
fn words_of(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(vec![]),
        Value::Array(list) => {
            list.iter().map(|word| word.as_str().map(str::to_owned)).collect::<Option<_>>()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(facts: Value) -> Runs {
        Runs::of(&Facts::from_json(facts))
    }

    #[test]
    fn a_health_check_is_run_by_the_shell_of_its_container() {
        for (config, wanted) in [
            (json!({}), Some("")),
            (json!({ "Healthcheck": { "Test": ["NONE"] } }), Some("")),
            (json!({ "Healthcheck": { "Test": ["CMD", "a", "b"] } }), Some("a b")),
            (json!({ "Healthcheck": { "Test": ["CMD-SHELL", "a"] } }), Some("/bin/sh -c a")),
            (
                json!({ "Healthcheck": { "Test": ["CMD-SHELL", "a"] }, "Shell": ["wipe", "-x"] }),
                Some("wipe -x a"),
            ),
            (json!({ "Healthcheck": { "Test": ["CMD-NEW", "a"] } }), None),
            (json!({ "Healthcheck": { "Test": "a" } }), None),
            (json!("***"), None),
        ] {
            let told = of(json!({ "config": config.clone() })).health_check;
            assert_eq!(told.map(|words| words.join(" ")).as_deref(), wanted, "{config}");
        }
    }

    #[test]
    fn what_takes_the_next_word_for_a_script_is_told() {
        for (words, wanted) in [
            (&["/bin/sh"][..], true),
            (&["/usr/bin/mksh", "-c"], true),
            (&["tini", "--", "fish"], true),
            (&["busybox", "sh"], true),
            (&["python3", "-c"], true),
            (&["perl", "-e"], true),
            (&["tini", "--"], false),
            (&["docker-entrypoint.sh"], false),
            (&["postgres"], false),
            (&[], false),
        ] {
            let runs = of(json!({ "config": { "Entrypoint": words } }));
            assert_eq!(runs.takes_a_script().is_some(), wanted, "{words:?}");
        }
    }
}
