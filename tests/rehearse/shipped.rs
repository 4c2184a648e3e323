//! The shipped operations, whatever befalls them.

use crate::harness::{case, manifest, of, report};
use std::path::{Path, PathBuf};
use stepback_rehearse::{Faults, Work};

fn operations() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../operations")
}

/// What an operation must be given.
fn given(operation: &str) -> &'static [(&'static str, &'static str)] {
    match operation {
        "deprovision-database" => &[("database", "main"), ("confirm", "main")],
        _ => &[],
    }
}

fn shipped() -> Vec<(String, String)> {
    let files = std::fs::read_dir(operations()).expect("the shipped operations").flatten();
    let of = |file: std::fs::DirEntry| {
        let path = file.path();
        let name = path.file_stem()?.to_str()?.to_owned();
        // What no operation is lies beside them.
        let is_one = path.extension()? == "toml" && name != "demo-world";
        is_one.then(|| (name, std::fs::read_to_string(&path).expect("a manifest")))
    };
    let mut all: Vec<(String, String)> = files.filter_map(of).collect();
    all.sort();
    all
}

/// The ones that every run of the tests rehearses; `STEPBACK_REHEARSE=all` takes all, which is
/// minutes of a debug build's time.
const ALWAYS: [&str; 4] =
    ["backup-database", "deploy-app", "redeploy-database", "restart-database"];

#[test]
fn nothing_is_wrong_with_the_shipped_operations_whatever_befalls_them() {
    let is_all = std::env::var_os("STEPBACK_REHEARSE").is_some_and(|which| which == "all");
    let all = shipped();
    assert!(ALWAYS.iter().all(|name| all.iter().any(|(one, _)| one == name)));
    for (name, manifest) in all {
        if !is_all && !ALWAYS.contains(&name.as_str()) {
            continue;
        }
        let report = report(&of(&manifest, given(&name)));
        let (cases, distinct) = (report.cases, report.distinct);
        let not_fired = report.not_fired.len();
        println!("{name}: {cases} cases, {distinct} distinct, {not_fired} not fired");
        for wrong in &report.wrong {
            println!("  {} {:?}: {:?}", wrong.case, wrong.doing, wrong.why);
        }
        assert!(report.is_well(), "{name}: {} wrong", report.wrong.len());
        assert_eq!(report.not_fired, [], "{name}");
        assert_eq!(report.undos_never_exercised, [""; 0], "{name}");
        assert_eq!(report.retries_never_exercised, [""; 0], "{name}");
        // What is left of an old release is stopped, and is nobody's loss.
        assert!(!name.ends_with("-app") || report.still_down == 0, "{name}: {:?}", report.weak);
        // A rehearsal in which nothing ever went wrong, or everything did, has shown nothing.
        for ending in ["succeeded", "rolled-back: restored"] {
            assert!(report.endings.contains_key(ending), "{name}: {:?}", report.endings);
        }
    }
}

/// There is nothing yet that must stay up; what comes must not fail anybody.
#[test]
fn nothing_is_wrong_with_a_first_deploy() {
    let (_, deploy) = shipped().into_iter().find(|(name, _)| name == "deploy-app").expect("it");
    let one = [("hosts", "[\"i-web-1\"]")];
    let mut rehearsal = of(&deploy, &one);
    for engine in ["i-web-1", "i-web-2"] {
        rehearsal.world.engines.get_mut(engine).expect("an engine").containers.clear();
    }
    rehearsal.world.pools.get_mut("web").expect("a pool").targets.clear();
    let first = report(&rehearsal);
    assert!(first.is_well() && first.still_down == 0, "{:?}", first.wrong);
    assert!(first.endings.contains_key("rolled-back: restored"), "{:?}", first.endings);
    // With a floor that nobody keeps, it is seen.
    let always = "always = \"serving(inputs.pool) >= ";
    let strict = deploy.replacen(always, &format!("{always}2 + "), 1);
    assert_ne!(strict, deploy);
    assert!(!report(&of(&strict, &one)).is_well());
}

