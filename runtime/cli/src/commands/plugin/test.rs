//! `stepback plugin test`: each step of a plugin alone, with every failure at every call.

mod inputs;

use super::{bytes, no_step, unusable};
use crate::args::PluginTest;
use crate::commands::rehearse::{self, text};
use crate::config::Config;
use crate::environment;
use crate::error::{CliError, Exit};
use crate::output::{Style, print, print_json};
use crate::shown::{Shown, row};
use inputs::{INPUTS_MAX, Names, inputs};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::diagnostic::suggest;
use stepback_core::event::Event;
use stepback_core::grants::Grants;
use stepback_core::manifest::Uses;
use stepback_core::shell::word;
use stepback_core::step::StepInfo;
use stepback_engine::{Limits, PluginBytes, PluginSource, Request, SecretSource};
use stepback_rehearse::{CaseId, Faults, NotRehearsed, Rehearsal, Report, show};
use stepback_simulated::world::World;
use stepback_wasm::{Runtime, Turns};

const WORLD: &str = include_str!("test/world.toml");
/// So long an input is looked for: one with which a step goes round in circles takes 10 s.
const SEARCH_MAX: Duration = Duration::from_secs(60);
/// The plugin, in the manifests that are made for its steps.
const PLUGIN: &str = "under-test";

pub async fn run(config: Config, args: PluginTest) -> Result<Exit, CliError> {
    let sandbox = environment::sandbox_with(&config, Turns::UntilACall)?;
    let bytes = bytes(&config, &args.plugin)?;
    let component = sandbox.load_apart(&args.plugin, &bytes).await.map_err(unusable)?;
    let steps = component.describe().await.map_err(unusable)?;
    let known: Vec<&str> = steps.iter().map(|info| info.name.as_str()).collect();
    let given = given(&args.with, &known)?;
    if let Some(name) = args.steps.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(no_step(&args.plugin, name, &steps));
    }
    let world = match &args.world {
        Some(path) => rehearse::world_of(path)?,
        None => stepback_simulated::parse(WORLD)
            .map_err(|failure| CliError::Internal(failure.message.into()))?,
    };
    let bench = Bench { plugin: Arc::new(UnderTest(bytes)), sandbox, world, given, args };
    let is_asked =
        |info: &StepInfo| bench.args.steps.is_empty() || bench.args.steps.contains(&info.name);
    let asked: Vec<StepInfo> = steps.into_iter().filter(is_asked).collect();
    // It has threads and a clock of its own, and takes its time.
    let told = tokio::task::spawn_blocking(move || bench.all(&asked));
    told.await.map_err(|error| CliError::Internal(error.to_string().into()))?
}

/// What `--with` says, by the steps.
fn given(with: &[String], known: &[&str]) -> Result<BTreeMap<String, Value>, CliError> {
    let help = "as in a manifest: `--with 'label={ volume = \"vol-free\" }'`";
    let mut all = BTreeMap::new();
    for text in with {
        let mistaken = |why: Shown| CliError::usage(shown!("`--with {}`: {}", text, why), help);
        let (step, table) =
            text.split_once('=').ok_or_else(|| mistaken("it is not STEP={ … }".into()))?;
        let step = step.trim();
        if !known.contains(&step) {
            return Err(mistaken(shown!(
                "there is no such step: {}",
                suggest(step, known.to_vec())
            )));
        }
        let document: Map<String, Value> = toml::from_str(&format!("with = {}", table.trim()))
            .map_err(|error| mistaken(shown!("{}", error.message())))?;
        match document.into_values().next() {
            Some(value @ Value::Object(_)) => all.insert(step.to_owned(), value),
            _ => return Err(mistaken("it is not STEP={ … }".into())),
        };
    }
    Ok(all)
}

/// The one plugin there is, which may do everything: the world is none of anybody's.
struct UnderTest(Arc<[u8]>);

impl PluginSource for UnderTest {
    fn plugin(&self, _uses: &Uses, _base_dir: &Path) -> Result<PluginBytes, Option<String>> {
        Ok(PluginBytes {
            bytes: Arc::clone(&self.0),
            grants: Grants::all(),
            granted_here: Grants::none(),
            file: None,
            granted_by: vec![],
        })
    }

    fn names(&self) -> Vec<String> {
        vec![PLUGIN.to_owned()]
    }
}

struct NoSecrets;

