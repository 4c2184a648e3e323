//! What can be known before the first change is refused before it (R10): every call that an
//! operation would make, denied in turn, and a secret where it may not be.

use crate::harness::{Place, Ran, SHIPPED, given, operation, root};
use crate::hazards::demo;
use std::collections::BTreeSet;
use std::fs;
use stepback_clock::Clock;
use stepback_core::OperationId;
use stepback_core::event::Event;
use stepback_journal::{Sqlite, Store};

/// What is in the world of single steps beside the demo world.
const MORE: &str = r#"
[instances.i-off]
state = "stopped"
type = "r6i.large"
zone = "us-east-1a"
tags = { Name = "off" }
[volumes.vol-free]
size_gib = 8
type = "gp3"
zone = "us-east-1a"
tags = { left = "over" }
[snapshots.snap-old]
volume = "vol-free"
size_gib = 8
tags = { is = "old" }
[engines.i-db-2.images]
"busybox:1.36" = "sha256:b036000000000000000000000000000000000000000000000000000000000000"
[engines.i-db-2.volumes.plain.options]
[engines.i-db-2.containers.idle]
digest = "sha256:b036000000000000000000000000000000000000000000000000000000000000"
spec = { image = "busybox:1.36", mounts = [{ volume = "plain", target = "/data" }] }
[engines.i-db-2.containers.frozen]
running = true
paused = true
digest = "sha256:b036000000000000000000000000000000000000000000000000000000000000"
spec = { image = "busybox:1.36" }
[engines.i-db-2.containers.app]
running = true
digest = "sha256:b036000000000000000000000000000000000000000000000000000000000000"
spec = { image = "busybox:1.36", ports = ["8081:80", "8082:80"] }
[pools.dbs.targets."i-db-1:5432"]
[pools.dbs.targets."i-db-2:8081"]
enabled = false
"#;