/// A try that comes second has another port than the first, and so has its target.
#[test]
fn ports_that_are_chosen_are_no_difference() {
    let (_, deploy) = shipped().into_iter().find(|(name, _)| name == "deploy-app").expect("it");
    let two = [("hosts", "[\"i-web-1\"]"), ("replicas", "2")];
    let shown = case(&of(&deploy, &two), "docker.inspect-container#13=transient");
    assert_eq!((shown.wrong, shown.fired), (vec![], vec![true]));
    let whole = report(&of(&deploy, &two));
    assert!(whole.is_well() && whole.still_down == 0, "{:?}", whole.wrong);
}

#[test]
fn the_same_comes_out_every_time_and_with_any_number_of_jobs() {
    // Steps side by side, whose expressions are worked out in threads of their own.
    let step = |at: usize| {
        format!(
            "[[steps]]\nid = \"s{at}\"\nneeds = []\nuses = \"ebs/create-snapshot\"\n\
             with = {{ volume = \"{{{{ 'VOL-DB-MAIN' | lower }}}}\" }}\n"
        )
    };
    let manifest = manifest(&(0..4).map(step).collect::<String>());
    let told = |jobs: usize| {
        let mut rehearsal = of(&manifest, &[]);
        rehearsal.jobs = jobs.try_into().expect("some");
        serde_json::to_string(&report(&rehearsal)).expect("JSON")
    };
    let once = told(1);
    assert_eq!(once, told(8));
    assert_eq!(once, told(1));
    let rehearsal = of(&manifest, &[]);
    let journal = || {
        let shown = case(&rehearsal, "ebs.create-snapshot#1=lost");
        serde_json::to_string(&shown.records).expect("JSON")
    };
    assert_eq!(journal(), journal());
}

/// A case that goes on from a kill, or that is the same as another one, comes out as if it had been
/// run from its start.
#[test]
fn what_is_shared_comes_out_as_if_nothing_were() {
    let step = |at: usize| {
        format!(
            "[[steps]]\nid = \"s{at}\"\nuses = \"ebs/create-snapshot\"\n\
             with = {{ volume = \"vol-db-main\" }}\n"
        )
    };
    let (_, restart) =
        shipped().into_iter().find(|(name, _)| name == "restart-database").expect("it");
    let side_by_side = manifest(&(0..2).map(step).collect::<String>());
    let alone = manifest(&step(0));
    for (manifest, faults) in
        [(restart, Faults::Single), (side_by_side, Faults::Single), (alone, Faults::Double)]
    {
        let told = |shares: bool| {
            let mut rehearsal = of(&manifest, &[]);
            (rehearsal.shares, rehearsal.faults) = (shares, faults);
            let report = report(&rehearsal);
            let mut all = serde_json::to_value(&report).expect("JSON");
            all.as_object_mut().expect("a table").remove("work");
            (report.work, all)
        };
        let ((shared, with), (alone, without)) = (told(true), told(false));
        println!("{shared:?} {alone:?}");
        for (name, told) in with.as_object().expect("a table") {
            let other = &without[name];
            let both = told.as_array().zip(other.as_array());
            let mut pairs = both.into_iter().flat_map(|(told, other)| told.iter().zip(other));
            assert_eq!(pairs.find(|(told, other)| told != other), None, "{name}");
            assert_eq!(told, other, "{name}");
        }
        assert!(shared.from_a_kill > 0 && shared.from_quiet > 0 && shared.merged > 0, "{shared:?}");
        assert_eq!((alone.from_a_kill, alone.from_quiet, alone.merged), (0, 0, 0));
        let all =
            |work: Work| work.from_the_start + work.from_a_kill + work.from_quiet + work.merged;
        assert_eq!(all(shared), all(alone));
    }
}
