//! `stepback rehearse`: every failure at every call, in a copy of the world, before the real one
//! sees it.

mod page;
pub mod text;

use super::manifest;
use crate::args::{FailOn, FaultsArg, Global, Rehearse};
use crate::config::{Config, add_grants};
use crate::environment;
use crate::environments::Environment;
use crate::error::{CliError, Exit};
use crate::files;
use crate::output::{Style, print, print_json, progress, tell};
use crate::plugins::Plugins;
use crate::secrets::References;
use serde::Serialize;
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use stepback_clock::Clock;
use stepback_core::shell::word;
use stepback_engine::Limits;
use stepback_rehearse::{CaseId, Faults, NotRehearsed, Rehearsal, Report, rehearse, show};
use stepback_simulated::world::World;
use stepback_wasm::Turns;

pub async fn run(global: &Global, args: Rehearse) -> Result<Exit, CliError> {
    let mut config = Config::load(global)?;
    add_grants(&mut config, &args.operation.grants)?;
    let chosen = args.operation.chosen_environment();
    let environment = match (&args.world, &chosen) {
        // Nothing is looked at there, but what binds everybody in it.
        (Some(_), None) => config.chosen(None).unwrap_or_else(|_| "local".to_owned()),
        (_, given) => config.chosen(given.as_deref())?,
    };
    if let Some(inject) = args.operation.inject.first() {
        return Err(CliError::usage(
            shown!("`--inject {}`: a rehearsal makes every call fail by itself", inject),
            "`--case 'CALL#N=FAULT'` is one such case, with its journal",
        ));
    }
    if let Some(path) = &args.html {
        // Nobody waits for a report that has no place.
        files::can_be_written(path).map_err(|error| unwritable(path, &error))?;
    }
    let case = args.case.as_deref().map(case_of).transpose()?;
    let chosen = match args.operation.like {
        None => Some(environment.as_str()),
        Some(_) => chosen.as_deref(),
    };
    let request = manifest::request(&config, &args.operation, chosen, true).await?;
    let environment = request.environment.to_string();
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
        jobs: jobs(args.jobs),
        limits: Limits::default(),
        behind: None,
        behind_store: None,
        shares: true,
    };
    let again = again(&args);
    // It has threads and a clock of its own, and takes its time.
    let told = tokio::task::spawn_blocking(move || match case {
        Some(case) => tell_case(&rehearsal, &case, args.json),
        None => tell_all(&rehearsal, &again, &args),
    });
    told.await.map_err(|error| CliError::Internal(error.to_string().into()))?
}

/// The case of a name.
pub fn case_of(name: &str) -> Result<CaseId, CliError> {
    name.parse().map_err(|why: String| {
        CliError::usage(shown!("`--case`: {}", why), "a report has the names of its cases")
    })
}

/// How many cases are run at once: more threads than that are only memory.
pub fn jobs(given: Option<NonZeroUsize>) -> NonZeroUsize {
    let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let max = processors.saturating_mul(NonZeroUsize::new(4).unwrap_or(NonZeroUsize::MIN));
    given.unwrap_or(processors).min(max)
}

fn unwritable(path: &Path, error: &std::io::Error) -> CliError {
    let message = shown!("{} can't be written: {}", path.display(), error);
    CliError::usage(message, "choose another place with `--html FILE`")
}

/// The command of this rehearsal, as it would be typed, but for what it is to do.
fn again(args: &Rehearse) -> String {
    let operation = &args.operation;
    let path = operation.manifest.iter().map(|path| word(&path.display().to_string()));
    let like = operation.like.iter().flat_map(|id| ["--like".to_owned(), id.to_string()]);
    let mut words: Vec<String> = path.chain(like).collect();
    let mut add = |option: &str, value: &str| {
        words.extend([option.to_owned(), word(value)]);
    };
    if let Some(environment) = operation.chosen_environment() {
        add("-e", &environment);
    }
    if let Some(world) = &args.world {
        add("--world", &world.display().to_string());
    }
    operation.inputs.iter().for_each(|input| add("-i", input));
    if let Some(file) = &operation.inputs_file {
        add("--inputs", &file.display().to_string());
    }
    operation.secrets.iter().for_each(|secret| add("--secret", secret));
    operation.grants.iter().for_each(|grant| add("--grant", grant));
    words.join(" ")
}

