//! What is somebody else's: a runner dies before its effect, somebody else takes the name or sets
//! the fact, and the operation is rolled back. What is theirs stays, and nobody is told otherwise.

use crate::harness::{Place, Ran};

pub(crate) fn manifest(place: &Place, name: &str, steps: &str) -> String {
    let text = format!("schema = 1\n[operation]\nname = \"{name}\"\nlocks = [\"{name}\"]\n{steps}");
    place.write(&format!("{name}.toml"), text)
}

pub(crate) fn step(id: &str, uses: &str, with: &str) -> String {
    format!("[[steps]]\nid = \"{id}\"\nuses = \"{uses}\"\nwith = {{ {with} }}\n")
}

pub(crate) fn declared(id: &str, uses: &str, with: &str) -> String {
    format!("{}irreversible = \"it is old\"\n", step(id, uses, with))
}

pub(crate) fn tag() -> String {
    step("tag", "ebs/tag-volume", "volume = \"vol-db-main\", key = \"a\", value = \"b\"")
}

fn snapshot() -> String {
    step("snapshot", "ebs/create-snapshot", "volume = \"vol-db-main\"")
}

pub(crate) const SIDE: &str = "host = \"i-db-1\", container = \"side\"";
pub(crate) const MAIN: &str = "host = \"i-db-1\", container = \"main\"";

pub(crate) fn create_side() -> String {
    step("create", "docker/create-container", &format!("{SIDE}, image = \"postgres:16\""))
}

pub(crate) fn start_side() -> String {
    step("start", "docker/start-container", SIDE)
}

/// Die before this effect of the operation's; then somebody else; then roll it back.
fn meanwhile(place: &Place, ours: &str, dies_before: &str, theirs: &str) -> Ran {
    let (ours, theirs) = (manifest(place, "ours", ours), manifest(place, "theirs", theirs));
    let fault = format!("{dies_before}=crash-before");
    assert_eq!(place.run(&["run", &ours, "--inject", &fault]).code, None, "it dies");
    place.run(&["run", &theirs]).exits(0);
    let id = place.run(&["list", "--json"]).exits(0).json();
    let all = id.as_array().expect("a list").iter();
    let mut left = all.filter(|one| one["name"] == "ours").map(|one| one["id"].to_string());
    let left = left.next_back().expect("ours is on record");
    place.run(&["rollback", &left])
}

/// An engine answers success for a volume that is there already.
#[test]
fn a_docker_volume_of_that_name_is_not_removed() {
    let place = Place::new();
    let create = step("create", "docker/create-volume", "host = \"i-db-2\", volume = \"data\"");
    let ran = meanwhile(&place, &[create.clone(), tag()].concat(), "docker.create-volume", &create);
    ran.exits(5).says("it is not this operation's").lacks("volume rm");
    assert!(place.world().engines["i-db-2"].volumes.contains_key("data"), "theirs is gone");
}

#[test]
fn a_container_of_that_name_is_not_removed_and_nobody_is_told_to() {
    let place = Place::new();
    let theirs = [create_side(), start_side()].concat();
    let ran =
        meanwhile(&place, &[create_side(), tag()].concat(), "docker.create-container", &theirs);
    ran.exits(5).says("it is not this operation's").lacks("docker rm");
    assert!(place.world().engines["i-db-1"].containers["side"].running, "theirs is gone");
}

#[test]
fn a_container_of_that_name_is_not_stopped() {
    let place = Place::new();
    let first = manifest(&place, "first", &create_side());
    place.run(&["run", &first]).exits(0);
    let remove = declared("remove", "docker/remove-container", SIDE);
    let theirs = [remove, create_side(), start_side()].concat();
    let ours = [start_side(), tag()].concat();
    meanwhile(&place, &ours, "docker.start-container", &theirs).exits(5);
    assert!(place.world().engines["i-db-1"].containers["side"].running, "theirs is stopped");
}

