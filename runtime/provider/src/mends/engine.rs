//! The changes that put a container, or a volume of a Docker Engine, back.

use super::{uses, uses_up};
use serde_json::Value;
use stepback_core::{Facts, Resource};

/// The facts that say what a container is; another one has to be made to change any of them.
const SHAPE: [&str; 8] =
    ["image", "digest", "env", "mounts", "ports", "command", "networks", "config"];

/// One change; the names are those that the host's engine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineMend<'a> {
    /// What else differs can't be changed: it is looked at.
    Inspect {
        /// The instance whose engine has it.
        host: &'a str,
        /// Its name.
        container: &'a str,
    },
    /// It was not there before.
    RemoveContainer {
        /// The instance whose engine has it.
        host: &'a str,
        /// Its name.
        container: &'a str,
    },
    /// It was not there before.
    RemoveVolume {
        /// The instance whose engine has it.
        host: &'a str,
        /// Its name.
        volume: &'a str,
        /// Whether it has no device behind it, so that its bytes go with it.
        is_plain: bool,
    },
    /// It was not paused before.
    Unpause {
        /// The instance whose engine has it.
        host: &'a str,
        /// Its name.
        container: &'a str,
    },
    /// It did not run before, or is removed next.
    Stop {
        /// The instance whose engine has it.
        host: &'a str,
        /// Its name.
        container: &'a str,
    },
    /// It had this restart policy.
    SetRestartPolicy {
        /// The instance whose engine has it.
        host: &'a str,
        /// Its name.
        container: &'a str,
        /// Such as `always`.
        policy: &'a str,
    },
    /// It ran before.
    Start {
        /// The instance whose engine has it.
        host: &'a str,
        /// Its name.
        container: &'a str,
    },
    /// It was paused before.
    Pause {
        /// The instance whose engine has it.
        host: &'a str,
        /// Its name.
        container: &'a str,
    },
}

/// What puts it back, in the order in which it can be done; nothing for what is gone, or where
/// nothing is known.
pub fn engine_mends<'a>(
    resource: &'a Resource,
    before: &'a Facts,
    now: &'a Facts,
) -> Vec<EngineMend<'a>> {
    let (was_there, is_there) = (!before.is_absent(), !now.is_absent());
    match resource {
        Resource::Container { host, name: container } if !was_there && is_there => {
            let unpause = is(now, "paused").then_some(EngineMend::Unpause { host, container });
            // What runs gets its grace first.
            let stop = is(now, "running").then_some(EngineMend::Stop { host, container });
            let remove = EngineMend::RemoveContainer { host, container };
            unpause.into_iter().chain(stop).chain([remove]).collect()
        }
        Resource::DockerVolume { host, name: volume } if !was_there && is_there => {
            let is_plain = now.flat_get("options.device").is_none();
            vec![EngineMend::RemoveVolume { host, volume, is_plain }]
        }
        Resource::Container { host, name } if was_there && is_there => {
            container(host, name, before, now)
        }
        _ => vec![],
    }
}

fn is(facts: &Facts, name: &str) -> bool {
    facts.get(name) == Some(&Value::Bool(true))
}

fn container<'a>(
    host: &'a str,
    container: &'a str,
    before: &'a Facts,
    now: &'a Facts,
) -> Vec<EngineMend<'a>> {
    let differs = |fact: &str| before.get(fact) != now.get(fact);
    let mut all = vec![];
    if is(now, "paused") && !is(before, "paused") {
        all.push(EngineMend::Unpause { host, container });
    }
    let ran = before.get("running").filter(|_| differs("running"));
    if ran == Some(&Value::Bool(false)) {
        all.push(EngineMend::Stop { host, container });
    }
    if let Some(policy) = before.get("restart").and_then(Value::as_str)
        && differs("restart")
    {
        all.push(EngineMend::SetRestartPolicy { host, container, policy });
    }
    if ran == Some(&Value::Bool(true)) {
        all.push(EngineMend::Start { host, container });
    }
    if is(before, "paused") && !is(now, "paused") {
        all.push(EngineMend::Pause { host, container });
    }
    if all.is_empty() || SHAPE.into_iter().any(differs) {
        all.insert(0, EngineMend::Inspect { host, container });
    }
    all
}

