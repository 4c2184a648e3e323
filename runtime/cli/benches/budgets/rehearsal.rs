//! Rehearsals of operations of which every step does something that its undo takes back.

use crate::floor::Bare;
use crate::load::{self, Load, Store};
use crate::{line, micros};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stepback_core::event::Event;
use stepback_rehearse::{Faults, Rehearsal, Report, rehearse, show};
use stepback_simulated::world::World;
use tokio::task::block_in_place;

const WORLD: &str = include_str!("../../../../operations/demo-world.toml");

/// What the budget assumes that a bare guest takes; where one takes longer, less is asked for.
const ASSUMED_US: f64 = 32.0;
/// A second for ten steps, with such guests.
const CASES: f64 = 2_000.0;

/// Cases a second, how they grow with the steps, and a case beside the guests that it runs.
pub async fn rehearsal() {
    const STEPS: u32 = 10;
    const SIZES: [u32; 4] = [5, 10, 20, 45];
    /// With more steps, second faults are hundreds of thousands.
    const DOUBLE: [u32; 2] = [5, 10];
    let bare_us = Bare::new().each_us().await;
    let deps = Load::new(Store::Memory).deps();
    let of = |steps, faults| Rehearsal {
        request: load::request(&tags(steps)),
        world: world(),
        plugins: Arc::clone(&deps.plugins),
        runtime: Arc::clone(&deps.runtime),
        secrets: Arc::clone(&deps.secrets),
        faults,
        jobs: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        limits: deps.limits.clone(),
        behind: None,
        behind_store: None,
        shares: true,
    };
    run(&of(1, Faults::Single));
    let wanted = CASES * (ASSUMED_US / bare_us).min(1.0);
    for (faults, name, sizes) in
        [(Faults::Single, "single", &SIZES[..]), (Faults::Double, "double", &DOUBLE)]
    {
        for steps in sizes {
            let (report, took) = run(&of(*steps, faults));
            let (cases, distinct) = (report.cases, report.distinct);
            let work = report.work;
            let rate = cases as f64 / took.as_secs_f64();
            let what =
                format!("rehearsed, {steps} steps, {name}: {cases} cases, {distinct} distinct");
            let spared =
                (work.from_a_kill + work.from_quiet + work.merged) as f64 / cases as f64 * 100.0;
            let merged = work.merged as f64 / cases as f64 * 100.0;
            let what =
                format!("{what}; {spared:.0} % not from the start, {merged:.0} % as another one");
            let is_held = *steps == STEPS && faults == Faults::Single;
            let budget = if is_held { format!("≥ {wanted:.0}") } else { "-".to_owned() };
            line(&what, format!("{rate:.0} a s"), &budget, !is_held || rate >= wanted);
        }
    }
    one_by_one(of(STEPS, Faults::Single), STEPS, bare_us);
}

/// Each case alone, beside what its guests take without anything around them.
fn one_by_one(rehearsal: Rehearsal, steps: u32, bare_us: f64) {
    let alone = Rehearsal { jobs: NonZeroUsize::MIN, ..rehearsal };
    let (report, took) = run(&alone);
    let mut guests = 0;
    for one in &report.all {
        let shown = block_in_place(|| show(&alone, &one.case)).expect("it is rehearsed");
        let is_one = |event: &Event| matches!(event, Event::AttemptStarted { .. });
        guests += shown.records.iter().filter(|record| is_one(&record.event)).count();
        // Each step is checked before the operation begins.
        guests += steps as usize;
    }
    let each = micros(took) / report.cases as f64;
    let bare = bare_us * guests as f64 / report.cases as f64;
    let ratio = each / bare;
    let what = format!("  a case alone, {each:.0} µs, beside its guests' {bare:.0} µs");
    line(&what, format!("{ratio:.2} ×"), "≤ 3 ×", ratio <= 3.0);
}

fn run(rehearsal: &Rehearsal) -> (Report, Duration) {
    let started = Instant::now();
    // A rehearsal has a runtime of its own for each life.
    let report = block_in_place(|| rehearse(rehearsal, &|_, _| {})).expect("it is rehearsed");
    assert!(report.is_well() && report.not_fired.is_empty(), "{:#?}", report.wrong);
    (report, started.elapsed())
}

fn world() -> World {
    stepback_simulated::parse(WORLD).expect("the demo world")
}

/// Each tags a volume with a key of its own.
fn tags(steps: u32) -> String {
    let mut text = String::from("schema = 1\n[operation]\nname = \"bench\"\nlocks = [\"bench\"]\n");
    for step in 0..steps {
        text.push_str(&format!(
            "[[steps]]\nid = \"s{step}\"\nuses = \"ebs/tag-volume\"\n\
             with = {{ volume = \"vol-db-main\", key = \"k{step}\", value = \"new\" }}\n"
        ));
    }
    text
}
