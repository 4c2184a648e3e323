//! A living environment as a world of the simulator: an operation is tried there first.

use crate::parts::{TestCluster, are_possible};
use crate::place::operation;
use stepback_simulated::world::World;

/// Read the environment, and have an environment `copy` that begins so.
pub fn copied(parts: &TestCluster) -> World {
    parts.run(&["env", "snapshot", "-o", "world.toml"]).exits(0);
    let config = std::fs::read_to_string(parts.path("stepback.toml")).expect("a file");
    let copy = "[environments.copy]\nprovider = \"simulated\"\nworld = \"world.toml\"\n";
    std::fs::write(parts.path("stepback.toml"), format!("{config}{copy}")).expect("a file");
    let text = std::fs::read_to_string(parts.path("world.toml")).expect("a file");
    toml::from_str(&text).expect("a world file")
}

#[test]
fn an_operation_is_tried_in_a_copy_of_real_parts() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    parts.run(&["run", &operation("backup-database")]).exits(0);
    let before = parts.a.docker(&["ps", "--all", "--no-trunc"]);
    let world = copied(&parts);
    // The helper that looked is gone again.
    assert_eq!(
        parts.a.docker(&["ps", "--all", "--no-trunc"]).lines().count(),
        before.lines().count()
    );

    let main = &world.engines["i-a"].containers["main"];
    let env = parts.a.docker(&["inspect", "-f", "{{json .Config.Env}}", "main"]);
    let env: Option<Vec<String>> = serde_json::from_str(&env).expect("JSON");
    assert_eq!(main.spec.env.len(), env.unwrap_or_default().len());
    assert!(main.running && main.digest.starts_with("sha256:"));
    assert_eq!(world.registry[&parts.image()].digest, main.digest, "it can be pulled");
    assert!(!world.registry.contains_key("helper:1"), "that was never in a registry");
    assert!(world.engines["i-b"].images.contains_key("helper:1"));
    let volume = world.volumes.values().next().expect("a volume");
    assert_eq!(volume.filesystem.as_ref().map(|found| found.kind.as_str()), Some("ext4"));
    let snapshot = world.snapshots.values().next().expect("a snapshot");
    assert_eq!(snapshot.filesystem, volume.filesystem);

    let (path, to) = (operation("redeploy-database"), "to_instance=i-b");
    parts.run(&["run", &path, "-e", "copy", "-i", to]).exits(0);
    let resize = operation("resize-database-volume");
    parts.run(&["run", &resize, "-e", "copy", "-i", "size_gib=2"]).exits(0);
    assert_eq!(parts.a.redis(&["get", "row"]), "kept");

    println!("what is frozen there is frozen in the copy");
    parts.a.docker(&["pause", "main"]);
    parts.run(&["env", "snapshot"]).exits(0).says("paused = true");
    parts.a.docker(&["unpause", "main"]);

    println!("an engine that does not answer is left out, and named");
    parts.b.kill();
    let said = parts.run(&["env", "snapshot"]).exits(0);
    assert!(said.said.contains("left out: the Docker Engine of i-b"), "{}", said.said);
    parts.b.start_again();
}
