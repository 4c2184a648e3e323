//! `stepback`: run operations on infrastructure, and put everything back when one fails.
//!
//! A command is a file in [`commands`]. This room picks the concrete stores and providers and is
//! the only one that knows the terminal: results go to stdout, progress and logs to stderr, and
//! every error ends with one of the documented exit codes.

/// Tell one line on stderr, as [`shown!`] makes it.
macro_rules! tell {
    ($($said:tt)*) => { $crate::output::tell(&shown!($($said)*)) };
}

#[macro_use]
mod shown;

mod actor;
mod args;
mod builtins;
mod commands;
mod config;
mod crash;
mod drawn;
mod environment;
#[cfg_attr(
    not(all(feature = "aws", feature = "onebox")),
    allow(dead_code, reason = "what is left out is read and checked all the same")
)]
mod environments;
mod error;
mod facts;
mod files;
mod grants;
mod kit;
mod log;
mod output;
mod ownership;
mod plugins;
#[cfg_attr(
    not(all(feature = "aws", feature = "haproxy")),
    allow(dead_code, reason = "what is left out is read and checked all the same")
)]
mod pools;
mod providers;
mod report;
mod secrets;
mod toml_strings;
mod trusted;
mod view;
mod words;

use args::{Args, COMPILE_PLUGIN, Verb};
use clap::Parser;
use error::{CliError, Exit};
use std::process::ExitCode;
use std::time::Duration;

/// An operation makes and drops small things all the time, on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The process that has started this one as a compiler, if one has.
fn starter() -> Option<u32> {
    let mut arguments = std::env::args_os().skip(1);
    let (verb, starter) = (arguments.next()?, arguments.next()?);
    let is_all = verb == COMPILE_PLUGIN && arguments.next().is_none();
    starter.to_str().filter(|_| is_all)?.parse().ok()
}

/// Whether so many threads can be had as any operation needs: found out before one begins, because
/// an operation that finds it out in its middle is left there.
fn can_start_threads() -> std::io::Result<()> {
    const NEEDED: usize = 16;
    let parked = || std::thread::Builder::new().spawn(std::thread::park);
    let started: Vec<_> = (0..NEEDED).map(|_| parked()).collect();
    let mut answer = Ok(());
    for thread in started {
        match thread {
            Ok(thread) => {
                thread.thread().unpark();
                let _ = thread.join();
            }
            Err(error) => answer = Err(error),
        }
    }
    answer
}

/// Threads that were had are kept: another might not be.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let runtime = threads.enable_all().thread_keep_alive(KEPT).build()?;
    // What blocks waits for one that there is, where no other can be had.
    runtime.spawn_blocking(|| {});
    Ok(runtime)
}

fn main() -> ExitCode {
    // Before anything else is read or started: what it is given is somebody else's.
    if let Some(starter) = starter() {
        // Whoever started it has the other ends of its pipes, and sees how it ends.
        let compiled = stepback_wasm::compile_stdin(starter);
        return compiled.map_or(Exit::Internal, |()| Exit::Succeeded).into();
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            return error::tell_usage(&error).into();
        }
    };
    output::note_options(&args.global);
    if let Err(error) = log::start(&args.global) {
        error.print();
        return error.exit().into();
    }
    let runtime = match can_start_threads().and_then(|()| runtime()) {
        Ok(runtime) => runtime,
        Err(error) => {
            tell!("error: no threads can be started: {}", error);
            tell!("  help: see `ulimit -u`, and the limits of the container or service it runs in");
            return Exit::Internal.into();
        }
    };
    let ends_an_operation = args.verb.ends_an_operation();
    let answer = runtime.block_on(dispatch(args));
    // Effects that outlive a left operation are settled by its resume; don't wait for them here.
    runtime.shutdown_background();
    let code = match answer {
        Ok(Exit::Succeeded) if output::is_lost() && !ends_an_operation => Exit::Internal.into(),
        Ok(exit) => exit.into(),
        Err(error) => {
            error.print();
            error.exit().into()
        }
    };
    output::tell_simulated_again();
    code
}

async fn dispatch(args: Args) -> Result<Exit, CliError> {
    let Args { global, verb } = args;
    match verb {
        Verb::Run(run) => commands::run::run(&global, run).await,
        Verb::Plan(plan) => commands::plan::run(&global, plan).await,
        Verb::Rehearse(rehearse) => commands::rehearse::run(&global, rehearse).await,
        Verb::Validate(validate) => commands::validate::run(&global, validate).await,
        Verb::Resume(resume) => commands::resume::run(&global, resume).await,
        Verb::Rollback(rollback) => commands::rollback::run(&global, rollback).await,
        Verb::Cancel(cancel) => commands::cancel::run(&global, cancel).await,
        Verb::Unlock(unlock) => commands::unlock::run(&global, unlock).await,
        Verb::Locks(locks) => commands::locks::run(&global, locks).await,
        Verb::List(list) => commands::list::run(&global, list).await,
        Verb::Show(show) => commands::show::run(&global, show).await,
        Verb::Logs(logs) => commands::logs::run(&global, logs).await,
        Verb::Activity(activity) => commands::activity::run(&global, activity).await,
        Verb::Env(env) => commands::env::run(&global, env).await,
        Verb::Plugin(plugin) => commands::plugin::run(&global, plugin).await,
        Verb::Schema(schema) => commands::schema::run(&schema),
        Verb::Completions(completions) => commands::completions::run(&completions),
        Verb::Manual(manual) => commands::manual::run(&manual),
    }
}
