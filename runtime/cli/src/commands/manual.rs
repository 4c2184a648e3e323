//! `stepback manual`: the manual pages, one for the program and one for each command.

use crate::args::{Args, Manual};
use crate::error::{CliError, Exit};
use clap::CommandFactory;

pub fn run(args: &Manual) -> Result<Exit, CliError> {
    let dir = &args.dir;
    clap_mangen::generate_to(Args::command(), dir).map_err(|error| {
        let message = shown!("the pages can't be written to {}: {}", dir.display(), error);
        CliError::usage(message, "give a directory that is there")
    })?;
    Ok(Exit::Succeeded)
}
