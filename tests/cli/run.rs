//! `stepback run`: the shipped operations, to their end.

use crate::harness::{Place, operation};

#[test]
fn the_flagship_moves_a_database_and_will_not_move_it_twice() {
    let place = Place::new();
    let flagship = operation("redeploy-database");
    let ran = place.run(&["run", &flagship]).exits(0);
    assert!(ran.stdout.contains("downtime: "), "{}", ran.stdout);
    let world = place.world();
    assert_eq!(world.volumes["vol-db-main"].attachments[0].instance, "i-db-2");
    let container = &world.engines["i-db-2"].containers["main"];
    assert!(container.running);
    assert_eq!(container.spec.restart, "unless-stopped");
    assert_eq!(container.spec.env["PGDATA"], "/var/lib/postgresql/data/pg");
    assert!(world.engines["i-db-1"].containers.is_empty(), "the old container is cleaned up");

    let facts = place.facts();
    let again = place.run(&["run", &flagship]).exits(2);
    again.says("is on i-db-2 already").says("nothing was changed");
    assert_eq!(place.facts(), facts);
    assert_eq!(place.show(2)["status"], "refused");
}

#[test]
fn the_flagship_goes_there_and_back() {
    let place = Place::new();
    let flagship = operation("redeploy-database");
    place.run(&["run", &flagship, "-i", "to_instance=i-db-2"]).exits(0);
    place.run(&["run", &flagship, "-i", "to_instance=i-db-1"]).exits(0);
    assert_eq!(place.world().volumes["vol-db-main"].attachments[0].instance, "i-db-1");
}

#[test]
fn another_zone_is_refused_before_anything_is_touched() {
    let place = Place::new();
    let before = place.untouched();
    let flagship = operation("redeploy-database");
    let ran = place.run(&["run", &flagship, "-i", "to_instance=i-db-3"]).exits(2);
    ran.says("us-east-1b").says("it must be running in us-east-1a");
    assert_eq!(place.facts(), before);
}

#[test]
fn every_other_shipped_operation_runs_with_its_default_inputs() {
    let place = Place::new();
    place.run(&["run", &operation("backup-database")]).exits(0);
    place.run(&["run", &operation("restart-database")]).exits(0);
    let restarted = place.world();
    assert_eq!(restarted.engines["i-db-1"].containers["main"].spec.restart, "unless-stopped");

    place.run(&["run", &operation("provision-database")]).exits(0);
    assert!(place.world().engines["i-db-2"].containers["orders"].running);

    place.run(&["run", &operation("resize-database-volume")]).exits(0);
    let resized = place.world();
    let carries = |v: &&stepback_simulated::world::Volume| {
        v.tags.get("database").is_some_and(|name| name == "main")
    };
    let volume = resized.volumes.values().find(carries).expect("the database has a volume");
    assert_eq!(volume.size_gib, 40);
    assert_eq!(volume.filesystem.as_ref().map(|fs| fs.size_gib), Some(40));
    assert!(resized.volumes.contains_key("vol-db-main"), "the old volume is kept");

    place.run_shipped("deprovision-database", &[]).exits(0);
    let gone = place.world();
    assert!(gone.volumes.values().find(carries).is_none());
    assert!(!gone.engines["i-db-1"].containers.contains_key("main"));
    let last = gone.snapshots.values().find(|one| one.tags.contains_key("last-of"));
    assert!(last.is_some(), "the last snapshot is there");
}

#[test]
fn json_is_one_event_a_line_and_nothing_else_on_stdout() {
    let place = Place::new();
    let ran = place.run(&["run", &operation("backup-database"), "--json"]).exits(0);
    let lines = ran.json_lines();
    assert_eq!(lines[0]["record"]["event"], "created");
    let last = lines.last().expect("there are lines");
    assert_eq!(last["record"]["event"], "finished");
    assert_eq!(last["record"]["status"], "succeeded");
}

