//! A scripted world for tests on the host: no Wasm, no provider.
//!
//! Script what each function answers, run the step, then look at the calls it made. A function
//! that was not scripted fails the test by name, and so does one that there is not. The world
//! belongs to the thread, as a test does.
//!
//! It is as strict as the host: a check may only look, and ask with [`crate::may`]. In the
//! plugin's own tests `MyStep::check`, `run` and `undo` are [`check`], [`run`] and [`undo`] here,
//! by [`crate::export_steps!`]; elsewhere call these.

mod parts;

pub use parts::{check, run, undo};

pub(crate) use parts::Does;

use crate::log::Level;
use crate::{Failure, Step};
use parts::{does, must_be_allowed};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

/// One call a step made.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// `interface.function`.
    pub function: String,
    /// By name; a case of an enumeration is the contract's word, such as `in-use`.
    pub arguments: Value,
}

/// What the functions answer, in order; the last answer of a function is given again and again.
#[derive(Default)]
pub struct World {
    answers: BTreeMap<String, VecDeque<Result<Value, Failure>>>,
    calls: Vec<Made>,
    log: Vec<String>,
    /// Whether effects are questions now.
    asks: bool,
    asked: Vec<Made>,
}

impl World {
    /// Begin anew on this thread.
    pub fn reset() {
        WORLD.with_borrow_mut(|world| *world = World::default());
    }

    /// The next answer of a function.
    ///
    /// # Panics
    /// If there is no such function, or the answer can't be JSON.
    #[track_caller]
    pub fn answer(function: &str, answer: impl Serialize) {
        let answer = serde_json::to_value(answer).expect("an answer that can be JSON");
        Self::push(function, Ok(answer));
    }

    /// The next answer of a function is a failure.
    ///
    /// # Panics
    /// If there is no such function.
    #[track_caller]
    pub fn fail(function: &str, failure: Failure) {
        Self::push(function, Err(failure));
    }

    #[track_caller]
    fn push(function: &str, answer: Result<Value, Failure>) {
        does(function);
        WORLD.with_borrow_mut(|world| {
            world.answers.entry(function.to_owned()).or_default().push_back(answer);
        });
    }

    /// The calls made since the reset.
    pub fn calls() -> Vec<Made> {
        WORLD.with_borrow(|world| world.calls.clone())
    }

    /// The functions called since the reset, in order.
    pub fn functions() -> Vec<String> {
        Self::calls().into_iter().map(|made| made.function).collect()
    }

    /// What was asked for with [`crate::may`] since the reset.
    pub fn asked() -> Vec<String> {
        Self::questions().into_iter().map(|made| made.function).collect()
    }

    /// The same, with the arguments.
    pub fn questions() -> Vec<Made> {
        WORLD.with_borrow(|world| world.asked.clone())
    }

    /// The lines logged since the reset.
    pub fn log() -> Vec<String> {
        WORLD.with_borrow(|world| world.log.clone())
    }
}

/// The input of a step from JSON, as a manifest's `with` would give it.
///
/// # Panics
/// If it does not fit.
pub fn input<S: Step>(with: Value) -> S::Input {
    serde_json::from_value(with).expect("an input that fits the step")
}

#[track_caller]
pub(crate) fn answer<T: DeserializeOwned>(
    function: &str,
    mut arguments: Value,
) -> Result<T, Failure> {
    must_be_allowed(function, WORLD.with_borrow(|world| world.asks));
    each_word(&mut arguments, &word_of);
    let answer = WORLD.with_borrow_mut(|world| {
        if world.asks {
            world.asked.push(Made { function: function.to_owned(), arguments });
            let refused =
                world.answers.get(function).and_then(|answers| answers.front()?.clone().err());
            return Err(refused.unwrap_or_else(only_asked));
        }
        world.calls.push(Made { function: function.to_owned(), arguments });
        let answers = world.answers.get_mut(function);
        let answers = answers.unwrap_or_else(|| panic!("no answer is scripted for {function}"));
        match answers.len() {
            1 => answers[0].clone(),
            _ => answers.pop_front().unwrap_or_else(|| panic!("no answer is left for {function}")),
        }
    });
    let mut answer = answer?;
    each_word(&mut answer, &case_of);
    Ok(serde_json::from_value(answer)
        .unwrap_or_else(|error| panic!("the answer scripted for {function}: {error}")))
}

/// The fields that are enumerations in the contract. Tests may write them in the contract's words,
/// and see them so among the arguments.
const WORD_FIELDS: [&str; 4] = ["state", "health", "protocol", "restart"];

fn each_word(value: &mut Value, change: &dyn Fn(&Value) -> Option<Value>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each_word(item, change)),
        Value::Object(record) => {
            for (field, value) in record {
                match WORD_FIELDS.contains(&field.as_str()) {
                    true => *value = change(value).unwrap_or_else(|| value.take()),
                    false => each_word(value, change),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `in-use` as serde knows the case, `InUse`; `on-failure:3` is a case with a number.
fn case_of(word: &Value) -> Option<Value> {
    let word = word.as_str()?;
    let capital = |part: &str| part[..1].to_uppercase() + &part[1..];
    let case = |word: &str| -> String { word.split('-').map(capital).collect() };
    Some(match word.split_once(':') {
        Some((word, times)) => json!({ case(word): times.parse::<u32>().ok() }),
        None if word == "on-failure" => json!({ case(word): null }),
        None => case(word).into(),
    })
}

/// The word of a case.
fn word_of(case: &Value) -> Option<Value> {
    let word = |case: &str| {
        let kebab = case.chars().enumerate().flat_map(|(at, letter)| {
            let dash = (at > 0 && letter.is_uppercase()).then_some('-');
            dash.into_iter().chain(letter.to_lowercase())
        });
        kebab.collect::<String>()
    };
    match case {
        Value::String(case) => Some(word(case).into()),
        Value::Object(one) => {
            let (case, times) = one.iter().next()?;
            Some(match times.as_u64() {
                Some(times) => format!("{}:{times}", word(case)).into(),
                None => word(case).into(),
            })
        }
        _ => None,
    }
}

fn only_asked() -> Failure {
    let (class, code) = (crate::FailureClass::Denied, Some("only-asked".to_owned()));
    Failure { class, code, message: "it was only asked".to_owned() }
}

/// Effects in here are questions: a scripted failure is the answer, else nothing speaks against it.
pub(crate) fn asking<T>(effect: impl FnOnce() -> T) -> T {
    WORLD.with_borrow_mut(|world| world.asks = true);
    let answer = effect();
    WORLD.with_borrow_mut(|world| world.asks = false);
    answer
}

pub(crate) fn logged(level: Level, text: &str) {
    WORLD.with_borrow_mut(|world| world.log.push(format!("{level:?}: {text}")));
}
