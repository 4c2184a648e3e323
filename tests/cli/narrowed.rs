//! What a grant lets a plugin do where: a plugin that was written to do harm makes each call that
//! its grant should keep it from.

use crate::harness::{Place, Ran, component, operation};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;

/// What the world begins as, beside the demo world: another team's volume, and containers that
/// reach their host.
const MORE: &str = r#"
[volumes.vol-web]
size_gib = 8
type = "gp3"
zone = "us-east-1a"
tags = { team = "web" }
attachments = [{ instance = "i-db-1", device = "/dev/sdg" }]
[engines.i-db-1.volumes.of-the-host.options]
type = "none"
o = "bind"
device = "/etc"
[engines.i-db-1.volumes.of-web.options]
type = "ext4"
device = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_volweb"
[engines.i-db-1.containers.sees-etc]
digest = "sha256:1600000000000000000000000000000000000000000000000000000000000000"
spec = { image = "postgres:16", mounts = [{ volume = "of-the-host", target = "/e" }] }
[engines.i-db-1.containers.privileged]
digest = "sha256:1600000000000000000000000000000000000000000000000000000000000000"
spec = { image = "postgres:16" }
config = { Privileged = true }
[engines.i-db-1.containers.of-the-host]
digest = "sha256:1600000000000000000000000000000000000000000000000000000000000000"
spec = { image = "postgres:16" }
config = { PidMode = "host" }
"#;

/// A place whose environment is that world, with the plugin and what it is granted.
pub struct Granted(pub Place);

impl Granted {
    pub fn new(grants: &str, environment: &str) -> Self {
        let place = Place::new();
        fs::copy(component("attack"), place.path("a.wasm")).expect("the build made it");
        let demo = include_str!("../../operations/demo-world.toml");
        place.write("world.toml", format!("{demo}\n{MORE}"));
        let it = Self(place);
        it.grant(grants, environment);
        it
    }

    /// Write the configuration, with other grants than before perhaps.
    pub fn grant(&self, grants: &str, environment: &str) {
        self.0.write(
            "stepback.toml",
            format!(
                "default_environment = \"test\"\n[environments.test]\nprovider = \"simulated\"\n\
                 world = \"world.toml\"\n{environment}\n\
                 [plugins.a]\npath = \"a.wasm\"\ngrants = [{grants}]\n"
            ),
        );
    }

    /// A manifest whose steps make calls, one list a step.
    pub fn manifest(&self, steps: &[Value], irreversible: bool) -> String {
        let mut text = "schema = 1\n[operation]\nname = \"attack\"\n".to_owned();
        for (number, calls) in steps.iter().enumerate() {
            let (step, declared) = match irreversible {
                true => ("attack-for-good", "irreversible = \"a test\"\n"),
                false => ("attack", ""),
            };
            text.push_str(&format!(
                "[[steps]]\nid = \"s{number}\"\nuses = \"a/{step}\"\n{declared}\
                 with = {{ run = {} }}\n",
                inline(calls)
            ));
        }
        self.0.write("op.toml", text)
    }

    fn makes(&self, calls: Value) -> Ran {
        let manifest = self.manifest(&[calls], true);
        self.0.run(&["run", &manifest, "--json"])
    }

    /// The output of the step that made the calls.
    fn gives(&self, calls: Value) -> Value {
        self.makes(calls).exits(0);
        let id = self.0.run(&["list", "--json"]).json()[0]["id"].as_u64().expect("an id");
        self.0.show(id)["steps"][0]["output"].clone()
    }

    pub fn world(&self) -> Value {
        let path = self.0.path("state/worlds/test/world.json");
        serde_json::from_str(&fs::read_to_string(path).expect("a world")).expect("JSON")
    }
}