#[test]
fn a_secret_is_nowhere_but_in_the_world() {
    let place = Place::new();
    let manifest = place.write(
        "secret.toml",
        r#"
schema = 1
[operation]
name = "with-secret"
[inputs]
password = { type = "secret" }
[[steps]]
id = "pull"
uses = "docker/pull-image"
with = { host = "i-db-2", image = "postgres:16" }
[[steps]]
id = "create"
uses = "docker/create-container"
[steps.with]
host = "i-db-2"
container = "copy"
image = "postgres:16"
env = { PW = "{{ inputs.password }}" }
[[steps]]
id = "look"
uses = "docker/inspect-container"
with = { host = "i-db-2", container = "none" }
"#,
    );
    let value = "s3cr3t-hunter2";
    let file = place.write("pw.txt", format!("{value}\n"));
    let given = format!("password=file:{file}");
    let ran = place.run(&["run", &manifest, "-i", &given]).exits(3);
    assert!(!ran.stdout.contains(value) && !ran.stderr.contains(value), "{}", ran.stderr);
    let shown = place.run(&["show", "1", "--json"]).exits(0);
    assert!(!shown.stdout.contains(value), "{}", shown.stdout);
    for name in ["journal.db", "journal.db-wal"] {
        let bytes = std::fs::read(place.path("state").join(name)).unwrap_or_default();
        let found = bytes.windows(value.len()).any(|window| window == value.as_bytes());
        assert!(!found, "{name} holds the secret");
    }
    let missing = place.run(&["run", &manifest, "-i", "password=env:NOT_SET_ANYWHERE"]).exits(2);
    missing.says("NOT_SET_ANYWHERE is not set");
}

/// What an operation makes and keeps can be found again: by its outputs, and by its tags.
#[test]
fn what_is_made_and_kept_is_in_the_outputs_and_carries_tags() {
    let place = Place::new();
    place.untouched();
    let mut number = 0;
    for name in [
        "backup-database",
        "provision-database",
        "resize-database-volume",
        "redeploy-database",
        "deprovision-database",
    ] {
        let before = place.world();
        place.run_shipped(name, &[]).exits(0);
        number += 1;
        let after = place.world();
        let told = place.show(number)["outputs"].to_string();
        let made = after.volumes.iter().map(|(id, volume)| (id, &volume.tags));
        let made = made.chain(after.snapshots.iter().map(|(id, one)| (id, &one.tags)));
        for (id, tags) in made {
            let was = before.volumes.contains_key(id) || before.snapshots.contains_key(id);
            assert!(was || told.contains(id.as_str()), "{name}: {id} is not in {told}");
            assert!(was || !tags.is_empty(), "{name}: {id} has no tags");
        }
        // What was the database's before it was replaced.
        for (id, volume) in &after.volumes {
            let was = before.volumes.get(id).is_some_and(|one| one.tags.contains_key("database"));
            let is = volume.tags.contains_key("database");
            let tells = told.contains(id.as_str()) && volume.tags.contains_key("was-database");
            assert!(!was || is || tells, "{name}: {id} can't be told from any other");
        }
    }
}

/// A job of a CI whose log stands still is taken for one that hangs. Nothing is told sooner.
#[test]
fn a_log_says_each_minute_what_is_waited_for() {
    let place = Place::new();
    let sleep = |duration: &str| {
        place.write(
            &format!("{duration}.toml"),
            format!(
                "schema = 1\n[operation]\nname = \"s\"\nlocks = [\"a\"]\n\
                 [[steps]]\nid = \"nap\"\nuses = \"core/sleep\"\n\
                 with = {{ duration = \"{duration}\" }}\n"
            ),
        )
    };
    let mut first = place.start(&["run", &sleep("78s")]);
    first.wait_for("started");
    let second = place.start_as("second", &["run", &sleep("1s")]);
    let first = first.ends().exits(0);
    let first = first.says("clock.sleep … still, 1 min ");
    assert_eq!(first.stderr.matches("still").count(), 1, "{}", first.stderr);
    let second = second.ends().exits(0);
    let second = second.says("not begun yet, 1 min ").says("locks` tells who holds");
    second.lacks("still");
}
