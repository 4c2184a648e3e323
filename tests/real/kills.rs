//! The flagship on real parts, killed with SIGKILL on both sides of every effect, in do and undo.

use crate::parts::{Engine, TestCluster, are_possible, loops_below};
use crate::place::Ran;

/// Each effect of a run, as `--inject` names it: the n-th of its function.
fn effects(ran: &Ran) -> Vec<String> {
    let mut seen = std::collections::BTreeMap::<&str, u32>::new();
    let calls = ran.said.lines().filter_map(|line| {
        let function = line.strip_suffix(" …")?.split_whitespace().last()?;
        function.contains('.').then_some(function)
    });
    let mut named = vec![];
    for function in calls {
        let uses = seen.entry(function).or_default();
        *uses += 1;
        named.push(format!("{function}#{uses}"));
    }
    named
}

/// The operation's number, which is the first thing it says.
fn id(ran: &Ran) -> &str {
    ran.said.split_whitespace().nth(1).unwrap_or_default().trim_end_matches(':')
}

/// The database serves there, with its data, and nowhere else is anything of it.
#[track_caller]
fn is_only_on(parts: &TestCluster, here: &Engine, there: &Engine, why: &str) {
    assert_eq!(here.redis(&["get", "row"]), "kept", "{why}");
    assert!(here.redis(&["incr", "writes"]).parse::<u32>().is_ok(), "{why}: it takes writes");
    assert_eq!(there.docker(&["ps", "--all", "--quiet"]), "", "{why}: a container is left");
    assert_eq!(there.docker(&["volume", "ls", "--quiet"]), "", "{why}: a volume is left");
    assert_eq!(loops_below(&parts.path("")).len(), 1, "{why}: loop devices");
    let locks = parts.run(&["locks"]).exits(0).said;
    assert!(!locks.contains("database/main"), "{why}: a lock is left: {locks}");
}

#[test]
fn a_database_killed_on_the_way_arrives() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    let ends = [("i-b", &parts.b, &parts.a), ("i-a", &parts.a, &parts.b)];
    let mut way = ends.iter().cycle();
    let mut next = || way.next().expect("it goes round");
    let (to, here, there) = next();
    let all = effects(&parts.redeploy(to, &[]).exits(0));
    is_only_on(&parts, here, there, "no kill");
    assert!(all.len() >= 9, "{all:?}");
    let mut killed = 0;
    for effect in &all {
        for side in ["crash-before", "crash-after"] {
            let (to, here, there) = next();
            let why = format!("{effect}={side}");
            // What is there already is not pulled again.
            if !here.docker(&["images", "--quiet", &parts.image()]).is_empty() {
                here.docker(&["rmi", "--force", &parts.image()]);
            }
            let left = parts.redeploy(to, &["--inject", &why]);
            assert_eq!(left.code, None, "{why}: it was not killed\n{}", left.said);
            parts.run(&["resume", id(&left)]).exits(0);
            is_only_on(&parts, here, there, &why);
            killed += 1;
        }
    }
    assert_eq!(killed, 2 * all.len());
    println!("killed at {killed} points of {} effects", all.len());
}

#[test]
fn a_move_killed_on_the_way_back_is_taken_back() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    let fails = ["--inject", "docker.wait-healthy=refuse"];
    let failed = parts.redeploy("i-b", &fails).exits(3);
    let (_, back) = failed.said.split_once("rolling back").expect("it rolls back");
    let back = effects(&Ran { code: None, said: back.to_owned() });
    assert!(back.len() >= 6, "{back:?}");
    for effect in &back {
        for side in ["crash-before", "crash-after"] {
            let why = format!("undo:{effect}={side}");
            let left = parts.redeploy("i-b", &[&fails[..], &["--inject", &why]].concat());
            assert_eq!(left.code, None, "{why}: it was not killed\n{}", left.said);
            parts.run(&["resume", id(&left)]).exits(3).says("verdict: restored");
            is_only_on(&parts, &parts.a, &parts.b, &why);
        }
    }
    println!("killed at {} points of {} effects", 2 * back.len(), back.len());
}
