//! Manifests: TOML in, a validated [`Manifest`] out, or every mistake at its place.
//!
//! Four stages: the text becomes TOML with spans, the TOML becomes a manifest's parts ([`read`],
//! [`steps`]), the parts are held against each other ([`check`]), and what they say is checked for
//! what can't work ([`advice`], [`expressions`]). What is invalid has no type: a `Manifest` in hand
//! has unique step ids, an acyclic graph and one window. Whether the plugins exist and take these
//! inputs is the plan's to say.
//!
//! The last stage grows with every version, so a manifest that is pinned to an operation is taken
//! without it: what was accepted once can be resumed and rolled back.

mod advice;
mod check;
mod drawn;
mod expressions;
mod graph;
mod invariants;
mod read;
mod secrets;
mod steps;
mod texts;

pub(crate) use expressions::of_secrets;
pub use read::{duration_ms, duration_text};
pub(crate) use texts::{Place, Text};

use crate::calls::Sink;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::failure::{Failure, FailureClass};
use crate::ids::StepId;
use serde_json::Value;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Range;

/// So many locks an operation may take, and so long are their names: a world keeps them all in one
/// file.
pub const LOCKS_MAX: usize = 100;
/// So many bytes may a lock's name have, once its template is evaluated.
pub const LOCK_BYTES_MAX: usize = 255;
/// So large may a pattern become when it is made ready to match.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// No manifest is larger; a file that is, is something else.
pub const MANIFEST_BYTES_MAX: usize = 1024 * 1024;

/// The version of the manifest's format.
pub const SCHEMA: i64 = 1;

/// The JSON Schema of a manifest, for editors; what it can't say (graphs, windows) [`parse`] does.
pub const JSON_SCHEMA: &str = include_str!("manifest.schema.json");

/// A validated operation manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The file's name as it was given.
    pub name: String,
    /// The whole file, as it is pinned to an operation.
    pub text: String,
    /// The `[operation]` table: what it is called, its locks, its timeout.
    pub operation: Operation,
    /// By name, what may be given.
    pub inputs: BTreeMap<String, InputSpec>,
    /// The `[downtime]` table; without one the window has no budget.
    pub downtime: Downtime,
    /// In the order written.
    pub steps: Vec<Step>,
    /// By name, the template that is evaluated when every step is complete.
    pub outputs: BTreeMap<String, String>,
    /// Where each output's value is.
    pub output_spans: BTreeMap<String, Range<usize>>,
    /// In the order written.
    pub invariants: Vec<Invariant>,
}

/// What must hold of the world while the operation runs, whatever befalls it. A rehearsal looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invariant {
    /// What it is called where it is broken; unique in the manifest.
    pub name: String,
    /// When it must hold.
    pub holds: Holds,
    /// An expression over the world, the inputs and the environment, with or without its braces.
    pub condition: String,
    /// Where that is.
    pub span: Range<usize>,
}

/// When an invariant must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Before the operation, and after every effect.
    Always,
    /// Once at least: else nothing was shown about it.
    Sometimes,
}

/// The `[operation]` table.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Operation {
    /// Letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What a plan is headed with; without one it is the name.
    pub title: Option<String>,
    /// Templates; evaluated before anything starts.
    pub locks: Vec<String>,
    /// Where each lock is.
    pub lock_spans: Vec<Range<usize>>,
    /// How long it may take to the commit point, or it is rolled back; `None` is no limit.
    pub timeout_ms: Option<u64>,
    /// Where that is; empty if it was left out.
    pub timeout_span: Range<usize>,
}

/// The `[downtime]` table.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Downtime {
    /// How long the window may be open; `None` is no limit.
    pub budget_ms: Option<u64>,
    /// Where that is; empty if it was left out.
    pub budget_span: Range<usize>,
    /// What happens when the window is open for longer.
    pub on_overrun: OnOverrun,
}

impl Downtime {
    /// The budget, if overrunning it rolls back.
    pub fn rollback_after_ms(&self) -> Option<u64> {
        match self.on_overrun {
            OnOverrun::Rollback => self.budget_ms,
            OnOverrun::Warn => None,
        }
    }
}

/// What an overrun downtime budget does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnOverrun {
    /// The operation is rolled back.
    #[default]
    Rollback,
    /// The operation goes on, and its summary says by how much.
    Warn,
}

/// One input.
#[derive(Clone, Debug, PartialEq)]
pub struct InputSpec {
    /// The type that a value must have.
    pub kind: InputKind,
    /// A regular expression for a string; it need only match a part of the text.
    pub pattern: Option<String>,
    /// Taken where nothing is given; without one the input must be given. A secret has none.
    pub default: Option<Value>,
    /// Shown where the input is missing.
    pub description: Option<String>,
    /// The output that it has in an operation that is to be like an earlier one: what a tag meant
    /// then, say. `None` is its own value.
    pub like: Option<String>,
    /// Where its table is.
    pub span: Range<usize>,
    /// The value of `like`.
    pub like_span: Range<usize>,
}

