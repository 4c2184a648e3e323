//! `stepback plan`: what would happen, with every check run live and nothing changed.

use super::{course, does, manifest, may, past, run::reporter};
use crate::args::{Global, Plan as PlanArgs};
use crate::config::{Config, add_grants};
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::{Style, duration, print, print_json, table};
use crate::shown::{Shown, row};
use crate::words::phase_word;
use serde_json::{Value, json};
use stepback_core::StepId;
use stepback_core::calls::Sink;
use stepback_core::manifest::{Phase, Step};
use stepback_core::plan::Plan;
use stepback_engine::{InTheWay, Preview, StepCheck, StepCheckAnswer, Undeclared};
use stepback_journal::{Ending, Store, Summary};

pub async fn run(global: &Global, args: PlanArgs) -> Result<Exit, CliError> {
    let mut config = Config::load(global)?;
    add_grants(&mut config, &args.operation.grants)?;
    let chosen = args.operation.chosen_environment();
    let chosen = chosen.as_deref();
    let request = manifest::request(&config, &args.operation, chosen, true).await?;
    let environment = request.environment.to_string();
    config.tell_if_simulated(&environment);
    let inject = &args.operation.inject;
    let deps = environment::deps(&config, &environment, inject, reporter(true)).await?;
    let preview = stepback_engine::plan(&deps, &request).await?;
    let name = &preview.job.plan().manifest().operation.name;
    let facts = Facts {
        downtimes_ms: last_downtimes(&*deps.store, name, &environment).await?,
        is_simulated: config.is_simulated(&environment),
        environment,
        looks_through: deps.provider.looks_through(),
    };
    let refused: Vec<&StepCheck> =
        preview.checks.iter().filter(|check| is_refusal(check)).collect();
    match args.json {
        true => print_json(&as_json(&preview, &facts)),
        false => print(&as_text(&preview, &facts, &Style::of_stdout())),
    }
    let is_held = preview.in_the_way.iter().any(|lock| !lock.lets_go);
    Ok(if refused.is_empty() && !is_held { Exit::Succeeded } else { Exit::Refused })
}

/// So many of the last runs tell how long the next one may keep the service down.
const RUNS_TOLD: usize = 5;
/// So far back they are looked for.
const RUNS_LOOKED_AT: usize = 100;

/// What a plan tells beside its checks.
struct Facts {
    /// The downtimes of the same operation's last runs here that succeeded, newest first.
    downtimes_ms: Vec<u64>,
    /// What was made to look with.
    looks_through: Vec<String>,
    environment: String,
    is_simulated: bool,
}

