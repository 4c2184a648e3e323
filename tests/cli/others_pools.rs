//! What somebody else did to a target of a pool, or to the name of an image, while no runner lived:
//! it stays, and nobody is told otherwise.

use crate::harness::{Place, Ran};
use crate::others::{manifest, step, tag};
use serde_json::{Value, json};

const WEB: &str = "pool = \"web\", host = \"i-web-1\", port = 20000";
const TARGET: &str = "/pools/web/targets/i-web-1:20000";

/// Somebody else's hand in the world.
fn change(place: &Place, change: impl FnOnce(&mut Value)) {
    let path = place.path("state/worlds/local/world.json");
    let text = std::fs::read_to_string(&path).expect("there is a world");
    let mut world: Value = serde_json::from_str(&text).expect("the world is JSON");
    change(&mut world);
    std::fs::write(path, world.to_string()).expect("it is written");
}

fn at<'a>(world: &'a mut Value, pointer: &str) -> &'a mut Value {
    world.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is not there"))
}

/// Die with this fault; then somebody else; then this command.
fn then(
    place: &Place,
    ours: &str,
    faults: &[&str],
    theirs: impl FnOnce(&mut Value),
    command: &[&str],
) -> Ran {
    place.untouched();
    let ours = manifest(place, "ours", &format!("{ours}{}", tag()));
    let faults: Vec<&str> = faults.iter().flat_map(|fault| ["--inject", fault]).collect();
    assert_eq!(place.run(&[&["run", &ours][..], &faults].concat()).code, None, "it dies");
    change(place, theirs);
    place.run(command)
}

fn target(place: &Place) -> Option<(bool, u32)> {
    let world = place.world();
    let target = world.pools["web"].targets.get("i-web-1:20000");
    target.map(|target| (target.enabled, target.weight))
}

#[test]
fn a_weight_that_somebody_else_set_stays() {
    let drain = step("drain", "load-balancer/drain-target", WEB);
    let enable = step("enable", "load-balancer/enable-target", WEB);
    let to_7 = |world: &mut Value| at(world, TARGET)["weight"] = json!(7);
    for (ours, dies) in [
        (&drain, "ebs.tag=crash-before"),
        (&drain, "load-balancer.drain=crash-after"),
        (&enable, "ebs.tag=crash-before"),
    ] {
        let place = Place::new();
        let ran = then(&place, ours, &[dies], to_7, &["rollback", "1"]);
        // One that is as it was before but for that has nothing to take back.
        ran.exits(5).says("weight").lacks("verdict: restored");
        assert_eq!(target(&place).map(|(_, weight)| weight), Some(7), "{dies}: theirs is gone");
    }
}

#[test]
fn a_target_that_somebody_else_took_out_is_not_put_back() {
    let place = Place::new();
    let drain = step("drain", "load-balancer/drain-target", WEB);
    let out = |world: &mut Value| {
        let targets = at(world, "/pools/web/targets").as_object_mut().expect("its targets");
        targets.remove("i-web-1:20000").expect("it is there");
    };
    let ran = then(&place, &drain, &["ebs.tag=crash-before"], out, &["rollback", "1"]);
    ran.exits(5).says("present was true, is false").lacks("verdict: restored");
    assert_eq!(target(&place), None, "it is put back");
}

#[test]
fn a_target_that_somebody_else_added_is_not_added_again_nor_removed() {
    let third = "pool = \"web\", host = \"i-db-1\", port = 5432";
    for dies in ["load-balancer.add=crash-before", "load-balancer.add=crash-after"] {
        let place = Place::new();
        let add = step("add", "load-balancer/add-target", &format!("{third}, weight = 3"));
        let theirs = |world: &mut Value| {
            let like = at(world, TARGET).clone();
            at(world, "/pools/web/targets")["i-db-1:5432"] = like;
            at(world, "/pools/web/targets/i-db-1:5432")["weight"] = json!(7);
        };
        let ran = then(&place, &add, &[dies], theirs, &["resume", "1"]);
        ran.exits(5).says("weight was").lacks("done, once");
        let world = place.world();
        assert_eq!(world.pools["web"].targets["i-db-1:5432"].weight, 7, "{dies}");
    }
}

#[test]
fn what_an_image_was_made_to_mean_by_somebody_else_stays() {
    const THEIRS: &str = "sha256:7777000000000000000000000000000000000000000000000000000000000000";
    const NAME: &str = "/engines/i-db-1/images/postgres:16";
    let pull = step("pull", "docker/pull-image", "host = \"i-db-1\", image = \"postgres:16\"");
    for dies in ["docker.pull-image=crash-before", "docker.pull-image=crash-after"] {
        let place = Place::new();
        place.untouched();
        // The registry has a newer one.
        change(&place, |world| {
            let newer = format!("sha256:{}", "9".repeat(64));
            at(world, "/registry/postgres:16")["digest"] = json!(newer);
        });
        let theirs = |world: &mut Value| *at(world, NAME) = json!(THEIRS);
        let command = ["resume", "1", "--inject", "ebs.tag=refuse"];
        let ran = then(&place, &pull, &[dies], theirs, &command);
        ran.exits(5).says("was changed by someone else: digest was").lacks("verdict: restored");
        assert_eq!(place.world().engines["i-db-1"].images["postgres:16"], THEIRS, "{dies}");
    }
}

/// Nobody is told to take a volume from where somebody else has it, though nobody saw how this
/// operation left it.
#[test]
fn what_somebody_else_attached_after_a_lost_detach_is_not_told_to_be_detached() {
    let place = Place::new();
    let detach =
        step("detach", "ebs/detach-volume", "volume = \"vol-db-main\", instance = \"i-db-1\"");
    let stop = step("stop", "docker/stop-container", "host = \"i-db-1\", container = \"main\"");
    let theirs = |world: &mut Value| {
        at(world, "/volumes/vol-db-main")["attachments"] =
            json!([{ "instance": "i-db-1", "device": "/dev/sdq" }]);
    };
    let ours = format!("{stop}{detach}");
    let ran = then(&place, &ours, &["ebs.detach=crash-after"], theirs, &["rollback", "1"]);
    ran.exits(5).says("attachments is not as this operation left it").lacks("ebs/detach-volume");
}
