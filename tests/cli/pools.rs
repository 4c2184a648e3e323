//! A release behind a load balancer: nothing takes the pool below its floor, an undo neither.

use crate::harness::{Place, Ran};
use stepback_simulated::world::Pool;

const WORLD: &str = r#"
[instances.i-1]
state = "running"
type = "t3.small"
zone = "us-east-1a"
[instances.i-2]
state = "running"
type = "t3.small"
zone = "us-east-1a"
[engines.i-1.images]
"app:1" = "sha256:1000000000000000000000000000000000000000000000000000000000000000"
[engines.i-1.containers.app-1]
running = true
digest = "sha256:1000000000000000000000000000000000000000000000000000000000000000"
spec = { image = "app:1", ports = ["8080:80"], restart = "unless-stopped" }
[engines.i-2]
[registry."app:1"]
digest = "sha256:1000000000000000000000000000000000000000000000000000000000000000"
[registry."app:2"]
digest = "sha256:2000000000000000000000000000000000000000000000000000000000000000"
[registry."sick:1"]
digest = "sha256:3000000000000000000000000000000000000000000000000000000000000000"
healthy = false
[volumes.vol-1]
size_gib = 1
type = "gp3"
zone = "us-east-1a"
[pools.web.targets."i-1:8080"]
"#;

const RELEASE: &str = r#"
schema = 1
[operation]
name = "release"
[inputs]
image = { type = "string", default = "app:2" }
tag = { type = "string", default = "released" }
[[steps]]
id = "pull"
uses = "docker/pull-image"
with = { host = "i-2", image = "{{ inputs.image }}" }
[[steps]]
id = "create"
uses = "docker/create-container"
with = { host = "i-2", container = "app-2", image = "{{ inputs.image }}", ports = ["8080:80"] }
[[steps]]
id = "start"
uses = "docker/start-container"
with = { host = "i-2", container = "app-2" }
[[steps]]
id = "add"
uses = "load-balancer/add-target"
with = { pool = "web", host = "i-2", port = 8080, container = "app-2", timeout = "5s" }
[[steps]]
id = "enable"
uses = "load-balancer/enable-target"
with = { pool = "web", host = "i-2", port = 8080, container = "app-2" }
[[steps]]
id = "drain"
uses = "load-balancer/drain-target"
with = { pool = "web", host = "i-1", port = 8080, container = "app-1", on_timeout = "go-on" }
[[steps]]
id = "tag"
uses = "ebs/tag-volume"
with = { volume = "vol-1", key = "{{ inputs.tag }}", value = "yes" }
[[steps]]
id = "remove"
uses = "load-balancer/remove-target"
phase = "cleanup"
with = { pool = "web", host = "i-1", port = 8080, container = "app-1" }
[[steps]]
id = "stop"
uses = "docker/stop-container"
phase = "cleanup"
with = { host = "i-1", container = "app-1" }
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("world.toml", WORLD);
    let text = "[environments.local]\nprovider = \"simulated\"\nworld = \"world.toml\"\n";
    place.write("stepback.toml", text);
    place.write("release.toml", RELEASE);
    place
}

fn pool(place: &Place) -> Pool {
    place.world().pools["web"].clone()
}

/// Its targets, with whether each gets traffic; and that no request was lost on the way.
fn targets(place: &Place) -> Vec<(String, bool)> {
    let pool = pool(place);
    assert_eq!(pool.lost, [""; 0], "requests were lost");
    pool.targets.iter().map(|(name, one)| (name.clone(), one.enabled)).collect()
}

fn run(place: &Place, arguments: &[&str]) -> Ran {
    place.run(&[&["run", "release.toml"], arguments].concat())
}

fn of(all: &[(&str, bool)]) -> Vec<(String, bool)> {
    all.iter().map(|(name, is_enabled)| ((*name).to_owned(), *is_enabled)).collect()
}

#[test]
fn a_release_moves_the_traffic_and_loses_no_request() {
    let place = place();
    run(&place, &[]).exits(0);
    assert_eq!(targets(&place), of(&[("i-2:8080", true)]));
    assert!(!place.world().engines["i-1"].containers["app-1"].running);
}

#[test]
fn a_release_that_fails_gives_the_traffic_back() {
    let faults = [
        (&["-i", "image=sick:1"][..], "nothing answers there"),
        (&["--inject", "load-balancer.enable=refuse"], "load-balancer.enable"),
        (&["--inject", "load-balancer.drain=lost", "--inject", "ebs.tag=refuse"], "ebs.tag"),
        (&["--inject", "ebs.tag=refuse", "--inject", "undo:load-balancer.enable=lost"], "ebs.tag"),
    ];
    for (arguments, says) in faults {
        let place = place();
        place.run(&["plan", "release.toml"]).exits(0);
        let before = place.facts();
        run(&place, arguments).exits(3).says(says).says("verdict: restored");
        assert_eq!(targets(&place), of(&[("i-1:8080", true)]), "{arguments:?}");
        assert_eq!(place.facts(), before, "{arguments:?}");
    }
}

