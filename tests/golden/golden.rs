//! A plugin that uses much of the contract's version 0.2. It was built once; its component is kept,
//! and every later Stepback must run it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepback_sdk::docker::RestartPolicy;
use stepback_sdk::{Check, Failure, Step, clock, docker, ebs, ec2, export_steps, log, may, pairs};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub instance: String,
    pub volume: String,
    pub container: String,
}

#[derive(Serialize, JsonSchema)]
pub struct Seen {
    pub instance: String,
    pub volume: String,
    pub container: String,
    pub ports: Vec<String>,
    pub ended: Option<i32>,
}

pub struct Look;

impl Step for Look {
    type Input = Input;
    type Output = Seen;
    const NAME: &'static str = "look";
    const DOC: &'static str = "Look at an instance, a volume and a container.";

    fn run(input: Input) -> Result<Seen, Failure> {
        let Input { instance, volume, container } = input;
        let found = ec2::describe(&instance)?;
        let disk = ebs::describe(&volume)?;
        let tags: BTreeMap<String, String> =
            disk.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect();
        let same = ebs::find(&pairs(&tags))?.len();
        let snapshots = ebs::find_snapshots(&pairs(&tags))?.len();
        log::info(&format!("{same} volumes and {snapshots} snapshots have these tags"));
        let all = docker::list_containers(&instance)?;
        let one = docker::inspect_container(&instance, &container)?;
        let one = one.ok_or_else(|| stepback_sdk::precondition("there is no such container"))?;
        let image = docker::inspect_image(&instance, &one.image)?;
        log::progress("looked at containers", 1, Some(all.len() as u64));
        let digest = image.map(|image| image.digest).unwrap_or_default();
        Ok(Seen {
            instance: format!("{} is {}", found.id, found.state),
            volume: format!("{} is {}, {} GiB", disk.id, disk.state, disk.size_gib),
            container: format!(
                "{} is {}, {}, restart {}, {digest}",
                one.name, one.state, one.health, one.restart
            ),
            ports: one.ports.iter().map(ToString::to_string).collect(),
            ended: one.ended.map(|ended| ended.exit_code),
        })
    }
}

pub struct Change;

impl Step for Change {
    type Input = Input;
    type Output = u64;
    const NAME: &'static str = "change";
    const DOC: &'static str = "Tag an instance and a volume, and stop a container.";

    fn check(input: &Input) -> Result<Check, Failure> {
        may(|| docker::stop_container(&input.instance, &input.container, 1_000))?;
        Ok(Check::Ok)
    }

    fn run(input: Input) -> Result<u64, Failure> {
        let Input { instance, volume, container } = input;
        ec2::tag(&instance, "golden", "yes")?;
        ebs::tag(&volume, "golden", "yes")?;
        docker::update_container(&instance, &container, RestartPolicy::OnFailure(Some(3)))?;
        docker::stop_container(&instance, &container, 1_000)?;
        clock::sleep(1)?;
        clock::now()
    }
}

export_steps!(Look, Change);
