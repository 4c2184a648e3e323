//! A rule of the environment, or a narrow grant, is about what the world has: whether a secret's
//! value is in it makes no difference to what it lets through, and none of it is in a refusal.

use crate::narrowed::{Granted, inline};
use serde_json::{Value, json};
use std::fs;

/// The operation's second step has the secret, so that what stands for it is known.
fn guarded(granted: &Granted, secret: &str, calls: &Value) -> String {
    granted.0.write("pw", secret);
    granted.0.write(
        "op.toml",
        format!(
            "schema = 1\n[operation]\nname = \"rules\"\n[inputs]\npw = {{ type = \"secret\" }}\n\
             [[steps]]\nid = \"one\"\nuses = \"a/attack\"\nwith = {{ run = {} }}\n[[steps]]\n\
             id = \"has\"\nneeds = [\"one\"]\nuses = \"docker/create-container\"\n\
             with = {{ host = \"i-db-1\", container = \"new\", image = \"postgres:16\", \
             env = {{ PW = \"{{{{ inputs.pw }}}}\" }} }}\n",
            inline(calls)
        ),
    )
}

#[test]
fn what_is_denied_is_denied_whatever_a_secret_says() {
    let root = "\"ebs\", \"ec2\", { docker = \"root\" }";
    let stop = json!([{ "call": "stop-container", "host": "i-db-1", "container": "main" }]);
    let tag = json!([{ "call": "tag", "volume": "vol-web", "key": "k", "value": "v" }]);
    let command = json!([{ "call": "container", "host": "i-db-1", "container": "c",
        "image": "postgres:16", "command": ["psql", "-c", "drop"] }]);
    let variable = json!([{ "call": "container", "host": "i-db-1", "container": "c",
        "image": "postgres:16", "hidden_env": [["LD_PRELOAD", "/x.so"]] }]);
    let untag = json!([{ "call": "untag", "volume": "vol-web", "key": "team" }]);
    let of_web = "{ ebs = \"all\", where = { tags = { team = \"web\" } } }";
    for (deny, calls, named) in [
        ("{ docker = [\"stop-container\"], containers = [\"main\"] }", &stop, "main"),
        (of_web, &tag, "web-"),
        (of_web, &tag, "vol-web"),
        (of_web, &untag, "team"),
        ("{ docker = \"all\", commands = [\"psql *\"] }", &command, "psql"),
        ("{ docker = \"all\", env = [\"LD_PRELOAD\"] }", &variable, "LD_PRELOAD"),
    ] {
        for secret in ["another-secret", named] {
            let granted = Granted::new(root, &format!("deny = [{deny}]"));
            let manifest = guarded(&granted, secret, calls);
            let ran = granted.0.run(&["run", &manifest, "-i", "pw=file:pw"]).exits(3);
            ran.says("the environment does not permit").says("verdict: restored");
        }
    }
}

#[test]
fn no_grant_is_widened_by_what_a_secret_says() {
    let device = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_voldbmain";
    let options = json!({ "type": "ext4", "device": device, "o": "commit=5,bind" });
    let calls = json!([{ "call": "volume", "host": "i-db-1", "volume": "vv", "options": options }]);
    for secret in ["another-secret", "5,bind"] {
        let granted = Granted::new("\"ebs\", \"ec2\", \"docker\"", "");
        let manifest = guarded(&granted, secret, &calls);
        let ran = granted.0.run(&["run", &manifest, "-i", "pw=file:pw"]).exits(3);
        ran.says("docker.create-volume is not granted to `a`: ");
    }
}

/// A refusal quotes what was read of the world, and is kept in the journal.
#[test]
fn a_refusal_quotes_no_secret() {
    let secret = "Zq9-secretVal";
    let granted = Granted::new("\"ebs\", \"ec2\", \"docker\"", "");
    let world = fs::read_to_string(granted.0.path("world.toml")).expect("a world");
    granted.0.write(
        "world.toml",
        format!(
            "{world}\n[engines.i-db-1.containers.theirs]\n\
             digest = \"sha256:1600000000000000000000000000000000000000000000000000000000000000\"\n\
             spec = {{ image = \"postgres:16\" }}\n\
             config = {{ Binds = [\"/srv/tenant-{secret}/data:/x\"] }}\n"
        ),
    );
    let calls = json!([{ "call": "container", "host": "i-db-1", "container": "c",
        "like": "theirs" }]);
    let manifest = guarded(&granted, secret, &calls);
    let ran = granted.0.run(&["run", &manifest, "-i", "pw=file:pw"]).exits(3);
    ran.says("container `theirs` sees the host's `/srv/tenant-<secret pw>/data`").lacks(secret);
    for file in ["journal.db", "journal.db-wal"] {
        let bytes = fs::read(granted.0.path("state").join(file)).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&bytes).contains(secret), "{file}");
    }
    let like = granted.0.write(
        "like.toml",
        "schema = 1\n[operation]\nname = \"like\"\n[inputs]\npw = { type = \"secret\" }\n\
         [[steps]]\nid = \"c\"\nuses = \"docker/create-container\"\nwith = { host = \"i-db-1\", \
         container = \"c\", like = { host = \"i-db-1\", container = \"theirs\" }, \
         env = { PW = \"{{ inputs.pw }}\" } }\n",
    );
    granted.0.run(&["plan", &like, "-i", "pw=file:pw"]).lacks(secret);
}