/// The rollback that would be the outage: the old one gets no traffic again, so the new one keeps
/// it, its container runs on, and what is left is named.
#[test]
fn a_rollback_that_would_take_the_app_down_ends_with_the_app_up() {
    let place = place();
    let arguments = ["--inject", "ebs.tag=refuse", "--inject", "undo:load-balancer.enable=refuse"];
    let ran = run(&place, &arguments).exits(5);
    let ran = ran.says("lb:web/target/i-1:8080").says("lb:web/target/i-2:8080");
    ran.says("docker:i-2/container/app-2");
    assert_eq!(targets(&place), of(&[("i-1:8080", false), ("i-2:8080", true)]));
    assert!(place.world().engines["i-2"].containers["app-2"].running);
    // Once the balancer takes it again, the rest is taken back.
    place.run(&["rollback", "1"]).exits(3);
    assert_eq!(targets(&place), of(&[("i-1:8080", true)]));
}

/// Whatever is behind the target is named by nobody, or by a slip.
#[test]
fn a_target_without_its_container_keeps_what_is_on_its_host() {
    let arguments = ["--inject", "ebs.tag=refuse", "--inject", "undo:load-balancer.enable=refuse"];
    let place = place();
    place.write(
        "release.toml",
        RELEASE
            .replace(", container = \"app-2\", timeout", ", timeout")
            .replace("port = 8080, container = \"app-2\" }", "port = 8080 }"),
    );
    run(&place, &arguments).exits(5);
    assert_eq!(targets(&place), of(&[("i-1:8080", false), ("i-2:8080", true)]));
    assert!(place.world().engines["i-2"].containers["app-2"].running);
    let place = self::place();
    let slip = RELEASE.replace("container = \"app-2\", timeout", "container = \"app2\", timeout");
    place.write("release.toml", slip);
    run(&place, &[]).exits(3).says("there is no container `app2` on i-2");
}

/// What is behind the old target was stopped, or taken out, by steps after its drain: in the undo
/// its checks begin anew, and it gets traffic when they have passed.
#[test]
fn an_undo_enables_what_is_healthy() {
    const TAG: &str = "[[steps]]\nid = \"tag\"";
    let step = |id: &str, uses: &str, with: &str| {
        format!("[[steps]]\nid = \"{id}\"\nuses = \"{uses}\"\nwith = {{ {with} }}\n{TAG}")
    };
    let old = "host = \"i-1\", container = \"app-1\"";
    for (uses, with) in [
        ("docker/stop-container", old.to_owned()),
        ("load-balancer/remove-target", format!("pool = \"web\", port = 8080, {old}")),
    ] {
        let place = place();
        place.write(
            "world.toml",
            WORLD.replace(
                "[pools.web.targets",
                "[pools.web]\nchecks_looks = 50\n[pools.web.targets",
            ),
        );
        let text = RELEASE.split("[[steps]]\nid = \"remove\"").next().expect("its beginning");
        place.write("release.toml", text.replace(TAG, &step("early", uses, &with)));
        run(&place, &["--inject", "ebs.tag=refuse"]).exits(3).says("verdict: restored");
        assert_eq!(targets(&place), of(&[("i-1:8080", true)]), "{uses}");
    }
}

/// Another weight of a target that was there already is put back.
#[test]
fn a_weight_is_put_back() {
    let place = place();
    let text = "schema = 1\n[operation]\nname = \"w\"\n[[steps]]\nid = \"add\"\n\
                uses = \"load-balancer/add-target\"\n\
                with = { pool = \"web\", host = \"i-1\", port = 8080, weight = 5 }\n\
                [[steps]]\nid = \"tag\"\nuses = \"ebs/tag-volume\"\n\
                with = { volume = \"vol-1\", key = \"a\", value = \"b\" }\n";
    place.write("release.toml", text);
    run(&place, &["--inject", "ebs.tag=refuse"]).exits(3).says("verdict: restored");
    assert_eq!(pool(&place).targets["i-1:8080"].weight, 1);
}

/// One without a share gets no traffic: it is taken from it to the same floor.
#[test]
fn a_share_of_nothing_is_given_to_a_floor() {
    let place = place();
    let text = "schema = 1\n[operation]\nname = \"w\"\n[[steps]]\nid = \"add\"\n\
                uses = \"load-balancer/add-target\"\n\
                with = { pool = \"web\", host = \"i-1\", port = 8080, weight = 0 }\n";
    place.write("release.toml", text);
    run(&place, &[]).exits(3).says("would have 0 healthy targets that get traffic");
    assert_eq!(pool(&place).targets["i-1:8080"].weight, 1);
}

