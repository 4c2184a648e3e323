//! The plan: a manifest that fits its plugins, with its graph, its window and its point of no
//! return.

mod extent;
mod graph;
mod kinds;
mod outputs;
mod schema;
mod time;
mod unfold;
mod with;

use crate::diagnostic::{Diagnostic, Diagnostics, suggest};
use crate::evaluate;
use crate::expr;
use crate::ids::StepId;
use crate::manifest::{Manifest, Phase, Step, Strictness};
use crate::shared::Shared;
use crate::step::StepInfo;
use graph::Graph;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use with::Inputs;

/// What a manifest's plugins offer: `plugin()` of each `uses` to its steps.
pub type Offers = BTreeMap<String, Shared<Vec<StepInfo>>>;

/// A validated manifest with what its plugins say of each step.
#[derive(Clone, Debug)]
pub struct Plan {
    manifest: Manifest,
    graph: Graph,
    infos: BTreeMap<StepId, StepInfo>,
    validators: BTreeMap<StepId, Arc<Inputs>>,
    /// By place: the steps its expressions refer to.
    references: Vec<BTreeSet<StepId>>,
    /// By place: whether its expressions cost no more than walking their data once.
    simple: Vec<bool>,
    outputs_simple: bool,
}

impl Plan {
    /// Hold the manifest against its plugins.
    ///
    /// # Errors
    /// Every step that a plugin does not offer, whose inputs break its schema, that refers to an
    /// output which there is not, or that is irreversible without saying so.
    pub fn new(manifest: Manifest, offers: &Offers) -> Result<Plan, Diagnostics> {
        Self::hold(manifest, offers, Strictness::Whole)
    }

    /// The plan of a manifest that was accepted when its operation began.
    ///
    /// As with [`parse_pinned`](crate::manifest::parse_pinned), what a later version checks more
    /// strictly must not keep an operation from being resumed or rolled back. A step's `with` is
    /// held against its schema when it is evaluated.
    ///
    /// # Errors
    /// Every step that a plugin does not offer.
    pub fn pinned(manifest: Manifest, offers: &Offers) -> Result<Plan, Diagnostics> {
        Self::hold(manifest, offers, Strictness::Pinned)
    }

    /// [`Plan::new`] or [`Plan::pinned`].
    ///
    /// # Errors
    /// Theirs.
    pub fn hold(
        manifest: Manifest,
        offers: &Offers,
        strictness: Strictness,
    ) -> Result<Plan, Diagnostics> {
        let whole = strictness == Strictness::Whole;
        let mut found = vec![];
        let mut infos = BTreeMap::new();
        let mut validators = BTreeMap::new();
        // One of each step of each plugin, however often it is used.
        let mut compiled: BTreeMap<(&str, &str), Arc<Inputs>> = BTreeMap::new();
        for step in &manifest.steps {
            let info = match offered(step, offers) {
                Ok(info) => info,
                Err(mistake) => {
                    found.push(mistake);
                    continue;
                }
            };
            infos.insert(step.id.clone(), info.clone());
            let name = (step.uses.plugin(), step.uses.step());
            let validator = match compiled.get(&name) {
                Some(validator) => Ok(Arc::clone(validator)),
                None => with::compile(step, info).map(Arc::new),
            };
            if whole {
                declared(step, info, &mut found);
            }
            match validator {
                Ok(validator) => {
                    if whole {
                        with::check(step, info, &validator, &mut found);
                    }
                    compiled.insert(name, Arc::clone(&validator));
                    validators.insert(step.id.clone(), validator);
                }
                Err(mistake) => found.extend(whole.then_some(mistake)),
            }
        }
        if whole {
            outputs::check(&manifest, &infos, &mut found);
            kinds::check(&manifest, &infos, &mut found);
        }
        if !found.is_empty() {
            found.sort_by_key(|one| one.span.as_ref().map(|span| span.start));
            let (name, text) = (manifest.name.clone(), manifest.text.clone());
            return Err(Diagnostics { name, text, list: found });
        }
        Ok(Self::assemble(manifest, infos, validators))
    }

    fn assemble(
        manifest: Manifest,
        infos: BTreeMap<StepId, StepInfo>,
        validators: BTreeMap<StepId, Arc<Inputs>>,
    ) -> Plan {
        let graph = Graph::of(&manifest);
        let steps = || graph.order.iter().map(|i| &manifest.steps[*i]);
        let references = steps().map(referenced).collect();
        let simple = steps().map(evaluate::is_simple).collect();
        let outputs_simple = evaluate::outputs_are_simple(&manifest);
        Plan { manifest, graph, infos, validators, references, simple, outputs_simple }
    }

    /// Whether [`Self::check_with`] takes no time, whatever is in the `with`: where it may take
    /// longer, it is for a thread that can be given up (R15).
    pub fn checks_at_once(&self, id: &StepId, with: &Value) -> bool {
        self.validators.get(id).is_none_or(|inputs| inputs.takes_at_once(with))
    }

