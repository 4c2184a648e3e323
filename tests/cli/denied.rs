//! What an environment denies stays denied, whatever a plugin does first; and what can't be looked
//! at reaches its host as far as anybody knows.

use crate::harness::Ran;
use crate::narrowed::Granted;
use serde_json::{Value, json};

const EVERYTHING: &str = "\"ebs\", \"docker\", \"ec2\"";

/// Run a step that makes these calls.
fn makes(granted: &Granted, calls: Value, more: &[&str]) -> Ran {
    let manifest = granted.manifest(&[calls], true);
    granted.0.run(&[&["run", &manifest], more].concat())
}

/// As it was found: the tag is taken away first, and what was denied by it is done then.
#[test]
fn a_tag_that_something_is_denied_by_is_not_taken_away() {
    let untag = json!({ "call": "untag", "volume": "vol-web", "key": "team" });
    let tag = json!({ "call": "tag", "volume": "vol-web", "key": "team", "value": "db" });
    let other = json!({ "call": "tag", "volume": "vol-web", "key": "other", "value": "x" });
    let snapshot = json!({ "call": "snapshot", "volume": "vol-web", "tags": {} });
    let deny = "deny = [{ ebs = [\"create-snapshot\"], where = { tags = { team = \"web\" } } }]";
    for (first, says) in [
        (&untag, "the tag `team` of ebs:volume/vol-web, by which it is denied there"),
        (&tag, "the tag `team` of ebs:volume/vol-web, by which it is denied there"),
        (&other, "it is denied there"),
    ] {
        let granted = Granted::new(EVERYTHING, deny);
        let ran = makes(&granted, json!([first, snapshot]), &[]).exits(3).says(says);
        ran.says("verdict: restored");
    }
    // One of another interface, too.
    let deny = "deny = [{ docker = \"all\", where = { tags = { team = \"web\" } } }]";
    let granted = Granted::new(EVERYTHING, deny);
    makes(&granted, json!([untag]), &[]).exits(3).says("it would change the tag `team`");
    makes(&granted, json!([other]), &[]).exits(0);
}

/// Those two name another device of the host, beside the one that is mounted.
#[test]
fn no_mount_option_names_one_more_device_without_root() {
    let device = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_voldbmain";
    for (kind, words, code) in [
        ("xfs", "noatime,logdev=/dev/nvme0n1p1", 3),
        ("ext4", "journal_path=/dev/nvme0n1p1", 3),
        ("xfs", "noatime,nouuid,logbsize=256k", 0),
    ] {
        let options = json!({ "type": kind, "device": device, "o": words });
        let make =
            json!({ "call": "volume", "host": "i-db-1", "volume": "new", "options": options });
        let granted = Granted::new(EVERYTHING, "");
        let ran = makes(&granted, json!([make]), &[]).exits(code);
        if code != 0 {
            ran.says("has the mount option").says("which only `docker = \"root\"` covers");
        }
    }
}

/// A volume that an engine does not show is not one that is not there.
#[test]
fn how_far_an_unread_volume_reaches_is_not_known() {
    let on = |volume: &str| {
        json!([{ "call": "container", "host": "i-db-1", "container": "new", "image": "postgres:16",
                 "volume": volume }])
    };
    let unread = ["--inject", "docker.inspect-volume=refuse"];
    let grants =
        "{ docker = \"all\", images = [\"*\"], docker_volumes = [\"*\"] }, \"ebs\", \"ec2\"";
    let why = "how far Docker volume `vol-db-main` reaches is not known";
    let granted = Granted::new(grants, "");
    makes(&granted, on("vol-db-main"), &unread).exits(3).says(why);
    makes(&granted, on("vol-db-main"), &[]).exits(0);
    let root = "{ docker = \"root\" }";
    let denied = Granted::new(&format!("{root}, \"ebs\", \"ec2\""), &format!("deny = [{root}]"));
    makes(&denied, on("vol-db-main"), &unread).exits(3).says("it is denied there");
    // One that is not there reaches nothing; its engine refuses it.
    makes(&denied, on("nowhere"), &[]).exits(3).lacks("denied").lacks("not known");
}

/// A shell and a linker run what some variables name, and a tag is no registry's port.
#[test]
fn what_is_given_to_a_container_is_named_by_the_grant() {
    let of = |call: &str, more: Value| {
        let mut one = json!({ "call": call, "host": "i-db-1", "container": "new" });
        more.as_object().expect("a table").iter().for_each(|(k, v)| one[k] = v.clone());
        one
    };
    let digest = format!("sha256:16{}", "0".repeat(62));
    let tag = json!({ "call": "tag-image", "host": "i-db-1", "image": "postgres:x",
                      "digest": digest });
    let bash = of("container", json!({ "like": "main", "env": { "BASH_ENV": "$(id)" } }));
    let own = of("container", json!({ "like": "main", "env": { "PGDATA": "/d", "PGTZ": "x" } }));
    let other = of("container", json!({ "image": "postgres:5000/evil:1" }));
    let image = of("container", json!({ "image": "postgres:16" }));
    let narrow = "{ docker = \"all\", images = [\"postgres:*\"], env = [\"PG*\"] }";
    for (grant, call, refused) in [
        (narrow, &image, None),
        (narrow, &other, Some("`postgres:5000/evil:1` is none of them")),
        (narrow, &tag, Some("may be an id")),
        (narrow, &own, None),
        (narrow, &bash, Some("`BASH_ENV` is none of them")),
        ("{ docker = \"all\", commands = [\"true\"] }", &bash, Some("`env`")),
        ("\"docker\"", &bash, Some("`env`")),
        ("\"docker\"", &tag, None),
        ("{ docker = \"root\" }", &bash, None),
    ] {
        let granted = Granted::new(&format!("{grant}, \"ebs\", \"ec2\""), "");
        let ran = makes(&granted, json!([call]), &[]);
        match refused {
            None => drop(ran.exits(0)),
            Some(why) => drop(ran.exits(3).says(why)),
        }
    }
}

