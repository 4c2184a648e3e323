//! A runner dies with its call, and somebody else renames what it was about, or gives its name to
//! another thing, before anybody looks: what became of the call is told of the thing, not of the
//! name.

use crate::harness::{Place, Ran};
use crate::others::{MAIN, SIDE, create_side, declared, manifest, start_side, step, tag};

const OLD: &str = "host = \"i-db-1\", container = \"old\"";

/// Die at this effect; then somebody else; then go on.
fn went_on(place: &Place, ours: &[String], dies: &str, theirs: &[String]) -> Ran {
    let ours = manifest(place, "ours", &ours.concat());
    let theirs = manifest(place, "theirs", &theirs.concat());
    assert_eq!(place.run(&["run", &ours, "--inject", dies]).code, None, "it dies");
    place.run(&["run", &theirs]).exits(0);
    place.run(&["resume", &id_of_ours(place)])
}

fn id_of_ours(place: &Place) -> String {
    let listed = place.run(&["list", "--json"]).exits(0).json();
    let all = listed.as_array().expect("a list").iter();
    let mut ours = all.filter(|one| one["name"] == "ours").map(|one| one["id"].to_string());
    ours.next_back().expect("ours is on record")
}

fn rename(of: &str, to: &str) -> String {
    step(&format!("rename-{to}"), "docker/rename-container", &format!("{of}, to = \"{to}\""))
}

fn create(of: &str) -> String {
    let with = format!("{of}, image = \"postgres:16\", env = {{ THEIRS = \"1\" }}");
    step("create", "docker/create-container", &with)
}

#[test]
fn a_name_that_somebody_else_took_is_not_what_was_renamed() {
    let place = Place::new();
    let stop = step("stop", "docker/stop-container", OLD);
    let start = step("start", "docker/start-container", OLD);
    let theirs = [create(OLD), start.clone(), rename(MAIN, "main-2")];
    let dies = "docker.rename-container=crash-before";
    let ran = went_on(&place, &[rename(MAIN, "old"), start, stop], dies, &theirs);
    ran.says("docker:i-db-1/container/old is another one by now").lacks("succeeded");
    let world = place.world();
    let on = &world.engines["i-db-1"].containers;
    assert!(on["old"].running && on["old"].spec.env.contains_key("THEIRS"), "theirs is stopped");
    assert!(on["main-2"].running, "ours runs on");
}

#[test]
fn what_was_made_is_not_made_again_when_it_has_another_name() {
    let place = Place::new();
    let dies = "docker.create-container=crash-after";
    let ran = went_on(&place, &[create_side(), tag()], dies, &[rename(SIDE, "side-kept")]);
    ran.says("somebody else has renamed the container `side`").lacks("succeeded");
    let world = place.world();
    assert!(!world.engines["i-db-1"].containers.contains_key("side"), "it is made twice");
}

/// Where it is neither removed nor there by its name, nobody says that it is gone, or that this was
/// declared.
#[test]
fn what_was_renamed_is_not_removed() {
    for resumed in [&["resume", "2"][..], &["resume", "2", "--inject", "ebs.tag=refuse"]] {
        let place = Place::new();
        place.run(&["run", &manifest(&place, "first", &create_side())]).exits(0);
        let remove = declared("remove", "docker/remove-container", SIDE);
        let ours = manifest(&place, "ours", &[remove, tag()].concat());
        let dies = "docker.remove-container=crash-before";
        assert_eq!(place.run(&["run", &ours, "--inject", dies]).code, None, "it dies");
        place.run(&["run", &manifest(&place, "theirs", &rename(SIDE, "side-kept"))]).exits(0);
        let ran = place.run(resumed).exits(5).says("verdict: incomplete");
        ran.says("why:  somebody has renamed it: it is docker:i-db-1/container/")
            .says("do:   rename docker:i-db-1/container/")
            .says("back to side")
            .lacks("make it anew");
        let there = place.world().engines["i-db-1"].containers.contains_key("side-kept");
        assert!(there, "it is removed under its other name");
    }
}

/// That another one by that name runs, or is down, or has the policy, is not what was asked for.
#[test]
fn what_another_one_of_that_name_does_is_not_what_this_one_was_to_do() {
    let unless = "restart = \"unless-stopped\"";
    let policy = step("policy", "docker/set-restart-policy", &format!("{SIDE}, {unless}"));
    let other = create(&format!("{SIDE}, {unless}"));
    let first = create_side();
    let started = [first.clone(), start_side()].concat();
    let stop = step("stop", "docker/stop-container", &format!("{SIDE}, grace = \"1s\""));
    let table = [
        (&first, start_side(), "start-container", [other.clone(), start_side()].concat()),
        (&first, policy, "update-container", other.clone()),
        (&started, stop, "stop-container", other),
    ];
    for (first, ours, function, theirs) in table {
        let place = Place::new();
        place.run(&["run", &manifest(&place, "first", first)]).exits(0);
        let dies = format!("docker.{function}=crash-before");
        let ran = went_on(&place, &[ours, tag()], &dies, &[rename(SIDE, "away"), theirs]);
        ran.says("docker:i-db-1/container/side is another one by now").lacks("succeeded");
    }
}

