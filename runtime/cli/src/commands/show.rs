//! `stepback show`: one operation, for people or as JSON.

use super::{ending, past};
use crate::args::{Global, Show};
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::{Style, in_row, print, print_data, set_in, table};
use crate::view::OperationView;
use stepback_core::OperationId;
use stepback_core::state::{State, Status};

pub async fn run(global: &Global, args: Show) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    let store = environment::store(&config, false)?;
    let id = past::which(&*store, args.id).await?;
    let (records, view) = past::one(&*store, id).await?;
    if args.json {
        print_data(&format!("{}\n", past::json(&view)?));
        return Ok(Exit::Succeeded);
    }
    let state =
        State::fold(&records).map_err(|error| CliError::unreadable(id, error.to_string()))?;
    print(&text(&view, id, &state));
    Ok(Exit::Succeeded)
}

fn text(view: &OperationView, id: OperationId, state: &State) -> String {
    let style = Style::of_stdout();
    let mut text = format!(
        "{}: {} in {}, by {}\n",
        style.bold(&format!("operation {id}")),
        in_row(&view.manifest),
        in_row(&view.shown_environment()),
        in_row(&view.actor)
    );
    for (name, value) in &view.inputs {
        text.push_str(&format!("  {name} = {value}\n"));
    }
    text.push_str(&format!("status: {}\n", view.status));
    if let Some(left) = view.left() {
        text.push_str(&format!("{} {left}\n", style.yellow("!")));
    }
    let times = [("started", &view.started_at), ("finished", &view.finished_at)];
    for (what, at) in times {
        if let Some(at) = at {
            text.push_str(&format!("{what}: {at}\n"));
        }
    }
    if !view.locks.is_empty() {
        text.push_str(&format!("holds: {}\n", view.locks.join(", ")));
    }
    for current in &view.current {
        let call = current.call.as_deref().unwrap_or("its step's code");
        let behind = match current.waits_for.is_empty() {
            true => String::new(),
            false => format!(", waiting for {}", current.waits_for.join(", ")),
        };
        let (step, since) = (&current.step, &current.since);
        text.push_str(&format!("now: {step} in {call} since {since}{behind}\n"));
    }
    for reason in &view.refused {
        text.push_str(&format!("refused: {}\n", set_in(reason)));
    }
    let mut rows = table(&["step", "uses", "phase", "status", "attempts", "error"]);
    for step in &view.steps {
        let error = step.error.as_ref().map(|error| match &error.code {
            Some(code) => format!("[{code}] {}", error.message),
            None => error.message.clone(),
        });
        rows.add_row([
            step.id.clone(),
            step.uses.clone().unwrap_or_default(),
            step.phase.clone().unwrap_or_default(),
            step.status.clone(),
            step.attempts.to_string(),
            error.unwrap_or_default(),
        ]);
    }
    text.push_str(&format!("\n{rows}\n\n"));
    if state.status != Status::Refused {
        text.push_str(&ending::summary(id, state, &style));
    }
    text
}
