//! `stepback activity`: a report on operations, as a table, CSV or JSON.

use super::{list, past};
use crate::args::{Activity, Format, Global};
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::print;
use crate::view::OperationView;
use jiff::Timestamp;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::diagnostic::suggest;
use stepback_core::manifest::duration_ms;

/// What `status` of the operation's view can be.
const STATUSES: [&str; 9] = [
    "queued",
    "refused",
    "running",
    "rolling-back",
    "succeeded",
    "rolled-back",
    "rollback-failed",
    "abandoned",
    "unreadable",
];

pub async fn run(global: &Global, args: Activity) -> Result<Exit, CliError> {
    let since = args.since.as_deref().map(since).transpose()?;
    if let Some(status) = &args.status
        && !STATUSES.contains(&status.as_str())
    {
        let help = suggest(status, STATUSES);
        return Err(CliError::usage(format!("there is no status `{status}`"), help));
    }
    let config = Config::load(global)?;
    let store = environment::store(&config, false)?;
    let mut views = past::all(&*store).await?;
    views.retain(|view| {
        let recent = since.is_none_or(|since| {
            let at = view.started_at.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
            at.is_none_or(|at| at >= since)
        });
        recent && args.status.as_ref().is_none_or(|status| view.status == *status)
    });
    match args.format {
        Format::Table => print(&list::text(&views)),
        Format::Json => print(&format!("{}\n", past::json(&views)?)),
        Format::Csv => print(&csv(&views)?),
    }
    Ok(Exit::Succeeded)
}

/// The moment that long ago.
fn since(text: &str) -> Result<Timestamp, CliError> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    let ms = match days {
        Some(days) => days.checked_mul(86_400_000),
        None => duration_ms(text),
    };
    let now = i64::try_from(Clock::real().unix().0).ok();
    let now = now.and_then(|now| Timestamp::from_millisecond(now).ok());
    let at = ms.zip(now).and_then(|(ms, now)| now.checked_sub(Duration::from_millis(ms)).ok());
    at.ok_or_else(|| {
        CliError::usage(format!("`--since {text}` is no duration"), "such as `90m`, `24h` or `7d`")
    })
}

fn csv(views: &[OperationView]) -> Result<String, CliError> {
    let internal = |error: csv::Error| CliError::Internal(error.to_string());
    let mut writer = csv::Writer::from_writer(vec![]);
    let header = [
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
    ];
    writer.write_record(header).map_err(internal)?;
    for view in views {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        writer
            .write_record([
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
            ])
            .map_err(internal)?;
    }
    let bytes = writer.into_inner().map_err(|error| CliError::Internal(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| CliError::Internal(error.to_string()))
}
