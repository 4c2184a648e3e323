//! What is weak about an operation though nothing is wrong with it: what a person would want to
//! know before it is run.

use crate::learn;
use crate::outcome::Outcome;
use crate::place::{CaseId, Fault, Kind, Planned};
use crate::report::WeakPoint;
use crate::script::Passed;
use crate::stage::Played;
use std::collections::{BTreeMap, BTreeSet};
use stepback_core::manifest::{self, Manifest};

/// So many of one kind are told.
const TOLD_MAX: usize = 10;

/// A time in whole seconds: what was assumed is no more exact.
fn duration_text(ms: u64) -> String {
    manifest::duration_text(ms - ms % 1_000)
}

/// All that is weak, worst first.
pub(crate) fn points(manifest: &Manifest, quiet: &Played, told: &[&Outcome]) -> Vec<WeakPoint> {
    let mut all = left(told);
    all.extend(gone(told));
    all.extend(waited_for(quiet));
    all.extend(over_budget(manifest, told));
    all.extend(down(told));
    all
}

/// What befalls a case last, where one call of one step is meant by it.
fn last(one: &Outcome) -> Option<(&str, &'static str, Fault)> {
    let Planned { at, fault } = *one.case.0.last()?;
    let Kind::Call { function, .. } = at.kind else { return None };
    Some((one.doing.step.as_deref()?, function, fault))
}

/// The fault in a clause: *if `ebs.attach` of `attach` …*.
fn clause(one: &Outcome) -> Option<String> {
    let (step, function, fault) = last(one)?;
    let whose = if one.doing.undo { format!("the undo of `{step}`") } else { format!("`{step}`") };
    Some(match fault {
        Fault::Refuse => format!("if `{function}` of {whose} is refused"),
        Fault::RefuseAlways => format!("if `{function}` is refused for good, from {whose} on"),
        Fault::Transient => format!("if `{function}` of {whose} has to be tried again"),
        Fault::Lost => format!("if the answer to `{function}` of {whose} is lost"),
        Fault::Hang => format!("if `{function}` of {whose} never answers"),
        Fault::HangAfter => format!("if `{function}` of {whose} is made, and never answers"),
        Fault::Slow => format!("if `{function}` of {whose} takes longer than the budget"),
        Fault::Cancel => format!("if it is cancelled during `{function}` of {whose}"),
        Fault::CrashBefore => format!("if the program is killed before `{function}` of {whose}"),
        Fault::CrashAfter => format!("if the program is killed after `{function}` of {whose}"),
    })
}

/// What a rollback may leave.
fn left(told: &[&Outcome]) -> Vec<WeakPoint> {
    let mut seen = BTreeSet::new();
    let incomplete = told.iter().filter(|one| one.ending.status == "rollback-failed");
    let points = incomplete.filter_map(|one| {
        let clause = clause(one)?;
        let names: Vec<&str> = one.lost.iter().map(|(resource, _)| resource.as_str()).collect();
        let down = if one.ending.is_down { ", and the service stays down" } else { "" };
        let told = format!("{clause}, {} is left for a person{down}", names.join(", "));
        seen.insert(told.clone()).then(|| WeakPoint { told, case: one.case.clone() })
    });
    let mut points: Vec<WeakPoint> = points.collect();
    points.sort_by_key(|point| !point.told.contains("stays down"));
    points.truncate(TOLD_MAX);
    points
}

/// What nothing brings back.
fn gone(told: &[&Outcome]) -> Vec<WeakPoint> {
    let mut seen = BTreeSet::new();
    let except =
        told.iter().filter(|one| one.ending.verdict.as_deref() == Some("restored-except-declared"));
    let points = except.flat_map(|one| {
        let steps: Vec<&String> =
            one.irreversible.iter().filter(|step| seen.insert((*step).clone())).collect();
        let points = steps.into_iter().map(|step| WeakPoint {
            told: format!("after `{step}` nothing brings back what it did"),
            case: one.case.clone(),
        });
        points.collect::<Vec<_>>()
    });
    points.collect()
}

/// What is waited for while the service is down, and could have been done before.
const COULD_BE_DONE_BEFORE: [&str; 1] = ["docker.pull-image"];

fn waited_for(quiet: &Played) -> Vec<WeakPoint> {
    let doings = learn::doings(quiet);
    let told = |passed: &Passed| {
        let Kind::Call { function, undo: false } = passed.place.kind else { return None };
        let step = doings.get(&passed.place)?.step.as_ref()?;
        let is_one = passed.is_down && COULD_BE_DONE_BEFORE.contains(&function);
        is_one.then(|| WeakPoint {
            told: format!(
                "`{function}` of `{step}` is waited for while the service is down; it may be done \
                 before"
            ),
            case: CaseId::default(),
        })
    };
    quiet.passed.iter().filter_map(told).collect()
}

/// How far a downtime can grow past its budget.
fn over_budget(manifest: &Manifest, told: &[&Outcome]) -> Option<WeakPoint> {
    let budget_ms = manifest.downtime.budget_ms?;
    let over = told.iter().filter_map(|one| Some((one.ending.downtime_ms?, *one)));
    let over: Vec<(u64, &Outcome)> = over.filter(|(ms, _)| *ms > budget_ms).collect();
    let (worst_ms, worst) = over.iter().max_by_key(|(ms, _)| *ms)?;
    let told = format!(
        "the service is down for longer than its budget of {} in {} cases, at worst for {}",
        duration_text(budget_ms),
        over.len(),
        duration_text(*worst_ms)
    );
    Some(WeakPoint { told, case: worst.case.clone() })
}

/// How long the service is down if something goes wrong while it is.
fn down(told: &[&Outcome]) -> Vec<WeakPoint> {
    let mut worst: BTreeMap<(String, &str, Fault), (u64, &Outcome)> = BTreeMap::new();
    for one in told.iter().filter(|one| one.case.0.len() == 1 && !one.doing.undo) {
        let is_back = one.ending.status == "rolled-back";
        let (Some((step, function, fault)), Some(ms), true) =
            (last(one), one.ending.downtime_ms.filter(|ms| *ms > 0), is_back)
        else {
            continue;
        };
        let known = worst.entry((step.to_owned(), function, fault)).or_insert((ms, one));
        if known.0 < ms {
            *known = (ms, one);
        }
    }
    let mut worst: Vec<(u64, &Outcome)> = worst.into_values().collect();
    worst.sort_by(|one, other| other.0.cmp(&one.0).then_with(|| one.1.case.cmp(&other.1.case)));
    let point = |(ms, one): (u64, &Outcome)| {
        let clause = clause(one)?;
        let told = format!("{clause}, the service is down for {}", duration_text(ms));
        Some(WeakPoint { told, case: one.case.clone() })
    };
    worst.into_iter().filter_map(point).take(TOLD_MAX).collect()
}
