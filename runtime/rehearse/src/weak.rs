//! What is weak about an operation though nothing is wrong with it: what a person would want to
//! know before it is run.

use crate::learn;
use crate::outcome::Outcome;
use crate::place::{CaseId, Fault, Kind, Planned};
use crate::report::{WeakKind, WeakPoint};
use crate::script::Passed;
use crate::stage::Played;
use std::collections::{BTreeMap, BTreeSet};
use stepback_core::manifest::Manifest;
use stepback_core::shown::duration;

/// So many names are told of what is left.
const NAMES_MAX: usize = 6;

/// A time in whole seconds: what was assumed is no more exact.
fn time(ms: u64) -> String {
    match ms {
        1..1_000 => "less than a second".to_owned(),
        0 | 1_000..60_000 => format!("{} s", ms / 1_000),
        _ => duration(ms),
    }
}

/// All that is weak, worst first.
pub(crate) fn points(manifest: &Manifest, quiet: &Played, told: &[&Outcome]) -> Vec<WeakPoint> {
    // Of what is wrong, nothing that is said can be counted on.
    let told: Vec<&Outcome> = told.iter().copied().filter(|one| one.wrong.is_empty()).collect();
    let told = &by_last_faults(&told);
    let mut all = left(told);
    all.extend(gone(told));
    all.extend(leftover(told));
    all.extend(stopped(quiet));
    all.extend(waited_for(quiet));
    all.extend(never_there(manifest, quiet, told));
    all.extend(over_budget(manifest, told));
    all.extend(down(told));
    // Of those of one kind, those first that are told first.
    all.sort_by_key(|point| (!point.is_down, point.kind, point.case.0.len()));
    all
}

/// A case, and what of its ending its last fault brings about: not one before it, and not the
/// operation where nothing goes wrong.
#[derive(Clone)]
struct Told<'a> {
    one: &'a Outcome,
    stays_down: bool,
    /// What is left for a person, and was not by the faults before, or not so that the service is
    /// down.
    left: Vec<String>,
    /// What is not cleared away, and was by the faults before.
    leftover: Vec<&'a String>,
    /// The fault before it, where neither leaves all of that by itself.
    first: Option<&'a Outcome>,
}

impl std::ops::Deref for Told<'_> {
    type Target = Outcome;

    fn deref(&self) -> &Outcome {
        self.one
    }
}

/// What is left for a person by a case.
fn left_by(one: &Outcome) -> &[String] {
    if one.ending.status == "rollback-failed" { &one.lost } else { &[] }
}

fn by_last_faults<'a>(told: &[&'a Outcome]) -> Vec<Told<'a>> {
    let all: BTreeMap<&[Planned], &'a Outcome> =
        told.iter().map(|one| (&one.case.0[..], *one)).collect();
    let mut all: Vec<Told<'_>> = told.iter().map(|one| by_last_fault(one, &all)).collect();
    // What comes before moves a place on: that it is the same fault is told by its sentence.
    let by_itself: BTreeSet<(String, String)> =
        all.iter().filter(|one| one.first.is_none()).flat_map(said).collect();
    for one in all.iter_mut().filter(|one| one.first.is_some()) {
        if said(one).iter().all(|said| by_itself.contains(said)) {
            one.first = None;
        }
    }
    all
}

/// Each thing that a case leaves, with the fault that it is left by.
fn said(told: &Told<'_>) -> Vec<(String, String)> {
    let down = told.stays_down.then(|| "the service stays down".to_owned());
    let names = told.left.iter().chain(told.leftover.iter().copied()).cloned().chain(down);
    let clause = clause(told);
    names.map(|name| (clause.clone(), name)).collect()
}

fn by_last_fault<'a>(one: &'a Outcome, all: &BTreeMap<&[Planned], &'a Outcome>) -> Told<'a> {
    let (last, before) = match one.case.0.split_last() {
        Some((last, before)) => (Some(last), all.get(before).copied()),
        None => (None, None),
    };
    let stays_down = one.ending.is_down && !before.is_some_and(|one| one.ending.is_down);
    // What was left before, and only now keeps the service down, is left by both.
    let was_left = before.filter(|_| !stays_down).map_or(&[][..], left_by);
    let left = left_by(one).iter().filter(|name| !was_left.contains(name)).cloned();
    let left: Vec<String> = left.collect();
    let was_leftover = |step: &&String| before.is_some_and(|one| one.leftover.contains(step));
    let leftover: Vec<&String> = one.leftover.iter().filter(|step| !was_leftover(step)).collect();
    let alone = last.and_then(|last| all.get(std::slice::from_ref(last)));
    let is_by_both = |alone: &&Outcome| {
        alone.case != one.case
            && (left.iter().any(|name| !left_by(alone).contains(name))
                || leftover.iter().any(|step| !alone.leftover.contains(step))
                || (stays_down && !alone.ending.is_down))
    };
    let is_both = !one.case.0.is_empty() && alone.is_some_and(is_by_both);
    Told { one, stays_down, left, leftover, first: before.filter(|_| is_both) }
}

