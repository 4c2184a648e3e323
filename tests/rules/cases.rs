//! Random operations: what their steps do, what they need, and what befalls them.

use crate::befall::{Befall, Foreign};
use proptest::prelude::*;

/// One step of a random manifest.
#[derive(Clone, Debug)]
pub struct RandomStep {
    what: What,
    /// Bit i: it needs step i.
    needs: u16,
    retry: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Live,
    Downtime,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// A tag on the database's volume; two steps may take the same key.
    Tag(u8),
    /// One for each of three keys, of which two are odd.
    TagEach(u8),
    /// The same again, of a volume whose name may hold a secret's value by chance.
    TagByPart(u8),
    CreateVolume,
    /// Of the last step that created one.
    DeleteVolume,
    Snapshot,
    StopContainer,
    StartContainer,
    DockerVolume(u8),
    /// Of the last step that created one.
    RemoveDockerVolume,
    PullImage,
    Sleep(u8),
    /// It fails, with everything before it to be undone.
    Fail,
}

/// What a random case is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingredient {
    Everything,
    /// Steps that change the same fact, tried again and side by side.
    SameFacts,
    Strangers,
    TwoStores,
    Secrets,
    Windows,
    Clocks,
    Panics,
    Lies,
    Lag,
}

/// A random case.
#[derive(Clone, Debug)]
pub struct Case {
    pub steps: Vec<RandomStep>,
    pub faults: Vec<String>,
    pub befalls: Vec<(u32, Befall)>,
    /// Each of one life, by its instants.
    pub kills: Vec<u32>,
    pub parks: bool,
    pub lag_looks: u32,
    /// The life from which on there is an operation of another store beside it.
    pub neighbour_from: Option<u32>,
    /// A piece of the volume's name that is a secret.
    pub part: Option<usize>,
}

/// Pieces of names, as passwords may be by accident.
pub const PARTS: [&str; 4] = ["main", "vol-db", "db-main", "vol-db-main"];

fn what(of: Ingredient) -> BoxedStrategy<What> {
    let tag = (0u8..3).prop_map(What::Tag);
    let each = (0u8..3).prop_map(What::TagEach);
    let by_part = (0u8..3).prop_map(What::TagByPart);
    let docker_volume = (0u8..3).prop_map(What::DockerVolume);
    let sleep = (0u8..9).prop_map(What::Sleep);
    match of {
        Ingredient::SameFacts => prop_oneof![
            6 => (0u8..2).prop_map(What::Tag),
            2 => (0u8..2).prop_map(What::TagEach),
            2 => sleep,
            1 => Just(What::Fail),
        ]
        .boxed(),
        Ingredient::Windows => prop_oneof![
            4 => Just(What::StopContainer),
            3 => Just(What::StartContainer),
            2 => sleep,
            1 => tag,
            1 => Just(What::Fail),
        ]
        .boxed(),
        Ingredient::Secrets => prop_oneof![
            4 => by_part,
            2 => tag,
            1 => Just(What::Snapshot),
            1 => Just(What::Fail),
        ]
        .boxed(),
        _ => prop_oneof![
            4 => tag,
            1 => each,
            2 => by_part,
            2 => Just(What::CreateVolume),
            1 => Just(What::DeleteVolume),
            2 => Just(What::Snapshot),
            2 => Just(What::StopContainer),
            1 => Just(What::StartContainer),
            2 => docker_volume,
            1 => Just(What::RemoveDockerVolume),
            1 => Just(What::PullImage),
            1 => sleep,
            1 => Just(What::Fail),
        ]
        .boxed(),
    }
}

fn step(of: Ingredient) -> impl Strategy<Value = RandomStep> {
    let phase = prop_oneof![Just(Phase::Live), Just(Phase::Downtime)];
    (what(of), any::<u16>(), prop::bool::weighted(0.3), phase)
        .prop_map(|(what, needs, retry, phase)| RandomStep { what, needs, retry, phase })
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
    (call, 0u8..6, fault).prop_map(|(call, nth, fault)| match nth {
        0 => format!("{call}={fault}"),
        nth => format!("{call}#{nth}={fault}"),
    })
}

fn foreign() -> impl Strategy<Value = Befall> {
    let foreign = prop_oneof![
        2 => (0u8..3).prop_map(Foreign::Tag),
        1 => (0u8..3).prop_map(Foreign::Untag),
        2 => (0u8..3).prop_map(Foreign::DockerVolume),
        1 => (0u8..3).prop_map(Foreign::RemoveDockerVolume),
        2 => Just(Foreign::Container),
        1 => Just(Foreign::StartContainer),
        1 => Just(Foreign::DeleteMade),
    ];
    foreign.prop_map(Befall::Foreign)
}

