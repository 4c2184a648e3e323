//! What can't be looked at reaches its host as far as anybody knows.

use crate::harness::Ran;
use crate::narrowed::Granted;
use serde_json::{Value, json};

const EVERYTHING: &str = "\"ebs\", \"docker\", \"ec2\"";

/// Run a step that makes these calls.
fn makes(granted: &Granted, calls: Value, more: &[&str]) -> Ran {
    let manifest = granted.manifest(&[calls], true);
    granted.0.run(&[&["run", &manifest], more].concat())
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
    let grants = "{ docker = \"all\", images = [\"*\"] }, \"ebs\", \"ec2\"";
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
