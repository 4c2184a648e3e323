//! `stepback validate`: manifests against their plugins, with no world and no inputs.

use super::manifest::{base_dir, read};
use crate::args::{Global, Validate};
use crate::config::{Config, add_grants};
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::{Style, print};
use crate::plugins::Plugins;
use crate::shown::Shown;
use stepback_core::manifest::Step;

/// What is no mistake, and does nothing: a step that asks no world fails in no way that passes.
fn in_vain(step: &Step) -> Option<Shown> {
    let is_asserted = step.uses.plugin() == "core" && step.uses.step() == "assert";
    let (id, uses) = (&step.id, &step.uses);
    (is_asserted && step.retry.is_some()).then(|| {
        shown!(
            "the `retry` of step `{}` does nothing: what {} looks at is known before its \
             first attempt, and the same at each",
            id,
            uses
        )
    })
}

pub async fn run(global: &Global, validate: Validate) -> Result<Exit, CliError> {
    let mut config = Config::load(global)?;
    add_grants(&mut config, &validate.grants)?;
    let sandbox = environment::sandbox(&config)?;
    let plugins = Plugins::new(&config, None);
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
            Ok(plan) => {
                plan.steps().filter_map(in_vain).for_each(|why| {
                    tell!("{} {}: {}", Style::of_stderr().yellow("!"), name, why);
                });
                print(&shown!("{}: {} steps, no mistakes\n", name, plan.steps().count()));
            }
            Err(error) => {
                error.print();
                worst = error.exit();
            }
        }
    }
    Ok(worst)
}