/// Every shipped step that runs by itself, with what it is given.
const STEPS: &[(&str, &str)] = &[
    ("app/survey", "app = 'shop', hosts = ['i-db-3'], replicas = 1, pool = 'web', port = 80"),
    ("app/survey-running", "app = 'shop', hosts = ['i-web-1', 'i-web-2'], pool = 'web'"),
    ("docker/create-container", "host = 'i-db-2', container = 'new', image = 'busybox:1.36'"),
    ("docker/create-volume", "host = 'i-db-2', volume = 'more'"),
    ("docker/check-helper", "host = 'i-db-1', grows = 'vol-db-main'"),
    ("docker/check-ports", "host = 'i-db-1', container = 'new', ports = ['80:80']"),
    ("docker/check-replace", "host = 'i-db-1', container = 'main'"),
    ("docker/exec", "host = 'i-db-1', container = 'main', command = ['true']"),
    ("docker/find-containers", "host = 'i-db-1', labels = { app = 'shop' }"),
    ("docker/inspect-container", "host = 'i-db-1', container = 'main'"),
    ("docker/inspect-image", "host = 'i-db-1', image = 'postgres:16'"),
    ("docker/pause-container", "host = 'i-db-1', container = 'main'"),
    ("docker/pull-image", "host = 'i-db-1', image = 'postgres:16'"),
    ("docker/remove-container", "host = 'i-db-2', container = 'idle'"),
    ("docker/rename-container", "host = 'i-db-1', container = 'main', to = 'other'"),
    ("docker/run-once", "host = 'i-db-1', image = 'postgres:16', command = ['true']"),
    (
        "docker/run-container",
        "host = 'i-db-1', container = 'run', image = 'postgres:16', ports = ['auto:80']",
    ),
    ("docker/set-restart-policy", "host = 'i-db-1', container = 'main', restart = 'no'"),
    ("docker/start-container", "host = 'i-db-2', container = 'idle'"),
    ("docker/stop-container", "host = 'i-db-1', container = 'main'"),
    ("docker/unpause-container", "host = 'i-db-2', container = 'frozen'"),
    ("docker/wait-device", "host = 'i-db-1', volume = 'vol-db-main'"),
    ("docker/wait-engine", "host = 'i-db-1'"),
    ("docker/wait-healthy", "host = 'i-db-1', container = 'main'"),
    ("ebs/attach-volume", "volume = 'vol-free', instance = 'i-db-2'"),
    ("ebs/check-volume", "size_gib = 8, zone = 'us-east-1a'"),
    ("ebs/create-snapshot", "volume = 'vol-free'"),
    ("ebs/create-volume", "size_gib = 8, zone = 'us-east-1a'"),
    ("ebs/delete-snapshot", "snapshot = 'snap-old'"),
    ("ebs/delete-volume", "volume = 'vol-free'"),
    ("ebs/describe-volume", "volume = 'vol-free'"),
    ("ebs/find-snapshot", "tags = { is = 'old' }"),
    ("ebs/find-volume", "tags = { left = 'over' }"),
    ("ebs/modify-volume", "volume = 'vol-free', size_gib = 9"),
    ("ebs/no-volume", "tags = { left = 'behind' }"),
    ("ebs/tag-volume", "volume = 'vol-free', key = 'a', value = 'b'"),
    ("ebs/untag-volume", "volume = 'vol-free', key = 'left'"),
    ("ebs/wait-snapshot", "snapshot = 'snap-old'"),
    ("ec2/describe-instance", "instance = 'i-db-1'"),
    ("ec2/find-instance", "tags = { Name = 'off' }"),
    ("ec2/run-instance", "image = 'ami-1', instance_type = 't3.micro', zone = 'us-east-1a'"),
    ("ec2/set-instance-type", "instance = 'i-off', instance_type = 't3.micro'"),
    ("ec2/start-instance", "instance = 'i-off'"),
    ("ec2/stop-instance", "instance = 'i-db-3'"),
    ("ec2/terminate-instance", "instance = 'i-off'"),
    ("ec2/wait-instance", "instance = 'i-off', state = 'stopped'"),
    ("load-balancer/add-target", "pool = 'dbs', host = 'i-db-2', port = 8082"),
    ("load-balancer/describe-pool", "pool = 'dbs'"),
    ("load-balancer/drain-target", "pool = 'dbs', host = 'i-db-1', port = 5432, floor = 0"),
    ("load-balancer/enable-target", "pool = 'dbs', host = 'i-db-2', port = 8081"),
    ("load-balancer/wait-target", "pool = 'dbs', host = 'i-db-1', port = 5432"),
    ("load-balancer/remove-target", "pool = 'dbs', host = 'i-db-2', port = 8081"),
];

/// Steps that only run after others of the same operation: the shipped operations have them.
const AFTER_OTHERS: [&str; 5] = [
    "docker/grow-filesystem",
    "docker/make-filesystem",
    "docker/remove-volume",
    "docker/wait-unmounted",
    "ebs/detach-volume",
];

fn configure(place: &Place, policy: &str) {
    place.write("world.toml", format!("{}\n{MORE}", demo()));
    let text = "[environments.local]\nprovider = \"simulated\"\nworld = \"world.toml\"\n";
    place.write("stepback.toml", format!("{text}{policy}\n"));
}

/// The functions that the place's last operation called, but for those that need no grant.
async fn called(place: &Place) -> BTreeSet<&'static str> {
    let store = Sqlite::open(&place.path("state"), Clock::real()).expect("a store");
    let records = store.load(OperationId(1)).await.expect("its journal");
    let function = |event: &Event| match event {
        Event::CallAnswered { call, .. } | Event::CallStarted { call, .. } => Some(call.function()),
        _ => None,
    };
    let all = records.iter().filter_map(|record| function(&record.event));
    all.filter(|function| !function.starts_with("clock.")).collect()
}