/// What a volume of somebody else is mounted with may be a password.
#[test]
fn a_refusal_tells_no_password_of_a_volumes_options() {
    let world = |granted: &Granted| {
        let demo = fs::read_to_string(granted.0.path("world.toml")).expect("a world");
        let nas = "[engines.i-db-1.volumes.nas]\noptions = { type = \"ext4\", \
                   device = \"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_voldbmain\", \
                   o = \"password=hunter2,username=u\" }\n";
        granted.0.write("world.toml", format!("{demo}\n{nas}"));
    };
    let granted = Granted::new("\"ebs\", \"ec2\", \"docker\"", "");
    world(&granted);
    let mount = json!([{ "call": "container", "host": "i-db-1", "container": "c",
        "image": "postgres:16", "volume": "nas" }]);
    let manifest = granted.manifest(&[mount], false);
    let ran = granted.0.run(&["run", &manifest]).exits(3);
    ran.says("has the mount option `password=***`").lacks("hunter2");
}

/// How much there is of what a plugin may not have is none of its business.
#[test]
fn an_answer_is_measured_after_it_was_cut_to_the_grant() {
    let grants = "\"ebs\", \"ec2\", { docker = \"read\", containers = [\"main\"] }";
    let granted = Granted::new(grants, "");
    let demo = fs::read_to_string(granted.0.path("world.toml")).expect("a world");
    let other = |n: usize| {
        format!(
            "\n[engines.i-db-1.containers.other-{n}-{}]\n\
             digest = \"sha256:1600000000000000000000000000000000000000000000000000000000000000\"\n\
             spec = {{ image = \"postgres:16\" }}\n",
            "x".repeat(200)
        )
    };
    let others: String = (0..2_500).map(other).collect();
    granted.0.write("world.toml", format!("{demo}\n{others}"));
    let list = json!([{ "call": "list", "host": "i-db-1" }]);
    let manifest = granted.manifest(&[list], false);
    granted.0.run(&["run", &manifest]).exits(0);
}

/// What is cut, or written otherwise, where a refusal quotes a command has no secret in it before.
#[test]
fn a_refusal_cuts_no_secret_in_two() {
    let psql = "/usr/local/bin/psql-client-16 ";
    for (secret, before) in [
        ("Tr0ub4dor-and-3-correct-horses", psql),
        ("it's-a-Secret-0f-mine", ""),
        ("pw-\u{200b}zero-width-x", ""),
    ] {
        let allow = "allow = [{ docker = \"all\", commands = [\"pg_dump *\"] }]";
        let granted = Granted::new("\"ebs\"", allow);
        granted.0.write("pw", secret);
        let manifest = granted.0.write(
            "op.toml",
            format!(
                "schema = 1\n[operation]\nname = \"cut\"\n[inputs]\npw = {{ type = \"secret\" }}\n\
                 [[steps]]\nid = \"runs\"\nuses = \"docker/exec\"\nirreversible = \"a test\"\n\
                 reveal = [\"command\"]\n\
                 with = {{ host = \"i-db-1\", container = \"main\", \
                 command = [\"{before}--password={{{{ inputs.pw }}}}\"] }}\n"
            ),
        );
        for verb in ["plan", "run"] {
            let told = granted.0.run(&[verb, &manifest, "-i", "pw=file:pw"]).exits(2);
            let all = [told.stdout, told.stderr].concat();
            assert!(all.contains("is none of them"), "{all}");
            assert!(all.contains("--password=<secret p"), "{all}");
            for piece in ["Tr0ub4", "Secret-0f", "zero-width"] {
                assert!(!all.contains(piece), "{all}");
            }
        }
    }
}

/// What is masked where a volume is shown is masked in a snapshot of its world.
#[test]
fn a_snapshot_tells_no_password_of_a_volumes_options() {
    let granted = Granted::new("\"ebs\"", "");
    let demo = fs::read_to_string(granted.0.path("world.toml")).expect("a world");
    let nas = "[engines.i-db-1.volumes.nas]\noptions = { type = \"cifs\", \
               device = \"//ann:pa/hunter2@nas/x\", o = \"password=hunter2,username=u\" }\n";
    granted.0.write("world.toml", format!("{demo}\n{nas}"));
    granted.0.run(&["env", "snapshot"]).exits(0).says("password=***").lacks("hunter2");
}
