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
