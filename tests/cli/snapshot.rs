//! An environment written as a world file: the same world again, and nothing changed.

use crate::harness::{Place, operation, root};
use stepback_simulated::world::World;

/// Write `stepback.toml` with one more environment, which begins as a world file says.
fn with_copy(place: &Place) {
    place.write(
        "stepback.toml",
        "default_environment = \"local\"\n[environments.local]\nprovider = \"simulated\"\n\
         [environments.copy]\nprovider = \"simulated\"\nworld = \"world.toml\"\n",
    );
}

/// The facts that a rollback must bring back, masked values left out.
fn facts(mut world: World) -> String {
    let engines = world.engines.values_mut();
    for container in engines.flat_map(|engine| engine.containers.values_mut()) {
        container.spec.env.values_mut().for_each(String::clear);
    }
    world.restorable()
}

#[test]
fn an_environment_is_copied_into_the_simulator_and_tried_there() {
    let place = Place::new();
    with_copy(&place);
    // Something of every kind that an operation makes is in it.
    place.run(&["run", &operation("backup-database")]).exits(0);
    let before = place.world();
    place.run(&["env", "snapshot", "-o", "world.toml"]).exits(0);
    assert_eq!(place.world(), before, "nothing is changed");

    let text = std::fs::read_to_string(place.path("world.toml")).expect("a file");
    assert!(!text.contains("/var/lib/postgresql/data/pg"), "a value is not masked:\n{text}");
    assert!(!text.contains("stamp"), "the operation's own marks are in it:\n{text}");
    let copy: World = toml::from_str(&text).expect("a world file");
    assert_eq!(facts(copy.clone()), facts(before.clone()));
    assert_eq!((copy.registry, copy.modification_cooldown_s), (before.registry.clone(), 21_600));

    place.run(&["run", &operation("redeploy-database"), "-e", "copy"]).exits(0);
    assert_eq!(place.world(), before, "the copy is another world");
}

/// The attack: a job of CI obeyed the commands in somebody's tag.
#[test]
fn what_a_tag_has_in_it_does_nothing_to_a_job_that_prints_the_world() {
    let place = Place::new();
    with_copy(&place);
    let odd = "a \"b\" \\ \u{202e}\n::error title=forged::operation 7 succeeded\n##[error]forged\n";
    let demo = std::fs::read_to_string(root().join("operations/demo-world.toml")).expect("a file");
    let tags = "tags = { Name = \"db-1\" }";
    assert!(demo.contains(tags));
    let tagged = format!("tags = {{ Name = \"db-1\", note = {} }}", serde_json::json!(odd));
    place.write("world.toml", demo.replacen(tags, &tagged, 1));
    let said = place.run(&["env", "snapshot", "-e", "copy"]).exits(0).stdout;
    assert!(!said.lines().any(|line| line.trim_start().starts_with("::")), "{said}");
    assert!(!said.contains("##[") && !said.contains('\u{202e}'), "{said}");
    let world: World = toml::from_str(&said).expect("a world file");
    assert!(world.instances.values().any(|one| one.tags.get("note").is_some_and(|it| it == odd)));
}

#[test]
fn a_world_file_is_not_written_over_by_accident() {
    let place = Place::new();
    with_copy(&place);
    place.write("world.toml", "mine");
    let snapshot = ["env", "snapshot", "-e", "local", "-o", "world.toml"];
    place.run(&snapshot).exits(2).says("is there already").says("--force");
    assert_eq!(std::fs::read_to_string(place.path("world.toml")).expect("a file"), "mine");
    place.run(&[&snapshot[..], &["--force"]].concat()).exits(0);
    place.run(&["plan", &operation("redeploy-database"), "-e", "copy"]).exits(0);
    let said = place.run(&["env", "snapshot"]).exits(0);
    let written = std::fs::read_to_string(place.path("world.toml")).expect("a file");
    let world = |text: &str| toml::from_str::<World>(text).expect("a world");
    assert_eq!(world(&said.stdout), world(&written), "without a file it goes to stdout");
    place.run(&["env", "snapshot", "-o", "no/such/dir"]).exits(2).says("can't be written");
    place.run(&["env", "snapshot", "-e", "none"]).exits(2).says("none");
}