/// The volume was detached, and somebody else attached it again: that is theirs.
#[test]
fn what_somebody_else_attached_to_the_same_instance_is_not_detached() {
    let place = Place::new();
    let on = "volume = \"vol-db-main\", instance = \"i-db-1\"";
    let stop = step("stop", "docker/stop-container", MAIN);
    let detach = step("detach", "ebs/detach-volume", on);
    let theirs = step("attach", "ebs/attach-volume", &format!("{on}, device = \"/dev/sdq\""));
    let ran = went_on(&place, &[stop, detach, tag()], "ebs.detach=crash-after", &[theirs]);
    ran.says("vol-db-main was changed by someone else: attachments was").lacks("succeeded");
    assert_eq!(place.world().volumes["vol-db-main"].attachments[0].device, "/dev/sdq");
}

/// What was stopped here and then renamed is as this operation left it, and is where it is.
#[test]
fn what_was_renamed_is_told_by_where_it_is_and_is_nobody_elses_doing() {
    let place = Place::new();
    let stop = step("stop", "docker/stop-container", MAIN);
    let ours = manifest(&place, "ours", &[stop, tag()].concat());
    assert_eq!(place.run(&["run", &ours, "--inject", "ebs.tag=crash-before"]).code, None);
    place.run(&["run", &manifest(&place, "theirs", &rename(MAIN, "main-old"))]).exits(0);
    let ran = place.run(&["rollback", &id_of_ours(&place)]).exits(5);
    ran.lacks("ask whoever changed it")
        .lacks("make it anew")
        .says("back to main")
        .says("running: was true, is false");
}

/// What takes its place has its name, and stands in the way of it.
#[test]
fn what_took_the_place_of_what_was_renamed_is_to_go_first() {
    let place = Place::new();
    let like = format!("{MAIN}, like = {{ {OLD} }}");
    let ours = [
        step("stop", "docker/stop-container", MAIN),
        rename(MAIN, "old"),
        step("create", "docker/create-container", &like),
        tag(),
    ];
    let ours = manifest(&place, "ours", &ours.concat());
    let faults = ["ebs.tag=refuse", "undo:docker.remove-container=refuse"];
    let [tag, remove] = faults.map(|fault| ["--inject", fault]);
    let ran = place.run(&[&["run", &ours][..], &tag, &remove].concat()).exits(5);
    ran.says(
        "do:   stop and remove docker:i-db-1/container/main, which this operation made; then \
         rename docker:i-db-1/container/old back to main; then ",
    );
}

/// It happened, and its name is nobody's by then: once that is put right, it is taken back.
#[test]
fn what_was_done_to_what_somebody_renamed_is_taken_back_once_it_has_its_name() {
    let stopped = [step("stop", "docker/stop-container", MAIN)];
    let policy = format!("{MAIN}, restart = \"always\"");
    let table = [
        (vec![], stopped.concat(), "stop-container", "main"),
        (vec![], step("pause", "docker/pause-container", MAIN), "pause-container", "main"),
        (vec![], step("policy", "docker/set-restart-policy", &policy), "update-container", "main"),
        (vec![], rename(MAIN, "old"), "rename-container", "old"),
        (
            vec![step("down", "docker/stop-container", MAIN)],
            step("start", "docker/start-container", MAIN),
            "start-container",
            "main",
        ),
    ];
    for (first, ours, function, called) in table {
        let place = Place::new();
        place.untouched();
        if !first.is_empty() {
            place.run(&["run", &manifest(&place, "first", &first.concat())]).exits(0);
        }
        let before = place.facts();
        let dies = format!("docker.{function}=crash-after");
        let it = format!("host = \"i-db-1\", container = \"{called}\"");
        let ran = went_on(&place, &[ours, tag()], &dies, &[rename(&it, "away")]);
        ran.exits(5).says("somebody else has renamed").lacks("ask whoever changed it");
        let away = "host = \"i-db-1\", container = \"away\"";
        place.run(&["run", &manifest(&place, "back", &rename(away, called))]).exits(0);
        let ran = place.run(&["rollback", &id_of_ours(&place)]).exits(3);
        ran.says("verdict: restored");
        assert_eq!(place.facts(), before, "{function}");
    }
}

#[test]
fn a_command_that_has_run_is_not_run_again_when_its_container_has_another_name() {
    let place = Place::new();
    let with = "host = \"i-db-1\", image = \"postgres:16\", command = [\"migrate\"]";
    let once = declared("once", "docker/run-once", with);
    let ours = manifest(&place, "ours", &[once, tag()].concat());
    let dies = ["--inject", "docker.run-once=crash-after"];
    assert_eq!(place.run(&[&["run", &ours][..], &dies].concat()).code, None, "it dies");
    let world = place.world();
    let made = world.engines["i-db-1"].containers.keys().find(|name| name.starts_with("stepback"));
    let made = format!("host = \"i-db-1\", container = \"{}\"", made.expect("it ran"));
    place.run(&["run", &manifest(&place, "theirs", &rename(&made, "kept"))]).exits(0);
    let ran = place.run(&["resume", "1"]).exits(5);
    ran.says("somebody else has renamed the container `stepback-").lacks("done, once");
}