fn clock() -> impl Strategy<Value = Befall> {
    prop_oneof![
        (1u64..7_200_000).prop_map(|ms| Befall::Sleep { ms }),
        (-90_000_000i64..90_000_000).prop_map(|by_ms| Befall::ClockSet { by_ms }),
    ]
}

fn panics() -> impl Strategy<Value = Befall> {
    any::<bool>().prop_map(|after| Befall::Panics { after })
}

fn lies() -> impl Strategy<Value = Befall> {
    prop_oneof![Just(Befall::SaysRefused), Just(Befall::SaysDone)]
}

fn befall(of: Ingredient) -> BoxedStrategy<Befall> {
    match of {
        Ingredient::Strangers => foreign().boxed(),
        Ingredient::Clocks => clock().boxed(),
        Ingredient::Panics => panics().boxed(),
        // What is made and said to be refused is found by its stamp alone.
        Ingredient::Lies | Ingredient::Lag => lies().boxed(),
        Ingredient::Everything => {
            prop_oneof![Just(Befall::Cancel), foreign(), clock(), panics(), lies(),].boxed()
        }
        Ingredient::SameFacts
        | Ingredient::TwoStores
        | Ingredient::Secrets
        | Ingredient::Windows => Just(Befall::Cancel).boxed(),
    }
}

/// Such a value, so often; never without a chance.
fn maybe<S>(often: Option<f64>, some: S) -> BoxedStrategy<Option<S::Value>>
where
    S: Strategy + 'static,
    S::Value: Clone,
{
    match often {
        Some(often) => prop::option::weighted(often, some).boxed(),
        None => Just(None).boxed(),
    }
}

/// Random cases, of which most have what is asked for.
pub fn case(of: Ingredient) -> impl Strategy<Value = Case> {
    let everything = of == Ingredient::Everything;
    let befalls = if everything { 0..4usize } else { 0..6 };
    let lag = match of {
        Ingredient::Lag => (1u32..4).boxed(),
        _ => prop_oneof![3 => Just(0u32), 1 => 1u32..4].boxed(),
    };
    let often = |is_it: bool| match (is_it, everything) {
        (true, _) => Some(0.9),
        (false, true) => Some(0.4),
        (false, false) => None,
    };
    let kinds = (
        prop::collection::vec(step(of), 1..9),
        prop::collection::vec(fault(), 0..5),
        prop::collection::vec((1u32..160, befall(of)), befalls),
        prop::collection::vec(1u32..120, 0..3),
        any::<bool>(),
        lag,
        maybe(often(of == Ingredient::TwoStores), 1u32..3),
        maybe(often(of == Ingredient::Secrets), 0..PARTS.len()),
    );
    kinds.prop_map(|(steps, faults, befalls, kills, parks, lag_looks, neighbour_from, part)| Case {
        steps,
        faults,
        befalls,
        kills,
        parks,
        lag_looks,
        neighbour_from,
        part,
    })
}

/// What the operation of another store does.
pub const NEIGHBOUR: &str = r#"
schema = 1
[operation]
name = "neighbour"
timeout = "1h"
[[steps]]
id = "first"
uses = "docker/create-volume"
with = { host = "i-db-2", volume = "n-first" }
[[steps]]
id = "pause"
uses = "core/sleep"
with = { duration = "700ms" }
[[steps]]
id = "last"
uses = "docker/create-volume"
with = { host = "i-db-2", volume = "n-last" }
"#;

impl Case {
    /// Whether nothing stands in the way of a rollback: no undo fails, and nobody interferes.
    pub fn is_restorable(&self) -> bool {
        let harmless = |befall: &Befall| {
            matches!(befall, Befall::Cancel | Befall::Sleep { .. } | Befall::ClockSet { .. })
        };
        self.faults.iter().all(|fault| !fault.starts_with("undo:"))
            && self.befalls.iter().all(|(_, befall)| harmless(befall))
    }

