//! What a grant lets through is exactly what it says: held against a model that shares nothing with
//! the program. The model knows calls by their JSON alone, and patterns as regular expressions.

use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use stepback_core::grants::{Asked, DockerVolume, Grants, Known, Permit, Policy, read};
use stepback_core::*;

const INSTANCES: [&str; 4] = ["i-db-1", "i-db-2", "i-web-1", "i-gone"];
const CLOUD: [&str; 3] = ["1", "2", "gone"];
const TEAMS: [&str; 3] = ["db", "web", "none"];
const CONTAINERS: [&str; 4] = ["main", "replica", "plain", "root"];
const IMAGES: [&str; 3] = ["postgres:16", "postgres:17", "evil/postgres:16"];
const HOST_PATH: &str = "/etc";

/// What the world is: each thing's team, and how far containers and Docker volumes reach.
#[derive(Clone, Debug)]
struct World {
    teams: BTreeMap<String, &'static str>,
}

impl World {
    fn tags(&self, id: &str) -> Option<BTreeMap<String, String>> {
        let team = self.teams.get(id)?;
        let mut tags = BTreeMap::from([("Name".to_owned(), format!("name-of-{id}"))]);
        if *team != "none" {
            tags.insert("team".to_owned(), (*team).to_owned());
        }
        Some(tags)
    }

    fn known(&self) -> Known {
        let mut known = Known::default();
        for id in self.teams.keys() {
            let resource = match id.split('-').next() {
                Some("i") => Resource::Instance { id: id.clone() },
                Some("vol") => Resource::Volume { id: id.clone() },
                _ => Resource::Snapshot { id: id.clone() },
            };
            known.tags.insert(resource, self.tags(id).expect("it is there"));
        }
        for host in INSTANCES {
            let at = |name: &str| (host.to_owned(), name.to_owned());
            for name in CONTAINERS.iter().filter(|name| **name != "replica") {
                let config = match *name {
                    "root" => json!({ "Privileged": true }),
                    _ => json!({}),
                };
                let mounts = match *name {
                    "main" => json!([{ "volume": "of-vol-1", "target": "/d" }]),
                    _ => json!([]),
                };
                let facts = json!({ "config": config, "mounts": mounts });
                known.containers.insert(at(name), Facts::from_json(facts));
            }
            let device = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol1";
            let options = |all: Value| serde_json::from_value(all).expect("options");
            let of_volume = options(json!({ "type": "ext4", "device": device }));
            let of_host = options(json!({ "type": "none", "o": "bind", "device": HOST_PATH }));
            for (name, options) in
                [("of-vol-1", of_volume), ("of-host", of_host), ("plain", options(json!({})))]
            {
                let driver = "local".to_owned();
                known.docker_volumes.insert(at(name), Some(DockerVolume { driver, options }));
            }
            known.docker_volumes.insert(at("new"), None);
        }
        known
    }
}

/// A pattern of a grant as a regular expression.
fn is_like(pattern: &str, text: &str) -> bool {
    let parts: Vec<String> = pattern.split('*').map(regex::escape).collect();
    regex::Regex::new(&format!("^(?s:{})$", parts.join(".*"))).expect("a pattern").is_match(text)
}

fn any_like(patterns: &Value, text: &str) -> bool {
    patterns
        .as_array()
        .expect("a list")
        .iter()
        .any(|one| is_like(one.as_str().expect("text"), text))
}

/// One thing that a call names.
#[derive(Debug)]
enum Named {
    Tagged(String),
    Container(String),
    Image(String),
}

