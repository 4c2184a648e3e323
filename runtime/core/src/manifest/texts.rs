//! Every string of a manifest that is evaluated, each with its place.

use super::{Invariant, Manifest, Step, pointer};
use crate::diagnostic::Diagnostic;
use crate::expr::Reading;
use serde_json::Value;
use std::ops::Range;

/// One string that is evaluated.
#[derive(Clone, Debug)]
pub(crate) struct Text<'a> {
    /// As it is written, braces included.
    pub text: &'a str,
    /// Its bytes in the manifest.
    pub span: Range<usize>,
    /// The key that it is the value of.
    pub place: Place<'a>,
}

/// Where a string stands decides when it is evaluated, and what it sees.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    With(&'a Step),
    When(&'a Step),
    ForEach(&'a Step),
    Output,
    Lock,
    Invariant(&'a Invariant),
}

impl Text<'_> {
    /// Put mistakes at this place; a name that is wrong twice is told once.
    pub(crate) fn found(&self, mistakes: Vec<Diagnostic>, found: &mut Vec<Diagnostic>) {
        let mut told: Vec<Diagnostic> = vec![];
        for mistake in mistakes {
            let mistake = Diagnostic { span: Some(self.span.clone()), ..mistake };
            if !told.contains(&mistake) {
                told.push(mistake);
            }
        }
        found.extend(told);
    }

    pub(crate) fn reading(&self) -> Reading {
        match self.place {
            Place::With(_) | Place::Output | Place::Lock => Reading::Template,
            Place::When(_) | Place::ForEach(_) | Place::Invariant(_) => Reading::Expression,
        }
    }
}

impl Manifest {
    /// Every string that is evaluated, in no order that means something.
    pub(crate) fn texts(&self) -> Vec<Text<'_>> {
        let mut all: Vec<Text<'_>> = self.steps.iter().flat_map(of_step).collect();
        let outputs = self.outputs.values().zip(self.output_spans.values());
        let locks = self.operation.locks.iter().zip(&self.operation.lock_spans);
        let outputs = outputs.map(|(text, span)| (text, span, Place::Output));
        let locks = locks.map(|(text, span)| (text, span, Place::Lock));
        all.extend(outputs.chain(locks).map(|(text, span, place)| Text {
            text,
            span: span.clone(),
            place,
        }));
        all.extend(self.invariants.iter().map(|invariant| Text {
            text: &invariant.condition,
            span: invariant.span.clone(),
            place: Place::Invariant(invariant),
        }));
        all
    }
}

fn of_step(step: &Step) -> Vec<Text<'_>> {
    let mut all = vec![];
    in_value(step, &step.with, "", &mut all);
    let conditions = [
        (&step.when, &step.spans.when, Place::When(step)),
        (&step.for_each, &step.spans.for_each, Place::ForEach(step)),
    ];
    for (text, span, place) in conditions {
        all.extend(text.as_ref().map(|text| Text { text, span: span.clone(), place }));
    }
    all
}

/// The strings of a value in `with`; the keys of its maps are not evaluated.
fn in_value<'a>(step: &'a Step, value: &'a Value, around: &str, all: &mut Vec<Text<'a>>) {
    match value {
        Value::String(text) => {
            let span = step.spans.in_with(around);
            all.push(Text { text, span, place: Place::With(step) });
        }
        Value::Array(list) => {
            for (index, item) in list.iter().enumerate() {
                in_value(step, item, &pointer(around, &index.to_string()), all);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                in_value(step, item, &pointer(around, key), all);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