/// The types an input can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// Text; on a command line as it is.
    String,
    /// A whole number.
    Integer,
    /// A number, with or without a fraction.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list of anything; on a command line in JSON.
    List,
    /// A map, in which a value may ask for a secret by name; on a command line in JSON.
    Map,
    /// A reference, `env:NAME`, `file:PATH` or `secret:NAME`, never the value itself.
    Secret,
}

impl InputKind {
    /// Every kind with its name in a manifest.
    pub const NAMES: &'static [(&'static str, InputKind)] = &[
        ("string", InputKind::String),
        ("integer", InputKind::Integer),
        ("number", InputKind::Number),
        ("boolean", InputKind::Boolean),
        ("list", InputKind::List),
        ("map", InputKind::Map),
        ("secret", InputKind::Secret),
    ];

    /// The name in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            InputKind::String => "string",
            InputKind::Integer => "integer",
            InputKind::Number => "number",
            InputKind::Boolean => "boolean",
            InputKind::List => "list",
            InputKind::Map => "map",
            InputKind::Secret => "secret",
        }
    }
}

/// Which plugin's step a step uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Uses {
    /// `plugin/step`: of a plugin that is known by a name.
    Named {
        /// The plugin's name: one of Stepback's own, or one in `stepback.toml`.
        plugin: String,
        /// The step's name in the plugin.
        step: String,
    },
    /// `./path.wasm#step`, relative to the manifest.
    Path {
        /// The component's file.
        path: String,
        /// The step's name in the plugin.
        step: String,
    },
}

impl Uses {
    /// What tells the plugin from others: its name or path.
    pub fn plugin(&self) -> &str {
        match self {
            Uses::Named { plugin, .. } => plugin,
            Uses::Path { path, .. } => path,
        }
    }

    /// The step's name in the plugin.
    pub fn step(&self) -> &str {
        match self {
            Uses::Named { step, .. } | Uses::Path { step, .. } => step,
        }
    }
}

impl std::fmt::Display for Uses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Uses::Named { plugin, step } => write!(f, "{plugin}/{step}"),
            Uses::Path { path, step } => write!(f, "{path}#{step}"),
        }
    }
}

/// When a step runs, seen from the service it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Phase {
    /// The service is up.
    #[default]
    Live,
    /// The service may be down.
    Downtime,
    /// After the commit point.
    Cleanup,
}

/// How often and how soon a step is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// In all, the first one included.
    pub attempts: u32,
    /// The pause before the second attempt, or up to half less; it doubles from there.
    pub backoff_min_ms: u64,
    /// No pause is longer, however often it has doubled.
    pub backoff_max_ms: u64,
    /// The classes that are tried again beside `transient` and `deadline`: of failures that mean
    /// that nothing happened, or that what did is taken back first.
    pub on: Vec<FailureClass>,
}

impl Retry {
    /// The classes that `on` may name.
    pub const ON: [FailureClass; 3] =
        [FailureClass::Precondition, FailureClass::Refused, FailureClass::Denied];

    /// Whether a failure is tried again.
    pub fn covers(&self, failure: &Failure) -> bool {
        failure.is_retryable() || self.on.contains(&failure.class)
    }
}

/// One `[[steps]]` entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Unique in the manifest; expressions name the step's output by it.
    pub id: StepId,
    /// The plugin's step that is run.
    pub uses: Uses,
    /// For whoever reads the manifest, and in `plan --json`.
    pub title: Option<String>,
    /// Strings may be templates.
    pub with: Value,
    /// While the service is up, in the downtime window, or after the commit point.
    pub phase: Phase,
    /// As written; `None` means the step above.
    pub needs: Option<Vec<StepId>>,
    /// A condition: where it is false, the step is skipped; `None` is no condition.
    pub when: Option<String>,
    /// A list or map: one instance for each item; `None` is one plain instance.
    pub for_each: Option<String>,
    /// How many instances of it there are under way at a time; `None` is all of them. Those that
    /// wait to be tried again count, and so do those that are being undone.
    pub at_most: Option<NonZeroU32>,
    /// Without one, no failure is tried again.
    pub retry: Option<Retry>,
    /// How long one attempt at its run may take; `None` is no limit. An undo has none.
    pub timeout_ms: Option<u64>,
    /// Why it is acceptable that the step can't be undone, if it can't.
    pub irreversible: Option<String>,
    /// Where its secrets may be shown to whoever looks at what it makes, beside where they may be
    /// put anyway.
    pub reveal: Vec<Sink>,
    /// Where these are written.
    pub spans: StepSpans,
}

/// Where a step's parts are in the text.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StepSpans {
    /// The value of `id`.
    pub id: Range<usize>,
    /// The value of `uses`.
    pub uses: Range<usize>,
    /// All of `with`; empty, as the others, if it was left out.
    pub with: Range<usize>,
    /// Each key of `with`.
    pub with_keys: BTreeMap<String, Range<usize>>,
    /// Everything in `with`, by its JSON pointer: `/mounts/0/volume`.
    pub with_values: BTreeMap<String, Range<usize>>,
    /// Each id of `needs`, in its order.
    pub needs: Vec<Range<usize>>,
    /// The value of `phase`.
    pub phase: Range<usize>,
    /// The expression of `when`.
    pub when: Range<usize>,
    /// The expression of `for_each`.
    pub for_each: Range<usize>,
    /// The value of `timeout`.
    pub timeout: Range<usize>,
}