#[test]
fn a_container_of_that_name_is_not_renamed() {
    let place = Place::new();
    let to_old = step("rename", "docker/rename-container", &format!("{MAIN}, to = \"old\""));
    let old = "host = \"i-db-1\", container = \"old\"";
    let like = format!("{old}, like = {{ {MAIN} }}");
    let theirs = [
        step("create", "docker/create-container", &like),
        step("stop", "docker/stop-container", MAIN),
        declared("remove", "docker/remove-container", MAIN),
        step("start", "docker/start-container", old),
    ];
    let ours = [to_old, tag()].concat();
    meanwhile(&place, &ours, "docker.rename-container", &theirs.concat()).exits(5);
    assert!(place.world().engines["i-db-1"].containers.contains_key("old"), "theirs is renamed");
}

#[test]
fn a_restart_policy_that_somebody_else_set_stays() {
    let place = Place::new();
    let policy = |restart: &str| {
        let with = format!("{MAIN}, restart = \"{restart}\"");
        step("policy", "docker/set-restart-policy", &with)
    };
    let ours = [policy("on-failure:3"), tag()].concat();
    let ran = meanwhile(&place, &ours, "docker.update-container", &policy("always"));
    ran.exits(5).says("ask whoever changed it");
    assert_eq!(place.world().engines["i-db-1"].containers["main"].spec.restart, "always");
}

/// No effect of the operation's is about that tag, though the look after its undo saw it there.
#[test]
fn a_tag_that_somebody_else_set_beside_stays_and_nobody_is_told_to_remove_it() {
    let place = Place::new();
    let owner = "volume = \"vol-db-main\", key = \"owner\", value = \"ours\"";
    let ours = [step("owner", "ebs/tag-volume", owner), start_side()].concat();
    let ours = [create_side(), ours].concat();
    let ran = meanwhile(&place, &ours, "docker.start-container", &tag());
    let ran = ran.exits(5).says("tags.a is not as this operation left it: ask whoever changed it");
    ran.lacks("ebs/untag-volume");
    assert_eq!(place.world().volumes["vol-db-main"].tags["a"], "b");
}

/// That a later effect of the operation's, about something else, saw it there makes it nobody's.
#[test]
fn what_somebody_else_set_anew_is_not_told_to_be_taken_back() {
    let tag = |id: &str, key: &str, value: &str| {
        let with = format!("volume = \"vol-db-main\", key = \"{key}\", value = \"{value}\"");
        step(id, "ebs/tag-volume", &with)
    };
    let place = Place::new();
    let ours = [tag("a", "a", "ours"), tag("c", "c", "ours"), create_side(), start_side()];
    let theirs = tag("a", "a", "theirs");
    let ran = meanwhile(&place, &ours.concat(), "docker.start-container", &theirs);
    let ran = ran.exits(5).says("tags.a is not as this operation left it: ask whoever");
    ran.lacks("ebs/untag-volume");
    let place = Place::new();
    let stop = step("stop", "docker/stop-container", MAIN);
    let on = |instance: &str| format!("volume = \"vol-db-main\", instance = \"{instance}\"");
    let detach = step("detach", "ebs/detach-volume", &on("i-db-1"));
    let ours = [stop, detach, tag("c", "c", "ours"), create_side(), start_side()];
    let attach = format!("{}, device = \"/dev/sdz\"", on("i-db-2"));
    let theirs = step("attach", "ebs/attach-volume", &attach);
    let ran = meanwhile(&place, &ours.concat(), "docker.start-container", &theirs);
    let ran = ran.exits(5).says("attachments is not as this operation left it: ask whoever");
    ran.lacks("ebs/detach-volume");
}