/// What a call names, by the names of its arguments.
fn named(function: &str, arguments: &Value) -> Vec<Named> {
    let text = |name: &str| arguments[name].as_str().map(str::to_owned);
    let is_docker = function.starts_with("docker.");
    let mut all: Vec<Named> = vec![];
    all.extend(["instance", "host", "snapshot"].iter().filter_map(|n| text(n)).map(Named::Tagged));
    if !function.ends_with("-volume") || !is_docker {
        all.extend(text("volume").map(Named::Tagged));
    }
    all.extend(["container", "to"].iter().filter_map(|name| text(name)).map(Named::Container));
    if is_docker {
        all.extend(text("image").map(Named::Image));
    }
    let spec = &arguments["spec"];
    all.extend(spec["image"].as_str().filter(|i| !i.is_empty()).map(|i| Named::Image(i.into())));
    if let Some(like) = spec["like"].as_object() {
        all.push(Named::Tagged(like["host"].as_str().expect("text").to_owned()));
        all.push(Named::Container(like["container"].as_str().expect("text").to_owned()));
    }
    if function == "docker.run-once" {
        all.push(Named::Container(format!("stepback-{}", "0".repeat(20))));
    }
    all
}

/// Whether a Docker volume or a container reaches what only root may, and of which EBS volume it
/// is else.
fn reaches(function: &str, arguments: &Value) -> (bool, Vec<String>) {
    let of_volume = |name: &str| match name {
        "of-vol-1" => (false, vec!["vol-1".to_owned()]),
        "of-host" | "unread" => (true, vec![]),
        _ => (false, vec![]),
    };
    let of_container = |name: &str| match name {
        "main" => (false, of_volume("of-vol-1").1),
        "plain" => (false, vec![]),
        _ => (true, vec![]),
    };
    match function {
        "docker.create-volume" => match arguments["options"]["device"].as_str() {
            None => (false, vec![]),
            Some(HOST_PATH) => (true, vec![]),
            Some(_) => (false, vec!["vol-2".to_owned()]),
        },
        "docker.exec" => (of_container(arguments["container"].as_str().expect("text")).0, vec![]),
        "docker.create-container" | "docker.run-once" => {
            let spec = &arguments["spec"];
            let mounts = spec["mounts"].as_array().cloned().unwrap_or_default();
            let like = spec["like"]["container"].as_str().map(of_container);
            let mounted: Vec<_> =
                mounts.iter().map(|one| of_volume(one["volume"].as_str().expect("text"))).collect();
            let root = like.as_ref().is_some_and(|one| one.0) || mounted.iter().any(|one| one.0);
            let own: Vec<String> = mounted.into_iter().flat_map(|one| one.1).collect();
            let of_like = like.map(|one| one.1).filter(|_| mounts.is_empty());
            (root, own.into_iter().chain(of_like.into_iter().flatten()).collect())
        }
        _ => (false, vec![]),
    }
}

/// The model: what a grant says, as its author would read it.
fn lets_through(grant: &Value, function: &str, arguments: &Value, world: &World) -> bool {
    let (interface, name) = function.split_once('.').expect("a function");
    let Some(functions) = grant.get(interface) else { return false };
    let (is_named, is_root) = is_named(functions, name, function);
    let carries = |tags: &BTreeMap<String, String>, wanted: &Value| {
        let wanted = wanted.as_object().expect("a table").iter();
        wanted.into_iter().all(|(key, value)| tags.get(key).map(String::as_str) == value.as_str())
    };
    let is_host = |id: Option<&str>, tags: Option<&BTreeMap<String, String>>, host: &Value| {
        let Some(glob) = host.as_str() else { return tags.is_some_and(|tags| carries(tags, host)) };
        let name = tags.and_then(|tags| tags.get("Name")).map(String::as_str);
        [id, name].into_iter().flatten().any(|text| is_like(glob, text))
    };
    let fits = |id: Option<&str>, tags: Option<&BTreeMap<String, String>>, kind: &str| {
        let by_tags =
            grant.get("where").is_none_or(|w| tags.is_some_and(|tags| carries(tags, &w["tags"])));
        let hosts = grant.get("hosts").filter(|_| kind == "i").and_then(Value::as_array);
        by_tags && hosts.is_none_or(|all| all.iter().any(|host| is_host(id, tags, host)))
    };
    let of_id = |id: &str| {
        let (tags, kind) = (world.tags(id), id.split('-').next().unwrap_or_default());
        let before = fits(Some(id), tags.as_ref(), kind);
        let key = arguments["key"].as_str();
        let after = tags.clone().map(|mut tags| {
            match (key, arguments["value"].as_str()) {
                (Some(key), Some(value)) => tags.insert(key.to_owned(), value.to_owned()),
                (Some(key), None) => tags.remove(key),
                (None, _) => None,
            };
            tags
        });
        let after = match (after, key) {
            (None, Some(_)) => Some(arguments["value"].as_str().map_or(BTreeMap::new(), |value| {
                BTreeMap::from([(key.unwrap_or_default().to_owned(), value.to_owned())])
            })),
            (after, _) => after,
        };
        before && fits(Some(id), after.as_ref(), kind)
    };
    let is_one_of =
        |list: &str, text: &str| grant.get(list).is_none_or(|patterns| any_like(patterns, text));
    let things = named(function, arguments).into_iter().all(|thing| match thing {
        Named::Tagged(id) => of_id(&id),
        Named::Container(name) => is_one_of("containers", &name),
        Named::Image(image) => is_one_of("images", &image),
    });
    let made = match name {
        "run-instance" => "i",
        "create-volume" | "create-snapshot" if interface == "ebs" => "vol",
        _ => "",
    };
    let own: Option<BTreeMap<String, String>> = (!made.is_empty())
        .then(|| serde_json::from_value(arguments["tags"].clone()).expect("tags"));
    let made_fits = own.is_none() || fits(None, own.as_ref(), made);
    let (needs_root, volumes) = reaches(function, arguments);
    is_named
        && things
        && made_fits
        && volumes.iter().all(|id| of_id(id))
        && (is_root || !needs_root)
        && may_run(grant, arguments, is_root)
}

