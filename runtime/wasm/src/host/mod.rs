//! The host's side of every interface a guest may import, and the one path all calls take.
//!
//! Each file here is one interface: a function of the contract becomes a [`Call`], and its JSON
//! answer the contract's record. Whether the call may be made at all is decided in [`Guest::ask`].

mod clock;
mod docker;
mod ebs;
mod ec2;
mod effects;
mod load_balancer;
mod log;

use crate::bindings::stepback::types::types::{self, Failure, FailureClass, Pair};
use crate::guest::Guest;
use crate::invocation::{Interface, Mode};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use stepback_core as core;
use stepback_core::calls::ClockCall;
use stepback_core::failure::ONLY_ASKED;
use stepback_core::{Call, Class};

/// The fields of answers that are maps on the host's side and lists of pairs in the contract.
const PAIR_FIELDS: [&str; 3] = ["tags", "options", "labels"];
/// The fields that are lists of records.
const LIST_FIELDS: [&str; 2] = ["ports", "targets"];
/// The fields that are enumerations in the contract; a provider tells them in the words of its API.
const WORD_FIELDS: [&str; 3] = ["state", "health", "protocol"];

impl types::Host for Guest {}

impl Guest {
    /// One host call whose answer is a value: granted? fits the mode? then the port.
    pub(crate) async fn ask<T: DeserializeOwned>(&mut self, call: Call) -> Result<T, Failure> {
        let function = call.function();
        let mut answer = self.perform(call).await?;
        as_in_contract(&mut answer);
        serde_json::from_value(answer).map_err(|error| Failure {
            class: FailureClass::Internal,
            code: None,
            message: format!("the provider's answer to {function} breaks the contract: {error}"),
        })
    }

    /// One host call whose answer says nothing more than that it is done.
    pub(crate) async fn tell(&mut self, call: Call) -> Result<(), Failure> {
        self.perform(call).await.map(drop)
    }

    async fn perform(&mut self, call: Call) -> Result<Value, Failure> {
        self.permit(&call)?;
        call.must_fit()?;
        call.must_be_plain()?;
        let _in_host = self.watch.enter_host().ok_or_else(too_many_calls)?;
        let waits =
            call.class() == Class::Wait && !matches!(call, Call::Clock(ClockCall::Sleep { .. }));
        let why_not = match &call {
            _ if self.mode != Mode::Check => None,
            _ if waits => Some("waits, and a check may only look"),
            call if call.is_effect() => Some("changes the world, and a check may only look"),
            call if !call.is_all_known() => Some("is to look at what is not known yet"),
            _ => None,
        };
        if let Some(why) = why_not {
            let function = call.function();
            self.port.may(call).await?;
            let message = format!("{function} {why}");
            return Err(Failure { code: Some(ONLY_ASKED.to_owned()), ..denied(message) });
        }
        self.port.call(call).await.map_err(Failure::from)
    }

    /// Denies what was not granted, and what the mode leaves no room for.
    fn permit(&self, call: &Call) -> Result<(), Failure> {
        let function = call.function();
        let name = function.split_once('.').map_or(function, |(interface, _)| interface);
        match Interface::from_name(name) {
            Some(interface) if self.grants.allow(interface) => {}
            _ => return Err(denied(format!("{function}: the plugin was not granted `{name}`"))),
        }
        match (self.mode, call.class()) {
            // An effect or a wait in a check is a question.
            (Mode::Check, _)
            | (_, Class::Read | Class::Wait)
            | (Mode::Run { .. }, Class::Effect)
            | (Mode::Run { irreversible_allowed: true }, Class::Irreversible)
            | (Mode::Undo, Class::Effect | Class::Irreversible) => Ok(()),
            (Mode::Run { irreversible_allowed: false }, Class::Irreversible) => Err(denied(
                format!("{function} can't be undone, and the step is not declared irreversible"),
            )),
        }
    }
}

fn denied(message: String) -> Failure {
    Failure { class: FailureClass::Denied, code: None, message }
}

/// A guest out of calls is told so again and again, until it ends or is out of time: the answer
/// comes from here, so it neither reaches the journal nor renews the guest's time.
fn too_many_calls() -> Failure {
    let message = "the step made more host calls than one attempt may: it looks again and again \
                   where it should wait";
    Failure { class: FailureClass::Internal, code: None, message: message.to_owned() }
}

/// Gives an answer's fields the contract's form, in the answer itself and in each element of a
/// list: maps become lists of pairs, and words the names of cases.
fn as_in_contract(answer: &mut Value) {
    match answer {
        Value::Array(items) => items.iter_mut().for_each(as_in_contract),
        Value::Object(record) => {
            for field in LIST_FIELDS {
                if let Some(list) = record.get_mut(field) {
                    as_in_contract(list);
                }
            }
            for field in WORD_FIELDS {
                if let Some(Value::String(word)) = record.get_mut(field) {
                    *word = case_of(word);
                }
            }
            if let Some(Value::String(policy)) = record.get_mut("restart") {
                let policy = policy_case(policy);
                record.insert("restart".to_owned(), policy);
            }
            for field in PAIR_FIELDS {
                if let Some(Value::Object(map)) = record.get_mut(field) {
                    let pairs = std::mem::take::<Map<String, Value>>(map).into_iter();
                    let pairs = pairs.map(|(key, value)| json!({ "key": key, "value": value }));
                    record.insert(field.to_owned(), Value::Array(pairs.collect()));
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `in-use` as serde knows the case: `InUse`.
fn case_of(word: &str) -> String {
    let capital = |part: &str| {
        let mut letters = part.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
    };
    word.split('-').filter_map(capital).collect()
}

/// A restart policy, which an engine tells as one word and perhaps a number.
fn policy_case(policy: &str) -> Value {
    match policy.split_once(':') {
        Some((word, times)) => json!({ case_of(word): times.parse::<u32>().ok() }),
        None if policy == "on-failure" => json!({ "OnFailure": null }),
        None => case_of(policy).into(),
    }
}

/// Pairs as a map; a key that comes twice is a guest's mistake.
fn map_of(what: &str, pairs: Vec<Pair>) -> Result<BTreeMap<String, String>, Failure> {
    let mut map = BTreeMap::new();
    for Pair { key, value } in pairs {
        if let Some(first) = map.insert(key.clone(), value) {
            let message = format!("`{key}` is given twice in {what} (first as `{first}`)");
            return Err(Failure { class: FailureClass::InvalidInput, code: None, message });
        }
    }
    Ok(map)
}

macro_rules! failure_classes {
    ($($class:ident),+ $(,)?) => {
        impl From<core::FailureClass> for FailureClass {
            fn from(class: core::FailureClass) -> Self {
                match class { $(core::FailureClass::$class => Self::$class),+ }
            }
        }
        impl From<FailureClass> for core::FailureClass {
            fn from(class: FailureClass) -> Self {
                match class { $(FailureClass::$class => Self::$class),+ }
            }
        }
    };
}

failure_classes!(
    InvalidInput,
    Precondition,
    Refused,
    Denied,
    Transient,
    Deadline,
    UnknownOutcome,
    Cancelled,
    Internal,
);

impl From<core::Failure> for Failure {
    fn from(failure: core::Failure) -> Self {
        let core::Failure { class, code, message } = failure;
        Self { class: class.into(), code, message }
    }
}

impl From<Failure> for core::Failure {
    fn from(failure: Failure) -> Self {
        let Failure { class, code, message } = failure;
        Self { class: class.into(), code, message }
    }
}
