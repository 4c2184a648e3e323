//! `stepback schema`: JSON Schemas of what people and scripts write and read.

use crate::args::{Schema, What};
use crate::error::{CliError, Exit};
use crate::output::{print_file, print_json};
use crate::view::OperationView;

pub fn run(args: &Schema) -> Result<Exit, CliError> {
    match args.what {
        What::Manifest => print_file(stepback_core::manifest::JSON_SCHEMA),
        What::Operation => print_json(&schemars::schema_for!(OperationView)),
    }
    Ok(Exit::Succeeded)
}
