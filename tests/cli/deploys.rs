//! Deploys of an app: whatever befalls them, the app is up and nobody is turned away.

use crate::harness::Place;
use stepback_simulated::world::Pool;

const HOSTS: [&str; 2] = ["i-web-1", "i-web-2"];

fn pool(place: &Place) -> Pool {
    let pool = place.world().pools["web"].clone();
    assert_eq!(pool.lost, [""; 0], "requests were lost");
    pool
}

/// The targets that get traffic.
fn serving(place: &Place) -> Vec<String> {
    let pool = pool(place);
    pool.targets.iter().filter(|(_, one)| one.enabled).map(|(name, _)| name.clone()).collect()
}

/// The containers of the app, by host, with whether each runs.
fn containers(place: &Place) -> Vec<(String, bool)> {
    let world = place.world();
    let of = |host: &&str| {
        let all = world.engines[*host].containers.clone().into_iter();
        all.map(|(name, one)| (format!("{name}.{host}"), one.running)).collect::<Vec<_>>()
    };
    HOSTS.iter().flat_map(of).collect()
}

fn all_of(release: u32) -> Vec<(String, bool)> {
    HOSTS.iter().map(|host| (format!("shop-r{release}-1.{host}"), true)).collect()
}

const FIRST: [&str; 2] = ["i-web-1:20000", "i-web-2:20000"];
const SECOND: [&str; 2] = ["i-web-1:20001", "i-web-2:20001"];

#[test]
fn a_release_takes_the_place_of_the_one_before() {
    let place = Place::new();
    let ran = place.run_shipped("deploy-app", &[]).exits(0);
    ran.says("release = 2");
    assert_eq!(containers(&place), all_of(2));
    assert_eq!(serving(&place), SECOND);
    // The next one has a port that is free by then.
    place.run_shipped("deploy-app", &["-i", "image=shop:1"]).exits(0);
    assert_eq!(containers(&place), all_of(3));
    assert_eq!(serving(&place), FIRST);
}

/// By its digest: the tag has moved.
#[test]
fn an_earlier_release_comes_back_by_its_digest() {
    let place = Place::new();
    place.run_shipped("deploy-app", &[]).exits(0);
    place.run_shipped("deploy-app", &["-i", "image=shop:1"]).exits(0);
    let before = place.world().engines["i-web-1"].containers["shop-r3-1"].digest.clone();
    place.run(&["plan", "--like", "1"]).exits(0).says("digest = \"sha256:5002");
    place.run(&["run", "--like", "1"]).exits(0).says("digest = \"sha256:5002");
    let after = place.world().engines["i-web-1"].containers["shop-r4-1"].digest.clone();
    assert_ne!(before, after);
    assert!(after.starts_with("sha256:5002"), "{after}");
}

#[test]
fn a_release_that_never_gets_healthy_changes_nothing() {
    let place = Place::new();
    let before = place.untouched();
    let ran = place.run_shipped("deploy-app", &["-i", "image=shop:sick"]).exits(3);
    ran.says("verdict: restored");
    assert_eq!(place.facts(), before);
    assert_eq!(serving(&place), FIRST);
}

/// Each call of the balancer's and of the engines' fails once, and is lost once.
#[test]
fn whichever_call_fails_the_app_is_up() {
    for call in [
        "docker.pull-image#2",
        "docker.create-container#2",
        "docker.start-container#2",
        "docker.wait-healthy#2",
        "load-balancer.add#2",
        "load-balancer.wait-healthy#2",
        "load-balancer.enable#2",
        "load-balancer.drain#2",
        "load-balancer.wait-drained#2",
    ] {
        for fault in ["refuse", "lost"] {
            let place = Place::new();
            let before = place.untouched();
            let ran = place.run_shipped("deploy-app", &["--inject", &format!("{call}={fault}")]);
            match ran.code {
                Some(0) => assert_eq!(serving(&place), SECOND, "{call}={fault}"),
                Some(3) => assert_eq!(place.facts(), before, "{call}={fault}"),
                other => panic!("{call}={fault}: {other:?}\n{}", ran.stderr),
            }
        }
    }
}