/// Whether the function is one of those that are written, and whether root is.
fn is_named(functions: &Value, name: &str, function: &str) -> (bool, bool) {
    let words: Vec<&str> = match functions {
        Value::String(word) => vec![word],
        list => {
            list.as_array().expect("a list").iter().map(|w| w.as_str().expect("text")).collect()
        }
    };
    let class = Call::class_of(function).expect("a function");
    let is_named = words.iter().any(|word| match *word {
        "all" => true,
        "read" => matches!(class, Class::Read | Class::Wait),
        "root" => words.len() == 1,
        glob => is_like(glob, name),
    });
    (is_named, words.contains(&"root"))
}

/// Whether the image and the command that a call gives of its own may be run.
fn may_run(grant: &Value, arguments: &Value, is_root: bool) -> bool {
    let spec = &arguments["spec"];
    let gives_image = spec["image"].as_str().is_some_and(|image| !image.is_empty());
    let command = if spec.is_object() { &spec["command"] } else { &arguments["command"] };
    let command: Vec<&str> =
        command.as_array().into_iter().flatten().map(|w| w.as_str().expect("text")).collect();
    let is_command = match grant.get("commands") {
        _ if command.is_empty() => true,
        None => is_root,
        Some(patterns) => any_like(patterns, &command.join(" ")),
    };
    is_command && (!gives_image || is_root || grant.get("images").is_some())
}

fn one_of(all: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(all).prop_map(str::to_owned)
}

fn some<T: Strategy<Value = Value>>(of: T) -> impl Strategy<Value = Option<Value>> {
    proptest::option::weighted(0.4, of)
}

fn grant() -> impl Strategy<Value = Value> {
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
        Just(("docker", json!("root"))),
    ];
    let host = prop_oneof![
        one_of(&["i-db-*", "i-web-1", "name-of-i-db-*", "*"]).prop_map(Value::from),
        one_of(&TEAMS[..2]).prop_map(|team| json!({ "team": team })),
    ];
    let lists = (
        some(one_of(&TEAMS[..2]).prop_map(|team| json!({ "tags": { "team": team } }))),
        some(proptest::collection::vec(host, 1..3).prop_map(Value::from)),
        some(one_of(&["main", "re*", "*", "stepback-*", "plain"]).prop_map(|one| json!([one]))),
        some(one_of(&["postgres:*", "*", "postgres:16"]).prop_map(|one| json!([one]))),
        some(one_of(&["true", "pg_dump *"]).prop_map(|one| json!([one]))),
    );
    (table, lists).prop_map(
        |((interface, functions), (tags, hosts, containers, images, commands))| {
            let mut grant = json!({ interface: functions });
            let of_docker =
                [("containers", containers), ("images", images), ("commands", commands)];
            let of_docker = of_docker.into_iter().filter(|_| interface == "docker");
            for (key, value) in [("where", tags), ("hosts", hosts)].into_iter().chain(of_docker) {
                if let Some(value) = value {
                    grant[key] = value;
                }
            }
            grant
        },
    )
}

