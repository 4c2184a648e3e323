//! `stepback schema`: JSON Schemas of what people and scripts write and read.

use super::past;
use crate::args::{Schema, What};
use crate::error::{CliError, Exit};
use crate::output::print_data;
use crate::view::OperationView;

pub fn run(args: &Schema) -> Result<Exit, CliError> {
    let text = match args.what {
        What::Manifest => stepback_core::manifest::JSON_SCHEMA.to_owned(),
        What::Operation => format!("{}\n", past::json(&schemars::schema_for!(OperationView))?),
    };
    print_data(&text);
    Ok(Exit::Succeeded)
}