/// JSON as an inline value of TOML.
pub fn inline(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let fields = map.iter().map(|(key, value)| format!("{key:?} = {}", inline(value)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(list) => {
            format!("[{}]", list.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn docker(call: &str, more: Value) -> Value {
    let mut one = json!({ "call": call, "host": "i-db-1" });
    for (key, value) in more.as_object().expect("a table") {
        one[key] = value.clone();
    }
    json!([one])
}

/// As it was found: a Docker volume of the host's `/`, and a container on it.
#[test]
fn no_container_reaches_its_host_without_root_in_the_grant() {
    let bind = json!({ "type": "none", "o": "bind", "device": "/" });
    let of_web = json!({ "type": "ext4", "device":
        "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_volweb" });
    let of_db = json!({ "type": "ext4", "device":
        "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_voldbmain" });
    let image = "postgres:16";
    let table = [
        ("volume", json!({ "volume": "new", "options": bind }), Some("no EBS volume's device")),
        ("volume", json!({ "volume": "new", "options": of_web }), Some("`where`")),
        ("volume", json!({ "volume": "new", "options": of_db }), None),
        ("volume", json!({ "volume": "new", "options": {} }), None),
        ("container", json!({ "container": "new", "like": "privileged" }), Some("is privileged")),
        ("container", json!({ "container": "new", "like": "of-the-host" }), Some("processes")),
        ("container", json!({ "container": "new", "like": "sees-etc" }), Some("`of-the-host`")),
        (
            "container",
            json!({ "container": "new", "image": image, "volume": "of-the-host" }),
            Some("`of-the-host`"),
        ),
        (
            "container",
            json!({ "container": "new", "image": image, "volume": "of-web" }),
            Some("`where`"),
        ),
        ("container", json!({ "container": "new", "image": image, "volume": "vol-db-main" }), None),
        ("container", json!({ "container": "new", "like": "main" }), None),
        ("container", json!({ "container": "new", "image": "busybox:1.36" }), Some("`images`")),
        (
            "container",
            json!({ "container": "new", "image": image, "command": ["sh", "-c", "id"] }),
            Some("`commands`"),
        ),
        ("exec", json!({ "container": "main", "command": ["sh"] }), Some("`commands`")),
        ("exec", json!({ "container": "main", "command": ["psql", "-c", "x"] }), None),
        ("exec", json!({ "container": "privileged", "command": ["psql"] }), Some("privileged")),
        ("run-once", json!({ "image": image, "command": ["sh"] }), Some("`commands`")),
    ];
    for (call, more, refused) in table {
        // The instance carries the tag as well, by which the volume is covered.
        let granted = Granted::new(
            "{ docker = \"all\", where = { tags = { database = \"main\" } }, \
             images = [\"postgres:*\"], commands = [\"psql *\"], docker_volumes = [\"*\"] }, \
             \"ebs\", \"ec2\"",
            "",
        );
        let world = fs::read_to_string(granted.0.path("world.toml")).expect("a world");
        let tagged = world.replacen("{ Name = \"db-1\" }", "{ database = \"main\" }", 1);
        granted.0.write("world.toml", tagged);
        let ran = granted.makes(docker(call, more.clone()));
        match refused {
            None => drop(ran.exits(0)),
            Some(why) => {
                let restored = ran.says(why).says("denied").exits(3);
                restored.lacks("\"event\":\"call-started\"");
            }
        }
    }
}

#[test]
fn root_must_be_spelled_out() {
    let bind =
        json!({ "volume": "new", "options": { "type": "none", "o": "bind", "device": "/" } });
    for (grants, code) in [("\"docker\"", 3), ("{ docker = \"root\" }", 0)] {
        let granted = Granted::new(&format!("{grants}, \"ebs\", \"ec2\""), "");
        granted.makes(docker("volume", bind.clone())).exits(code);
    }
    // An interface's plain name is everything else of it.
    let granted = Granted::new("\"docker\", \"ebs\", \"ec2\"", "");
    granted.makes(docker("start", json!({ "container": "privileged" }))).exits(0);
    granted.makes(docker("container", json!({ "container": "new", "like": "main" }))).exits(0);
}

#[test]
fn a_plugin_touches_and_sees_only_what_has_the_tags() {
    let granted = Granted::new(
        "{ ebs = [\"describe\", \"find\", \"tag\", \"untag\", \"create-snapshot\"], \
         where = { tags = { team = \"web\" } } }, \"docker\", \"ec2\"",
        "",
    );
    let one = |call: &str, more: Value| {
        let mut one = docker(call, more);
        one[0].as_object_mut().expect("a table").remove("host");
        one
    };
    let refused = [
        one("describe", json!({ "volume": "vol-db-main" })),
        one("describe", json!({ "volume": "vol-nowhere" })),
        one("tag", json!({ "volume": "vol-db-main", "key": "team", "value": "web" })),
        one("tag", json!({ "volume": "vol-web", "key": "team", "value": "db" })),
        one("untag", json!({ "volume": "vol-web", "key": "team" })),
        one("snapshot", json!({ "volume": "vol-db-main", "tags": { "team": "web" } })),
        one("snapshot", json!({ "volume": "vol-web", "tags": { "team": "db" } })),
    ];
    for calls in refused {
        granted.makes(calls).exits(3).says("`where` of the grant");
    }
    let found = granted.gives(one("find", json!({ "tags": {} })));
    assert_eq!(found, json!([["vol-web"]]));
    let journal = rusqlite::Connection::open(granted.0.path("state/journal.db")).expect("a store");
    let count = "SELECT count(*) FROM events WHERE record LIKE '%ebs.find%' \
                 AND record LIKE '%vol-db-main%'";
    let told: u32 = journal.query_row(count, [], |row| row.get(0)).expect("a count");
    assert_eq!(told, 0, "what is not covered is not journaled");
    granted.makes(one("tag", json!({ "volume": "vol-web", "key": "a", "value": "b" }))).exits(0);
    granted
        .makes(one("snapshot", json!({ "volume": "vol-web", "tags": { "team": "web" } })))
        .exits(0);
}

#[test]
fn hosts_and_containers_are_those_of_the_grant() {
    let granted = Granted::new(
        "{ docker = [\"inspect-*\", \"list-containers\", \"start-container\"], \
         hosts = [\"db-1\"], containers = [\"main\"] }, \"ebs\", \"ec2\"",
        "",
    );
    let other = json!([{ "call": "inspect", "host": "i-db-2", "container": "main" }]);
    granted.makes(other).exits(3).says("`hosts` of the grant");
    let other = docker("inspect", json!({ "container": "privileged" }));
    granted.makes(other).exits(3).says("`containers` of the grant");
    granted.makes(docker("container", json!({ "container": "main" }))).exits(3).says("functions");
    // By its tag `Name`, too.
    let seen = granted.gives(docker("inspect", json!({ "container": "main" })));
    assert_eq!(seen, json!([true]));
    assert_eq!(granted.gives(docker("list", json!({}))), json!([["main"]]));
}

#[test]
fn an_environment_binds_everybody() {
    let stops = "schema = 1\n[operation]\nname = \"stop\"\n[[steps]]\nid = \"stop\"\n\
                 uses = \"docker/stop-container\"\n\
                 with = { host = \"i-db-1\", container = \"main\" }\n";
    for (environment, code) in [
        ("", 0),
        ("deny = [{ docker = [\"stop-container\"], containers = [\"main\"] }]", 2),
        ("deny = [{ docker = [\"stop-container\"], containers = [\"other\"] }]", 0),
        ("allow = [\"ebs\", \"ec2\"]", 2),
        ("allow = [{ docker = \"all\", hosts = [\"i-db-*\"] }]", 0),
    ] {
        let granted = Granted::new("\"ebs\"", environment);
        let manifest = granted.0.write("stop.toml", stops);
        let ran = granted.0.run(&["run", &manifest]).exits(code);
        if code != 0 {
            ran.says("the environment does not permit docker.stop-container: it is ");
            assert_eq!(granted.world()["engines"]["i-db-1"]["containers"]["main"]["running"], true);
        }
    }
}

/// The policy that the documents give as an example is one that the shipped operations live under:
/// what a step makes only when it runs is not known ahead, and denied to nobody for that.
#[test]
fn the_shipped_operations_run_under_the_policy_of_the_documents() {
    let docs = include_str!("../../docs/plugins.md");
    let (_, deny) = docs.split_once("\ndeny = [\n").expect("an example");
    let (deny, _) = deny.split_once("\n]").expect("its end");
    let deny = format!("deny = [{deny}]");
    let allow = "allow = [{ ec2 = \"all\" }, { ebs = \"all\" }, { docker = \"all\", \
                 images = [\"*\"], env = [\"*\"], commands = [\"*\"], docker_volumes = [\"*\"] }]";
    for policy in [deny.as_str(), allow] {
        for (name, inputs) in [
            ("backup-database", &[][..]),
            ("provision-database", &["instance=i-db-2"]),
            ("redeploy-database", &[]),
            ("resize-database-volume", &[]),
            ("restart-database", &[]),
            ("deprovision-database", &["database=main", "confirm=main"]),
        ] {
            let granted = Granted::new("\"ebs\"", policy);
            let path = operation(name);
            let inputs = inputs.iter().flat_map(|input| ["-i", input]);
            let arguments: Vec<&str> = ["plan", path.as_str()].into_iter().chain(inputs).collect();
            granted.0.run(&arguments).exits(0);
        }
    }
}

const FOUR: &str = "{ ebs = [\"describe\", \"tag\"], where = { tags = { team = \"web\" } } }";

/// An operation that was killed at its second step's tag.
fn killed(fault: &str) -> Granted {
    let granted = Granted::new(&format!("{FOUR}, \"docker\", \"ec2\""), "");
    let tag =
        |key: &str| json!([{ "call": "tag", "volume": "vol-web", "key": key, "value": "yes" }]);
    let manifest = granted.manifest(&[tag("one"), tag("two"), tag("three")], false);
    let ran = granted.0.run(&["run", &manifest, "--inject", fault]);
    assert_eq!(ran.code, None, "it was killed: {}", ran.stderr);
    granted
}

#[test]
fn a_grant_that_was_narrowed_meanwhile_ends_what_goes_forward_and_not_the_rollback() {
    for fault in ["ebs.tag#2=crash-after", "ebs.tag#2=crash-before"] {
        for narrowed in [
            "{ ebs = [\"describe\"] }, \"docker\", \"ec2\"",
            "\"docker\", \"ec2\"",
            "{ ebs = \"all\", where = { tags = { team = \"db\" } } }, \"docker\", \"ec2\"",
        ] {
            let granted = killed(fault);
            granted.grant(narrowed, "");
            let ran = granted.0.run(&["resume", "1"]).exits(3);
            ran.says("ebs.tag was granted to `a` when the operation began, and is not any");
            let tags = granted.world()["volumes"]["vol-web"]["tags"].clone();
            assert_eq!(tags, json!({ "team": "web" }), "{fault} {narrowed}");
            assert_eq!(granted.0.show(1)["verdict"], "restored");
        }
    }
}

/// A journal of before the file of a plugin was told: its table alone says what is granted by now.
#[test]
fn a_table_that_is_gone_takes_its_grants_with_it() {
    let granted = killed("ebs.tag#2=crash-before");
    let store = rusqlite::Connection::open(granted.0.path("state/journal.db")).expect("a store");
    let older = "UPDATE events SET record = json_remove(record, '$.event.bounds') WHERE seq = 1";
    assert_eq!(store.execute(older, []).expect("it can be changed"), 1);
    drop(store);
    let text = fs::read_to_string(granted.0.path("stepback.toml")).expect("the configuration");
    let (environments, _) = text.split_once("[plugins.a]").expect("its table");
    granted.0.write("stepback.toml", environments);
    granted.0.run(&["resume", "1"]).exits(3).says("and is not any more");
    assert_eq!(granted.world()["volumes"]["vol-web"]["tags"], json!({ "team": "web" }));
}

/// What grants are for is which bytes they name: who takes those out takes the grants with them.
#[test]
fn bytes_that_are_trusted_no_more_go_no_further() {
    let other = "00".repeat(32);
    for change in ["sha256", "stepback.lock"] {
        let granted = killed("ebs.tag#2=crash-before");
        match change {
            "sha256" => {
                let path = granted.0.path("stepback.toml");
                let text = fs::read_to_string(path).expect("the configuration");
                let text = text.replace("path = ", &format!("sha256 = {other:?}\npath = "));
                granted.0.write("stepback.toml", text);
            }
            _ => {
                let path = granted.0.path("stepback.lock");
                let text = fs::read_to_string(path).expect("what is trusted");
                let digest = hex::encode(Sha256::digest(
                    fs::read(granted.0.path("a.wasm")).expect("its bytes"),
                ));
                assert!(text.contains(&digest), "{text}");
                granted.0.write("stepback.lock", text.replace(&digest, &other));
            }
        }
        granted.0.run(&["resume", "1"]).exits(3).says("and is not any more");
        assert_eq!(granted.world()["volumes"]["vol-web"]["tags"], json!({ "team": "web" }));
    }
}

/// What was granted goes on to be granted, whatever has become of the file.
#[test]
fn a_file_that_is_gone_takes_no_grant_with_it() {
    let granted = killed("ebs.tag#2=crash-after");
    fs::remove_file(granted.0.path("a.wasm")).expect("it was there");
    granted.0.run(&["resume", "1"]).exits(0);
}

#[test]
fn a_policy_that_came_meanwhile_does_not_keep_a_rollback_either() {
    let granted = killed("ebs.tag#2=crash-after");
    granted.grant(&format!("{FOUR}, \"docker\", \"ec2\""), "deny = [\"ebs\"]");
    let ran = granted.0.run(&["resume", "1"]).exits(3).says("it is denied there");
    ran.says("the environment permitted ebs.tag when the operation began, and does not any more");
    assert_eq!(granted.world()["volumes"]["vol-web"]["tags"], json!({ "team": "web" }));
}

#[test]
fn what_is_granted_since_is_not_granted_to_what_has_begun() {
    let granted = killed("ebs.tag#2=crash-after");
    granted.grant("\"ebs\", \"docker\", \"ec2\"", "");
    granted.0.run(&["resume", "1"]).exits(0);
    let other = Granted::new(&format!("{FOUR}, \"docker\", \"ec2\""), "");
    let tag = |volume: &str| json!([{ "call": "tag", "volume": volume, "key": "k", "value": "v" }]);
    let manifest = other.manifest(&[tag("vol-web"), tag("vol-db-main")], false);
    let ran = other.0.run(&["run", &manifest, "--inject", "ebs.tag=crash-after"]);
    assert_eq!(ran.code, None, "it was killed: {}", ran.stderr);
    other.grant("\"ebs\", \"docker\", \"ec2\"", "");
    other.0.run(&["resume", "1"]).exits(3).says("`where` of the grant");
}

#[test]
fn mistakes_of_grants_are_shown_at_their_places() {
    for (grants, place, help) in [
        ("\"ebs\", { ebs = [\"describ\"] }", "8:28", "did you mean `describe`?"),
        ("{ ebs = \"read\", wher = {} }", "8:27", "did you mean `where`?"),
        ("{ ebs = \"root\" }", "8:20", "docker = \"root\""),
    ] {
        let granted = Granted::new(grants, "");
        granted.0.run(&["list"]).exits(2).says(&format!("stepback.toml:{place}")).says(help);
    }
    let granted = Granted::new("\"ebs\"", "deny = [{ docker = [\"stop\"] }]");
    granted.0.run(&["list"]).exits(2).says("`docker` has no function `stop`");
}

#[test]
fn other_bytes_than_those_that_were_granted_to_are_not_run() {
    let granted = Granted::new("\"ebs\", \"docker\", \"ec2\"", "");
    let manifest = granted.manifest(&[json!([])], false);
    let told = granted.0.run(&["plugin", "inspect", "a", "--json"]).exits(0).json();
    let digest = told["digest"].as_str().expect("a digest").to_owned();
    let path = granted.0.path("stepback.toml");
    let text = fs::read_to_string(&path).expect("the configuration");
    for (sha256, code) in [(digest, 0), ("0".repeat(64), 2), ("abc".to_owned(), 2)] {
        let text = text.replace("path =", &format!("sha256 = \"{sha256}\"\npath ="));
        fs::write(&path, text).expect("it is written");
        granted.0.run(&["run", &manifest]).exits(code);
    }
}

#[test]
fn a_table_may_be_granted_on_the_command_line() {
    let granted = Granted::new("", "");
    let tag = |volume: &str| json!([{ "call": "tag", "volume": volume, "key": "k", "value": "v" }]);
    let grant = format!("a=[{FOUR}, \"docker\", \"ec2\"]");
    for (volume, code) in [("vol-web", 0), ("vol-db-main", 3)] {
        let manifest = granted.manifest(&[tag(volume)], false);
        let ran = granted.0.run(&["run", &manifest, "--grant", &grant]).exits(code);
        ran.says("granted to a (sha256:").says("on what has the tags team = web");
    }
}

#[test]
fn a_plan_says_what_a_plugin_may_do_where_and_what_reaches_its_host() {
    let granted = Granted::new(
        &format!("{FOUR}, {{ docker = \"root\", hosts = [\"i-db-1\"] }}, {{ ec2 = \"read\" }}"),
        "deny = [{ ec2 = [\"terminate\"] }]",
    );
    let manifest = granted.manifest(&[json!([])], false);
    let words = [
        "ebs: describe, tag; on what has the tags team = web",
        "docker: everything, as root of the host; on the hosts i-db-1",
        "ec2: looking and waiting",
    ];
    let plan = granted.0.run(&["plan", &manifest]).exits(0).says("plugin `a` may");
    let plan = plan.says("in this environment nobody may").says("ec2: terminate");
    let inspected = granted.0.run(&["plugin", "inspect", "a"]).exits(0);
    words.iter().for_each(|word| drop(plan.clone().says(word)));
    words.iter().for_each(|word| drop(inspected.clone().says(word)));
    let told = granted.0.run(&["plan", &manifest, "--json"]).exits(0).json();
    assert_eq!(told["may"]["plugins"][0]["may"], json!(words));
    assert_eq!(told["may"]["deny"], json!(["ec2: terminate"]));
    // Those of the program may do it, and a plan says it.
    let make = |more: &str| {
        format!(
            "schema = 1\n[operation]\nname = \"make\"\n[[steps]]\nid = \"make\"\n\
             uses = \"docker/create-container\"\n\
             with = {{ host = \"i-db-1\", container = \"new\", image = \"postgres:16\", {more} }}\n"
        )
    };
    for (more, wanted) in [
        ("like = { host = \"i-db-1\", container = \"privileged\" }", Some("is privileged")),
        ("like = { host = \"i-db-1\", container = \"sees-etc\" }", Some("`/etc`")),
        ("mounts = [{ volume = \"of-the-host\", target = \"/e\" }]", Some("`/etc`")),
        ("like = { host = \"i-db-1\", container = \"main\" }", None),
    ] {
        let plan = granted.0.run(&["plan", &granted.0.write("make.toml", make(more))]).exits(0);
        match wanted {
            Some(wanted) => {
                let plan = plan.says("the new container of `make` reaches its host");
                plan.says(wanted).lacks("plugin `docker` may");
            }
            None => drop(plan.lacks("reaches its host")),
        }
    }
    // Nobody may, where the environment says so.
    let denied = Granted::new("", "deny = [{ docker = \"root\" }]");
    let more = "mounts = [{ volume = \"of-the-host\", target = \"/e\" }]";
    let make = denied.0.write("make.toml", make(more));
    denied.0.run(&["run", &make]).exits(2).says("it is denied there");
}