impl StepSpans {
    /// The place of what a JSON pointer into `with` leads to, or of what it would be in.
    pub fn in_with(&self, pointer: &str) -> Range<usize> {
        let mut pointer = pointer;
        loop {
            match (self.with_values.get(pointer), pointer.rsplit_once('/')) {
                (Some(span), _) => return span.clone(),
                (None, Some((around, _))) => pointer = around,
                (None, None) if self.with.is_empty() => return self.uses.clone(),
                (None, None) => return self.with.clone(),
            }
        }
    }
}

/// A JSON pointer one key further in.
pub(crate) fn pointer(around: &str, key: &str) -> String {
    format!("{around}/{}", key.replace('~', "~0").replace('/', "~1"))
}

impl Manifest {
    /// The direct dependencies of each step: `needs`, or the step written above; a cleanup step
    /// comes after every step that is not one.
    pub fn dependencies(&self) -> BTreeMap<StepId, Vec<StepId>> {
        let mut above: Option<&StepId> = None;
        let mut all = BTreeMap::new();
        for step in &self.steps {
            let direct = match &step.needs {
                Some(needs) => needs.clone(),
                None => above.into_iter().cloned().collect(),
            };
            all.insert(step.id.clone(), direct);
            above = Some(&step.id);
        }
        all
    }
}

/// What is wrong with the TOML, in words.
fn toml_mistake(kind: &toml_span::ErrorKind) -> String {
    match kind {
        toml_span::ErrorKind::Wanted { expected, found } => {
            format!("expected {expected}, found {found}")
        }
        other => other.to_string(),
    }
}

/// Parse and validate a manifest.
///
/// # Errors
/// Every mistake of the file, each with its place and what to write instead.
pub fn parse(name: &str, text: &str) -> Result<Manifest, Diagnostics> {
    parse_as(name, text, Strictness::Whole)
}

/// Parse a manifest that was accepted when its operation began.
///
/// It is held only to what a [`Manifest`] is: checks that a later version added must not keep an
/// operation from being resumed or rolled back. What can't work fails when it is evaluated.
///
/// # Errors
/// Every mistake that leaves no manifest at all.
pub fn parse_pinned(name: &str, text: &str) -> Result<Manifest, Diagnostics> {
    parse_as(name, text, Strictness::Pinned)
}

/// How much of a manifest is checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// All of it: it is a new operation's.
    Whole,
    /// Only what it can't do without: it was accepted when its operation began.
    Pinned,
}

/// Whether a mistake is at the braces of an expression that nobody quoted.
fn is_bare_expression(text: &str, at: usize) -> bool {
    let (Some(before), Some(after)) = (text.get(..at), text.get(at..)) else { return false };
    after.starts_with("{{") || (before.ends_with('{') && after.starts_with('{'))
}

/// [`parse`] or [`parse_pinned`].
///
/// # Errors
/// Theirs.
pub fn parse_as(name: &str, text: &str, strictness: Strictness) -> Result<Manifest, Diagnostics> {
    if text.len() > MANIFEST_BYTES_MAX {
        let message = format!(
            "the file has {} bytes; a manifest has at most {MANIFEST_BYTES_MAX}",
            text.len()
        );
        let list = vec![Diagnostic::new(message)];
        return Err(Diagnostics { name: name.to_owned(), text: String::new(), list });
    }
    let value = toml_span::parse(text).map_err(|error| {
        let span = error.span.start..error.span.end;
        let help = match is_bare_expression(text, span.start) {
            true => "put the expression into quotes: \"{{ … }}\"; TOML knows it as text only",
            false => "see https://toml.io for how TOML is written",
        };
        let message = format!("this is not TOML: {}", toml_mistake(&error.kind));
        let list = vec![Diagnostic::at(span, message).help(help)];
        Diagnostics { name: name.to_owned(), text: drawn::without_values_of_inputs(text), list }
    })?;
    let mut found = vec![];
    let manifest = read::manifest(name, text, &value, &mut found);
    if let Some(manifest) = &manifest {
        let graph = check::all(manifest, &mut found);
        if strictness == Strictness::Whole {
            advice::all(manifest, &mut found);
            if let Some(graph) = &graph {
                expressions::all(manifest, graph, &mut found);
            }
        }
    }
    match manifest {
        Some(manifest) if found.is_empty() => Ok(manifest),
        _ => {
            found.sort_by_key(|one| one.span.as_ref().map(|span| span.start));
            let drawn = drawn::without_secrets(text, &value);
            for one in &mut found {
                let place = one.span.clone().unwrap_or_default();
                if text.get(place.clone()) != drawn.get(place) {
                    one.message = drawn::without_quotes(&one.message);
                }
            }
            Err(Diagnostics { name: name.to_owned(), text: drawn, list: found })
        }
    }
}

/// A pattern of an input, of a size that takes no time to make.
pub(crate) fn pattern(text: &str) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build()
}