/// The steps that make the changes.
pub(super) fn steps(mends: &[EngineMend<'_>], before: &Facts) -> Vec<String> {
    let mut all = vec![];
    for mend in mends {
        all.push(step(mend));
        let sets_policy = |mend: &EngineMend<'_>| {
            matches!(mend, EngineMend::SetRestartPolicy { .. } | EngineMend::RemoveContainer { .. })
        };
        // The step that stops one takes its policy, too, so that it stays down.
        if let EngineMend::Stop { host, container } = *mend
            && !mends.iter().any(sets_policy)
            && let Some(policy) = before.get("restart").and_then(Value::as_str)
            && policy != "no"
        {
            all.push(step(&EngineMend::SetRestartPolicy { host, container, policy }));
        }
    }
    all
}

fn step(mend: &EngineMend<'_>) -> String {
    let of = |step: &str, host: &str, container: &str| {
        uses(step, &[("host", host), ("container", container)])
    };
    match *mend {
        EngineMend::Inspect { host, container } => of("docker/inspect-container", host, container),
        EngineMend::RemoveContainer { host, container } => {
            uses_up("docker/remove-container", &[("host", host), ("container", container)])
        }
        EngineMend::RemoveVolume { host, volume, is_plain } => {
            let step = uses_up("docker/remove-volume", &[("host", host), ("volume", volume)]);
            match is_plain {
                true => step.replacen(" }, ", ", plain = true }, ", 1),
                false => step,
            }
        }
        EngineMend::Unpause { host, container } => of("docker/unpause-container", host, container),
        EngineMend::Stop { host, container } => of("docker/stop-container", host, container),
        EngineMend::SetRestartPolicy { host, container, policy } => {
            let with = [("host", host), ("container", container), ("restart", policy)];
            uses("docker/set-restart-policy", &with)
        }
        EngineMend::Start { host, container } => of("docker/start-container", host, container),
        EngineMend::Pause { host, container } => of("docker/pause-container", host, container),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Each step's name, and what it is given beside the host.
    fn said(resource: &Resource, before: &Facts, now: &Facts) -> Vec<String> {
        let steps = steps(&engine_mends(resource, before, now), before);
        steps.iter().map(|step| step.replace("host = \"i-1\", ", "")).collect()
    }

    #[test]
    fn a_container_is_put_back_in_an_order_that_steps_can_follow() {
        let main = Resource::Container { host: "i-1".into(), name: "main".into() };
        let of = |running: bool, paused: bool, restart: &str, image: &str| {
            let facts = json!({
                "running": running, "paused": paused, "restart": restart, "image": image,
            });
            Facts::from_json(facts)
        };
        let step = |name: &str| {
            format!("uses = \"docker/{name}-container\", with = {{ container = \"main\" }}")
        };
        let restart = "uses = \"docker/set-restart-policy\", with = { container = \"main\", \
                       restart = \"always\" }"
            .to_owned();
        let up = of(true, false, "always", "db:1");
        let down = of(false, false, "no", "db:1");
        // The step that stops a container takes its policy.
        let kept_down = of(false, false, "always", "db:1");
        let frozen = of(true, true, "always", "db:1");
        let other = of(false, false, "no", "db:2");
        for (before, now, wanted) in [
            (&up, &down, vec![restart.clone(), step("start")]),
            (&kept_down, &up, vec![step("stop"), restart.clone()]),
            (&down, &frozen, vec![step("unpause"), step("stop"), restart.replace("always", "no")]),
            (&frozen, &up, vec![step("pause")]),
            (&up, &other, vec![step("inspect"), restart.clone(), step("start")]),
            (&up, &of(true, false, "always", "db:2"), vec![step("inspect")]),
            (&up, &Facts::Absent, vec![]),
            (
                &Facts::Absent,
                &up,
                vec![
                    step("stop"),
                    format!("{}, irreversible = \"it was not there\"", step("remove")),
                ],
            ),
        ] {
            assert_eq!(said(&main, before, now), wanted, "{before:?} from {now:?}");
        }
    }

    /// The step refuses to remove one without a device, unless it is said that its bytes may go.
    #[test]
    fn a_volume_that_is_no_device_is_removed_with_its_bytes() {
        let data = Resource::DockerVolume { host: "i-1".into(), name: "data".into() };
        for (options, plain) in [(json!({}), ", plain = true"), (json!({ "device": "/dev/b" }), "")]
        {
            let now = Facts::from_json(json!({ "driver": "local", "options": options }));
            let wanted = format!(
                "uses = \"docker/remove-volume\", with = {{ volume = \"data\"{plain} }}, \
                 irreversible = \"it was not there\""
            );
            assert_eq!(said(&data, &Facts::Absent, &now), [wanted]);
        }
    }
}