/// Deny each function that the operation calls in turn; what was not refused before it began.
async fn not_refused(arguments: &[&str], name: &str) -> Vec<String> {
    let free = Place::new();
    configure(&free, "");
    let before = free.untouched();
    free.run(arguments).exits(0);
    let functions = called(&free).await;
    assert!(!functions.is_empty() || name.contains("/check-"), "{name} calls nothing");
    let mut found = vec![];
    let place = Place::new();
    for function in functions {
        let (interface, short) = function.split_once('.').expect("two parts");
        configure(&place, &format!("deny = [{{ {interface} = [\"{short}\"] }}]"));
        let ran = place.run(arguments);
        let is_told = ran.stderr.contains(&format!("does not permit {function}"));
        if ran.code != Some(2) || !is_told {
            let said = ran.stderr.lines().find(|line| line.contains('✗')).unwrap_or(&ran.stderr);
            found.push(format!("{name}, denied {function}: exit {:?}: {said}", ran.code));
        }
        if let Ok(text) = fs::read_to_string(place.path("state/worlds/local/world.json")) {
            let world: stepback_simulated::world::World =
                serde_json::from_str(&text).expect("a world");
            assert_eq!(world.restorable(), before, "{name}, denied {function}");
        }
        fs::remove_dir_all(place.path("state")).expect("the state of the refused run");
    }
    found
}