    /// Check an evaluated `with` against the plugin's schema.
    ///
    /// # Errors
    /// What does not fit, as one sentence.
    pub fn check_with(&self, id: &StepId, with: &Value) -> Result<(), String> {
        let Some(inputs) = self.validators.get(id) else { return Ok(()) };
        let validator = inputs.validator_for(with)?;
        if validator.is_valid(with) {
            return Ok(());
        }
        let schema = self.infos.get(id).map_or(&Value::Null, |info| &info.input_schema);
        let said = |error: jsonschema::ValidationError<'_>| {
            let text = with::in_words(&error, schema);
            match error.instance_path().to_string() {
                path if path.is_empty() => text,
                path => format!("{}: {text}", path.trim_start_matches('/')),
            }
        };
        let errors: Vec<String> =
            validator.iter_errors(with).take(with::TOLD_MAX).map(said).collect();
        Err(errors.join("; "))
    }

    /// The step at a place.
    pub(crate) fn at(&self, place: usize) -> &Step {
        &self.manifest.steps[self.graph.order[place]]
    }

    /// How many steps there are.
    pub(crate) fn count(&self) -> usize {
        self.graph.order.len()
    }

    /// A step's place in the order.
    pub fn place(&self, id: &StepId) -> Option<usize> {
        self.graph.place(id)
    }

    /// The places a place needs.
    pub(crate) fn needs(&self, place: usize) -> &[usize] {
        self.graph.needs(place)
    }

    /// The places that need a place.
    pub(crate) fn dependents(&self, place: usize) -> &[usize] {
        self.graph.dependents(place)
    }

    /// Whether the expressions at a place can be evaluated in place.
    pub(crate) fn is_simple(&self, place: usize) -> bool {
        self.simple[place]
    }

    /// The same of a step.
    pub fn evaluates_in_place(&self, id: &StepId) -> bool {
        self.place(id).is_some_and(|place| self.is_simple(place))
    }

    /// Whether the operation's outputs can be evaluated in place.
    pub(crate) fn outputs_are_simple(&self) -> bool {
        self.outputs_simple
    }

    /// The last step, in order, whose expressions refer to another step's output.
    pub fn last_reader(&self) -> Option<&StepId> {
        let place = self.references.iter().rposition(|steps| !steps.is_empty())?;
        Some(&self.at(place).id)
    }

    /// The steps that the expressions at a place refer to.
    pub fn references(&self, place: usize) -> &BTreeSet<StepId> {
        &self.references[place]
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Every step, each after all it depends on.
    pub fn steps(&self) -> impl Iterator<Item = &Step> + Clone {
        self.graph.order.iter().map(|i| &self.manifest.steps[*i])
    }

    /// One step.
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        self.graph.place(id).map(|place| self.at(place))
    }

    /// What the plugin says of a step.
    pub fn info(&self, id: &StepId) -> Option<&StepInfo> {
        self.infos.get(id)
    }

    /// The steps that must be complete before this one starts.
    pub fn dependencies(&self, id: &StepId) -> impl Iterator<Item = &StepId> {
        let needs = self.place(id).map_or(&[][..], |place| self.needs(place));
        needs.iter().map(|place| &self.at(*place).id)
    }

    /// How many instances of the step there may be under way at a time; `None` is all of them.
    pub fn at_most(&self, id: &StepId) -> Option<usize> {
        let at_most = self.step(id)?.at_most?;
        Some(usize::try_from(at_most.get()).unwrap_or(usize::MAX))
    }

    /// Whether the step is in the downtime window.
    pub fn is_window(&self, id: &StepId) -> bool {
        self.step(id).is_some_and(|step| step.phase == Phase::Downtime)
    }

    /// Whether the step comes after the commit point.
    pub fn is_cleanup(&self, id: &StepId) -> bool {
        self.step(id).is_some_and(|step| step.phase == Phase::Cleanup)
    }

    /// The first irreversible step that a step which may fail comes after, cleanup left out.
    pub fn point_of_no_return(&self) -> Option<&StepId> {
        self.point_of_no_return_of(|_| true)
    }

    /// The same of the steps that may run.
    pub fn point_of_no_return_of(&self, may_run: impl Fn(&StepId) -> bool) -> Option<&StepId> {
        let body: Vec<&Step> = self.steps().filter(|step| step.phase != Phase::Cleanup).collect();
        let is_one = |step: &&Step| step.irreversible.is_some() && may_run(&step.id);
        let at = body.iter().position(is_one)?;
        // An instance of it may fail when another one has been.
        let is_followed = at + 1 < body.len() || body[at].for_each.is_some();
        is_followed.then(|| &body[at].id)
    }
}

/// What the plugin says of a step.
fn offered<'a>(step: &Step, offers: &'a Offers) -> Result<&'a StepInfo, Diagnostic> {
    let Some(offered) = offers.get(step.uses.plugin()) else {
        let message = format!("there is no plugin `{}`", step.uses.plugin());
        let help = suggest(step.uses.plugin(), offers.keys().map(String::as_str));
        return Err(Diagnostic::at(step.spans.uses.clone(), message).help(help));
    };
    offered.iter().find(|info| info.name == step.uses.step()).ok_or_else(|| {
        let plugin = step.uses.plugin();
        let message = format!("plugin `{plugin}` has no step `{}`", step.uses.step());
        let names: Vec<&str> = offered.iter().map(|info| info.name.as_str()).collect();
        let help = suggest(step.uses.step(), names);
        Diagnostic::at(step.spans.uses.clone(), message).help(help)
    })
}

fn declared(step: &Step, info: &StepInfo, found: &mut Vec<Diagnostic>) {
    if !info.reversible && step.irreversible.is_none() {
        let message = format!("`{}` can't be undone, and the step does not say so", step.uses);
        let help = "add `irreversible = \"why that is acceptable\"`";
        found.push(Diagnostic::at(step.spans.uses.clone(), message).help(help));
    }
}

/// The steps that a step's expressions refer to; the manifest's own checks found them to compile.
fn referenced(step: &Step) -> BTreeSet<StepId> {
    let mut paths = expr::references(&step.with).unwrap_or_default();
    for text in step.when.iter().chain(&step.for_each) {
        paths.extend(expr::expression_references(text).unwrap_or_default());
    }
    let of = |path: Vec<String>| match &path[..] {
        [first, id, ..] if first == "steps" => Some(StepId(id.clone())),
        _ => None,
    };
    paths.into_iter().filter_map(of).collect()
}
