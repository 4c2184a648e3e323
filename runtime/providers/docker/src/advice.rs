//! What puts a container or a volume of an engine back, in commands of the Docker CLI, each to be
//! pasted on its host (Docker docs, *docker container*, *docker volume*).

use serde_json::Value;
use stepback_core::shell::word;
use stepback_core::{Facts, Resource};
use stepback_provider::advice::Advice;

/// The facts that say what a container is; another one has to be made to change any of them.
const SHAPE: [&str; 8] =
    ["image", "digest", "env", "mounts", "ports", "command", "networks", "config"];

pub(crate) fn advice(resource: &Resource, before: &Facts, now: &Facts) -> Advice {
    match (resource, before.is_absent(), now.is_absent()) {
        (Resource::Container { host, name }, true, false) => {
            let name = word(name);
            // What runs gets its grace first.
            let stop = match now.get("running") {
                Some(Value::Bool(true)) => format!("docker stop {name} && "),
                _ => String::new(),
            };
            Advice::Paste(on(host, &format!("{stop}docker rm {name}")))
        }
        (Resource::DockerVolume { host, name }, true, false) => {
            Advice::Paste(on(host, &format!("docker volume rm {}", word(name))))
        }
        (Resource::Container { host, name }, false, false) => container(host, name, before, now),
        (_, false, true) => Advice::make_anew(resource),
        _ => Advice::look_at(resource),
    }
}

fn on(host: &str, commands: &str) -> String {
    format!("on {}: {commands}", word(host))
}

fn container(host: &str, name: &str, before: &Facts, now: &Facts) -> Advice {
    let name = word(name);
    let differs = |fact: &str| before.get(fact) != now.get(fact);
    let mut commands = vec![];
    if let Some(Value::String(restart)) = before.get("restart")
        && differs("restart")
    {
        commands.push(format!("docker update --restart {} {name}", word(restart)));
    }
    match before.get("running") {
        Some(Value::Bool(true)) if differs("running") => {
            commands.push(format!("docker start {name}"));
        }
        Some(Value::Bool(false)) if differs("running") => {
            commands.push(format!("docker stop {name}"));
        }
        _ => {}
    }
    let is_frozen = |facts: &Facts| facts.get("paused") == Some(&Value::Bool(true));
    match (is_frozen(before), is_frozen(now)) {
        (true, false) => commands.push(format!("docker pause {name}")),
        (false, true) => commands.insert(0, format!("docker unpause {name}")),
        (true, true) | (false, false) => {}
    }
    if commands.is_empty() {
        return Advice::LookAt(on(host, &format!("docker inspect {name}")));
    }
    if SHAPE.into_iter().any(differs) {
        commands.insert(0, format!("docker inspect {name}"));
    }
    Advice::Paste(on(host, &commands.join(" && ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_to_do_is_said_in_commands_for_the_host() {
        let of = |name: &str| Resource::Container { host: "i-1".into(), name: name.into() };
        let facts = |image: &str, restart: &str, running: bool| {
            Facts::from_json(json!({ "image": image, "restart": restart, "running": running }))
        };
        let was = facts("db:1", "always", true);
        let frozen = |running: bool, paused: bool| match facts("db:1", "always", running) {
            Facts::Present(mut map) => {
                map.insert("paused".into(), paused.into());
                Facts::Present(map)
            }
            other => other,
        };
        let volume = Resource::DockerVolume { host: "i-1".into(), name: "data".into() };
        let image = Resource::Image { host: "i-1".into(), image: "db:1".into() };
        let there = || Facts::from_json(json!({ "driver": "local" }));
        let table = [
            (of("main"), &Facts::Absent, was.clone(), "on i-1: docker stop main && docker rm main"),
            (
                of("x; reboot"),
                &Facts::Absent,
                facts("db:1", "no", false),
                "on i-1: docker rm 'x; reboot'",
            ),
            (volume.clone(), &Facts::Absent, there(), "on i-1: docker volume rm data"),
            (
                of("main"),
                &was,
                facts("db:1", "no", true),
                "on i-1: docker update --restart always main",
            ),
            (of("main"), &was, facts("db:1", "always", false), "on i-1: docker start main"),
            (
                of("main"),
                &was,
                facts("db:2", "no", false),
                "on i-1: docker inspect main && docker update --restart always main && docker \
                 start main",
            ),
            (of("main"), &was, facts("db:2", "always", true), "on i-1: docker inspect main"),
            (of("main"), &facts("db:1", "always", false), was.clone(), "on i-1: docker stop main"),
            (of("main"), &was, frozen(true, true), "on i-1: docker unpause main"),
            (of("main"), &frozen(true, true), was.clone(), "on i-1: docker pause main"),
            (
                of("main"),
                &frozen(true, true),
                frozen(false, false),
                "on i-1: docker start main && docker pause main",
            ),
            (
                of("main"),
                &frozen(false, false),
                frozen(true, true),
                "on i-1: docker unpause main && docker stop main",
            ),
            (
                of("main"),
                &was,
                Facts::Absent,
                "docker:i-1/container/main is gone: make it anew as it was",
            ),
            (volume, &there(), Facts::from_json(json!({})), "look at docker:i-1/volume/data"),
            (image, &was, facts("db:2", "no", true), "look at docker:i-1/image/db:1"),
        ];
        for (resource, before, now, wanted) in table {
            assert_eq!(advice(&resource, before, &now).to_string(), wanted);
        }
    }
}
