//! `stepback list`: operations, newest first, a line each.

use super::past;
use crate::args::{Global, List};
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::{duration, print, print_json, table};
use crate::shown::{Shown, row};
use crate::view::OperationView;

pub async fn run(global: &Global, args: List) -> Result<Exit, CliError> {
    let config = Config::load(global)?;
    let store = environment::store(&config, false)?;
    let views = past::all(&config, &*store, &args.filter).await?;
    match args.json {
        true => print_json(&views),
        false => print(&text(&views)),
    }
    Ok(Exit::Succeeded)
}

/// The table of `list` and `activity`.
pub fn text(views: &[OperationView]) -> Shown {
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
        let text = |value: &Option<String>| row(value.as_deref().unwrap_or("-"));
        rows.add([
            row(view.id),
            row(&view.name),
            row(view.shown_environment()),
            row(&view.status),
            text(&view.cause),
            text(&view.verdict),
            text(&view.started_at),
            match (view.downtime_ms, &view.downtime_since) {
                (Some(ms), _) => row(duration(ms)),
                (None, Some(_)) => "not over".into(),
                (None, None) => "-".into(),
            },
            row(&view.actor),
        ]);
    }
    let left = views.iter().filter_map(OperationView::left);
    let left: Shown = left.map(|left| shown!("! {}\n", left)).collect();
    shown!("{}\n{}", rows.shown(), left)
}