impl Facts {
    /// The middle one of the last downtimes.
    fn expected_ms(&self) -> Option<u64> {
        let mut sorted = self.downtimes_ms.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

async fn last_downtimes(
    store: &dyn Store,
    name: &str,
    environment: &str,
) -> Result<Vec<u64>, CliError> {
    let mut downtimes_ms = vec![];
    let is_like = |one: &Summary| {
        one.environment.as_str() == environment && one.finished == Some(Ending::Succeeded)
    };
    for summary in store.list().await?.iter().rev().filter(|one| is_like(one)).take(RUNS_LOOKED_AT)
    {
        match past::read(store, summary).await {
            Ok((_, view)) if view.name == name => downtimes_ms.extend(view.downtime_ms),
            Ok(_) | Err(CliError::Unreadable { .. }) => {}
            Err(error) => return Err(error),
        }
        if downtimes_ms.len() == RUNS_TOLD {
            break;
        }
    }
    Ok(downtimes_ms)
}

fn is_refusal(check: &StepCheck) -> bool {
    matches!(check.answer, StepCheckAnswer::Refused(_))
}

fn undo_word(plan: &Plan, step: &Step) -> &'static str {
    let can_be = plan.info(&step.id).is_some_and(|info| info.reversible);
    // The manifest may know better than a plugin that forgot to say so.
    match (step.phase, can_be && step.irreversible.is_none()) {
        (Phase::Cleanup, _) => "after the commit",
        (_, true) => "yes",
        (_, false) => "NO",
    }
}

fn answer_text(answer: &StepCheckAnswer) -> Shown {
    match answer {
        StepCheckAnswer::Ok => "ok".into(),
        StepCheckAnswer::Refused(why) => shown!("refused: {}", why),
        StepCheckAnswer::NotYet(why) => shown!("not yet: {}", why),
        StepCheckAnswer::Unknown => "when earlier steps are done".into(),
        StepCheckAnswer::Skipped => "skipped".into(),
    }
}

fn checks_of<'a>(preview: &'a Preview, step: &'a StepId) -> impl Iterator<Item = &'a StepCheck> {
    preview.checks.iter().filter(move |check| check.step.step == *step)
}

fn as_text(preview: &Preview, facts: &Facts, style: &Style) -> Shown {
    let plan = preview.job.plan();
    let manifest = plan.manifest();
    let title = manifest.operation.title.as_deref().unwrap_or(&manifest.operation.name);
    let mut text = shown!("plan: {}\n\n", style.bold(title));
    for InTheWay { said, lets_go, .. } in &preview.in_the_way {
        let would = if *lets_go { "wait for it" } else { "be refused" };
        let mark = style.yellow("!");
        text.push(&shown!(
            "{} {}; a run would {}, and what is below is how ",
            mark,
            Shown::advice(said),
            would
        ));
        text.push(&"things are in its middle\n".into());
    }
    if !preview.in_the_way.is_empty() {
        text.push(&"\n".into());
    }
    let mut rows = table(&["step", "uses", "phase", "undo", "check now"]);
    for step in plan.steps() {
        let answers = checks_of(preview, &step.id).map(|check| answer_text(&check.answer));
        rows.add([
            row(&step.id),
            row(&step.uses),
            phase_word(step.phase).into(),
            undo_word(plan, step).into(),
            Shown::join(answers, "; "),
        ]);
    }
    text.push(&shown!("{}\n\n", rows.shown()));
    text.push(&undeclared(preview, style));
    text.push(&may::as_text(preview, style));
    text.push(&revealed(plan, style));
    text.push(&course::beside(plan));
    text.push(&known(preview, style));
    text.push(&would(preview, style));
    text.push(&course::waits_as_text(preview, style));
    let window: Vec<&str> =
        plan.steps().filter(|step| plan.is_window(&step.id)).map(|step| step.id.as_str()).collect();
    if window.is_empty() {
        text.push(&"downtime: none is declared\n".into());
    } else {
        let budget = manifest
            .downtime
            .budget_ms
            .map_or("no budget".into(), |budget_ms| shown!("a budget of {}", duration(budget_ms)));
        text.push(&shown!("downtime: {}, with {}\n", window.join(" → "), budget));
        text.push(&shown!("expected downtime: {}\n", expected(facts)));
    }
    text.push(&course::point_of_no_return(preview, style));
    if !facts.looks_through.is_empty() {
        let made = facts.looks_through.join(", ");
        text.push(&shown!("to look, it made {}, which ends with this command\n", made));
    }
    let refused = preview.checks.iter().filter(|check| is_refusal(check)).count();
    if refused > 0 {
        text.push(&shown!("it would be {}\n", style.red("refused")));
    }
    text
}

/// The steps whose plugins can do what nobody declared: what is refused then is refused at the
/// call, when others have run.
fn undeclared(preview: &Preview, style: &Style) -> Shown {
    let told = |one: &Undeclared| {
        let steps = Shown::join(one.steps.iter().map(|step| shown!("`{}`", step)), ", ");
        shown!(
            "{} {}: plugin `{}` can call {}, which nothing takes back, and nobody declared it: \
             such a call would be refused in the middle, but on what the operation itself made; \
             write `irreversible = \"why that is acceptable\"` in the step that makes it\n\n",
            style.yellow("!"),
            steps,
            one.plugin,
            one.functions.join(", ")
        )
    };
    preview.undeclared.iter().map(told).collect()
}

/// The steps whose secrets others may read.
fn revealed(plan: &Plan, style: &Style) -> Shown {
    let reveals = plan.steps().filter(|step| step.reveal.contains(&Sink::Command));
    let told = |step: &Step| {
        shown!(
            "{} `{}` puts secrets into a command line, which whoever may list processes or \
             containers reads\n\n",
            style.yellow("!"),
            step.id
        )
    };
    reveals.map(told).collect()
}

/// What it would do to the world, in the plan's order.
fn would(preview: &Preview, style: &Style) -> Shown {
    let mut text = Shown::default();
    for step in preview.job.plan().steps() {
        let Some(does) = does::does(&step.uses) else { continue };
        let would = checks_of(preview, &step.id);
        for check in would.filter(|check| check.answer != StepCheckAnswer::Skipped) {
            let (key, about) = (check.step.to_string(), does::about(check.with.as_ref()));
            text.push(&shown!("  {:<7} {:<20} {}\n", does, row(key), about));
        }
    }
    match text.is_empty() {
        true => "it would change nothing\n\n".into(),
        false => shown!("{}\n{}\n", style.bold("it would"), text),
    }
}

/// What is known before it runs: the inputs, what each step would be run with, and what those
/// found that only look.
fn known(preview: &Preview, style: &Style) -> Shown {
    let mut text = Shown::default();
    let inputs = preview.job.inputs();
    if !inputs.is_empty() {
        text.push(&shown!("{}\n", style.bold("inputs")));
        inputs.iter().for_each(|(name, value)| text.push(&shown!("  {} = {}\n", name, value)));
        text.push(&"\n".into());
    }
    for check in &preview.checks {
        let fields = |value: &Option<Value>, mark: &str| match value {
            Some(Value::Object(map)) => map
                .iter()
                .map(|(name, value)| shown!("  {} {} = {}\n", mark, name, value))
                .collect(),
            Some(Value::Null) | None => Shown::default(),
            Some(other) => shown!("  {} {}\n", mark, other),
        };
        let (with, found) = (fields(&check.with, "with"), fields(&check.output, "found"));
        if !with.is_empty() || !found.is_empty() {
            text.push(&shown!("{}\n{}{}", style.bold(&check.step.to_string()), with, found));
        }
    }
    text.push(&"\n".into());
    text
}

/// From what the same operation took the last times: `0.4 s (the last 3 times 0.4 s to 0.5 s)`.
fn expected(facts: &Facts) -> Shown {
    let all = &facts.downtimes_ms;
    let (Some(expected), Some(least), Some(most)) =
        (facts.expected_ms(), all.iter().min(), all.iter().max())
    else {
        return "not known; no run of it succeeded here lately".into();
    };
    let times = match all.len() {
        1 => Shown::from("as it was the last time"),
        n => shown!("the last {} times {} to {}", n, duration(*least), duration(*most)),
    };
    shown!("{} ({})", duration(expected), times)
}

fn reveal(step: &Step) -> Vec<&'static str> {
    let word = |sink: &Sink| match sink {
        Sink::Command => "command",
        Sink::Environment => "environment",
    };
    step.reveal.iter().map(word).collect()
}

