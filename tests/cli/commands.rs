//! Commands in containers: what they did can't be undone, and nobody can know whether one ran.

use crate::harness::Place;

const WITH: &str = "with = { host = \"i-db-1\", container = \"main\", command = [\"vacuum\"] }\n";

/// An operation that tags the volume, runs a command in the database, and has the faults in the
/// command's way.
fn manifest(place: &Place, declared: &str) -> String {
    place.write(
        "exec.toml",
        format!(
            "schema = 1\n[operation]\nname = \"vacuum\"\n\
             [[steps]]\nid = \"tag\"\nuses = \"ebs/tag-volume\"\n\
             with = {{ volume = \"vol-db-main\", key = \"vacuumed\", value = \"yes\" }}\n\
             [[steps]]\nid = \"vacuum\"\nuses = \"docker/exec\"\n{WITH}{declared}"
        ),
    )
}

#[test]
fn a_command_runs_once_and_its_step_must_say_that_it_can_not_be_undone() {
    let place = Place::new();
    let before = place.untouched();
    let undeclared = manifest(&place, "");
    place.run(&["validate", &undeclared]).exits(2).says("irreversible");
    assert_eq!(place.facts(), before);
    let declared = manifest(&place, "irreversible = \"dead rows are gone\"\n");
    let ran = place.run(&["run", &declared]).exits(0);
    ran.says("vacuum");
    let shown = place.show(1);
    assert_eq!(shown["steps"][1]["output"]["output"], "simulated: vacuum");
    let world = place.world();
    let made = world.effects.values().filter(|made| made.function == "docker.exec");
    assert_eq!(made.map(|made| made.times).collect::<Vec<_>>(), [1]);
}

/// Whether it ran or not, it is not run again: the rest is taken back, and that is said.
#[test]
fn a_command_whose_answer_is_lost_is_not_run_again() {
    for (fault, times) in [("lost", 1), ("crash-after", 1), ("crash-before", 0)] {
        let place = Place::new();
        let before = place.untouched();
        let declared = manifest(&place, "irreversible = \"dead rows are gone\"\n");
        let inject = format!("docker.exec={fault}");
        let ran = place.run(&["run", &declared, "--inject", &inject]);
        let ran = match ran.code {
            None => place.run(&["resume", "1"]),
            Some(_) => ran,
        };
        ran.exits(4).says("can't be known").says("dead rows are gone");
        assert_eq!(place.facts(), before, "the tag is gone");
        let world = place.world();
        let made = world.effects.values().filter(|made| made.function == "docker.exec");
        assert_eq!(made.map(|made| made.times).sum::<u32>(), times, "{fault}");
    }
}

#[test]
fn a_command_needs_a_container_that_runs() {
    let place = Place::new();
    let declared = manifest(&place, "irreversible = \"dead rows are gone\"\n");
    let elsewhere =
        std::fs::read_to_string(&declared).expect("a file").replace("= \"main\"", "= \"gone\"");
    let path = place.write("gone.toml", elsewhere);
    place.run(&["run", &path]).exits(3).says("no container gone");
}
