//! What a survey makes of what is there.

use crate::{Survey, SurveyRunning};
use serde_json::{Value, json};
use stepback_sdk::Check;
use stepback_sdk::testing::{World, input};

fn container(name: &str, running: bool, port: Option<u16>) -> Value {
    json!({
        "name": name, "image": "app:1", "digest": "sha256:1", "health": "None",
        "state": if running { "Running" } else { "Exited" }, "ended": null, "restart_count": 0,
        "restart": "UnlessStopped", "mounts": [], "labels": [],
        "ports": port.map(|port| json!({
            "host_ip": null, "host_port": port, "container_port": 80, "protocol": "Tcp",
        })).into_iter().collect::<Vec<_>>(),
    })
}

fn target(host: &str, port: u16, enabled: bool, health: &str) -> Value {
    json!({
        "host": host, "port": port, "present": true, "enabled": enabled, "weight": 1,
        "health": health, "reason": null, "sessions": 0,
    })
}

fn with(replicas: u32) -> Value {
    json!({ "app": "web", "hosts": ["i-1", "i-2"], "replicas": replicas, "pool": "p", "port": 80 })
}

fn looks(one: &[Value], other: &[Value], targets: &[Value]) {
    World::reset();
    World::answer("docker.find-containers", json!(one));
    World::answer("docker.find-containers", json!(other));
    let pool = json!({ "name": "p", "targets": targets, "drain_delay_ms": 9, "linger_ms": 5 });
    World::answer("load-balancer.describe-pool", pool);
    World::answer("docker.list-containers", json!(one));
    let mut all = other.to_vec();
    all.push(container("web-r9-1", false, None));
    World::answer("docker.list-containers", json!(all));
}

/// Whatever an interrupted deploy left is old to the next one, with traffic or without, whatever
/// port it publishes. What has neither a port nor a release's name is something else.
#[test]
fn all_that_is_there_is_old_and_what_comes_has_the_next_number() {
    let one = [
        container("web-r3-1", true, Some(20_001)),
        container("web-r2-1", false, None),
        container("web-worker", true, None),
    ];
    let other = [container("web-r9-x", true, Some(20_001))];
    let targets = [
        target("i-1", 20_001, true, "Healthy"),
        target("i-2", 20_001, true, "Unhealthy"),
        target("i-2", 8_080, true, "Healthy"),
        target("i-3", 20_001, true, "Healthy"),
    ];
    looks(&one, &other, &targets);
    let mut with = with(2);
    with["strangers"] = "kept".into();
    // The port that the release before listened on is its own.
    with["port"] = 8_000.into();
    let found = Survey::run(input::<Survey>(with)).expect("it looks");
    assert_eq!(found.there.release, 10);
    let new: Vec<&String> = found.new.keys().collect();
    assert_eq!(new, ["web-r10-1.i-1", "web-r10-1.i-2", "web-r10-2.i-1", "web-r10-2.i-2"]);
    let old: Vec<(&str, bool)> =
        found.there.old.iter().map(|(key, one)| (key.as_str(), one.running)).collect();
    assert_eq!(old, [("web-r2-1.i-1", false), ("web-r3-1.i-1", true), ("web-r9-x.i-2", true)]);
    let targets: Vec<&String> = found.there.old_targets.keys().collect();
    assert_eq!(targets, ["web-r3-1.i-1", "web-r9-x.i-2"]);
    assert_eq!((found.there.before, found.floor, found.there.linger.as_str()), (3, 3, "5ms"));
    assert_eq!(found.there.drain_delay.as_deref(), Some("9ms"));
    assert_eq!(found.there.strangers, ["i-2:8080"]);
    assert_eq!(found.there.elsewhere, ["i-3:20001"]);
}

/// Each would be an outage, of this app or of another one.
#[test]
fn what_is_not_the_apps_alone_is_refused() {
    let ours = container("web-r1-1", true, Some(20_000));
    let own = target("i-1", 20_000, true, "Healthy");
    let refused = |targets: &[Value], more: &[(&str, &str)]| {
        looks(std::slice::from_ref(&ours), &[], targets);
        let mut with = with(1);
        for (name, value) in more {
            with[*name] = (*value).into();
        }
        Survey::run(input::<Survey>(with)).err().map(|why| why.message).unwrap_or_default()
    };
    let theirs = target("i-1", 8_080, true, "Healthy");
    let gone = target("i-2", 20_007, true, "Unhealthy");
    assert_eq!(refused(std::slice::from_ref(&own), &[]), "");
    let told = refused(&[own.clone(), theirs.clone()], &[]);
    assert!(told.contains("i-1:8080, which is no container with the label `app=web`"), "{told}");
    assert_eq!(refused(&[own.clone(), theirs.clone()], &[("strangers", "kept")]), "");
    let told = refused(&[own, gone], &[("strangers", "kept")]);
    assert!(told.contains("i-2:20007, where no healthy container is"), "{told}");
    let told = refused(&[], &[]);
    assert!(told.contains("web-r1-1 on i-1), and pool `p` has none of it"), "{told}");
    assert_eq!(refused(&[], &[("outside", "stopped")]), "");
}