fn as_json(preview: &Preview, facts: &Facts) -> Value {
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
        json!({
            "step": check.step.to_string(), "answer": answer, "why": why,
            "with": check.with, "found": check.output,
        })
    };
    let steps = plan.steps().map(|step| {
        json!({
            "id": step.id, "title": step.title, "uses": step.uses.to_string(),
            "phase": phase_word(step.phase),
            "needs": plan.dependencies(&step.id).collect::<Vec<_>>(),
            "reversible": plan.info(&step.id).is_some_and(|info| info.reversible),
            "irreversible": step.irreversible, "reveal": reveal(step), "at_most": step.at_most,
            "does": does::does(&step.uses),
            "checks": checks_of(preview, &step.id).map(check).collect::<Vec<_>>(),
        })
    });
    json!({
        "name": manifest.operation.name, "title": manifest.operation.title,
        "environment": facts.environment, "simulated": facts.is_simulated,
        "inputs": preview.job.inputs(), "downtime_budget_ms": manifest.downtime.budget_ms,
        "expected_downtime_ms": facts.expected_ms(), "last_downtimes_ms": facts.downtimes_ms,
        "looks_through": facts.looks_through,
        "point_of_no_return": course::no_return(preview),
        "commits_before": course::commits_before(plan), "waits": course::waits_as_json(preview),
        "refused": preview.checks.iter().any(is_refusal)
            || preview.in_the_way.iter().any(|lock| !lock.lets_go),
        "locks_held": preview.in_the_way.iter().map(|lock| json!({
            "name": lock.name, "by": lock.said, "would_wait": lock.lets_go,
        })).collect::<Vec<_>>(),
        "undeclared": preview.undeclared.iter().map(|one| json!({
            "plugin": one.plugin, "functions": one.functions, "steps": one.steps,
        })).collect::<Vec<_>>(),
        "may": may::as_json(preview), "steps": steps.collect::<Vec<_>>(),
    })
}
