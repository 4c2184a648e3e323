//! How an operation goes, as far as its plan tells: what runs side by side, what it waits for, and
//! where it can not go back any more.

use super::does;
use crate::output::Style;
use crate::shown::{Shown, row};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use stepback_core::StepId;
use stepback_core::manifest::{Phase, Step};
use stepback_core::plan::Plan;
use stepback_engine::{Preview, StepCheck, StepCheckAnswer};

/// Each step that need not wait for some that stand before it, with these.
fn side_by_side(plan: &Plan) -> Vec<(&StepId, Vec<&StepId>)> {
    let mut before: BTreeMap<&StepId, BTreeSet<&StepId>> = BTreeMap::new();
    let (mut found, mut earlier): (_, Vec<&StepId>) = (vec![], vec![]);
    for step in plan.steps() {
        let mut all: BTreeSet<&StepId> = BTreeSet::new();
        for needed in plan.dependencies(&step.id) {
            all.insert(needed);
            all.extend(before.get(needed).into_iter().flatten());
        }
        // What cleans up comes after the commit, and that after all else.
        let is_before =
            |one: &StepId| all.contains(one) || plan.is_cleanup(one) != plan.is_cleanup(&step.id);
        let beside: Vec<&StepId> = earlier.iter().copied().filter(|one| !is_before(one)).collect();
        if !beside.is_empty() {
            found.push((&step.id, beside));
        }
        before.insert(&step.id, all);
        earlier.push(&step.id);
    }
    found
}

/// What runs side by side: steps that do not need each other, and the instances of one.
pub fn beside(plan: &Plan) -> Shown {
    let names = |all: &mut dyn Iterator<Item = &StepId>| {
        Shown::join(all.map(|id| shown!("`{}`", id)), ", ")
    };
    let mut text = Shown::default();
    for (step, others) in side_by_side(plan) {
        let others = names(&mut others.into_iter());
        text.push(&shown!("side by side: `{}` with {}\n", step, others));
    }
    let is_at_once = |step: &&Step| step.for_each.is_some() && step.at_most.is_none();
    let all: Vec<&Step> = plan.steps().filter(is_at_once).collect();
    if !all.is_empty() {
        let all = names(&mut all.into_iter().map(|step| &step.id));
        text.push(&shown!("side by side, for each: {}\n", all));
    }
    let in_turn = plan.steps().filter_map(|step| Some((step, step.at_most?.get())));
    for (step, at_most) in in_turn {
        let how = match at_most {
            1 => shown!("one after another, and undone so from the last"),
            several => shown!("at most {} at a time, and so undone", several),
        };
        text.push(&shown!("`{}` is run for each, {}\n", step.id, how));
    }
    if !text.is_empty() {
        text.push(&"\n".into());
    }
    text
}

/// What is waited for, by the step's instance: how long, as the manifest has it, and for what; none
/// where earlier steps give how long.
fn waits(preview: &Preview) -> Vec<(String, Option<does::Wait>)> {
    let plan = preview.job.plan();
    let checks = preview.checks.iter().filter(|one| one.answer != StepCheckAnswer::Skipped);
    let of = |check: &StepCheck| {
        let step = plan.steps().find(|step| step.id == check.step.step)?;
        let wait = match check.with.as_ref() {
            Some(with) => Some(does::waits(&step.uses, with)?),
            None => does::may_wait(&step.uses).then_some(None)?,
        };
        Some((check.step.to_string(), wait))
    };
    checks.filter_map(of).collect()
}

/// How long it would wait where nothing keeps it.
pub fn waits_as_text(preview: &Preview, style: &Style) -> Shown {
    let all = waits(preview);
    if all.is_empty() {
        return Shown::default();
    }
    let mut text = shown!("{}\n", style.bold("it would wait"));
    for (step, wait) in all {
        let wait = wait.map_or("of what earlier steps give".to_owned(), |wait| wait.to_string());
        text.push(&shown!("  {:<28} {}\n", row(step), wait));
    }
    text.push(&"\n".into());
    text
}

pub fn waits_as_json(preview: &Preview) -> Value {
    let told = |(step, wait): (String, Option<does::Wait>)| {
        let at_most = wait.as_ref().map(|wait| wait.until.is_some());
        json!({ "step": step, "how_long": wait.map(|wait| wait.how_long), "at_most": at_most })
    };
    waits(preview).into_iter().map(told).collect()
}

/// From where on nothing is taken back: an irreversible step that has something to do, or else the
/// commit.
pub fn point_of_no_return(preview: &Preview, style: &Style) -> Shown {
    let plan = preview.job.plan();
    if let Some(step) = no_return(preview) {
        return shown!("point of no return: {}\n", style.red(step.as_str()));
    }
    match commits_before(plan) {
        Some(step) => shown!("point of no return: the commit, before `{}`\n", step),
        None => "point of no return: none before its end\n".into(),
    }
}

/// The first step of those that clean up.
pub fn commits_before(plan: &Plan) -> Option<&StepId> {
    plan.steps().find(|step| step.phase == Phase::Cleanup).map(|step| &step.id)
}

/// The first irreversible step of those that have something to do.
pub fn no_return(preview: &Preview) -> Option<&StepId> {
    let is_to_run = |check: &StepCheck| check.answer != StepCheckAnswer::Skipped;
    let has_checks =
        |id: &StepId| preview.checks.iter().any(|check| check.step.step == *id && is_to_run(check));
    preview.job.plan().point_of_no_return_of(has_checks)
}
