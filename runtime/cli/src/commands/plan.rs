//! `stepback plan`: what would happen, with every check run live and nothing changed.

use super::{manifest, run::reporter};
use crate::args::{Global, Plan as PlanArgs};
use crate::config::{Config, add_grants};
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::{Style, duration, print, table};
use serde_json::{Value, json};
use stepback_core::StepId;
use stepback_core::manifest::{Phase, Step};
use stepback_core::plan::Plan;
use stepback_engine::{Preview, StepCheck, StepCheckAnswer};

pub async fn run(global: &Global, args: PlanArgs) -> Result<Exit, CliError> {
    let mut config = Config::load(global)?;
    add_grants(&mut config, &args.operation.grants)?;
    let request = manifest::request(&args.operation, true)?;
    let (name, inject) = (&args.operation.environment, &args.operation.inject);
    let deps = environment::deps(&config, name, inject, reporter(true)).await?;
    let preview = stepback_engine::plan(&deps, &request).await?;
    let refused: Vec<&StepCheck> =
        preview.checks.iter().filter(|check| is_refusal(check)).collect();
    match args.json {
        true => print(&format!("{:#}\n", as_json(&preview))),
        false => print(&as_text(&preview, &Style::of_stdout())),
    }
    Ok(if refused.is_empty() { Exit::Succeeded } else { Exit::Refused })
}

fn is_refusal(check: &StepCheck) -> bool {
    matches!(check.answer, StepCheckAnswer::Refused(_))
}

fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Live => "live",
        Phase::Downtime => "downtime",
        Phase::Cleanup => "cleanup",
    }
}

fn undo_word(plan: &Plan, step: &Step) -> &'static str {
    match (step.phase, plan.info(&step.id).is_some_and(|info| info.reversible)) {
        (Phase::Cleanup, _) => "after the commit",
        (_, true) => "yes",
        (_, false) => "NO",
    }
}

fn answer_text(answer: &StepCheckAnswer) -> String {
    match answer {
        StepCheckAnswer::Ok => "ok".into(),
        StepCheckAnswer::Refused(why) => format!("refused: {why}"),
        StepCheckAnswer::NotYet(why) => format!("not yet: {why}"),
        StepCheckAnswer::Unknown => "when earlier steps are done".into(),
        StepCheckAnswer::Skipped => "skipped".into(),
    }
}

fn checks_of<'a>(preview: &'a Preview, step: &'a StepId) -> impl Iterator<Item = &'a StepCheck> {
    preview.checks.iter().filter(move |check| check.step.step == *step)
}

fn as_text(preview: &Preview, style: &Style) -> String {
    let plan = preview.job.plan();
    let manifest = plan.manifest();
    let title = manifest.operation.title.as_deref().unwrap_or(&manifest.operation.name);
    let mut text = format!("{}\n\n", style.bold(title));
    let mut rows = table(&["step", "uses", "phase", "undo", "check now"]);
    for step in plan.steps() {
        let answers: Vec<String> =
            checks_of(preview, &step.id).map(|check| answer_text(&check.answer)).collect();
        rows.add_row([
            step.id.to_string(),
            step.uses.to_string(),
            phase_word(step.phase).to_owned(),
            undo_word(plan, step).to_owned(),
            answers.join("; "),
        ]);
    }
    text.push_str(&format!("{rows}\n\n"));
    let window: Vec<&str> =
        plan.steps().filter(|step| plan.is_window(&step.id)).map(|step| step.id.as_str()).collect();
    if !window.is_empty() {
        let budget = manifest
            .downtime
            .budget_ms
            .map_or("no budget".into(), |budget_ms| format!("a budget of {}", duration(budget_ms)));
        text.push_str(&format!("downtime: {}, with {budget}\n", window.join(" → ")));
    }
    if let Some(step) = plan.point_of_no_return() {
        text.push_str(&format!("point of no return: {}\n", style.red(step.as_str())));
    }
    let refused = preview.checks.iter().filter(|check| is_refusal(check)).count();
    if refused > 0 {
        text.push_str(&format!("it would be {}\n", style.red("refused")));
    }
    text
}

fn as_json(preview: &Preview) -> Value {
    let plan = preview.job.plan();
    let manifest = plan.manifest();
    let check = |check: &StepCheck| {
        let (answer, why) = match &check.answer {
            StepCheckAnswer::Ok => ("ok", None),
            StepCheckAnswer::Refused(why) => ("refused", Some(why.clone())),
            StepCheckAnswer::NotYet(why) => ("not-yet", Some(why.clone())),
            StepCheckAnswer::Unknown => ("unknown", None),
            StepCheckAnswer::Skipped => ("skipped", None),
        };
        json!({ "step": check.step.to_string(), "answer": answer, "why": why })
    };
    let steps = plan.steps().map(|step| {
        json!({
            "id": step.id, "uses": step.uses.to_string(), "phase": phase_word(step.phase),
            "needs": plan.dependencies(&step.id).collect::<Vec<_>>(),
            "reversible": plan.info(&step.id).is_some_and(|info| info.reversible),
            "irreversible": step.irreversible,
            "checks": checks_of(preview, &step.id).map(check).collect::<Vec<_>>(),
        })
    });
    json!({
        "name": manifest.operation.name, "title": manifest.operation.title,
        "inputs": preview.job.inputs(), "downtime_budget_ms": manifest.downtime.budget_ms,
        "point_of_no_return": plan.point_of_no_return(),
        "refused": preview.checks.iter().any(is_refusal),
        "steps": steps.collect::<Vec<_>>(),
    })
}
