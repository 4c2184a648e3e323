//! Grants, calls and worlds to try.

use crate::world::{CLOUD, CONTAINERS, HOST_PATH, IMAGES, INSTANCES, TEAMS, VOLUMES, World};
use proptest::prelude::*;
use serde_json::{Value, json};
use stepback_core::Call;

/// That of `vol-2`.
const DEVICE: &str = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol2_1";

/// Patterns of containers, and of images.
const NAMES: [&str; 7] = ["main", "re*", "*", "stepback-*", "stepback-0*", "plain", "d*"];
const OF_IMAGES: [&str; 6] =
    ["postgres:*", "*", "postgres:16", "d*", "sha256:d0d0", "postgres:5000/*"];

fn one_of(all: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(all).prop_map(str::to_owned)
}

fn some<T: Strategy<Value = Value>>(of: T) -> impl Strategy<Value = Option<Value>> {
    proptest::option::weighted(0.4, of)
}

pub fn grant() -> impl Strategy<Value = Value> {
    let functions = |interface: &str| {
        let all: Vec<String> = Call::functions()
            .filter_map(|name| name.strip_prefix(&format!("{interface}.")))
            .flat_map(|name| [name.to_owned(), format!("{}*", &name[..3])])
            .chain(["read".to_owned(), "all".to_owned()])
            .chain((interface == "docker").then(|| "root".to_owned()))
            .collect();
        prop_oneof![
            proptest::collection::vec(proptest::sample::select(all.clone()), 1..4)
                .prop_map(|words| json!(words)),
            proptest::sample::select(vec!["read", "all"]).prop_map(|word| json!(word)),
        ]
    };
    let table = prop_oneof![
        functions("ec2").prop_map(|f| ("ec2", f)),
        functions("ebs").prop_map(|f| ("ebs", f)),
        functions("docker").prop_map(|f| ("docker", f)),
        functions("load-balancer").prop_map(|f| ("load-balancer", f)),
        Just(("docker", json!("root"))),
    ];
    let host = prop_oneof![
        one_of(&["i-db-*", "i-web-1", "name-of-i-db-*", "*"]).prop_map(Value::from),
        one_of(&TEAMS[..2]).prop_map(|team| json!({ "team": team })),
    ];
    let lists = (
        some(one_of(&TEAMS[..2]).prop_map(|team| json!({ "tags": { "team": team } }))),
        some(proptest::collection::vec(host, 1..3).prop_map(Value::from)),
        some(one_of(&NAMES).prop_map(|one| json!([one]))),
        some(one_of(&["of-*", "plain", "*", "vol-1", "new"]).prop_map(|one| json!([one]))),
        some(one_of(&OF_IMAGES).prop_map(|one| json!([one]))),
        some(one_of(&["true", "pg_dump *"]).prop_map(|one| json!([one]))),
        some(one_of(&["PW", "BASH_*"]).prop_map(|one| json!([one]))),
        some(one_of(&["web", "web-*", "*"]).prop_map(|one| json!([one]))),
    );
    let second = some(
        proptest::sample::select(vec![("ec2", json!("read")), ("ebs", json!(["tag"]))])
            .prop_map(|(interface, functions)| json!({ interface: functions })),
    );
    (table, second, lists).prop_map(
        |(
            (interface, functions),
            second,
            (tags, hosts, containers, volumes, images, commands, env, pools),
        )| {
            let mut grant = second.unwrap_or_else(|| json!({}));
            grant[interface] = functions;
            let of_docker = [
                ("containers", containers),
                ("docker_volumes", volumes),
                ("images", images),
                ("commands", commands),
                ("env", env),
            ];
            let of_docker = of_docker.into_iter().filter(|_| interface == "docker");
            let of_pools = Some(("pools", pools)).filter(|_| interface == "load-balancer");
            let narrowing = of_docker.chain(of_pools);
            for (key, value) in [("where", tags), ("hosts", hosts)].into_iter().chain(narrowing) {
                if let Some(value) = value {
                    grant[key] = value;
                }
            }
            grant
        },
    )
}

