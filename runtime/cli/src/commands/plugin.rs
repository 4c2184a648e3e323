//! `stepback plugin`: begin a plugin, build it, and look at what plugins offer.

mod build;
mod new;
mod test;
mod trust;
mod update;

use crate::args::{Global, Plugin, PluginVerb};
use crate::builtins;
use crate::config::{Config, PluginConfig};
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::{Style, print, print_json, table};
use crate::plugins;
use crate::shown::{Said, Shown, row};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use stepback_core::diagnostic::suggest;
use stepback_core::grants::{Grant, Grants};
use stepback_core::step::StepInfo;
use stepback_wasm::{Plugin as Component, Runtime};

pub async fn run(global: &Global, plugin: Plugin) -> Result<Exit, CliError> {
    // What a configuration says makes no difference to a plugin that is only written.
    let config = || Config::load(global);
    match plugin.verb {
        PluginVerb::New { name, dir } => new::run(&name, dir),
        PluginVerb::Update { dir, force } => update::run(&dir, force),
        PluginVerb::List { json } => list(&config()?, json).await,
        PluginVerb::Inspect { plugin, json } => inspect(&config()?, &plugin, json).await,
        PluginVerb::Trust { plugin } => trust::run(&config()?, &plugin).await,
        PluginVerb::Test(args) => test::run(config()?, args).await,
        PluginVerb::Build { dir, output, locked } => {
            build::run(&config()?, &dir, output, locked).await
        }
    }
}

/// A plugin's file can't be taken; the reason names what is wrong with it.
fn unusable(error: impl Said) -> CliError {
    CliError::Usage { message: error.said(), help: None }
}

/// What to tell of a plugin that can do what none of its steps is declared to do, if it is one.
async fn undeclared(name: &str, component: &Component) -> Result<Option<String>, CliError> {
    let functions = component.undeclared().await.map_err(unusable)?;
    Ok((!functions.is_empty()).then(|| {
        format!(
            "`{name}` can call {}, which nothing takes back, and none of its steps is declared \
             irreversible: such a call is refused in the middle of an operation, but on what that \
             operation itself made (a command is refused there, too). Write `const REVERSIBLE: \
             bool = false;` in the step that makes it",
            functions.join(", ")
        )
    }))
}

async fn load(sandbox: &Runtime, config: &Config, name: &str) -> Result<Arc<Component>, CliError> {
    let bytes = bytes(config, name)?;
    sandbox.load_apart(name, &bytes).await.map_err(unusable)
}

/// A plugin's bytes, by its name or its path.
fn bytes(config: &Config, name: &str) -> Result<Arc<[u8]>, CliError> {
    if let Some(bytes) = builtins::bytes(name) {
        return Ok(bytes.into());
    }
    let configured = config.plugins.get(name).and_then(|plugin| plugin.path.clone());
    let path = configured.unwrap_or_else(|| PathBuf::from(name));
    if !path.exists() {
        let names = builtins::names().collect::<Vec<_>>();
        let help = shown!("{}; or give the path of a `.wasm`", suggest(name, names));
        return Err(CliError::usage(shown!("there is no plugin `{}`", name), help));
    }
    plugins::read(&path).map_err(unusable)
}

fn no_step(plugin: &str, name: &str, steps: &[StepInfo]) -> CliError {
    let help = suggest(name, steps.iter().map(|info| info.name.as_str()).collect::<Vec<_>>());
    CliError::usage(shown!("plugin `{}` has no step `{}`", plugin, name), help)
}