/// What it leaves is named, and is old to the next deploy, which clears it away.
#[test]
fn a_rollback_that_would_be_the_outage_ends_with_the_app_up() {
    let place = Place::new();
    let faults = ["load-balancer.wait-drained#2=refuse", "undo:load-balancer.enable=refuse"];
    let inject = ["--inject", faults[0], "--inject", faults[1]];
    let ran = place.run_shipped("deploy-app", &inject).exits(5);
    ran.says("lb:web/target/i-web-1:20000");
    assert!(serving(&place).len() >= 2, "{:?}", serving(&place));
    assert_eq!(containers(&place).len(), 4, "nothing was stopped");
    // Whoever gives it up has the next deploy clear away what is left.
    place.run(&["unlock", "1", "--reason", "the next deploy clears it away"]).exits(0);
    place.run_shipped("deploy-app", &["-i", "image=shop:1"]).exits(0).says("release = 3");
    assert_eq!(containers(&place), all_of(3));
    assert_eq!(serving(&place).len(), 2);
}

/// A command is not taken back: it is named, and all else is.
#[test]
fn what_ran_before_a_release_that_failed_is_named() {
    let place = Place::new();
    let before = place.untouched();
    let arguments = [
        "-i",
        "before_release=[[\"./migrate\", \"up\"], [\"./warm\"]]",
        "--inject",
        "load-balancer.drain#2=refuse",
    ];
    let ran = place.run_shipped("deploy-app", &arguments).exits(4);
    ran.says("before-release");
    assert_eq!(place.facts(), before);
    assert_eq!(serving(&place), FIRST);
    let deploy = crate::harness::operation("deploy-app");
    let some = ["plan", &deploy, "-i", "before_release=[[\"./migrate\"]]"];
    place.run(&some).exits(0).says("point of no return: before-release");
    // Without any it is where cleaning up begins.
    place.run(&["plan", &deploy]).exits(0).says("point of no return: the commit, before `remove`");
}

/// Whoever reads it knows what goes on at once, how long the old ones are waited for, and that
/// nobody is without the app meanwhile.
#[test]
fn a_plan_tells_what_runs_side_by_side_and_what_it_waits_for() {
    let place = Place::new();
    let path = crate::harness::operation("deploy-app");
    let mut plan = vec!["plan", &path, "-i", "drain_timeout=345s", "-i", "stop_grace=7s"];
    let told = place.run(&plan).exits(0);
    told.says("side by side, for each: `pull`, `start`, `healthy`, `add`, `enable`, `drain`")
        .says("`before-release` is run for each, one after another")
        .says("drain[shop-r1-1.i-web-1]     345s at most, until nobody is served by it any more")
        .says("linger                       5s\n")
        .says("stop[shop-r1-1.i-web-2]      7s at most, until it has stopped")
        .says("found drain_delay")
        .says("downtime: none is declared\n");
    plan.push("--json");
    let told: serde_json::Value =
        serde_json::from_str(&place.run(&plan).exits(0).stdout).expect("JSON");
    let first = serde_json::json!({
        "step": "drain[shop-r1-1.i-web-1]", "how_long": "345s", "at_most": true,
    });
    assert_eq!(told["waits"][0], first);
    assert_eq!(
        (&told["point_of_no_return"], told["commits_before"].as_str()),
        (&serde_json::Value::Null, Some("remove"))
    );
    // A database's steps go on beside each other where none needs another.
    let path = crate::harness::operation("redeploy-database");
    let told = place.run(&["plan", &path]).exits(0);
    told.says("side by side: `running` with `target`, `same-zone`, `device-free`\n")
        .says("point of no return: the commit, before `remove-old`");
}

/// A step that is left out is no point of no return, and of several at once one may fail when
/// another has been; how long a wait is may be known only on the way.
#[test]
fn a_plan_tells_of_steps_that_are_left_out_run_for_each_or_told_later() {
    let place = Place::new();
    let plan = |steps: &str| {
        let text = format!("schema = 1\n[operation]\nname = \"plan\"\n{steps}");
        place.write("plan.toml", &text);
        place.run(&["plan", "plan.toml"]).exits(0)
    };
    let migrate = |more: &str| {
        format!(
            "[[steps]]\nid = \"migrate\"\nuses = \"docker/exec\"\n\
             irreversible = \"no way back\"\n{more}\n\
             with = {{ host = \"i-web-1\", container = \"shop-r1-1\", command = [\"./up\"] }}\n"
        )
    };
    let pause = |how_long: &str| {
        format!(
            "[[steps]]\nid = \"pause\"\nuses = \"core/sleep\"\n\
             with = {{ duration = \"{how_long}\" }}\n"
        )
    };
    // Nothing comes after it that could fail.
    let (none, here) = ("point of no return: none before its end", "point of no return: migrate");
    plan(&migrate("")).says(none);
    plan(&migrate("for_each = \"['a', 'b']\"")).says(here);
    plan(&(migrate("") + &pause("1s"))).says(here);
    plan(&(migrate("when = \"1 > 2\"") + &pause("1s"))).says(none);
    // What cleans up is beside nothing else, though it needs none of it.
    let cleanup = pause("1s").replace("pause", "after") + "needs = []\nphase = \"cleanup\"\n";
    plan(&(pause("1s") + &cleanup)).says("the commit, before `after`").lacks("side by side");
    let pull = "[[steps]]\nid = \"pull\"\nuses = \"docker/pull-image\"\n\
                with = { host = \"i-web-1\", image = \"shop:2\" }\n";
    let later = pull.to_owned() + &pause("{{ steps.pull.digest }}");
    plan(&later).says("pause                        of what earlier steps give\n");
}