/// Two that changed places: each is told to get its own name, and neither is called somebody's.
#[test]
fn what_changed_places_here_is_told_by_where_it_belongs() {
    let place = Place::new();
    place.run(&["run", &manifest(&place, "first", &create_side())]).exits(0);
    let ours = [
        step("stop", "docker/stop-container", MAIN),
        rename(MAIN, "old"),
        rename(SIDE, "main"),
        tag(),
    ];
    let ours = manifest(&place, "ours", &ours.concat());
    let faults = ["ebs.tag=refuse", "undo:docker.rename-container=refuse"];
    let faults: Vec<&str> = faults.iter().flat_map(|fault| ["--inject", fault]).collect();
    let ran = place.run(&[&["run", &ours][..], &faults].concat()).exits(5);
    ran.lacks("not this operation's")
        .says("rename docker:i-db-1/container/main back to side first; then rename ")
        .says("why:  this operation has renamed it: it is docker:i-db-1/container/main");
}

/// Die at this call, have it renamed, go on; then it gets its name back, and is rolled back.
fn renamed_meanwhile(place: &Place, ours: &[String], faults: &[&str], of: &str) -> Ran {
    let ours = manifest(place, "ours", &ours.concat());
    let faults: Vec<&str> = faults.iter().flat_map(|fault| ["--inject", fault]).collect();
    assert_eq!(place.run(&[&["run", &ours][..], &faults].concat()).code, None, "it dies");
    let away = "host = \"i-db-1\", container = \"away\"";
    place.run(&["run", &manifest(place, "theirs", &rename(of, "away"))]).exits(0);
    let id = id_of_ours(place);
    let resumed = place.run(&["resume", &id]).exits(5).lacks("ask whoever changed it");
    resumed.says("somebody").lacks("make it anew");
    let name = if of == MAIN { "main" } else { "side" };
    place.run(&["run", &manifest(place, "back", &rename(away, name))]).exits(0);
    place.run(&["rollback", &id])
}

/// A removal that did not happen has taken nothing away, and what was made is ours by its mark.
#[test]
fn what_was_not_removed_is_put_back_once_it_has_its_name() {
    let stop = step("stop", "docker/stop-container", MAIN);
    let remove = declared("remove", "docker/remove-container", MAIN);
    let create = "docker.create-container=crash-after";
    let undo = ["ebs.tag=refuse", "undo:docker.remove-container=crash-before"];
    let start = ["ebs.tag=refuse", "undo:docker.start-container=crash-before"];
    let table: [(&[String], &[&str], &str); 4] = [
        (&[stop.clone(), remove, tag()], &["docker.remove-container=crash-before"], MAIN),
        (&[create_side(), tag()], &undo, SIDE),
        (&[create_side(), tag()], &[create], SIDE),
        (&[stop, tag()], &start, MAIN),
    ];
    for (ours, faults, of) in table {
        let place = Place::new();
        let before = place.untouched();
        let ran = renamed_meanwhile(&place, ours, faults, of);
        // What was declared may have run.
        let declared = faults[0].starts_with("docker.remove-container");
        ran.exits(if declared { 4 } else { 3 }).says("verdict: restored");
        assert_eq!(place.facts(), before, "{faults:?}");
    }
}

/// Somebody else exchanged the names: nobody else is told to have done it, and there is a way.
#[test]
fn names_that_somebody_exchanged_are_told_to_be_exchanged_by_way_of_a_free_one() {
    let place = Place::new();
    place.run(&["run", &manifest(&place, "first", &create_side())]).exits(0);
    let policy = step("policy", "docker/set-restart-policy", &format!("{SIDE}, restart = \"no\""));
    let ours = [step("stop", "docker/stop-container", MAIN), policy, tag()];
    let ours = manifest(&place, "ours", &ours.concat());
    assert_eq!(place.run(&["run", &ours, "--inject", "ebs.tag=crash-before"]).code, None);
    let spare = "host = \"i-db-1\", container = \"spare\"";
    let theirs = [rename(MAIN, "spare"), rename(SIDE, "main"), rename(spare, "side")];
    place.run(&["run", &manifest(&place, "theirs", &theirs.concat())]).exits(0);
    let ran = place.run(&["rollback", "2"]).exits(5).lacks("this operation has renamed it");
    ran.says("why:  somebody has renamed it").says(
        "rename docker:i-db-1/container/main to a name that is free; then rename \
         docker:i-db-1/container/side back to main; then what has that other name to side",
    );
}

/// Whoever took the name is asked for it, and not left with it.
#[test]
fn what_lost_its_name_to_somebody_elses_is_told_first() {
    let place = Place::new();
    let dies = "docker.stop-container=crash-after";
    let stop = step("stop", "docker/stop-container", MAIN);
    let ran = went_on(&place, &[stop, tag()], dies, &[rename(MAIN, "away"), create(MAIN)]);
    ran.exits(5).says(
        "do:   ask whoever made docker:i-db-1/container/main to free its name; then rename \
         docker:i-db-1/container/",
    );
}
