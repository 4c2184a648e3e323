//! `stepback rehearse`: every failure at every call, in a copy of the world, before the real one
//! sees it.

mod page;
mod text;

use super::manifest;
use crate::args::{FaultsArg, Global, Rehearse};
use crate::config::{Config, add_grants};
use crate::environment;
use crate::environments::Environment;
use crate::error::{CliError, Exit};
use crate::files;
use crate::output::{Style, print, print_json, progress};
use crate::plugins::Plugins;
use crate::secrets::References;
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use stepback_core::shell::word;
use stepback_engine::Limits;
use stepback_rehearse::{CaseId, Faults, NotRehearsed, Rehearsal, Report, rehearse, show};
use stepback_simulated::world::World;
use stepback_wasm::Turns;

pub async fn run(global: &Global, args: Rehearse) -> Result<Exit, CliError> {
    let mut config = Config::load(global)?;
    add_grants(&mut config, &args.operation.grants)?;
    config.trusts_new = true;
    let environment = match (&args.world, &args.operation.environment) {
        // Nothing is looked at there, but what binds everybody in it.
        (Some(_), None) => config.chosen(None).unwrap_or_else(|_| "local".to_owned()),
        (_, given) => config.chosen(given.as_deref())?,
    };
    let case = args.case.as_deref().map(str::parse::<CaseId>).transpose();
    let case = case.map_err(|why| {
        CliError::usage(shown!("`--case`: {}", why), "a report has the names of its cases")
    })?;
    let request = manifest::request(&args.operation, &environment, true)?;
    let rehearsal = Rehearsal {
        request,
        world: world(&config, &environment, args.world.as_deref()).await?,
        plugins: Arc::new(Plugins::new(&config, Some(&environment))),
        runtime: environment::sandbox_with(&config, Turns::UntilACall)?,
        secrets: Arc::new(References(config.secrets.clone())),
        faults: match args.faults {
            FaultsArg::Single => Faults::Single,
            FaultsArg::Double => Faults::Double,
        },
        jobs: args
            .jobs
            .unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)),
        limits: Limits::default(),
        behind: None,
    };
    let manifest = args.operation.manifest.clone();
    // It has threads and a clock of its own, and takes its time.
    let told = tokio::task::spawn_blocking(move || match case {
        Some(case) => tell_case(&rehearsal, &case, args.json),
        None => tell_all(&rehearsal, &manifest, args.json, args.html.as_deref()),
    });
    told.await.map_err(|error| CliError::Internal(error.to_string().into()))?
}

fn tell_all(
    rehearsal: &Rehearsal,
    manifest: &Path,
    json: bool,
    html: Option<&Path>,
) -> Result<Exit, CliError> {
    let told = AtomicUsize::new(0);
    let counted = |done: usize, all: usize| {
        let percent = done * 100 / all.max(1);
        if told.swap(percent, Ordering::Relaxed) != percent {
            progress(&shown!("rehearsing: {} of {} cases", done, all));
        }
    };
    let report = rehearse(rehearsal, &counted);
    progress(&"".into());
    let report = report.map_err(not_rehearsed)?;
    if let Some(path) = html {
        let page = page::of(&report, &word(&manifest.display().to_string()));
        files::write_whole(path, &page, files::FOR_OWNER).map_err(|error| {
            let message = shown!("{} can't be written: {}", path.display(), error);
            CliError::usage(message, "choose another place with `--html FILE`")
        })?;
    }
    match json {
        true => print_json(&report),
        false => print(&text::of(&report, manifest, &Style::of_stdout())),
    }
    Ok(exit(&report))
}

fn exit(report: &Report) -> Exit {
    if report.is_well() { Exit::Succeeded } else { Exit::Wrong }
}

fn tell_case(rehearsal: &Rehearsal, case: &CaseId, json: bool) -> Result<Exit, CliError> {
    let shown = show(rehearsal, case).map_err(not_rehearsed)?;
    if let Some(at) = shown.fired.iter().position(|fired| !fired) {
        let message = shown!("`{}` never comes about in this operation", shown.case.0[at]);
        return Err(CliError::usage(message, "a report has the names of its cases"));
    }
    match json {
        true => print_json(&json!({
            "case": shown.case, "ended": shown.ended, "wrong": shown.wrong,
            "journal": shown.records,
        })),
        false => print(&text::of_case(&shown, &Style::of_stdout())),
    }
    Ok(if shown.wrong.is_empty() { Exit::Succeeded } else { Exit::Wrong })
}

fn not_rehearsed(why: NotRehearsed) -> CliError {
    match why {
        NotRehearsed::Refused(refusal) => refusal.into(),
        NotRehearsed::NoQuietEnd(why) => CliError::usage(
            shown!("there is nothing to rehearse: {}", why),
            "rehearse it in a world in which it can be carried out: `--world FILE`, or `-e ENV`",
        ),
        NotRehearsed::Internal(why) => CliError::Internal(why.into()),
    }
}

/// The world to begin with: that of a file, or a living environment's, read and not changed.
async fn world(config: &Config, name: &str, file: Option<&Path>) -> Result<World, CliError> {
    if let Some(path) = file {
        let text = environment::read_world(path, "give a world file with `--world FILE`")?;
        return stepback_simulated::parse(&text).map_err(|failure| {
            CliError::usage(failure.message, "`stepback env snapshot` writes world files")
        });
    }
    match config.environment(name)? {
        Environment::Simulated { world } => {
            environment::simulated_as_it_is(config, name, world.as_deref())
        }
        Environment::Onebox { .. } | Environment::Aws { .. } => {
            let imported = environment::living(config, name).await?;
            environment::tell_left_out(&imported);
            Ok(imported.world)
        }
    }
}
