//! What a provider would refuse on the way, told with exit 2 before anything is changed.

use crate::harness::Place;
use crate::hazards::{demo, demo_with, in_world, run_step};

const TAGS: &str = "tags = { database = \"main\" }";

/// The demo world with so many tags on the database's volume.
fn with_tags(count: usize) -> Place {
    let mut tags = String::from("tags = { database = \"main\"");
    for n in 1..count {
        tags.push_str(&format!(", t{n} = \"x\""));
    }
    let volume = format!("filesystem = {{ type = \"ext4\", size_gib = 20 }}\n{TAGS}\n\n[snapshots");
    in_world(&demo_with(&volume, &volume.replace(TAGS, &format!("{tags} }}"))))
}

#[track_caller]
fn is_refused(place: &Place, name: &str, inputs: &[&str], why: &str) {
    let before = place.untouched();
    let given: Vec<&str> = inputs.iter().flat_map(|input| ["-i", input]).collect();
    place.run_shipped(name, &given).exits(2).says(why);
    assert_eq!(place.facts(), before, "{name} {inputs:?}");
}

#[test]
fn a_volume_that_can_not_be_made_is_told_before_the_database_stops() {
    let resize = "resize-database-volume";
    is_refused(&in_world(&demo()), resize, &["size_gib=70000"], "65536");
    // It carries the two stamps as well.
    is_refused(&with_tags(49), resize, &[], "there is room for 48");
    with_tags(48).run_shipped(resize, &[]).exits(0);
    let named = "[{ instance = \"i-db-1\", device = \"/dev/sdf\" }]";
    let twice = "[{ instance = \"i-db-1\", device = \"/dev/sdf\" }, \
                 { instance = \"i-db-2\", device = \"/dev/sdf\" }]";
    let place = in_world(&demo_with(named, twice));
    let with = "volume = \"vol-db-main\", instance = \"i-db-1\"";
    let before = place.untouched();
    run_step(&place, "ebs/detach-volume", with).exits(2).says("Multi-Attach");
    assert_eq!(place.facts(), before);
}

#[test]
fn an_instance_that_takes_no_more_volumes_is_told_before_the_database_stops() {
    let instance = "[instances.i-db-2]\n";
    let place = in_world(&demo_with(instance, &format!("{instance}max_attachments = 0\n")));
    is_refused(&place, "redeploy-database", &[], "takes no more than 0 volumes");
    // Where one goes another one can come.
    let instance = "[instances.i-db-1]\n";
    let place = in_world(&demo_with(instance, &format!("{instance}max_attachments = 1\n")));
    place.run_shipped("resize-database-volume", &[]).exits(0);
}

#[test]
fn a_name_of_the_instances_own_disk_is_told_before_the_database_stops() {
    let instance = "[instances.i-db-2]\n";
    let own = format!("{instance}own_disks = [\"/dev/sdb\"]\n");
    let place = in_world(&demo_with(instance, &own));
    is_refused(&place, "redeploy-database", &["device=/dev/sdb"], "a disk of its own");
    place.run_shipped("redeploy-database", &[]).exits(0);
}

/// It goes on until it is detached, and then it can't even be attached back.
#[test]
fn a_volume_whose_key_can_not_be_used_is_told_while_it_still_works() {
    let volume = "[volumes.vol-db-main]\n";
    let keyed = format!("{volume}encrypted = true\nkey_state = \"PendingDeletion\"\n");
    let place = in_world(&demo_with(volume, &keyed));
    let why = "encrypted with a KMS key that is PendingDeletion";
    for name in ["redeploy-database", "resize-database-volume", "backup-database"] {
        is_refused(&place, name, &[], why);
    }
    // The database itself is not touched by this one.
    place.run_shipped("restart-database", &[]).exits(0);
}

#[test]
fn a_database_that_can_not_be_made_is_told_before_its_volume_is() {
    let provision = "provision-database";
    for (inputs, why) in [
        (&["database=main", "port=5999"][..], "vol-db-main carries"),
        (&["database=x"], "does not match"),
        (&["port=70000"], "is no port"),
        (&["data_dir=data"], "does not match"),
        (&["data_dir=/"], "does not match"),
        (
            &["instance=i-db-1", "port=5432"],
            "port 5432/tcp of i-db-1 is published by container `main`",
        ),
        (&["image=nobodys:1"], "nobodys:1"),
    ] {
        is_refused(&in_world(&demo()), provision, inputs, why);
    }
    // Its name is some other container's.
    let taken = "\n[engines.i-db-2.containers.orders]\nrunning = false\ndigest = \"sha256:16\"\n\
                 [engines.i-db-2.containers.orders.spec]\nimage = \"postgres:16\"\n";
    let place = in_world(&format!("{}{taken}", demo()));
    is_refused(&place, provision, &[], "there is a container `orders` on i-db-2 already");
}

/// What an engine answers with 400.
#[test]
fn a_container_that_no_engine_takes_is_refused() {
    let place = in_world(&demo());
    let before = place.untouched();
    let of = |more: &str| format!("host = \"i-db-1\", image = \"postgres:16\", {more}");
    for (more, why) in [
        ("container = \"x\"", "invalid name"),
        ("container = \"db\", restart = \"sometimes\"", "restart policy"),
        ("container = \"db\", ports = [\"99999:80\"]", "is not HOST-PORT"),
        (
            "container = \"db\", mounts = [{ volume = \"vol-db-main\", target = \"data\" }]",
            "absolute",
        ),
    ] {
        run_step(&place, "docker/create-container", &of(more)).exits(2).says(why);
        assert_eq!(place.facts(), before, "{more}");
    }
    for (step, with) in [
        ("docker/create-volume", "host = \"i-db-1\", volume = \"n\""),
        ("docker/create-volume", "host = \"i-db-1\", volume = \"a/b\""),
        ("docker/rename-container", "host = \"i-db-1\", container = \"main\", to = \"n\""),
        ("docker/rename-container", "host = \"i-db-1\", container = \"main\", to = \"main\""),
    ] {
        let told = run_step(&place, step, with).exits(2);
        assert!(told.stderr.contains("name"), "{with}: {}", told.stderr);
        assert_eq!(place.facts(), before, "{with}");
    }
}

/// AWS keeps its prefix to itself in whatever case (Amazon EC2 User Guide, *Tag restrictions*).
#[test]
fn a_reserved_tag_is_refused_in_any_case() {
    let place = in_world(&demo());
    for key in ["aws:x", "AWS:x", "Stepback:token"] {
        let with = format!("volume = \"vol-db-main\", key = \"{key}\", value = \"v\"");
        run_step(&place, "ebs/tag-volume", &with).exits(2).says("is reserved");
    }
}