/// Rehearse what is called so, and tell how far it is.
pub fn with_progress(rehearsal: &Rehearsal, what: Option<&str>) -> Result<Report, CliError> {
    let (told, told_min) = (AtomicUsize::new(0), AtomicU64::new(0));
    let (clock, is_terminal) = (Clock::real(), Style::of_stderr().is_terminal());
    let began = clock.now();
    let what = what.map(|what| format!(" `{what}`")).unwrap_or_default();
    let counted = |done: usize, all: usize| {
        let percent = done * 100 / all.max(1);
        let line = || shown!("rehearsing{}: {} of {} cases", what, done, all);
        if is_terminal {
            if told.swap(percent, Ordering::Relaxed) != percent {
                progress(&line());
            }
            return;
        }
        // A log has a line for each minute, and none of what is over sooner.
        let min = clock.now().since(began).as_secs() / 60;
        if told_min.fetch_max(min, Ordering::Relaxed) < min {
            tell(&line());
        }
    };
    let report = rehearse(rehearsal, &counted);
    progress(&"".into());
    report.map_err(not_rehearsed)
}

fn tell_all(rehearsal: &Rehearsal, again: &str, args: &Rehearse) -> Result<Exit, CliError> {
    let report = with_progress(rehearsal, None)?;
    match args.json {
        true => print_json(&Told {
            command: &format!("stepback rehearse {again}"),
            version: env!("CARGO_PKG_VERSION"),
            failed_on: failed_on(&report, args.fail_on),
            wrong_count: report.wrong_count(),
            report: &report,
        }),
        false => print(&text::of(&report, again, &Style::of_stdout())),
    }
    // What was found is told by now, whatever becomes of the page.
    if let Some(path) = &args.html {
        let page = page::of(&report, again);
        files::write_whole(path, &page, files::FOR_ALL)
            .map_err(|error| unwritable(path, &error))?;
    }
    Ok(exit(&report, args.fail_on))
}

/// A report, with what it is of.
#[derive(Serialize)]
struct Told<'a> {
    command: &'a str,
    version: &'a str,
    /// Why it ends with exit code 7, if so.
    failed_on: Option<FailOn>,
    /// Cases, and invariants that never held.
    wrong_count: usize,
    #[serde(flatten)]
    report: &'a Report,
}

/// What fails, of what is to fail.
fn failed_on(report: &Report, fail_on: FailOn) -> Option<FailOn> {
    match fail_on {
        _ if !report.is_well() => Some(FailOn::Wrong),
        FailOn::Down | FailOn::Weak if report.still_down > 0 => Some(FailOn::Down),
        FailOn::Weak if !report.weak.is_empty() => Some(FailOn::Weak),
        FailOn::Wrong | FailOn::Down | FailOn::Weak => None,
    }
}

/// The exit code, with why it is 7 where nothing is wrong.
fn exit(report: &Report, fail_on: FailOn) -> Exit {
    match failed_on(report, fail_on) {
        None => return Exit::Succeeded,
        Some(FailOn::Wrong) => {}
        Some(FailOn::Down) => {
            tell!("it fails: {} cases leave the service down", report.still_down);
        }
        Some(FailOn::Weak) => tell!("it fails: there are {} weak points", report.weak.len()),
    }
    Exit::Wrong
}

pub fn tell_case(rehearsal: &Rehearsal, case: &CaseId, json: bool) -> Result<Exit, CliError> {
    let shown = show(rehearsal, case).map_err(not_rehearsed)?;
    if let Some(at) = shown.fired.iter().position(|fired| !fired) {
        let message = shown!("`{}` never comes about in this operation", shown.case.0[at]);
        return Err(CliError::usage(message, "a report has the names of its cases"));
    }
    match json {
        true => print_json(&json!({
            "case": shown.case, "ended": shown.ended, "wrong": shown.wrong,
            "not_restored": shown.state.not_restored, "journal": shown.records,
        })),
        false => print(&text::of_case(&shown, &Style::of_stdout())),
    }
    Ok(if shown.wrong.is_empty() { Exit::Succeeded } else { Exit::Wrong })
}

pub fn not_rehearsed(why: NotRehearsed) -> CliError {
    match why {
        NotRehearsed::Refused(refusal) => refusal.into(),
        NotRehearsed::NoQuietEnd(why) => CliError::usage(
            shown!("there is nothing to rehearse: {}", why),
            "mend the operation, or rehearse it in a world in which it can be carried out: \
             `--world FILE`, or `-e ENV`",
        ),
        NotRehearsed::Internal(why) => CliError::Internal(why.into()),
    }
}

/// The world to begin with: that of a file, or a living environment's, read and not changed.
async fn world(config: &Config, name: &str, file: Option<&Path>) -> Result<World, CliError> {
    if let Some(path) = file {
        return world_of(path);
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

/// The world of a file.
pub fn world_of(path: &Path) -> Result<World, CliError> {
    let text = environment::read_world(path, "give a world file with `--world FILE`")?;
    stepback_simulated::parse(&text).map_err(|failure| {
        let message = shown!("{}: {}", path.display(), failure.message);
        CliError::usage(message, "`stepback env snapshot` writes world files")
    })
}