fn arguments() -> impl Strategy<Value = Value> {
    let command = proptest::sample::select(vec![
        json!([]),
        json!(["true"]),
        json!(["pg_dump", "-x"]),
        json!(["sh", "-c", "true"]),
    ]);
    let like = some(
        (one_of(&INSTANCES), one_of(&CONTAINERS))
            .prop_map(|(host, container)| json!({ "host": host, "container": container })),
    );
    let mounts =
        proptest::sample::select(vec!["", "of-vol-1", "of-host", "plain", "new", "unread"]);
    let device = proptest::sample::select(vec![
        json!({}),
        json!({ "type": "none", "o": "bind", "device": HOST_PATH }),
        json!({ "type": "xfs",
                "device": "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol2_1" }),
    ]);
    let image = prop_oneof![Just(String::new()), one_of(&IMAGES)];
    let names = (one_of(&INSTANCES), one_of(&CLOUD), one_of(&CONTAINERS), one_of(&CONTAINERS));
    let tags = (one_of(&TEAMS), one_of(&["team", "Name", "other"]));
    (names, tags, command, like, mounts, device, image).prop_map(
        |((instance, id, container, to), (team, key), command, like, mount, options, image)| {
            let mounts = match mount {
                "" => json!([]),
                mount => json!([{ "volume": mount, "target": "/d" }]),
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
                "spec": { "image": image, "command": command, "mounts": mounts, "like": like },
                "effect": "e", "duration_ms": 1,
            })
        },
    )
}

fn world() -> impl Strategy<Value = World> {
    let ids: Vec<String> = INSTANCES[..3]
        .iter()
        .map(|id| (*id).to_owned())
        .chain(["vol-1", "vol-2", "snap-1", "snap-2"].map(str::to_owned))
        .collect();
    let teams = proptest::collection::vec(proptest::sample::select(TEAMS.to_vec()), ids.len());
    teams.prop_map(move |teams| World { teams: ids.iter().cloned().zip(teams).collect() })
}

/// A call of the function, and its arguments alone: a call keeps no others.
fn call(function: &str, arguments: &Value) -> (Call, Value) {
    let written = json!({ "function": function, "arguments": arguments });
    let call: Call = serde_json::from_value(written).expect("each argument is there");
    let own = serde_json::to_value(&call).expect("JSON")["arguments"].take();
    (call, own)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Every function of every class is tried in each case.
    #[test]
    fn what_is_let_through_is_exactly_what_the_grants_say(
        written in proptest::collection::vec(grant(), 1..3),
        arguments in arguments(),
        world in world(),
    ) {
        let grants: Grants = written.iter().flat_map(|one| read(one).expect("a grant")).collect();
        let known = world.known();
        for function in Call::functions() {
            let (call, own) = call(function, &arguments);
            let needs_none = !call.interface().needs_grant();
            let wanted =
                needs_none || written.iter().any(|one| lets_through(one, function, &own, &world));
            let told = grants.permit(&Asked::of(&call), &known);
            prop_assert_eq!(
                told.is_allowed(), wanted, "{}({}): {:?} by {}", function, own, told, json!(written)
            );
        }
    }
}

fn denied(written: Value, call: &Call, known: &Known) -> bool {
    let deny: Grants = read(&written).expect("a grant").into_iter().collect();
    let policy = Policy { allow: None, deny };
    !policy.permit(&Asked::of(call), known).is_allowed()
}

