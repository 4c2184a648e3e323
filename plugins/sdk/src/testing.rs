//! A scripted world for tests on the host: no Wasm, no provider.
//!
//! Script what each function answers, run the step, then look at the calls it made. A function
//! that was not scripted fails the test by name. The world belongs to the thread, as a test does.

use crate::log::Level;
use crate::{Failure, Step};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
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
    /// If the answer can't be JSON.
    pub fn answer(function: &str, answer: impl Serialize) {
        let answer = serde_json::to_value(answer).expect("an answer that can be JSON");
        Self::push(function, Ok(answer));
    }

    /// The next answer of a function is a failure.
    pub fn fail(function: &str, failure: Failure) {
        Self::push(function, Err(failure));
    }

    fn push(function: &str, answer: Result<Value, Failure>) {
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

pub(crate) fn answer<T: DeserializeOwned>(function: &str, arguments: Value) -> Result<T, Failure> {
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
    })?;
    Ok(serde_json::from_value(answer)
        .unwrap_or_else(|error| panic!("the answer scripted for {function}: {error}")))
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