    /// The secret piece.
    pub fn secret(&self) -> Option<&'static str> {
        self.part.map(|part| PARTS[part])
    }

    /// The last step before this one that does such a thing.
    fn last(&self, before: usize, is_it: impl Fn(What) -> bool) -> Option<usize> {
        (0..before).rev().find(|i| is_it(self.steps[*i].what))
    }

    fn uses(&self, i: usize) -> (&'static str, String, Option<usize>) {
        let on = |volume: &str, key: u8, suffix: &str| {
            format!("volume = \"{volume}\", key = \"k{key}{suffix}\", value = \"s{i}\"")
        };
        let tag = "ebs/tag-volume";
        let container = "host = \"i-db-1\", container = \"main\"";
        match self.steps[i].what {
            What::Tag(key) => (tag, on("vol-db-main", key, ""), None),
            What::TagEach(key) => (tag, on("vol-db-main", key, "{{ each.key }}"), None),
            What::TagByPart(key) => (tag, on("vol-db-main", key, ""), None),
            What::CreateVolume => {
                ("ebs/create-volume", "zone = \"us-east-1a\", size_gib = 4".into(), None)
            }
            What::DeleteVolume => match self.last(i, |what| matches!(what, What::CreateVolume)) {
                Some(made) => {
                    let with = format!("volume = \"{{{{ steps.s{made}.id }}}}\"");
                    ("ebs/delete-volume", with, Some(made))
                }
                None => (tag, on("vol-db-main", 0, ""), None),
            },
            What::Snapshot => ("ebs/create-snapshot", "volume = \"vol-db-main\"".into(), None),
            What::StopContainer => {
                ("docker/stop-container", format!("{container}, grace = \"1s\""), None)
            }
            What::StartContainer => ("docker/start-container", container.into(), None),
            What::DockerVolume(name) => {
                let with = format!("host = \"i-db-2\", volume = \"data-{name}\"");
                ("docker/create-volume", with, None)
            }
            What::RemoveDockerVolume => {
                match self.last(i, |what| matches!(what, What::DockerVolume(_))) {
                    Some(made) => {
                        let name = format!("{{{{ steps.s{made}.name }}}}");
                        let with = format!("host = \"i-db-2\", volume = \"{name}\"");
                        ("docker/remove-volume", with, Some(made))
                    }
                    None => (tag, on("vol-db-main", 1, ""), None),
                }
            }
            What::PullImage => {
                ("docker/pull-image", "host = \"i-db-2\", image = \"postgres:16\"".into(), None)
            }
            // What it asks for is known only when the step before it is done.
            What::Fail => {
                let before = i.checked_sub(1);
                let condition = match before {
                    None => "false".to_owned(),
                    Some(before) => format!("\"{{{{ steps.s{before} == 'no such output' }}}}\""),
                };
                let with = format!("condition = {condition}, message = \"it fails\"");
                ("core/assert", with, before)
            }
            What::Sleep(tenths) => {
                let duration = u32::from(tenths) * 100;
                ("core/sleep", format!("duration = \"{duration}ms\""), None)
            }
        }
    }

    /// Each step's phase and what it needs: what stops or starts the service is in the window, and
    /// the window is in one piece.
    fn shape(&self) -> Vec<(Phase, Vec<usize>)> {
        let mut shape: Vec<(Phase, Vec<usize>)> = vec![];
        let mut is_after: Vec<bool> = vec![];
        for (i, step) in self.steps.iter().enumerate() {
            let needed = self.uses(i).2;
            let needs = |j: &usize| step.needs >> (j % 16) & 1 == 1 || needed == Some(*j);
            let mut needs: Vec<usize> = (0..i).filter(needs).collect();
            let comes_late = needed.is_some_and(|j| is_after[j] && shape[j].0 == Phase::Live);
            let phase = match step.what {
                What::StopContainer | What::StartContainer => Phase::Downtime,
                _ if comes_late => Phase::Live,
                _ => step.phase,
            };
            if phase == Phase::Downtime {
                needs.retain(|j| !(is_after[*j] && shape[*j].0 == Phase::Live));
            }
            is_after.push(needs.iter().any(|j| is_after[*j] || shape[*j].0 == Phase::Downtime));
            shape.push((phase, needs));
        }
        shape
    }

    /// The operation's manifest.
    pub fn manifest(&self) -> String {
        let mut text = String::from(
            "schema = 1\n[operation]\nname = \"random\"\nlocks = [\"random\"]\ntimeout = \"1h\"\n",
        );
        if self.part.is_some() {
            text.push_str("[inputs]\npart = { type = \"secret\" }\n");
        }
        let shape = self.shape();
        for (i, (step, (phase, needs))) in self.steps.iter().zip(shape).enumerate() {
            let (uses, with, _) = self.uses(i);
            let needs: Vec<String> = needs.iter().map(|j| format!("\"s{j}\"")).collect();
            text.push_str(&format!(
                "[[steps]]\nid = \"s{i}\"\nuses = \"{uses}\"\nneeds = [{}]\n\
                 with = {{ {with} }}\n",
                needs.join(", ")
            ));
            if phase == Phase::Downtime {
                text.push_str("phase = \"downtime\"\n");
            }
            if matches!(step.what, What::TagEach(_)) {
                text.push_str("for_each = \"['', '/undo/1', '-a/do/1/1']\"\n");
                if let at_most @ 1.. = i % 3 {
                    text.push_str(&format!("at_most = {at_most}\n"));
                }
            }
            if matches!(uses, "ebs/delete-volume" | "docker/remove-volume") {
                text.push_str("irreversible = \"it was made here\"\n");
            }
            if step.retry {
                text.push_str("retry = { attempts = 3, backoff = \"1s..4s\" }\n");
            }
        }
        text
    }
}