/// As somebody finds it: one container stopped by hand, one gone with its target left, another
/// number of them than before.
#[test]
fn what_was_changed_by_hand_is_cleared_by_the_next_deploy() {
    let place = Place::new();
    let stop = "schema = 1\n[operation]\nname = \"stop\"\n[[steps]]\nid = \"stop\"\n\
                uses = \"docker/stop-container\"\n\
                with = { host = \"i-web-1\", container = \"shop-r1-1\" }\n";
    place.write("stop.toml", stop);
    place.run(&["run", "stop.toml"]).exits(0);
    let ran = place.run_shipped("deploy-app", &["-i", "replicas=2"]).exits(0);
    ran.says("release = 2");
    assert_eq!(containers(&place).len(), 4);
    assert_eq!(pool_targets(&place), 4);
    place.run_shipped("deploy-app", &["-i", "hosts=[\"i-web-1\"]"]).exits(0);
    // The other host is none of this deploy's.
    assert_eq!(containers(&place).len(), 3);
    place.run_shipped("deploy-app", &["-i", "hosts=[\"i-web-1\", \"i-nowhere\"]"]).exits(2);
    place.run_shipped("deploy-app", &["-i", "replicas=0"]).exits(2).says("does not take an app");
}

fn pool_targets(place: &Place) -> usize {
    place.world().pools["web"].targets.len()
}

/// Killed at every call of its own kind, and taken up again; a lost answer needs nobody.
#[track_caller]
fn goes_on(operation: &str) {
    for call in [
        "docker.create-container#1",
        "docker.start-container#2",
        "load-balancer.add#1",
        "load-balancer.enable#2",
        "load-balancer.drain#1",
        "load-balancer.remove#1",
        "docker.stop-container#2",
        "docker.remove-container#1",
    ] {
        for when in ["crash-before", "crash-after", "lost"] {
            let (place, inject) = (Place::new(), format!("{call}={when}"));
            let ran = place.run_shipped(operation, &["--inject", &inject]);
            assert!(serving(&place).len() >= 2, "{inject}");
            match when {
                "lost" => ran.exits(0),
                _ => {
                    assert_ne!(ran.code, Some(0), "{inject}: it was not killed");
                    place.run(&["resume", "1"]).exits(0)
                }
            };
            assert_eq!(containers(&place), all_of(2), "{inject}");
            assert_eq!(serving(&place), SECOND, "{inject}");
        }
    }
}

#[test]
fn a_deploy_that_is_killed_goes_on() {
    goes_on("deploy-app");
}

#[test]
fn a_restart_that_is_killed_goes_on() {
    goes_on("restart-app");
}

const DEMO: &str = include_str!("../../operations/demo-world.toml");

/// Have an environment `two` with this world.
fn second_world(place: &Place, world: &str) {
    place.write("world.toml", world);
    let text = "[environments.two]\nprovider = \"simulated\"\nworld = \"world.toml\"\n";
    place.write("stepback.toml", text);
}

/// What is committed needs nobody's word: its cleanup is all that is left.
#[test]
fn the_next_deploy_finishes_one_that_was_killed_in_its_cleanup() {
    let place = Place::new();
    let killed =
        place.run_shipped("deploy-app", &["--inject", "docker.stop-container#2=crash-after"]);
    assert_ne!(killed.code, Some(0));
    let next = place.run_shipped("deploy-app", &["-i", "image=shop:1"]).exits(0);
    next.says("it is committed, and nobody runs it").says("release = 3");
    assert_eq!(containers(&place), all_of(3));
    assert_eq!(place.show(1)["status"], "succeeded");

    // One that is not is named, at once, and nothing is decided about it.
    let inject = "load-balancer.drain#1=crash-after";
    place.run_shipped("deploy-app", &["--inject", inject]);
    place.run_shipped("deploy-app", &[]).exits(2).says("`stepback resume 3` goes on");
}

