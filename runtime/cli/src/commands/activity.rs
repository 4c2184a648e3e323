//! `stepback activity`: a report on operations, as a table, CSV or JSON.

use super::{list, past};
use crate::args::{Activity, Format, Global};
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::{print, print_csv, print_json};
use crate::view::OperationView;

pub async fn run(global: &Global, args: Activity) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    let store = environment::store(&config, false)?;
    let views = past::all(&config, &*store, &args.filter).await?;
    match args.format {
        Format::Table => print(&list::text(&views)),
        Format::Json => print_json(&views),
        Format::Csv => print_csv(HEADER, views.iter().map(cells)),
    }
    Ok(Exit::Succeeded)
}

const HEADER: [&str; 19] = [
    "id",
    "name",
    "manifest",
    "environment",
    "status",
    "cause",
    "verdict",
    "started_at",
    "finished_at",
    "downtime_ms",
    "downtime_since",
    "actor",
    "why",
    "simulated",
    "left_in",
    "left_at",
    "closed_by",
    "closed_because",
    "actor_uid",
];

fn cells(view: &OperationView) -> [String; HEADER.len()] {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (closed_by, closed_because) = view.closed().unwrap_or_default();
    [
        view.id.to_string(),
        view.name.clone(),
        view.manifest.clone(),
        view.environment.clone(),
        view.status.clone(),
        text(&view.cause),
        text(&view.verdict),
        text(&view.started_at),
        text(&view.finished_at),
        view.downtime_ms.map(|ms| ms.to_string()).unwrap_or_default(),
        text(&view.downtime_since),
        view.actor.clone(),
        text(&view.why),
        view.simulated.to_string(),
        text(&view.left_in),
        text(&view.left_at),
        closed_by.to_owned(),
        closed_because.to_owned(),
        view.actor_uid.map(|uid| uid.to_string()).unwrap_or_default(),
    ]
}