/// A runner died with the answer, or before the call: the look that settles it comes late, and sees
/// what was attached meanwhile.
#[test]
fn what_was_attached_elsewhere_meanwhile_is_not_told_to_be_detached() {
    let on = |instance: &str| format!("volume = \"vol-db-main\", instance = \"{instance}\"");
    let detach = step("detach", "ebs/detach-volume", &on("i-db-1"));
    let stop = step("stop", "docker/stop-container", MAIN);
    let ours = [stop, detach.clone(), tag()].concat();
    let attach = format!("{}, device = \"/dev/sdz\"", on("i-db-2"));
    let attach = step("attach", "ebs/attach-volume", &attach);
    for (dies, theirs) in
        [("crash-after", attach.clone()), ("crash-before", [detach.clone(), attach].concat())]
    {
        let place = Place::new();
        let (ours, theirs) = (manifest(&place, "ours", &ours), manifest(&place, "theirs", &theirs));
        let fault = format!("ebs.detach={dies}");
        assert_eq!(place.run(&["run", &ours, "--inject", &fault]).code, None, "it dies");
        place.run(&["run", &theirs]).exits(0);
        let ran = place.run(&["rollback", "1"]).exits(5);
        let ran = ran.says("attachments is not as this operation left it: ask whoever");
        ran.lacks("ebs/detach-volume");
    }
}

/// A removal that a runner's death cut off is not sent again to what has the name by then: that
/// somebody else has it proves that ours is gone.
#[test]
fn what_took_the_name_of_what_was_removed_stays() {
    let remove = declared("remove", "docker/remove-container", SIDE);
    let theirs = step(
        "create",
        "docker/create-container",
        &format!("{SIDE}, image = \"postgres:16\", env = {{ THEIRS = \"1\" }}"),
    );
    let is_theirs = |place: &Place| {
        let world = place.world();
        let side = world.engines["i-db-1"].containers.get("side");
        side.is_some_and(|side| side.spec.env.contains_key("THEIRS"))
    };
    // On the way forward.
    let place = Place::new();
    place.run(&["run", &manifest(&place, "first", &create_side())]).exits(0);
    let ours = manifest(&place, "ours", &[remove, tag()].concat());
    let fault = "docker.remove-container=crash-after";
    assert_eq!(place.run(&["run", &ours, "--inject", fault]).code, None, "it dies");
    place.run(&["run", &manifest(&place, "theirs", &theirs)]).exits(0);
    place.run(&["resume", "2"]).exits(0);
    assert!(is_theirs(&place), "theirs is removed");
    assert_eq!(place.world().volumes["vol-db-main"].tags["a"], "b");
    // And in an undo.
    let place = Place::new();
    let ours = manifest(&place, "ours", &[create_side(), start_side(), tag()].concat());
    let dies =
        ["--inject", "ebs.tag=refuse", "--inject", "undo:docker.remove-container=crash-after"];
    let dies: Vec<&str> = ["run", &ours].into_iter().chain(dies).collect();
    assert_eq!(place.run(&dies).code, None, "it dies");
    place.run(&["run", &manifest(&place, "theirs", &theirs)]).exits(0);
    let ran = place.run(&["resume", "1"]);
    assert!(is_theirs(&place), "theirs is removed: {:?}", ran.code);
}

/// What an instance's end takes off is not what others attached since; and what attaches a volume
/// does not stop the instance.
#[test]
fn what_came_beside_an_effect_that_was_settled_late_is_somebody_elses() {
    let on = |instance: &str| format!("volume = \"vol-db-main\", instance = \"{instance}\"");
    let attach = format!("{}, device = \"/dev/sdz\"", on("i-db-2"));
    let attach = step("attach", "ebs/attach-volume", &attach);
    let place = Place::new();
    let terminate = declared("end", "ec2/terminate-instance", "instance = \"i-db-1\"");
    let ours = manifest(&place, "ours", &[terminate, tag()].concat());
    let fault = "ec2.terminate=crash-after";
    assert_eq!(place.run(&["run", &ours, "--inject", fault]).code, None, "it dies");
    place.run(&["run", &manifest(&place, "theirs", &attach)]).exits(0);
    let ran = place.run(&["rollback", "1"]).exits(5);
    ran.says("attachments is not as this operation left it: ask whoever")
        .lacks("ebs/detach-volume");

    let place = Place::new();
    let (volume, stop) = (
        step("volume", "ebs/create-volume", "zone = \"us-east-1a\", size_gib = 1"),
        step("stop", "ec2/stop-instance", "instance = \"i-db-2\""),
    );
    let attach = step(
        "attach",
        "ebs/attach-volume",
        "volume = \"{{ steps.volume.id }}\", instance = \"i-db-2\", device = \"/dev/sdz\"",
    );
    let ours = manifest(&place, "ours", &[volume, attach, tag()].concat());
    let fault = "ebs.attach=crash-after";
    assert_eq!(place.run(&["run", &ours, "--inject", fault]).code, None, "it dies");
    place.run(&["run", &manifest(&place, "theirs", &stop)]).exits(0);
    let ran = place.run(&["resume", "1", "--inject", "ebs.tag=refuse"]);
    assert!(matches!(ran.code, Some(3 | 5)), "{:?}", ran.code);
    ran.lacks("ec2/start-instance");
}

