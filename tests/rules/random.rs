//! Random manifests under random faults, kills and cancels, shrinking to a case to replay.
//!
//! The seed is printed; `STEPBACK_SEED=N` tries other cases.

use crate::life::{Fate, Lives};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use stepback_core::state::Status;

/// How many cases a run tries.
const CASES: u32 = 2_000;
/// No operation has more lives than kills, and one to end in.
const KILLS_MAX: usize = 4;

/// One step of a random manifest.
#[derive(Clone, Debug)]
struct RandomStep {
    what: What,
    /// Bit i: it needs step i.
    needs: u16,
    retry: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// A tag on the database's volume; two steps may take the same key.
    Tag(u8),
    CreateVolume,
    Snapshot,
    StopContainer,
    DockerVolume(u8),
    PullImage,
    Sleep(u8),
    /// It fails, with everything before it to be undone.
    Fail,
}

impl What {
    fn same_fact(self, other: What) -> bool {
        match (self, other) {
            (What::Tag(one), What::Tag(two))
            | (What::DockerVolume(one), What::DockerVolume(two)) => one == two,
            (What::StopContainer, What::StopContainer) | (What::PullImage, What::PullImage) => true,
            _ => false,
        }
    }
}

fn step() -> impl Strategy<Value = RandomStep> {
    let what = prop_oneof![
        4 => (0u8..3).prop_map(What::Tag),
        2 => Just(What::CreateVolume),
        2 => Just(What::Snapshot),
        1 => Just(What::StopContainer),
        2 => (0u8..3).prop_map(What::DockerVolume),
        1 => Just(What::PullImage),
        1 => (0u8..9).prop_map(What::Sleep),
        1 => Just(What::Fail),
    ];
    (what, any::<u16>(), prop::bool::weighted(0.3)).prop_map(|(what, needs, retry)| RandomStep {
        what,
        needs,
        retry,
    })
}

fn fault() -> impl Strategy<Value = String> {
    let call = prop::sample::select(vec![
        "ebs.tag",
        "ebs.create-volume",
        "ebs.create-snapshot",
        "ebs.wait-volume",
        "docker.stop-container",
        "docker.create-volume",
        "docker.pull-image",
        "undo:ebs.tag",
        "undo:ebs.untag",
        "undo:ebs.delete-volume",
        "undo:docker.start-container",
        "undo:docker.remove-volume",
    ]);
    let fault = prop::sample::select(vec!["refuse", "transient", "lost"]);
    (call, 0u8..4, fault).prop_map(|(call, nth, fault)| match nth {
        0 => format!("{call}={fault}"),
        nth => format!("{call}#{nth}={fault}"),
    })
}

fn manifest(steps: &[RandomStep]) -> String {
    let mut text = String::from(
        "schema = 1\n[operation]\nname = \"random\"\nlocks = [\"random\"]\ntimeout = \"1h\"\n",
    );
    for (i, step) in steps.iter().enumerate() {
        let (uses, with) = match step.what {
            What::Tag(key) => (
                "ebs/tag-volume",
                format!("volume = \"vol-db-main\", key = \"k{key}\", value = \"s{i}\""),
            ),
            What::CreateVolume => {
                ("ebs/create-volume", "zone = \"us-east-1a\", size_gib = 4".to_owned())
            }
            What::Snapshot => ("ebs/create-snapshot", "volume = \"vol-db-main\"".to_owned()),
            What::StopContainer => (
                "docker/stop-container",
                "host = \"i-db-1\", container = \"main\", grace = \"1s\"".to_owned(),
            ),
            What::DockerVolume(name) => {
                ("docker/create-volume", format!("host = \"i-db-2\", volume = \"data-{name}\""))
            }
            What::PullImage => {
                ("docker/pull-image", "host = \"i-db-2\", image = \"postgres:16\"".to_owned())
            }
            // What it asks for is known only when the step before it is done.
            What::Fail => {
                let before = i.saturating_sub(1);
                let condition = match i {
                    0 => "false".to_owned(),
                    _ => format!("\"{{{{ steps.s{before} == 'no such output' }}}}\""),
                };
                ("core/assert", format!("condition = {condition}, message = \"it fails\""))
            }
            What::Sleep(tenths) => {
                ("core/sleep", format!("duration = \"{}ms\"", u32::from(tenths) * 100))
            }
        };
        // Steps that change the same fact come one after another, as in any manifest that means
        // something: which of two came last can't be told when both were cut off.
        let needs = |j: &usize| {
            step.needs >> (j % 16) & 1 == 1
                || step.what.same_fact(steps[*j].what)
                || matches!(step.what, What::Fail) && *j + 1 == i
        };
        let needs: Vec<String> = (0..i).filter(needs).map(|j| format!("\"s{j}\"")).collect();
        text.push_str(&format!(
            "[[steps]]\nid = \"s{i}\"\nuses = \"{uses}\"\nneeds = [{}]\nwith = {{ {with} }}\n",
            needs.join(", ")
        ));
        if step.retry {
            text.push_str("retry = { attempts = 3, backoff = \"1s..4s\" }\n");
        }
    }
    text
}

fn live_through(
    steps: &[RandomStep],
    faults: &[String],
    kills: &[u32],
    cancel_at: Option<u32>,
    parks: bool,
) -> Result<Status, String> {
    let mut lives = Lives::new(&manifest(steps), faults);
    if parks {
        lives.limits.parked_after_ms = 0;
    }
    let fates = kills.iter().map(|kill| Fate { kill_at: Some(*kill), cancel_at });
    for fate in fates.chain([Fate { kill_at: None, cancel_at }]) {
        if let Some(ended) = lives.live(fate).ended {
            let status = ended?;
            lives.check(status)?;
            return Ok(status);
        }
    }
    Err("the last life was killed, and nothing killed it".into())
}

#[test]
fn whatever_befalls_a_random_operation_it_ends_and_says_the_truth() {
    let seed = std::env::var("STEPBACK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("STEPBACK_SEED={seed}");
    let config = Config {
        cases: CASES,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let case = (
        prop::collection::vec(step(), 1..9),
        prop::collection::vec(fault(), 0..5),
        prop::collection::vec(1u32..120, 0..KILLS_MAX),
        prop::option::weighted(0.3, 1u32..120),
        any::<bool>(),
    );
    let mut endings = std::collections::BTreeMap::<String, u32>::new();
    let seen = std::cell::RefCell::new(&mut endings);
    let tested = TestRunner::new(config).run(&case, |(steps, faults, kills, cancel_at, parks)| {
        match live_through(&steps, &faults, &kills, cancel_at, parks) {
            Ok(status) => {
                *seen.borrow_mut().entry(format!("{status:?}")).or_default() += 1;
                Ok(())
            }
            Err(why) => Err(TestCaseError::fail(format!("{why}\n{}", manifest(&steps)))),
        }
    });
    if let Err(failed) = tested {
        panic!("STEPBACK_SEED={seed}: {failed}");
    }
    println!("{endings:?}");
    // A sweep in which nothing ever went wrong, or everything did, has swept nothing.
    for ending in ["Succeeded", "RolledBack", "RollbackFailed"] {
        assert!(endings.contains_key(ending), "no case ended {ending}: {endings:?}");
    }
}
