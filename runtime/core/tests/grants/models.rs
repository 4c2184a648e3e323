//! What a container has that it is made like, and whose data a mount is.

use super::{World, call, denied};
use serde_json::{Value, json};
use stepback_core::Facts;
use stepback_core::grants::{Asked, Grants, Known, Permit, read};

fn world() -> Known {
    let teams = [("i-db-1", "db"), ("i-web-1", "web"), ("vol-1", "db"), ("vol-2", "web")];
    World { teams: teams.map(|(id, team)| (id.to_owned(), team)).into() }.known()
}

fn volume(kind: &str, device: &str, o: &str) -> Value {
    let options = json!({ "type": kind, "device": device, "o": o });
    json!({ "host": "i-web-1", "volume": "x", "options": options })
}

const DEVICE: &str = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol";

/// However a device is mounted, it is that of its volume; and one of which nobody can tell may be
/// of any.
#[test]
fn a_device_is_that_of_its_volume_however_it_is_mounted() {
    let mut known = world();
    for (device, id) in [("1", "vol-1"), ("2", "vol-2")] {
        known.devices.insert(format!("{DEVICE}{device}"), id.to_owned());
    }
    let deny = json!({ "docker": "all", "where": { "tags": { "team": "db" } } });
    for (kind, device, o, wanted) in [
        ("ext4", format!("{DEVICE}1"), "", true),
        ("ext4", format!("{DEVICE}1"), "errors=panic", true),
        ("vfat", format!("{DEVICE}1"), "", true),
        ("ext4", format!("{DEVICE}2"), "", false),
        // Who knows what else it brings along.
        ("ext4", format!("{DEVICE}2"), "errors=panic", true),
        ("btrfs", format!("{DEVICE}2"), "device=/dev/nvme1n1", true),
        ("overlay", "overlay".to_owned(), "lowerdir=/srv/a:/srv/b", true),
        ("none", "srv/a".to_owned(), "bind", true),
        ("ext4", "***".to_owned(), "", true),
        ("tmpfs", "/srv/a".to_owned(), "bind", true),
        ("cifs", "//10.0.0.1/share".to_owned(), "addr=10.0.0.1", false),
        ("ext4", "/dev/sdf".to_owned(), "", true),
        ("ext4", format!("/dev/disk/by-id/../by-id/x{DEVICE}1"), "", true),
        ("none", "/".to_owned(), "bind", true),
        ("nfs", ":/share".to_owned(), "addr=10.0.0.1", false),
        ("tmpfs", "tmpfs".to_owned(), "", false),
    ] {
        let (call, _) = call("docker.create-volume", &volume(kind, &device, o));
        // On an instance that is not the team's.
        assert_eq!(denied(deny.clone(), &call, &known), wanted, "{kind} {device} {o}");
        let grant = json!({ "docker": "root", "where": { "tags": { "team": "web" } } });
        let grants: Grants = read(&grant).expect("a grant").into_iter().collect();
        let may = grants.permit(&Asked::of(&call), &known) == Permit::Allowed;
        assert_eq!(may, !wanted, "{kind} {device} {o}");
    }
}

/// A command reaches all that its container has: whose volume that mounts, too.
#[test]
fn a_command_reaches_what_its_container_mounts() {
    let known = {
        let mut known = world();
        known.devices.insert(format!("{DEVICE}1"), "vol-1".to_owned());
        known
    };
    let exec = |container: &str| {
        let of = json!({ "host": "i-web-1", "container": container, "command": ["true"],
                         "timeout_ms": 1 });
        call("docker.exec", &of).0
    };
    let of_db = json!({ "docker": ["exec"], "where": { "tags": { "team": "db" } } });
    let root = json!({ "docker": "root" });
    for (container, by_team, by_root) in
        [("main", true, false), ("bound", true, true), ("plain", false, false)]
    {
        assert_eq!(denied(of_db.clone(), &exec(container), &known), by_team, "{container}");
        assert_eq!(denied(root.clone(), &exec(container), &known), by_root, "{container}");
    }
}

/// A container that is like another one runs that one's entrypoint before its command.
#[test]
fn what_a_model_runs_counts_as_a_command() {
    let model = |entrypoint: &[&str], health: Value| {
        let mut known = world();
        let config = json!({ "Entrypoint": entrypoint, "Healthcheck": { "Test": health } });
        let facts = json!({ "image": "a:1", "command": ["true"], "config": config, "mounts": [] });
        let at = ("i-web-1".to_owned(), "old".to_owned());
        known.containers.insert(at, Facts::from_json(facts));
        known
    };
    let (shell, plain) = (model(&["/bin/sh"], json!([])), model(&["docker-entry.sh"], json!([])));
    let (script, eval) =
        (model(&["/bin/mksh", "-c"], json!([])), model(&["perl", "-e"], json!([])));
    let checked = model(&[], json!(["CMD-SHELL", "wipe"]));
    // What is not understood may be it.
    let odd = model(&[], json!(["CMD-NEW", "wipe"]));
    let like = |command: &[&str]| {
        let like = json!({ "host": "i-web-1", "container": "old" });
        let spec = json!({ "like": like, "command": command });
        let new = json!({ "host": "i-web-1", "container": "new", "spec": spec });
        call("docker.create-container", &new).0
    };
    for (known, command, pattern, wanted) in [
        (&shell, &["-c", "wipe"][..], "/bin/sh -c *", true),
        (&shell, &["-c", "wipe"], "/bin/sh *", true),
        (&shell, &["-c", "wipe"], "-c *", true),
        (&shell, &["-c", "wipe"], "/bin/ash *", false),
        (&shell, &[], "/bin/sh true", true),
        (&shell, &[], "true", true),
        (&shell, &["wipe"], "true", false),
        (&plain, &["wipe"], "wipe", true),
        (&checked, &[], "/bin/sh *", true),
        (&checked, &[], "wipe", false),
        (&odd, &[], "other", true),
    ] {
        let deny = json!({ "docker": "all", "commands": [pattern] });
        assert_eq!(denied(deny, &like(command), known), wanted, "{command:?} {pattern}");
    }
    for (known, pattern, wanted) in [
        (&plain, "echo *", true),
        // A shell takes the first word for a script.
        (&script, "echo *", false),
        (&script, "/bin/mksh -c echo *", false),
        (&script, "*", true),
        (&eval, "echo *", false),
    ] {
        let grant = json!({ "docker": "all", "commands": [pattern] });
        let grants: Grants = read(&grant).expect("a grant").into_iter().collect();
        let asked = like(&["echo", "hi"]);
        let may = grants.permit(&Asked::of(&asked), known) == Permit::Allowed;
        assert_eq!(may, wanted, "{pattern}");
    }
}