/// A Docker volume is the EBS volume that it mounts the device of, also to whoever only names it;
/// and a container that has its host's disks may have any.
#[test]
fn whose_volume_it_is_counts_however_it_is_got_at() {
    let rule = |function: &str, tags: &str| {
        format!("deny = [{{ docker = [{function:?}], where = {{ tags = {{ {tags} }} }} }}]")
    };
    let (of_main, of_web) = ("database = \"main\"", "team = \"web\"");
    let remove = "schema = 1\n[operation]\nname = \"remove\"\n[[steps]]\nid = \"remove\"\n\
                  uses = \"docker/remove-volume\"\nirreversible = \"a test\"\n\
                  with = { host = \"i-db-1\", volume = \"of-web\" }\n";
    for (deny, code) in [
        (rule("remove-volume", of_web), 2),
        (rule("create-volume", of_web), 0),
        (rule("remove-volume", of_main), 0),
    ] {
        let granted = Granted::new(EVERYTHING, &deny);
        let path = granted.0.write("remove.toml", remove);
        let ran = granted.0.run(&["run", &path]).exits(code);
        if code != 0 {
            ran.says("it is denied there");
        }
    }
    for (deny, container, is_denied) in [
        (rule("exec", of_main), "main", true),
        (rule("run-once", of_main), "main", false),
        // That one sees its host's processes, and so what these have mounted.
        (rule("exec", of_web), "of-the-host", true),
    ] {
        let granted = Granted::new("{ docker = \"root\" }, \"ebs\", \"ec2\"", &deny);
        let exec = json!({ "call": "exec", "host": "i-db-1", "container": container,
                           "command": ["true"] });
        let ran = makes(&granted, json!([exec]), &[]);
        match is_denied {
            true => drop(ran.exits(3).says("it is denied there")),
            false => drop(ran.lacks("it is denied there")),
        }
    }
}

/// As it was found: the look at what a new container is to be like was denied, which counted as
/// that it is not there; so nothing was said before the service was down.
#[test]
fn a_model_that_is_denied_is_told_before_anything_stops() {
    let deny = "deny = [{ docker = \"all\", containers = [\"sees-etc\"] }]";
    let granted = Granted::new(EVERYTHING, deny);
    let text = "schema = 1\n[operation]\nname = \"side\"\n\
                [[steps]]\nid = \"stop\"\nuses = \"docker/stop-container\"\n\
                with = { host = \"i-db-1\", container = \"main\" }\n\
                [[steps]]\nid = \"create\"\nuses = \"docker/create-container\"\n\
                with = { host = \"i-db-1\", container = \"copy\", image = \"postgres:16\", \
                like = { host = \"i-db-1\", container = \"sees-etc\" } }\n";
    let path = granted.0.write("side.toml", text);
    granted.0.run(&["plan", &path]).exits(2).says("it is denied there");
    let before = granted.world();
    granted.0.run(&["run", &path]).exits(2).says("it is denied there");
    assert_eq!(granted.world(), before);
}

/// That there is none, or one alone, is what a search is for: by half of what there is nobody goes
/// who may see all of it.
#[test]
fn a_search_that_finds_what_is_denied_is_refused() {
    let search = "schema = 1\n[operation]\nname = \"s\"\n[[steps]]\nid = \"s\"\n\
                  uses = \"ebs/no-volume\"\nwith = { tags = { team = \"web\" } }\n";
    let deny = "deny = [{ ebs = \"all\", where = { tags = { team = \"web\" } } }]";
    let granted = Granted::new(EVERYTHING, deny);
    let manifest = granted.0.write("search.toml", search);
    granted.0.run(&["run", &manifest]).exits(2).says("the environment does not permit ebs.find");
    // What it does not find is nobody's business.
    let other = granted.0.write("other.toml", search.replace("\"web\"", "\"none\""));
    granted.0.run(&["run", &other]).exits(0);
    let label = "schema = 1\n[operation]\nname = \"s\"\n[[steps]]\nid = \"s\"\n\
                 uses = \"docker/find-containers\"\n\
                 with = { host = \"i-web-1\", labels = { app = \"shop\" } }\n";
    granted.grant(EVERYTHING, "deny = [{ docker = \"all\", containers = [\"shop-*\"] }]");
    let manifest = granted.0.write("label.toml", label);
    let ran = granted.0.run(&["run", &manifest]).exits(2);
    ran.says("does not permit docker.find-containers");
}