#[tokio::test]
async fn what_is_denied_is_refused_before_a_shipped_operation_begins() {
    let mut found = vec![];
    for name in SHIPPED {
        let operation = operation(name);
        let arguments = [&["run", operation.as_str()], given(name)].concat();
        found.extend(not_refused(&arguments, name).await);
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Of each step the check asks about every call that its run makes.
#[tokio::test]
async fn what_a_step_would_do_is_asked_by_its_check() {
    let place = Place::new();
    let mut found = vec![];
    for (uses, with) in STEPS {
        let manifest = place.write(
            "step.toml",
            format!(
                "schema = 1\n[operation]\nname = \"one\"\n[[steps]]\nid = \"it\"\n\
                 uses = \"{uses}\"\nirreversible = \"a test\"\nwith = {{ {with} }}\n"
            ),
        );
        found.extend(not_refused(&["run", &manifest], uses).await);
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// A new step has its place in one of the tables.
#[test]
fn every_shipped_step_is_tried() {
    let text = Place::new().run(&["plugin", "list", "--json"]).exits(0).json();
    let all = text.as_array().expect("steps").iter();
    let shipped: BTreeSet<String> =
        all.map(|step| step["uses"].as_str().expect("a name").to_owned()).collect();
    let alone = STEPS.iter().map(|(uses, _)| (*uses).to_owned());
    let without = ["core/assert", "core/sleep"].map(str::to_owned);
    let tried: BTreeSet<String> =
        alone.chain(AFTER_OTHERS.map(str::to_owned)).chain(without).collect();
    assert_eq!(tried, shipped);
    let files = fs::read_dir(root().join("operations")).expect("a directory").flatten();
    let names = files.filter_map(|file| Some(file.path().file_stem()?.to_str()?.to_owned()));
    let names = names.filter(|name| name != "demo-world");
    assert_eq!(names.collect::<BTreeSet<_>>(), SHIPPED.map(str::to_owned).into());
    let operations = SHIPPED.map(|name| fs::read_to_string(operation(name)).expect("a manifest"));
    for step in AFTER_OTHERS {
        assert!(operations.iter().any(|text| text.contains(&format!("\"{step}\""))), "{step}");
    }
}

/// Of a step whose `with` an earlier step has a part in, what is known counts, and what is not
/// speaks against nothing.
#[test]
fn what_is_known_of_a_call_is_held_against_what_binds_everybody() {
    let on = "docker = [\"wait-device\"]";
    let docker = "docker = \"all\", hosts = [\"i-db-1\"], images = [\"postgres:16\"], \
                  docker_volumes = [\"vol-*\"]";
    let others = "{ ebs = \"all\" }, { ec2 = \"all\" }";
    for (policy, code) in [
        (format!("deny = [{{ {on}, hosts = [\"i-db-1\"] }}]"), 2),
        (format!("deny = [{{ {on}, hosts = [\"i-db-2\"] }}]"), 0),
        ("deny = [{ ebs = [\"attach\"], where = { tags = { team = \"web\" } } }]".to_owned(), 0),
        (format!("allow = [{{ {docker}, containers = [\"main*\"] }}, {others}]"), 0),
        (format!("allow = [{{ {docker}, containers = [\"app\"] }}, {others}]"), 2),
    ] {
        let place = Place::new();
        configure(&place, &policy);
        let before = place.untouched();
        let ran = place.run_shipped("resize-database-volume", &[]);
        assert_eq!(ran.code, Some(code), "{policy}\n{}", ran.stderr);
        assert_eq!(place.facts() == before, code == 2, "{policy}");
    }
}

/// Taking back needs no grant: an environment that lets an effect be made need not allow what its
/// undo calls.
#[test]
fn what_only_the_undo_calls_need_not_be_allowed() {
    let cases = [
        ("ebs", "detach", "wait-volume", "detach-volume", "volume = 'vol-db-main', "),
        ("ec2", "stop", "wait-state", "stop-instance", ""),
    ];
    for (interface, function, wait, step, volume) in cases {
        let place = Place::new();
        let allow = format!(
            "allow = [{{ ebs = \"read\" }}, {{ ec2 = \"read\" }}, {{ ebs = \"create-snapshot\" }}, \
             {{ {interface} = [\"{function}\", \"{wait}\"] }}]"
        );
        configure(&place, &allow);
        let before = place.untouched();
        let manifest = place.write(
            "op.toml",
            format!(
                "schema = 1\n[operation]\nname = \"two\"\n[[steps]]\nid = \"first\"\n\
                 uses = \"{interface}/{step}\"\nwith = {{ {volume}instance = 'i-db-1' }}\n\
                 [[steps]]\nid = \"fails\"\nneeds = [\"first\"]\n\
                 uses = \"ebs/create-snapshot\"\nwith = {{ volume = 'vol-free' }}\n"
            ),
        );
        let ran = place.run(&["run", &manifest, "--inject", "ebs.create-snapshot=refuse"]);
        ran.exits(3).says("verdict: restored");
        assert_eq!(place.facts(), before, "{step}");
    }
}

/// A command is no place for a secret where the step does not say so, and everything that is
/// needed to tell is in the manifest.
#[test]
fn a_secret_in_a_command_is_refused_before_anything_stops() {
    let place = Place::new();
    configure(&place, "");
    let before = place.untouched();
    let dump = "command = ['sh', '-c', 'dump {{ inputs.password }}']";
    let late = "command = ['sh', '-c', 'dump {{ steps.made.id }} {{ inputs.password }}']";
    for (uses, with) in [
        ("docker/run-once", format!("host = 'i-db-1', image = 'postgres:16', {dump}")),
        ("docker/exec", format!("host = 'i-db-1', container = 'main', {dump}")),
        ("docker/exec", format!("host = 'i-db-1', container = '{{{{ steps.made.id }}}}', {dump}")),
        ("docker/exec", format!("host = 'i-db-1', container = 'main', {late}")),
    ] {
        let manifest = |reveal: &str| {
            format!(
                "schema = 1\n[operation]\nname = \"dump\"\n[inputs]\n\
                 password = {{ type = \"secret\" }}\n[[steps]]\nid = \"made\"\n\
                 uses = \"ebs/create-volume\"\nwith = {{ size_gib = 8, zone = 'us-east-1a' }}\n\
                 [[steps]]\nid = \"dump\"\nneeds = [\"made\"]\nuses = \"{uses}\"\n\
                 irreversible = \"it runs a command\"\n{reveal}with = {{ {with} }}\n"
            )
        };
        let path = place.write("dump.toml", manifest(""));
        for verb in ["plan", "run"] {
            let ran = Ran::of(
                place.command(&[verb, &path, "-i", "password=env:PW"]).env("PW", "This is a test"),
            );
            ran.exits(2).says("the secret `password`").lacks("This is");
            assert_eq!(place.facts(), before, "{verb} {with}");
        }
        let path = place.write("dump.toml", manifest("reveal = [\"command\"]\n"));
        let ran = Ran::of(
            place.command(&["plan", &path, "-i", "password=env:PW"]).env("PW", "This is a test"),
        );
        ran.exits(0);
    }
}