/// Each would take an app down, this one or another.
#[test]
fn what_would_be_an_outage_is_refused_before_anything_is_changed() {
    // The new release listens on another port: the old one is drained by its own.
    let place = Place::new();
    place.run_shipped("deploy-app", &["-i", "port=8080"]).exits(0);
    assert_eq!(serving(&place), SECOND);
    assert_eq!(pool_targets(&place), 2);

    let place = Place::new();
    let before = place.untouched();
    second_world(&place, &format!("{DEMO}[pools.other]\n"));
    let other = ["-e", "two", "-i", "pool=other"];
    place.run_shipped("deploy-app", &other).exits(2).says("pool `other` has none of it");
    let another = ["-e", "two", "-i", "app=blog"];
    place.run_shipped("deploy-app", &another).exits(2).says("is it another app's pool?");
    let port = ["-e", "two", "-i", "port=0"];
    place.run_shipped("deploy-app", &port).exits(2).says("`port` is 0");
    place.run_shipped("deploy-app", &["-e", "two", "-i", "digest=latest"]).exits(2);
    assert_eq!(place.facts(), before);
}

/// Each container that serves is made once more, of the very image that it has, though its tag has
/// moved.
#[test]
fn a_restart_makes_what_serves_anew() {
    let place = Place::new();
    let moved = DEMO.replacen(
        "\"shop:1\" = \"sha256:5001",
        "\"shop:1@sha256:5001000000000000000000000000000000000000000000000000000000000000\" = \
         \"sha256:5001000000000000000000000000000000000000000000000000000000000000\"\n\
         \"shop:1\" = \"sha256:5002",
        1,
    );
    assert_ne!(moved, DEMO);
    let env = "restart = \"unless-stopped\"\nlabels = { app = \"shop\" }\n";
    second_world(&place, &moved.replace(env, &format!("{env}env = {{ MODE = \"fast\" }}\n")));
    place.run_shipped("restart-app", &["-e", "two"]).exits(0).says("release = 2");
    let world = place.world_of("two");
    for host in HOSTS {
        let all = &world.engines[host].containers;
        let names: Vec<&String> = all.keys().collect();
        assert_eq!(names, ["shop-r2-1"], "{host}");
        let one = &all["shop-r2-1"];
        assert!(one.digest.starts_with("sha256:5001"), "{host}: {}", one.digest);
        assert_eq!(one.spec.env["MODE"], "fast", "{host}");
    }
    assert_eq!(world.pools["web"].lost, [""; 0]);
}

/// Nobody can tell what is meant, or nothing serves.
#[test]
fn a_restart_is_refused_where_nobody_can_tell_what_is_meant() {
    let place = Place::new();
    let two = DEMO.replacen(
        "running = true\ndigest = \"sha256:5001",
        "running = true\ndigest = \"sha256:5002",
        1,
    );
    assert_ne!(two, DEMO);
    second_world(&place, &two);
    let restart =
        |more: &[&str]| place.run_shipped("restart-app", &[&["-e", "two"], more].concat());
    restart(&[]).exits(2).says("two images of `shop` serve at once");
    restart(&["-i", "hosts=[\"i-db-3\"]"]).exits(2).says("nothing of `shop` that runs");
    restart(&["-i", "volumes=maybe"]).exits(2).says("volumes");
}

/// The second one waits in line, or is refused. One that waits in vain is not run when nobody
/// expects it any more: the app has had another release since.
#[test]
fn two_deploys_at_once_come_one_after_the_other() {
    let place = Place::new();
    let path = crate::harness::operation("deploy-app");
    let deploy = |more: &[&'static str]| [&["run", &path][..], more].concat();
    let slow = ["-i", "linger=4s"];
    let mut first = place.start_as("first", &deploy(&slow));
    first.wait_for("linger");
    place.run(&deploy(&["--no-wait"])).exits(2).says("app/shop");
    let mut second = place.start_as("second", &deploy(&["-i", "image=shop:1"]));
    second.wait_for("wait");
    let mut third = place.start_as("third", &deploy(&[]));
    third.wait_for("wait");
    third.signal("TERM");
    let left = third.ends();
    assert_ne!(left.code, Some(0), "{}", left.stderr);
    first.ends().exits(0).says("release = 2");
    second.ends().exits(0).says("release = 3");
    let all = place.run(&["resume", "--all"]).exits(6);
    all.says("never began, and is left: `stepback resume");
    assert_eq!(containers(&place), all_of(3));
    assert_eq!(serving(&place), FIRST);
}
