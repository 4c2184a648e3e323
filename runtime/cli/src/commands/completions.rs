//! `stepback completions`: a completion script for a shell.

use crate::args::{Args, Completions};
use crate::error::{CliError, Exit};
use clap::CommandFactory;

pub fn run(args: &Completions) -> Result<Exit, CliError> {
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut Args::command(), "stepback", &mut script);
    crate::output::print_file(&String::from_utf8_lossy(&script));
    Ok(Exit::Succeeded)
}