impl SecretSource for NoSecrets {
    fn resolve(&self, reference: &str) -> Result<String, String> {
        Err(format!("a plugin's test has no secrets, and so no {reference}"))
    }
}

/// What every step is tested with.
struct Bench {
    plugin: Arc<UnderTest>,
    sandbox: Arc<Runtime>,
    world: World,
    given: BTreeMap<String, Value>,
    args: PluginTest,
}

/// What a step is given.
struct Input {
    with: Value,
    /// Whether the manifest says that it can't be undone: some steps can't be, but on what the
    /// operation made itself.
    is_declared: bool,
    /// Whether it changes anything with it.
    does: bool,
}

/// What became of a step.
enum Tested {
    Rehearsed {
        input: Input,
        report: Box<Report>,
    },
    /// How many inputs were tried, and why the last one did not do.
    NoInput {
        tried: usize,
        why: String,
    },
}

impl Bench {
    fn all(&self, steps: &[StepInfo]) -> Result<Exit, CliError> {
        if let Some(case) = &self.args.case {
            return self.case(steps, &rehearse::case_of(case)?);
        }
        let mut all = vec![];
        for info in steps {
            let tested = self.tested(info)?;
            if !self.args.json {
                print(&self.told(info, &tested, &Style::of_stdout()));
            }
            all.push((info, tested));
        }
        if self.args.json {
            let of = |(info, tested): &(&StepInfo, Tested)| match tested {
                Tested::Rehearsed { input: Input { with, is_declared, .. }, report } => json!({
                    "step": info.name, "with": with, "irreversible": is_declared,
                    "report": report,
                }),
                Tested::NoInput { tried, why } => {
                    json!({ "step": info.name, "inputs_tried": tried, "not_tested": why })
                }
            };
            print_json(&json!({ "steps": all.iter().map(of).collect::<Vec<_>>() }));
        }
        let is_wrong = |tested: &Tested| match tested {
            Tested::Rehearsed { report, .. } => !report.is_well(),
            Tested::NoInput { .. } => false,
        };
        let is_missing = |tested: &Tested| matches!(tested, Tested::NoInput { .. });
        if all.iter().any(|(_, tested)| is_wrong(tested)) {
            return Ok(Exit::Wrong);
        }
        match all.iter().any(|(_, tested)| is_missing(tested)) {
            true => Ok(Exit::Refused),
            false => Ok(Exit::Succeeded),
        }
    }

    fn case(&self, steps: &[StepInfo], case: &CaseId) -> Result<Exit, CliError> {
        let [info] = steps else {
            return Err(CliError::usage("`--case` is one step's", "give one `--step STEP`"));
        };
        match self.input(info)? {
            Ok(Input { with, is_declared, .. }) => {
                rehearse::tell_case(&self.rehearsal(info, &with, is_declared), case, false)
            }
            Err((tried, why)) => {
                let style = Style::of_stdout();
                print(&self.told(info, &Tested::NoInput { tried, why }, &style));
                Ok(Exit::Refused)
            }
        }
    }

    fn tested(&self, info: &StepInfo) -> Result<Tested, CliError> {
        let input = match self.input(info)? {
            Ok(found) => found,
            Err((tried, why)) => return Ok(Tested::NoInput { tried, why }),
        };
        let rehearsal = self.rehearsal(info, &input.with, input.is_declared);
        let report = rehearse::with_progress(&rehearsal, Some(&info.name));
        let report = Box::new(report?);
        Ok(Tested::Rehearsed { input, report })
    }

    /// An input with which the step comes to its end, and whether it does something then; or how
    /// many did not do, and why.
    fn input(&self, info: &StepInfo) -> Result<Result<Input, (usize, String)>, CliError> {
        let suggested = || inputs(&info.input_schema, &Names::of(&self.world));
        let all = self.given.get(&info.name).map_or_else(suggested, |one| vec![one.clone()]);
        let count = all.len().min(INPUTS_MAX);
        let declared = if info.reversible { &[false, true][..] } else { &[true] };
        let all = declared.iter().flat_map(|declared| all.iter().map(|with| (with, *declared)));
        let (mut why, mut quiet) = (String::new(), None);
        let clock = Clock::real();
        let begun = clock.now();
        for (tried, (with, is_declared)) in all.take(INPUTS_MAX).enumerate() {
            if clock.now().since(begun) > SEARCH_MAX {
                // Each of them took its time.
                return Ok(quiet.ok_or((tried, why)));
            }
            let input = |does| Input { with: with.clone(), is_declared, does };
            match show(&self.rehearsal(info, with, is_declared), &CaseId::default()) {
                Ok(shown) => {
                    let is_effect = |event: &Event| matches!(event, Event::CallStarted { .. });
                    if shown.records.iter().any(|record| is_effect(&record.event)) {
                        return Ok(Ok(input(true)));
                    }
                    quiet.get_or_insert(input(false));
                }
                Err(NotRehearsed::Internal(why)) => return Err(CliError::Internal(why.into())),
                // The likeliest one tells best what is missing.
                Err(not) if why.is_empty() => why = not.to_string(),
                Err(_) => {}
            }
        }
        Ok(quiet.ok_or((count, why)))
    }