/// Those of other hosts stay, and count on both sides.
#[test]
fn the_floor_is_no_more_than_what_is_asked_for_and_stays() {
    let one: Vec<Value> = (1..=3)
        .map(|number| container(&format!("web-r1-{number}"), true, Some(20_000 + number)))
        .collect();
    let mut targets: Vec<Value> =
        (1..=3).map(|number| target("i-1", 20_000 + number, true, "Healthy")).collect();
    looks(&one, &[], &targets);
    let found = Survey::run(input::<Survey>(with(1))).expect("it looks");
    assert_eq!((found.there.release, found.there.before, found.floor), (10, 3, 2));
    targets.push(target("i-3", 80, true, "Healthy"));
    looks(&one, &[], &targets);
    let found = Survey::run(input::<Survey>(with(1))).expect("it looks");
    assert_eq!((found.there.before, found.there.others, found.floor), (4, 1, 3));
}

/// What has the label and is behind another pool, and what another app has.
#[test]
fn what_another_pool_sends_traffic_to_is_not_old() {
    let looked = |one: &[Value], all: &[Value], targets: &[Value], outside: &str| {
        looks(one, &[], targets);
        World::reset();
        World::answer("docker.find-containers", json!(one));
        World::answer("docker.find-containers", json!([]));
        let pool = json!({ "name": "p", "targets": targets, "drain_delay_ms": 9, "linger_ms": 5 });
        World::answer("load-balancer.describe-pool", pool);
        World::answer("docker.list-containers", json!(all));
        World::answer("docker.list-containers", json!([]));
        let mut with = with(1);
        with["outside"] = outside.into();
        Survey::run(input::<Survey>(with)).map_err(|why| why.message)
    };
    let (ours, own) =
        (container("web-r1-1", true, Some(20_000)), target("i-1", 20_000, true, "Healthy"));
    let admin = container("web-admin", true, Some(8_081));
    let both = [ours.clone(), admin];
    let told = looked(&both, &both, std::slice::from_ref(&own), "refused");
    let told = told.err().expect("it is refused");
    assert!(told.contains("`web` runs (web-admin on i-1)"), "{told}");
    looked(&both, &both, std::slice::from_ref(&own), "stopped").expect("it is wanted so");
    // What a deploy has left is called so.
    let left = [ours.clone(), container("web-r2-1", true, Some(20_001))];
    looked(&left, &left, std::slice::from_ref(&own), "refused").expect("it goes");
    let twin = [ours.clone(), container("web-r1-2", true, Some(20_001))];
    let told = looked(&twin, &twin, std::slice::from_ref(&own), "refused");
    assert!(told.err().expect("it is refused").contains("(web-r1-2 on i-1)"));
    // A container of another app runs at that port, and its own is stopped.
    let blog = target("i-1", 8_080, true, "Healthy");
    let old = container("web-r1-1", false, Some(8_080));
    let all = [old.clone(), container("blog", true, Some(8_080))];
    let told = looked(&[old], &all, std::slice::from_ref(&blog), "stopped");
    let told = told.err().expect("it is refused");
    assert!(told.contains("i-1:8080, which is no container with the label"), "{told}");
    // One at a port that is chosen is not gone while a container has it, well or not.
    let blog = target("i-1", 20_005, true, "Unhealthy");
    let all = [ours.clone(), container("blog", true, Some(20_005))];
    for (all, why) in [
        (&all[..], "i-1:20005, which is no container with the label"),
        (&all[..1], "i-1:20005, where no healthy container is"),
    ] {
        let told = looked(&all[..1], all, &[own.clone(), blog.clone()], "stopped");
        let told = told.err().expect("it is refused");
        assert!(told.contains(why), "{told}");
    }
    // Of two that publish one port, each on its address, it is the one that others reach.
    let at = |name: &str, address: &str| {
        let mut one = container(name, true, Some(20_000));
        one["ports"][0]["host_ip"] = address.into();
        one
    };
    for (other, ours_ip, its_ip, wanted) in [
        ("admin", "10.0.0.1", "127.0.0.1", Ok("web-r1-1.i-1")),
        ("admin", "127.0.0.1", "10.0.0.1", Err("i-1:20000, which is no container with")),
        ("admin", "127.0.0.1", "127.0.0.2", Err("may be `admin` or `web-r1-1`")),
        ("web-debug", "10.0.0.1", "10.0.0.2", Err("may be `web-debug` or `web-r1-1`")),
    ] {
        let all = [at("web-r1-1", ours_ip), at(other, its_ip)];
        let own: &[Value] = if other == "admin" { &all[..1] } else { &all };
        let told = looked(own, &all, &[target("i-1", 20_000, true, "Healthy")], "stopped");
        match (told, wanted) {
            (Ok(found), Ok(key)) => assert!(found.there.old_targets.contains_key(key), "{other}"),
            (Err(told), Err(why)) => assert!(told.contains(why), "{told}"),
            (told, _) => panic!("{other} {ours_ip} {its_ip}: {:?}", told.err()),
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anybody_is_asked() {
    World::reset();
    let with = |hosts: Value, replicas: u32| {
        let (app, pool, port) = ("web", "p", 80);
        json!({ "app": app, "hosts": hosts, "replicas": replicas, "pool": pool, "port": port })
    };
    for (with, why) in [
        (with(json!([]), 1), "give `hosts`"),
        (with(json!(["i-1", "i-1"]), 1), "given twice"),
        (with(json!(["i-1"]), 0), "does not take an app down"),
    ] {
        let told = Survey::check(&input::<Survey>(with)).expect("an answer");
        let Check::Refused(told) = told else { panic!("not refused") };
        assert!(told.contains(why), "{told}");
    }
    assert_eq!(World::functions(), [""; 0]);
}

fn runs(more: Value) -> Result<crate::Ran, String> {
    let mut with = json!({ "app": "web", "hosts": ["i-1", "i-2"], "pool": "p" });
    for (name, value) in more.as_object().expect("inputs") {
        with[name.as_str()] = value.clone();
    }
    SurveyRunning::run(input::<SurveyRunning>(with)).map_err(|why| why.message)
}

/// What runs and gets traffic, healthy or not, whatever port it has; the rest goes.
#[test]
fn a_restart_makes_what_serves_once_more() {
    let mut by_hand = container("web-blue", true, Some(8_080));
    by_hand["ports"].as_array_mut().expect("ports").push(json!({
        "host_ip": "127.0.0.1", "host_port": 9_090, "container_port": 53, "protocol": "Udp",
    }));
    let one = [
        container("web-r3-1", true, Some(20_001)),
        container("web-r2-1", true, Some(20_003)),
        container("web-r2-2", false, Some(20_004)),
        container("web-r2-3", true, Some(20_005)),
    ];
    let mut targets = [
        target("i-1", 20_001, true, "Healthy"),
        target("i-2", 8_080, true, "Unhealthy"),
        target("i-1", 20_003, false, "Healthy"),
        target("i-1", 20_004, true, "Unhealthy"),
        target("i-1", 20_005, true, "Healthy"),
    ];
    targets[0]["weight"] = 7.into();
    targets[4]["weight"] = 0.into();
    looks(&one, &[by_hand], &targets);
    let found = runs(json!({})).expect("it looks");
    let new: Vec<String> = found
        .new
        .values()
        .map(|one| format!("{} like {}, {} of {:?}", one.container, one.like, one.port, one.ports))
        .collect();
    assert_eq!(
        new,
        [
            "web-r10-1 like web-r3-1, 80 of [\"auto:80\"]",
            "web-r10-1 like web-blue, 80 of [\"127.0.0.1:auto:53/udp\", \"auto:80\"]",
        ]
    );
    let weights: Vec<Option<u32>> = found.new.values().map(|one| one.weight).collect();
    assert_eq!(weights, [Some(7), Some(1)]);
    assert_eq!(found.cleared, ["web-r2-1.i-1", "web-r2-2.i-1", "web-r2-3.i-1"]);
    let counted = (found.there.before, found.floor, found.digest.as_str());
    assert_eq!(counted, (1, 1, "sha256:1"));
}

#[test]
fn a_restart_of_what_nobody_can_tell_is_refused() {
    let own = container("web-r1-1", true, Some(20_000));
    let at = target("i-1", 20_000, true, "Healthy");
    let told = |one: &[Value], targets: &[Value], more: Value| {
        looks(one, &[], targets);
        runs(more).err().unwrap_or_default()
    };
    let why = told(std::slice::from_ref(&own), &[], json!({ "outside": "stopped" }));
    assert!(why.contains("nothing of `web` that runs on i-1, i-2 gets traffic from"), "{why}");
    let mut other = container("web-r2-1", true, Some(20_001));
    other["digest"] = "sha256:2".into();
    let both = [at.clone(), target("i-1", 20_001, true, "Healthy")];
    let why = told(&[own.clone(), container("web-r2-1", true, Some(20_001))], &both, json!({}));
    assert!(why.contains("`web-r1-1` and `web-r2-1` serve at once on i-1, of more"), "{why}");
    other["name"] = "web-r1-2".into();
    let why = told(&[own.clone(), other], &both, json!({}));
    assert!(why.contains("two images of `web` serve at once (web-r1-1 on i-1; web-r1-2"), "{why}");
    let mut two = own.clone();
    let more = container("", true, Some(20_001))["ports"][0].clone();
    two["ports"].as_array_mut().expect("ports").push(more);
    let why = told(std::slice::from_ref(&two), &both, json!({}));
    assert!(why.contains("`web-r1-1` on i-1 by more than one of its ports"), "{why}");
    let why = told(std::slice::from_ref(&two), std::slice::from_ref(&at), json!({}));
    assert!(why.contains("one that is at several of its host's"), "{why}");
    let mut shares = own;
    shares["mounts"] = json!([{ "volume": "files", "target": "/f", "read_only": false }]);
    let shares = std::slice::from_ref(&shares);
    let why = told(shares, std::slice::from_ref(&at), json!({}));
    assert!(why.contains("the volume `files`, which the old container and the new one"), "{why}");
    assert_eq!(told(shares, &[at], json!({ "volumes": "shared" })), "");
}
