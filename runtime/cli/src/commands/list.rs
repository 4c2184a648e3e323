//! `stepback list`: operations, newest first, a line each.

use super::past;
use crate::args::{Global, List};
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::{duration, in_row, print, print_data, table};
use crate::view::OperationView;

pub async fn run(global: &Global, args: List) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    let store = environment::store(&config, false)?;
    let views = past::all(&config, &*store, &args.filter).await?;
    match args.json {
        true => print_data(&format!("{}\n", past::json(&views)?)),
        false => print(&text(&views)),
    }
    Ok(Exit::Succeeded)
}

/// The table of `list` and `activity`.
pub fn text(views: &[OperationView]) -> String {
    let mut rows = table(&[
        "id",
        "operation",
        "environment",
        "status",
        "cause",
        "verdict",
        "started",
        "downtime",
        "by",
    ]);
    for view in views {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".into());
        rows.add_row([
            view.id.to_string(),
            in_row(&view.name),
            in_row(&view.shown_environment()),
            view.status.clone(),
            text(&view.cause),
            text(&view.verdict),
            text(&view.started_at),
            match (view.downtime_ms, &view.downtime_since) {
                (Some(ms), _) => duration(ms),
                (None, Some(_)) => "not over".into(),
                (None, None) => "-".into(),
            },
            in_row(&view.actor),
        ]);
    }
    let left = views.iter().filter_map(OperationView::left);
    let left: String = left.map(|left| format!("! {left}\n")).collect();
    format!("{rows}\n{left}")
}