/// What is told of a pool is what the rules let be known of its hosts.
#[test]
fn a_pool_tells_of_the_hosts_that_are_not_denied() {
    let place = place();
    let second = "[pools.web.targets.\"i-2:8080\"]\n[instances.i-1.tags]\nteam = \"web\"\n";
    place.write("world.toml", format!("{WORLD}{second}"));
    let text = "schema = 1\n[operation]\nname = \"d\"\n[[steps]]\nid = \"p\"\n\
                uses = \"load-balancer/describe-pool\"\nwith = { pool = \"web\" }\n\
                [outputs]\nhosts = \"{{ steps.p.targets | map(attribute='host') | list }}\"\n";
    place.write("release.toml", text);
    run(&place, &[]).exits(0).says("[\"i-1\",\"i-2\"]");
    let deny = [
        "deny = [{ load-balancer = \"all\", hosts = [\"i-2\"] }]",
        "deny = [{ load-balancer = [\"describe-pool\"], hosts = [\"i-2\"] }]",
        "allow = [{ load-balancer = \"all\", where = { tags = { team = \"web\" } } }]",
    ];
    for rule in deny {
        let environment = format!(
            "[environments.local]\nprovider = \"simulated\"\nworld = \"world.toml\"\n{rule}\n"
        );
        place.write("stepback.toml", environment);
        let ran = run(&place, &[]).exits(0);
        ran.says("[\"i-1\"]");
    }
}

/// Those who are served by a target that is taken out are so until their sessions end.
#[test]
fn who_is_served_is_lost_with_the_container() {
    let place = place();
    let lasting = "[pools.web]\nsession_looks = 100000\n[pools.web.targets";
    place.write("world.toml", WORLD.replace("[pools.web.targets", lasting));
    let brief = "on_timeout = \"go-on\", timeout = \"1s\"";
    place.write("release.toml", RELEASE.replace("on_timeout = \"go-on\"", brief));
    run(&place, &[]).exits(0);
    assert_eq!(pool(&place).lost, ["i-1:8080 stopped answering while it served"]);
}

/// Killed at every call of the balancer's, before it and after it.
#[test]
fn a_release_that_is_killed_goes_on() {
    for function in ["add", "enable", "drain", "remove"] {
        for fault in ["crash-before", "crash-after"] {
            let place = place();
            let killed = run(&place, &["--inject", &format!("load-balancer.{function}={fault}")]);
            assert_eq!(killed.code, None, "it was killed");
            place.run(&["resume", "1"]).exits(0);
            assert_eq!(targets(&place), of(&[("i-2:8080", true)]), "{function} {fault}");
        }
    }
}

/// The same with the old one stopped before the new one gets traffic.
fn with_an_early_stop() -> String {
    const STOP: &str = "[[steps]]\nid = \"stop\"\nuses = \"docker/stop-container\"\n\
                        phase = \"cleanup\"\nwith = { host = \"i-1\", container = \"app-1\" }\n";
    const ADD: &str = "[[steps]]\nid = \"add\"";
    let early = STOP.replace("phase = \"cleanup\"\n", "");
    RELEASE.replace(STOP, "").replace(ADD, &format!("{early}{ADD}"))
}

#[test]
fn requests_that_a_release_loses_are_written_down() {
    let place = place();
    place.write("release.toml", with_an_early_stop());
    run(&place, &[]);
    let lost = pool(&place).lost;
    assert_eq!(lost[0], "i-1:8080 stopped answering while it got traffic", "{lost:?}");
}

/// Each fault at each call: whatever befalls it, the app stays up, and no request is lost.
#[test]
fn a_release_is_rehearsed() {
    let place = place();
    let invariants = "[[invariants]]\nname = \"up\"\nalways = \"serving('web') >= 1\"\n\
                      [[invariants]]\nname = \"served\"\nalways = \"lost('web') == []\"\n";
    place.write("release.toml", format!("{RELEASE}{invariants}"));
    place.run(&["rehearse", "release.toml"]).exits(0).says("0 wrong");
    place.write("early.toml", format!("{}{invariants}", with_an_early_stop()));
    let ran = place.run(&["rehearse", "early.toml"]).exits(7);
    ran.says("stopped answering while it got traffic");
}

/// A pool is granted by its name.
#[test]
fn a_pool_that_is_not_there_is_told_before_anything_is_changed() {
    let place = place();
    place.write("release.toml", RELEASE.replace("pool = \"web\"", "pool = \"wbe\""));
    let told = "the environment has no pool `wbe`: it has web";
    run(&place, &[]).exits(2).says(told);
    place.write("release.toml", RELEASE);
    let deny = "[environments.local]\nprovider = \"simulated\"\nworld = \"world.toml\"\n\
                deny = [{ load-balancer = [\"drain\"], pools = [\"we*\"], hosts = [\"i-1\"] }]\n";
    place.write("stepback.toml", deny);
    run(&place, &[]).exits(2).says("load-balancer.drain");
}