/// Nobody saw what a declared call did, but it can only have done what it says.
#[test]
fn what_somebody_else_made_of_a_volume_is_not_what_was_declared() {
    let place = Place::new();
    let modify = |size_gib: u32| {
        let with = format!("volume = \"vol-db-main\", size_gib = {size_gib}");
        declared("modify", "ebs/modify-volume", &with)
    };
    let ours = [modify(30), tag()].concat();
    let ran = meanwhile(&place, &ours, "ebs.modify-volume", &modify(40));
    ran.exits(5).says("size_gib").says("ask whoever changed it");
    assert_eq!(place.world().volumes["vol-db-main"].size_gib, 40);
}

/// Each looks while others are at work, and what it sees of their facts may be old.
#[test]
fn what_steps_side_by_side_set_is_nobody_elses() {
    const STEPS: usize = 20;
    let place = Place::new();
    let tag = |number: usize| {
        format!(
            "[[steps]]\nid = \"t{number}\"\nneeds = []\nuses = \"ebs/tag-volume\"\n\
             with = {{ volume = \"vol-db-main\", key = \"k{number}\", value = \"ours\" }}\n"
        )
    };
    let all: Vec<String> = (0..STEPS).map(|number| format!("\"t{number}\"")).collect();
    let fails = format!(
        "[[steps]]\nid = \"fails\"\nneeds = [{}]\nuses = \"ebs/create-snapshot\"\n\
         with = {{ volume = \"vol-db-main\" }}\n",
        all.join(", ")
    );
    let path = manifest(&place, "ours", &((0..STEPS).map(tag).collect::<String>() + &fails));
    let mut arguments = vec!["run".to_owned(), path];
    let faults = (1..=5 * STEPS).map(|number| format!("undo:ebs.untag#{number}=refuse"));
    for fault in faults.chain(["ebs.create-snapshot=refuse".to_owned()]) {
        arguments.extend(["--inject".to_owned(), fault]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ran = place.run(&arguments).exits(5).lacks("ask whoever");
    ran.says("ebs/untag-volume").says("k19");
}

/// That it has the name of what the operation made excuses nothing.
#[test]
fn what_is_removed_for_good_is_owned_only_by_who_made_it() {
    let place = Place::new();
    let remove = declared("remove", "docker/remove-container", SIDE);
    let start = step("start", "docker/start-container", MAIN);
    let ours = [create_side(), tag(), remove.clone(), start].concat();
    let theirs = [
        remove,
        step(
            "create",
            "docker/create-container",
            &format!("{SIDE}, image = \"postgres:16\", env = {{ THEIRS = \"1\" }}"),
        ),
    ];
    let (ours, theirs) =
        (manifest(&place, "ours", &ours), manifest(&place, "theirs", &theirs.concat()));
    assert_eq!(place.run(&["run", &ours, "--inject", "ebs.tag=crash-before"]).code, None);
    place.run(&["run", &theirs]).exits(0);
    let ran = place.run(&["resume", "1", "--inject", "docker.start-container=refuse"]);
    assert!(matches!(ran.code, Some(4 | 5)), "theirs is gone, and all is restored? {:?}", ran.code);
}

/// An instance that was started is stopped again, and with it what somebody started there
/// meanwhile; what an engine starts by itself may have come with the instance.
#[test]
fn what_somebody_else_started_on_an_instance_is_named() {
    let place = Place::new();
    let on = "instance = \"i-db-3\"";
    let stop = manifest(&place, "stop", &step("stop", "ec2/stop-instance", on));
    place.run(&["run", &stop]).exits(0);
    let theirs_on = "host = \"i-db-3\", container = \"theirs\"";
    let theirs = [
        step("pull", "docker/pull-image", "host = \"i-db-3\", image = \"busybox:1.36\""),
        step(
            "create",
            "docker/create-container",
            &format!("{theirs_on}, image = \"busybox:1.36\", restart = \"no\""),
        ),
        step("start", "docker/start-container", theirs_on),
    ];
    let ours = [step("start", "ec2/start-instance", on), tag()].concat();
    meanwhile(&place, &ours, "ebs.tag", &theirs.concat()).exits(5).says("theirs");
}

/// What an undo is about to do was worked out before its runner died; somebody else came since.
#[test]
fn what_was_changed_while_no_runner_lived_is_not_taken_back() {
    let place = Place::new();
    place.untouched();
    let ours = manifest(&place, "ours", &format!("{}{}", tag(), snapshot()));
    let faults =
        ["--inject", "ebs.create-snapshot=refuse", "--inject", "undo:ebs.untag=crash-before"];
    assert_eq!(place.run(&[&["run", &ours], &faults[..]].concat()).code, None, "it dies");
    let theirs = "volume = \"vol-db-main\", key = \"a\", value = \"theirs\"";
    let theirs = manifest(&place, "theirs", &step("tag", "ebs/tag-volume", theirs));
    place.run(&["run", &theirs]).exits(0);
    place.run(&["resume", "1"]).exits(5).says("verdict: incomplete");
    assert_eq!(place.world().volumes["vol-db-main"].tags["a"], "theirs");
}

/// What an operation made, and somebody else uses by now, is not told to be taken from them, nor
/// taken: on another instance, or on the very one by another name.
#[test]
fn what_somebody_else_attached_is_not_detached_nor_told_to_be() {
    let create = step("volume", "ebs/create-volume", "zone = \"us-east-1a\", size_gib = 1");
    let at =
        |instance: &str, device: &str| format!("instance = \"{instance}\", device = \"{device}\"");
    let attach = |volume: &str, at: &str| {
        step("attach", "ebs/attach-volume", &format!("volume = \"{volume}\", {at}"))
    };
    let ours = attach("{{ steps.volume.id }}", &at("i-db-1", "/dev/sdx"));
    let (there, here) = (at("i-db-2", "/dev/sdx"), at("i-db-1", "/dev/sdy"));
    for (ours, dies, theirs) in [
        (create.clone(), "ebs.tag=crash-before", &there),
        ([create.clone(), ours.clone()].concat(), "ebs.attach=crash-before", &here),
        ([create, ours].concat(), "ebs.tag=crash-before", &here),
    ] {
        let place = Place::new();
        let ours = manifest(&place, "ours", &[ours, tag()].concat());
        assert_eq!(place.run(&["run", &ours, "--inject", dies]).code, None);
        let world = place.world();
        let made = world.volumes.keys().find(|id| id.ends_with("a000001")).expect("it is made");
        let is_there = !world.volumes[made].attachments.is_empty();
        let on = format!("volume = \"{made}\", instance = \"i-db-1\"");
        let detach = step("detach", "ebs/detach-volume", &on);
        let detach = if is_there { detach } else { String::new() };
        let theirs = [detach, attach(made, theirs)].concat();
        place.run(&["run", &manifest(&place, "theirs", &theirs)]).exits(0);
        let ran = place.run(&["rollback", "1"]).exits(5).says("somebody else has attached it to ");
        ran.lacks("ebs/delete-volume").lacks("ebs/detach-volume");
        assert_eq!(place.world().volumes[made].attachments.len(), 1, "theirs is detached");
    }
}