/// A table of several interfaces as one for each: what narrows containers narrows `docker` alone,
/// and what narrows pools `load-balancer`.
pub fn apart(grant: &Value) -> Vec<Value> {
    let table = grant.as_object().expect("a table");
    let interfaces = ["ec2", "ebs", "docker", "load-balancer"];
    let interfaces = interfaces.into_iter().filter(|one| table.contains_key(*one));
    let one = |interface: &str| {
        let is_its = |key: &str| match key {
            "where" | "hosts" => true,
            "ec2" | "ebs" | "docker" | "load-balancer" => key == interface,
            "pools" => interface == "load-balancer",
            _ => interface == "docker",
        };
        table.iter().filter(|(key, _)| is_its(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    interfaces.map(|interface| Value::Object(one(interface))).collect()
}

pub fn arguments() -> impl Strategy<Value = Value> {
    let command = proptest::sample::select(vec![
        json!([]),
        json!(["true"]),
        json!(["pg_dump", "-x"]),
        json!(["sh", "-c", "true"]),
    ]);
    let env = proptest::sample::select(vec![
        json!({}),
        json!({ "PW": "x" }),
        json!({ "PW": "x", "BASH_ENV": "$(id)" }),
    ]);
    let like = some(
        (one_of(&INSTANCES), one_of(&CONTAINERS))
            .prop_map(|(host, container)| json!({ "host": host, "container": container })),
    );
    let mounts = prop_oneof![Just(String::new()), one_of(&VOLUMES)];
    let mounts = (mounts, one_of(&["/d", "/d/", "/e"]), proptest::bool::ANY);
    let device = proptest::sample::select(vec![
        json!({}),
        json!({ "type": "none", "o": "bind", "device": HOST_PATH }),
        json!({ "type": "xfs", "device": DEVICE }),
        json!({ "type": "xfs", "device": DEVICE, "o": "noatime,rtdev=/dev/sda" }),
    ]);
    let image = prop_oneof![Just(String::new()), one_of(&IMAGES)];
    let names = (one_of(&INSTANCES), one_of(&CLOUD), one_of(&CONTAINERS), one_of(&CONTAINERS));
    let tags = (one_of(&TEAMS), one_of(&["team", "Name", "other"]), one_of(&["web", "web-2"]));
    (names, tags, (command, env), like, mounts, device, image).prop_map(
        |(
            (instance, id, container, to),
            (team, key, pool),
            (command, env),
            like,
            (mount, target, read_only),
            options,
            image,
        )| {
            let mounts = match mount.as_str() {
                "" => json!([]),
                mount => json!([{ "volume": mount, "target": target, "read_only": read_only }]),
            };
            let like = like.unwrap_or(Value::Null);
            json!({
                "instance": instance, "host": instance, "tags": { "team": team }, "zone": "a",
                "instance_type": "t", "state": "s", "timeout_ms": 1, "key": key, "value": team,
                "volume": format!("vol-{id}"), "size_gib": 8, "volume_type": "gp3",
                "snapshot": format!("snap-{id}"), "device": "/dev/sdf", "description": "d",
                "container": container, "to": to, "grace_ms": 1, "restart": "no", "digest": "d",
                "tail_lines": 9, "command": command, "options": options, "filesystem_type": "xfs",
                "image": if image.is_empty() { "postgres:16" } else { &image },
                "spec": { "image": image, "command": command, "mounts": mounts, "like": like,
                          "env": env },
                "labels": { "app": team },
                "effect": "e", "duration_ms": 1, "pool": pool, "port": 80, "weight": null,
                "floor": 1, "on_timeout": "fail",
            })
        },
    )
}

pub fn world() -> impl Strategy<Value = World> {
    let ids: Vec<String> = INSTANCES[..3]
        .iter()
        .map(|id| (*id).to_owned())
        .chain(["vol-1", "vol-2", "snap-1", "snap-2"].map(str::to_owned))
        .collect();
    let teams = proptest::collection::vec(proptest::sample::select(TEAMS.to_vec()), ids.len());
    teams.prop_map(move |teams| World { teams: ids.iter().cloned().zip(teams).collect() })
}

/// A call of the function, and its arguments alone: a call keeps no others.
pub fn call(function: &str, arguments: &Value) -> (Call, Value) {
    let written = json!({ "function": function, "arguments": arguments });
    let call: Call = serde_json::from_value(written).expect("each argument is there");
    let own = serde_json::to_value(&call).expect("JSON")["arguments"].take();
    (call, own)
}
