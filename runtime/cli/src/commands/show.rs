//! `stepback show`: one operation, for people or as JSON.

use super::{ending, past};
use crate::args::{Global, Show};
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::{Style, print, print_json, table};
use crate::shown::{Said, Shown, row};
use crate::view::OperationView;
use stepback_core::OperationId;
use stepback_core::state::{State, Status};

pub async fn run(global: &Global, args: Show) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    let store = environment::store(&config, false)?;
    let id = past::which(&*store, args.id).await?;
    let (records, view) = past::one(&*store, id).await?;
    if args.json {
        print_json(&view);
        return Ok(Exit::Succeeded);
    }
    let state =
        State::fold(&records).map_err(|error| CliError::unreadable(id, error.to_string()))?;
    print(&text(&view, id, &state));
    Ok(Exit::Succeeded)
}

fn text(view: &OperationView, id: OperationId, state: &State) -> Shown {
    let style = Style::of_stdout();
    let mut text = shown!(
        "{}: {} in {}, by {}\n",
        style.bold(&shown!("operation {}", id)),
        row(&view.manifest),
        row(view.shown_environment()),
        row(&view.actor)
    );
    for (name, value) in &view.inputs {
        text.push(&shown!("  {} = {}\n", name, value));
    }
    text.push(&shown!("status: {}\n", view.status));
    if let Some(left) = view.left() {
        text.push(&shown!("{} {}\n", style.yellow("!"), left));
    }
    let times = [("started", &view.started_at), ("finished", &view.finished_at)];
    for (what, at) in times {
        if let Some(at) = at {
            text.push(&shown!("{}: {}\n", what, at));
        }
    }
    if !view.locks.is_empty() {
        text.push(&shown!("holds: {}\n", view.locks.join(", ")));
    }
    for current in &view.current {
        let call = current.call.as_deref().unwrap_or("its step's code");
        let behind = match current.waits_for.is_empty() {
            true => Shown::default(),
            false => shown!(", waiting for {}", current.waits_for.join(", ")),
        };
        let (step, since) = (&current.step, &current.since);
        text.push(&shown!("now: {} in {} since {}{}\n", step, call, since, behind));
    }
    for reason in &view.refused {
        text.push(&shown!("refused: {}\n", reason));
    }
    let mut rows = table(&["step", "uses", "phase", "status", "attempts", "error"]);
    for step in &view.steps {
        let error = step.error.as_ref().map(|error| match &error.code {
            Some(code) => shown!("[{}] {}", code, error.message),
            None => error.message.said(),
        });
        rows.add([
            row(&step.id),
            row(step.uses.as_deref().unwrap_or_default()),
            row(step.phase.as_deref().unwrap_or_default()),
            row(&step.status),
            row(step.attempts),
            error.unwrap_or_default(),
        ]);
    }
    text.push(&shown!("\n{}\n\n", rows.shown()));
    if state.status != Status::Refused {
        text.push(&ending::summary(id, state, &style));
    }
    text
}