    fn rehearsal(&self, info: &StepInfo, with: &Value, is_declared: bool) -> Rehearsal {
        Rehearsal {
            request: Request {
                manifest_name: format!("{}.toml", info.name),
                manifest: manifest(info, with, is_declared),
                base_dir: ".".into(),
                inputs: BTreeMap::new(),
                secrets: BTreeMap::new(),
                environment: "test".into(),
                actor: "test".into(),
                no_wait: true,
            },
            world: self.world.clone(),
            plugins: Arc::clone(&self.plugin) as _,
            runtime: Arc::clone(&self.sandbox),
            secrets: Arc::new(NoSecrets),
            faults: Faults::Single,
            jobs: rehearse::jobs(self.args.jobs),
            limits: Limits::default(),
            behind: None,
            behind_store: None,
            shares: true,
        }
    }

    fn told(&self, info: &StepInfo, tested: &Tested, style: &Style) -> Shown {
        let name = style.bold(&row(&info.name));
        match tested {
            Tested::NoInput { tried, why } => shown!(
                "{} {}: not tested: of {} inputs it comes to its end with none\n    {}\n    \
                 give one with `--with '{}={{ … }}'`, or a world with `--world FILE`\n",
                style.yellow("?"),
                name,
                tried,
                why,
                row(&info.name)
            ),
            Tested::Rehearsed { input: Input { with, does, is_declared }, report } => {
                let (mark, wrong) = match report.wrong_count() {
                    0 => (style.green("✓"), "0 wrong".into()),
                    n => (style.red("✗"), style.red(&format!("{n} wrong"))),
                };
                let (cases, distinct) = (report.cases, report.distinct);
                let mut text = shown!(
                    "{} {}: {} cases, {} distinct: {}\n    with {}{}\n",
                    mark,
                    name,
                    cases,
                    distinct,
                    wrong,
                    row(inline(with)),
                    match (*does, *is_declared) {
                        (false, _) => "; it changes nothing then",
                        (true, true) => "; it can't be undone",
                        (true, false) => "",
                    }
                );
                text.push(&text::wrong(report, style));
                if let Some(case) = text::example(report).filter(|_| !report.is_well()) {
                    text.push(&shown!(
                        "  a case again, with its journal: `stepback plugin test {} --step {} \
                         --case {}`\n",
                        row(word(&self.args.plugin)),
                        row(word(&info.name)),
                        row(word(&case.to_string()))
                    ));
                }
                text
            }
        }
    }
}

/// An operation that has this one step.
fn manifest(info: &StepInfo, with: &Value, is_declared: bool) -> String {
    let irreversible = match is_declared {
        false => "",
        true => "irreversible = \"it is only tested\"\n",
    };
    format!(
        "schema = 1\n[operation]\nname = \"test\"\nlocks = [\"test\"]\n[[steps]]\nid = \"step\"\n\
         uses = \"{PLUGIN}/{}\"\nwith = {}\n{irreversible}",
        info.name,
        inline(with)
    )
}

/// A value as TOML in one line.
fn inline(value: &Value) -> String {
    match value {
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => {
            let of =
                |(name, value): (&String, &Value)| format!("{} = {}", quoted(name), inline(value));
            format!("{{ {} }}", map.iter().map(of).collect::<Vec<_>>().join(", "))
        }
        Value::Array(all) => {
            format!("[{}]", all.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => toml::Value::String(text.clone()).to_string(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// A name as TOML has it, in quotes only where it must be.
fn quoted(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => toml::Value::String(name.to_owned()).to_string(),
    }
}