/// What goes wrong in a case so that it comes to what is told of it.
fn clauses(told: &Told<'_>) -> String {
    match told.first {
        Some(first) => format!("{}, and then {}", clause(first), clause(told)),
        None => clause(told),
    }
}

/// What goes wrong last in a case, in a clause: *if `ebs.attach` of `attach` …*.
fn clause(one: &Outcome) -> String {
    let Some(Planned { at, fault }) = one.case.0.last().copied() else {
        return "if nothing goes wrong".to_owned();
    };
    let whose = match (&one.doing.step, one.doing.undo, one.doing.check) {
        (Some(step), true, _) => format!("the undo of `{step}`"),
        (Some(step), false, _) => format!("`{step}`"),
        (None, _, true) => "a check".to_owned(),
        (None, _, false) => "the engine".to_owned(),
    };
    let of = one.of.as_deref().unwrap_or_default();
    let what = match at.kind {
        Kind::Call { function, .. } => format!("`{function}` of {whose}"),
        Kind::Look => format!("a look at {of}"),
        Kind::Settle => format!("the question what became of `{of}` of {whose}"),
        Kind::Search => "the search for what it made".to_owned(),
        Kind::Commit => format!("a commit of {whose}"),
    };
    match (at.kind, fault) {
        (Kind::Call { function, .. }, Fault::RefuseAlways) => {
            format!("if `{function}` is refused for good, from {whose} on")
        }
        (_, Fault::Refuse | Fault::RefuseAlways) => format!("if {what} is refused"),
        (_, Fault::Transient) => format!("if {what} has to be tried again"),
        (_, Fault::Lost) => format!("if the answer to {what} is lost"),
        (_, Fault::Hang) => format!("if {what} never answers"),
        (_, Fault::HangAfter) => format!("if {what} is made, and never answers"),
        (_, Fault::Slow) => format!("if {what} takes longer than the budget"),
        (_, Fault::Cancel) => format!("if it is cancelled during {what}"),
        (_, Fault::CrashBefore) => format!("if the program is killed before {what}"),
        (_, Fault::CrashAfter) => format!("if the program is killed after {what}"),
    }
}

/// A point about what a fault brings about.
fn point(kind: WeakKind, told: String, one: &Told<'_>) -> WeakPoint {
    WeakPoint {
        kind,
        told,
        step: one.doing.step.clone(),
        fault: one.case.0.last().map(|last| last.fault.name()),
        resources: vec![],
        is_down: one.stays_down,
        cases: 1,
        case: one.case.clone(),
    }
}

/// The points with each sentence once, and how many cases say it.
fn counted(points: impl Iterator<Item = WeakPoint>) -> Vec<WeakPoint> {
    let mut all: Vec<WeakPoint> = vec![];
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for point in points {
        match places.get(&point.told) {
            Some(at) => all[*at].cases += 1,
            None => {
                places.insert(point.told.clone(), all.len());
                all.push(point);
            }
        }
    }
    all
}

fn names(all: &[String]) -> String {
    let more = all.len().saturating_sub(NAMES_MAX);
    let mut told = all[..all.len() - more].join(", ");
    if more > 0 {
        told.push_str(&format!(" and {more} more"));
    }
    told
}

