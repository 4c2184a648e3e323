//! What puts a container or a volume of an engine back, in commands of the Docker CLI, each to be
//! pasted on its host (Docker docs, *docker container*, *docker volume*).

use stepback_core::shell::word;
use stepback_core::{Facts, Resource};
use stepback_provider::advice::Advice;
use stepback_provider::mends::{EngineMend, engine_mends};

pub(crate) fn advice(resource: &Resource, before: &Facts, now: &Facts) -> Advice {
    let mends = engine_mends(resource, before, now);
    match (resource, &mends[..]) {
        (Resource::Container { host, .. } | Resource::DockerVolume { host, .. }, [_, ..]) => {
            let commands: Vec<String> = mends.iter().map(command).collect();
            let told = format!("on {}: {}", word(host), commands.join(" && "));
            match mends[..] {
                [EngineMend::Inspect { .. }] => Advice::LookAt(told),
                _ => Advice::Paste(told),
            }
        }
        _ if !before.is_absent() && now.is_absent() => Advice::make_anew(resource),
        _ => Advice::look_at(resource),
    }
}

fn command(mend: &EngineMend<'_>) -> String {
    match *mend {
        EngineMend::Inspect { container, .. } => format!("docker inspect {}", word(container)),
        EngineMend::RemoveContainer { container, .. } => format!("docker rm {}", word(container)),
        EngineMend::RemoveVolume { volume, .. } => format!("docker volume rm {}", word(volume)),
        EngineMend::Unpause { container, .. } => format!("docker unpause {}", word(container)),
        EngineMend::Stop { container, .. } => format!("docker stop {}", word(container)),
        EngineMend::SetRestartPolicy { container, policy, .. } => {
            format!("docker update --restart {} {}", word(policy), word(container))
        }
        EngineMend::Start { container, .. } => format!("docker start {}", word(container)),
        EngineMend::Pause { container, .. } => format!("docker pause {}", word(container)),
    }
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