#[test]
fn what_is_denied_is_what_touches_any_of_it() {
    let teams = [("i-db-1", "db"), ("i-web-1", "web"), ("vol-1", "db"), ("vol-2", "web")];
    let world = World { teams: teams.map(|(id, team)| (id.to_owned(), team)).into() };
    let known = world.known();
    let arguments = json!({ "volume": "vol-2", "instance": "i-db-1", "device": "/dev/sdf" });
    let (attach, _) = call("ebs.attach", &arguments);
    let (start, _) =
        call("docker.start-container", &json!({ "host": "i-web-1", "container": "main" }));
    let bind = json!({ "host": "i-web-1", "volume": "x",
                       "options": { "type": "none", "o": "bind", "device": "/" } });
    let (bind, _) = call("docker.create-volume", &bind);
    let (list, _) = call("docker.list-containers", &json!({ "host": "i-web-1" }));
    for (written, call, wanted) in [
        (json!("ebs"), &attach, true),
        (json!({ "ebs": "all", "where": { "tags": { "team": "db" } } }), &attach, true),
        (json!({ "ebs": "all", "where": { "tags": { "team": "none" } } }), &attach, false),
        (json!({ "ebs": "read" }), &attach, false),
        (json!({ "docker": "all", "containers": ["main"] }), &start, true),
        (json!({ "docker": "all", "containers": ["other"] }), &start, false),
        (json!({ "docker": "all", "hosts": ["i-db-*"] }), &start, false),
        (json!({ "docker": "all", "hosts": ["i-db-*", { "team": "web" }] }), &start, true),
        (json!({ "docker": "root" }), &start, false),
        (json!({ "docker": "root" }), &bind, true),
        (json!({ "docker": "all", "containers": ["main"] }), &list, false),
        (json!({ "docker": "all", "hosts": ["i-web-1"] }), &list, true),
    ] {
        assert_eq!(denied(written.clone(), call, &known), wanted, "{written} {}", call.function());
        // What nobody knows may be what is denied.
        let is_by_tags = written.get("where").is_some() || written.get("hosts").is_some();
        if is_by_tags && call.interface() == Interface::Docker {
            assert!(denied(written.clone(), call, &Known::default()), "{written}");
        }
    }
    let id = json!({ "host": "i-web-1", "container": "0123456789abcdef" });
    let (by_id, _) = self::call("docker.start-container", &id);
    assert!(denied(json!({ "docker": "all", "containers": ["main"] }), &by_id, &known));
    // An engine takes any beginning of an image's id.
    let id = json!({ "host": "i-web-1", "image": "d0d0" });
    let (by_id, _) = self::call("docker.inspect-image", &id);
    assert!(denied(json!({ "docker": "all", "images": ["evil/*"] }), &by_id, &known));
    // Nobody knows yet what the name of that one ends with.
    let once = json!({ "host": "i-web-1", "spec": { "image": "x" }, "timeout_ms": 1 });
    let (once, _) = self::call("docker.run-once", &once);
    for (pattern, wanted) in [("stepback-7*", true), ("stepback-*", true), ("main", false)] {
        let deny = json!({ "docker": "all", "containers": [pattern] });
        assert_eq!(denied(deny, &once, &known), wanted, "{pattern}");
    }
}

#[test]
fn a_refusal_names_the_part_of_the_grant_that_came_furthest() {
    let grants: Grants = [
        json!({ "docker": ["inspect-*"] }),
        json!({ "docker": ["start-container"], "hosts": ["i-db-*"], "containers": ["main"] }),
    ]
    .iter()
    .flat_map(|one| read(one).expect("a grant"))
    .collect();
    let (start, _) =
        call("docker.start-container", &json!({ "host": "i-db-1", "container": "other" }));
    let known = Known::default();
    let Permit::Refused(why) = grants.permit(&Asked::of(&start), &known) else { panic!("allowed") };
    let wanted = "`containers` of the grant [docker: start-container; on the hosts i-db-*; for the \
                  containers main]: `other` is none of them";
    assert_eq!(why, wanted);
    let (describe, _) = call("ec2.describe", &json!({ "instance": "i-db-1" }));
    let told = grants.permit(&Asked::of(&describe), &known);
    assert_eq!(told, Permit::Refused("`ec2` is not granted".to_owned()));
}
