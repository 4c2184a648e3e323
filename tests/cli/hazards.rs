//! An operation whose container is not on the volume that it is about to move changes nothing.

use crate::harness::{Place, operation, root};

const DEVICE: &str = "device = \"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_voldbmain\"";

/// The demo world with the database on something else than its tagged volume.
fn elsewhere(option: &str) -> Place {
    let place = Place::new();
    let world = std::fs::read_to_string(root().join("operations/demo-world.toml"));
    let world = world.expect("the demo world");
    assert!(world.contains(DEVICE));
    place.write("world.toml", world.replace(DEVICE, option));
    place.write(
        "stepback.toml",
        "[environments.local]\nprovider = \"simulated\"\nworld = \"world.toml\"\n",
    );
    place
}

#[test]
fn a_database_that_is_not_on_its_volume_is_left_alone() {
    let other = "device = \"/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_volother\"";
    for option in ["o = \"bind\"", other] {
        let place = elsewhere(option);
        let before = place.untouched();
        for name in ["redeploy-database", "resize-database-volume", "deprovision-database"] {
            place.run(&["run", &operation(name)]).exits(2).says("mend that first");
            assert_eq!(place.facts(), before, "{name}");
        }
    }
}

/// A container that is made anew from a name that means another image by now is another database.
#[test]
fn a_name_that_means_another_image_by_now_is_told_before_the_database_stops() {
    let place = elsewhere(DEVICE);
    let world = std::fs::read_to_string(place.path("world.toml")).expect("a file");
    let (runs, means) = ("\"postgres:16\" = \"sha256:16", "\"postgres:16\" = \"sha256:17");
    assert!(world.contains(runs));
    place.write("world.toml", world.replace(runs, means));
    let before = place.untouched();
    let refused = place.run(&["run", &operation("resize-database-volume")]);
    refused.exits(2).says("another engine version is another operation");
    assert_eq!(place.facts(), before);
}

/// An attachment that fails in the downtime is too late.
#[test]
fn a_device_name_that_is_in_use_is_told_before_the_database_stops() {
    let place = elsewhere(DEVICE);
    let world = std::fs::read_to_string(place.path("world.toml")).expect("a file");
    let other = "[volumes.vol-other]\nsize_gib = 1\ntype = \"gp2\"\nzone = \"us-east-1a\"\n\
                 attachments = [{ instance = \"i-db-2\", device = \"/dev/sdf\" }]\n";
    place.write("world.toml", format!("{world}\n{other}"));
    let before = place.untouched();
    let redeploy = operation("redeploy-database");
    let refused = place.run(&["run", &redeploy]);
    refused.exits(2).says("/dev/sdf of i-db-2 is in use").says("vol-other").says("-i device=");
    let provision = ["run", &operation("provision-database"), "-i", "device=/dev/sdf"];
    place.run(&provision).exits(2).says("/dev/sdf of i-db-2 is in use");
    assert_eq!(place.facts(), before);
    place.run(&["run", &redeploy, "-i", "device=/dev/sdh"]).exits(0);
}

/// What is in a plain Docker volume is gone with it.
#[test]
fn a_plain_volume_is_removed_only_when_that_is_said() {
    let place = elsewhere("o = \"bind\"");
    let step = |more: &str| {
        place.write(
            "remove.toml",
            format!(
                "schema = 1\n[operation]\nname = \"r\"\n[[steps]]\nid = \"container\"\n\
                 uses = \"docker/stop-container\"\n\
                 with = {{ host = \"i-db-1\", container = \"main\" }}\n\
                 [[steps]]\nid = \"gone\"\nuses = \"docker/remove-container\"\n\
                 irreversible = \"a test\"\n\
                 with = {{ host = \"i-db-1\", container = \"main\" }}\n\
                 [[steps]]\nid = \"volume\"\nuses = \"docker/remove-volume\"\n\
                 irreversible = \"a test\"\n\
                 with = {{ host = \"i-db-1\", volume = \"vol-db-main\"{more} }}\n"
            ),
        )
    };
    let before = place.untouched();
    place.run(&["run", &step("")]).exits(2).says("its bytes would be gone with it");
    assert_eq!(place.facts(), before);
    place.run(&["run", &step(", plain = true")]).exits(0);
}