fn down_too(one: &Told<'_>) -> &'static str {
    if one.stays_down { ", and the service stays down" } else { "" }
}

/// What a rollback may leave.
fn left(told: &[Told<'_>]) -> Vec<WeakPoint> {
    counted(told.iter().filter(|one| !one.left.is_empty()).map(|one| {
        let is = if one.left.len() == 1 { "is" } else { "are" };
        let (clause, names, down) = (clauses(one), names(&one.left), down_too(one));
        // What nobody could look at may be as it was.
        let is_unseen = one.left.iter().all(|name| one.unseen.contains(name));
        let unseen = if is_unseen { "can't be looked at, and " } else { "" };
        let told = format!("{clause}, {names} {unseen}{is} left for a person{down}");
        WeakPoint { resources: one.left.clone(), ..point(WeakKind::Left, told, one) }
    }))
}

/// What nothing brings back.
fn gone(told: &[Told<'_>]) -> Vec<WeakPoint> {
    let except =
        told.iter().filter(|one| one.ending.verdict.as_deref() == Some("restored-except-declared"));
    let points = except.flat_map(|one| {
        let down = down_too(one);
        one.irreversible.iter().map(move |step| {
            let told = format!("after `{step}` nothing brings back what it did{down}");
            WeakPoint {
                step: Some(step.clone()),
                fault: None,
                resources: one.lost.clone(),
                ..point(WeakKind::Irreversible, told, one)
            }
        })
    });
    counted(points)
}

/// What is left though the operation succeeded.
fn leftover(told: &[Told<'_>]) -> Vec<WeakPoint> {
    let points = told.iter().flat_map(|one| {
        one.leftover.iter().map(|step| {
            let told = format!("{}, `{step}` leaves what it was to clear away", clauses(one));
            point(WeakKind::Leftover, told, one)
        })
    });
    counted(points)
}

/// What ran before and runs no more, though nothing went wrong.
fn stopped(quiet: &Played) -> Option<WeakPoint> {
    let stopped: Vec<String> = quiet.stopped.iter().map(ToString::to_string).collect();
    (!stopped.is_empty()).then(|| WeakPoint {
        kind: WeakKind::Stopped,
        told: format!("where nothing goes wrong, {} ran and runs no more", names(&stopped)),
        step: None,
        fault: None,
        resources: stopped,
        is_down: true,
        cases: 1,
        case: CaseId::default(),
    })
}

/// What an invariant asks about that is in no world of any case: its name may be mistaken.
fn never_there(manifest: &Manifest, quiet: &Played, told: &[Told<'_>]) -> Vec<WeakPoint> {
    let mut asked: BTreeMap<&(usize, String), bool> = BTreeMap::new();
    for of_one in [&quiet.asked].into_iter().chain(told.iter().map(|one| &one.one.asked)) {
        of_one
            .iter()
            .for_each(|(question, is_there)| *asked.entry(question).or_default() |= is_there);
    }
    let never = asked.into_iter().filter(|(_, is_there)| !is_there);
    let point = |((nth, question), _): (&(usize, String), bool)| {
        let name = &manifest.invariants.get(*nth)?.name;
        Some(WeakPoint {
            kind: WeakKind::NeverThere,
            told: format!(
                "the invariant `{name}` asks for `{question}`, which is there in no case: if that \
                 is not meant, nothing was shown about it"
            ),
            step: None,
            fault: None,
            resources: vec![],
            is_down: false,
            cases: 1,
            case: CaseId::default(),
        })
    };
    never.filter_map(point).collect()
}

/// What is waited for while the service is down, and could have been done before.
const COULD_BE_DONE_BEFORE: [&str; 1] = ["docker.pull-image"];

fn waited_for(quiet: &Played) -> Vec<WeakPoint> {
    let doings = learn::doings(quiet);
    let told = |passed: &Passed| {
        let Kind::Call { function, undo: false } = passed.place.kind else { return None };
        let step = doings.get(&passed.place)?.step.clone()?;
        let is_one = passed.is_down && COULD_BE_DONE_BEFORE.contains(&function);
        is_one.then(|| WeakPoint {
            kind: WeakKind::CouldBeBefore,
            told: format!(
                "`{function}` of `{step}` is waited for while the service is down; it may be done \
                 before"
            ),
            step: Some(step),
            fault: None,
            resources: vec![],
            is_down: false,
            cases: 1,
            case: CaseId::default(),
        })
    };
    quiet.passed.iter().filter_map(told).collect()
}

/// How far a downtime can grow past its budget.
fn over_budget(manifest: &Manifest, told: &[Told<'_>]) -> Option<WeakPoint> {
    let budget_ms = manifest.downtime.budget_ms?;
    let over = told.iter().filter_map(|one| Some((one.downtime()?, one)));
    let over: Vec<((bool, u64), &Told<'_>)> =
        over.filter(|((goes_on, ms), _)| *goes_on || *ms > budget_ms).collect();
    // Of those that are alike, the first.
    let ((goes_on, worst_ms), worst) = *over.iter().rev().max_by_key(|(downtime, _)| *downtime)?;
    let at_worst = match goes_on {
        true => "without end".to_owned(),
        false => format!("for {}", time(worst_ms)),
    };
    let told = format!(
        "the service is down for longer than its budget of {}, at worst {at_worst}",
        time(budget_ms),
    );
    // That it stays down is told where it does.
    let is_down = false;
    Some(WeakPoint { cases: over.len(), is_down, ..point(WeakKind::OverBudget, told, worst) })
}

/// How long the service is down if something goes wrong while it is.
fn down(told: &[Told<'_>]) -> Vec<WeakPoint> {
    let mut worst: BTreeMap<String, (u64, usize, &Told<'_>)> = BTreeMap::new();
    for one in told.iter().filter(|one| one.case.0.len() == 1 && !one.doing.undo) {
        let is_back = one.ending.status == "rolled-back" && !one.ending.is_down;
        let is_call = one.case.0.iter().all(|one| matches!(one.at.kind, Kind::Call { .. }));
        let ms = one.ending.downtime_ms.filter(|ms| *ms > 0 && is_back && is_call);
        let (Some(ms), Some(_)) = (ms, &one.doing.step) else { continue };
        let known = worst.entry(clause(one)).or_insert((ms, 0, one));
        known.1 += 1;
        if known.0 < ms {
            (known.0, known.2) = (ms, one);
        }
    }
    let mut worst: Vec<(String, (u64, usize, &Told<'_>))> = worst.into_iter().collect();
    worst.sort_by(|(_, one), (_, other)| {
        other.0.cmp(&one.0).then_with(|| one.2.case.cmp(&other.2.case))
    });
    let told = |(clause, (ms, cases, one)): (String, (u64, usize, &Told<'_>))| {
        let told = format!("{clause}, the service is down for {}", time(ms));
        WeakPoint { cases, ..point(WeakKind::Downtime, told, one) }
    };
    worst.into_iter().map(told).collect()
}