async fn list(config: &Config, json: bool) -> Result<Exit, CliError> {
    let sandbox = environment::sandbox(config)?;
    let mut names: Vec<&str> = builtins::names().collect();
    let configured = config.plugins.iter().filter(|(_, plugin)| plugin.path.is_some());
    names.extend(configured.map(|(name, _)| name.as_str()));
    let mut rows = table(&["step", "undo", "what it does"]);
    let mut all = vec![];
    for name in names {
        let component = load(&sandbox, config, name).await?;
        for info in component.describe().await.map_err(unusable)? {
            let undo = if info.reversible { "yes" } else { "NO" };
            rows.add([shown!("{}/{}", name, info.name), undo.into(), info.doc.said()]);
            all.push(json!({
                "uses": format!("{name}/{}", info.name), "doc": info.doc,
                "reversible": info.reversible,
            }));
        }
    }
    match json {
        true => print_json(&all),
        false => print(&shown!("{}\n", rows.shown())),
    }
    Ok(Exit::Succeeded)
}

async fn inspect(config: &Config, text: &str, json: bool) -> Result<Exit, CliError> {
    let (name, step) = match text.split_once('#') {
        Some((name, step)) => (name, Some(step)),
        None => (text, None),
    };
    let sandbox = environment::sandbox(config)?;
    let component = load(&sandbox, config, name).await?;
    let steps = component.describe().await.map_err(unusable)?;
    if let Some(step) = step
        && !steps.iter().any(|info| info.name == step)
    {
        return Err(no_step(name, step, &steps));
    }
    let shown: Vec<&StepInfo> =
        steps.iter().filter(|info| step.is_none_or(|step| info.name == step)).collect();
    let imports: Vec<&str> = component.imports().iter().map(|import| import.name()).collect();
    let (digest, warning) = (component.digest(), undeclared(name, &component).await?);
    // What it does not import it can't use, whatever it is granted.
    let mut granted = granted(config, name);
    granted.retain(|grant| component.imports().contains(&grant.interface));
    if json {
        let whole = json!({
            "name": name, "digest": digest, "imports": imports, "steps": shown,
            "warnings": warning.as_slice(),
            "may": granted.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        print_json(&whole);
        return Ok(Exit::Succeeded);
    }
    let mut text =
        shown!("{}\n  digest   sha256:{}\n  imports  {}\n", name, digest, imports.join(", "));
    for grant in &granted {
        text.push(&shown!("  may      {}\n", grant));
    }
    for info in shown {
        let undo = if info.reversible { "" } else { " (can't be undone)" };
        text.push(&shown!("\nstep {}{}\n  {}\n", row(&info.name), undo, info.doc));
        text.push(&fields("with", &info.input_schema));
        text.push(&fields("output", &info.output_schema));
    }
    print(&text);
    warning.iter().for_each(|warning| warn(warning));
    Ok(Exit::Succeeded)
}

/// What the configuration grants to a plugin, by its name or its file.
fn granted(config: &Config, name: &str) -> Vec<Grant> {
    if builtins::bytes(name).is_some() {
        return Grants::all().iter().filter(|one| one.interface.needs_grant()).cloned().collect();
    }
    let is_it = |(table, plugin): &(&String, &PluginConfig)| {
        *table == name || plugin.is_for(std::path::Path::new(name))
    };
    config.plugins.iter().filter(is_it).flat_map(|(_, plugin)| plugin.grants.clone()).collect()
}

fn warn(warning: &str) {
    tell!("{} {}", Style::of_stderr().yellow("warning:"), warning);
}

/// The fields of a schema, a line each.
fn fields(what: &str, schema: &Value) -> Shown {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Shown::default();
    };
    let required = schema.get("required").and_then(Value::as_array);
    let mut text = Shown::default();
    for (name, property) in properties {
        let must = required.is_some_and(|all| all.iter().any(|one| one == name));
        let kind = kind_of(property);
        let optional = if must || what == "output" { "" } else { ", optional" };
        let about = property.get("description").and_then(Value::as_str).unwrap_or_default();
        text.push(&shown!("  {:<7}{}: {}{}", what, row(name), kind, optional));
        text.push(&if about.is_empty() { shown!("\n") } else { shown!("  {}\n", about) });
    }
    text
}

fn kind_of(property: &Value) -> String {
    match property.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        Some(Value::Array(kinds)) => {
            let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
            kinds.join(" or ")
        }
        _ => "any".to_owned(),
    }
}
