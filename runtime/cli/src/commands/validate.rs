//! `stepback validate`: manifests against their plugins, with no world and no inputs.

use super::manifest::{base_dir, read};
use crate::args::{Global, Validate};
use crate::config::{Config, add_grants};
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::print;
use crate::plugins::Plugins;

pub async fn run(global: &Global, validate: Validate) -> Result<Exit, CliError> {
    let mut config = Config::load(global)?;
    add_grants(&mut config, &validate.grants)?;
    let sandbox = environment::sandbox(&config)?;
    let plugins = Plugins::new(config.plugins.clone());
    let mut worst = Exit::Succeeded;
    for path in &validate.manifests {
        let (name, dir) = (path.display().to_string(), base_dir(path));
        let checked = match read(path) {
            Ok(text) => stepback_engine::validate(&sandbox, &plugins, &name, &text, &dir)
                .await
                .map_err(CliError::Mistakes),
            Err(error) => Err(error),
        };
        match checked {
            Ok(plan) => print(&format!("{name}: {} steps, no mistakes\n", plan.steps().count())),
            Err(error) => {
                error.print();
                worst = error.exit();
            }
        }
    }
    Ok(worst)
}
