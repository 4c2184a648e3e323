//! Faults asked for with `--inject CALL[#N]=FAULT`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use stepback_core::diagnostic::suggest;
use stepback_core::{Call, Failure, FailureClass};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The provider says no.
    Refuse,
    /// The provider says *try again*.
    Transient,
    /// An effect happens, and its answer never comes; a read or a wait is not made, and may be
    /// asked again.
    Lost,
    /// It never answers, and is not made; whoever asks gives up when its step is to end.
    Hang,
    /// An effect happens, and nobody ever answers, whatever becomes of its step; a read or a wait
    /// never answers.
    HangAfter,
    /// This process dies before the call is made, or the commit is written.
    CrashBefore,
    /// This process dies when an effect or a commit is done, before anybody is told.
    CrashAfter,
}

const NAMES: &[(&str, Fault)] = &[
    ("refuse", Fault::Refuse),
    ("transient", Fault::Transient),
    ("lost", Fault::Lost),
    ("hang", Fault::Hang),
    ("hang-after", Fault::HangAfter),
    ("crash-before", Fault::CrashBefore),
    ("crash-after", Fault::CrashAfter),
];

/// The name under which the journal's commits can be picked, beside the host functions.
const COMMIT: &str = "commit";

#[derive(Clone, Debug)]
struct Rule {
    function: String,
    undo: bool,
    /// 1-based; `None` means every use.
    nth: Option<u32>,
    fault: Fault,
    /// As it was asked for.
    text: String,
    /// Whether it came about; of all that share these faults.
    came: Arc<AtomicBool>,
}

impl Rule {
    fn come(&self) -> Fault {
        self.came.store(true, Ordering::Relaxed);
        self.fault
    }
}

/// The faults of one process.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    rules: Vec<Rule>,
    uses: BTreeMap<(String, bool), u32>,
}

impl Faults {
    /// Read what `--inject` was given, each once.
    ///
    /// # Errors
    /// What is wrong with the first that can't be read, and what there is.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let rules = texts.iter().map(|text| parse_one(text)).collect::<Result<_, _>>()?;
        Ok(Self { rules, uses: BTreeMap::new() })
    }

    /// Whether none is asked for.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a fault is asked for at a commit of the journal.
    pub fn name_commits(&self) -> bool {
        self.rules.iter().any(|rule| rule.function == COMMIT)
    }

    /// What goes wrong with this process's commit of that number, from 1.
    pub fn of_commit(&self, number: u32) -> Option<Fault> {
        let fits =
            |rule: &&Rule| rule.function == COMMIT && rule.nth.is_none_or(|nth| nth == number);
        self.rules.iter().find(fits).map(Rule::come)
    }

    /// Those that never came about, as they were asked for.
    pub fn that_never_came(&self) -> impl Iterator<Item = &str> {
        let never = self.rules.iter().filter(|rule| !rule.came.load(Ordering::Relaxed));
        never.map(|rule| rule.text.as_str())
    }

    /// Count one use of a function, and say what goes wrong with it.
    pub fn next(&mut self, function: &str, undo: bool) -> Option<Fault> {
        let uses = self.uses.entry((function.to_owned(), undo)).or_default();
        *uses = uses.saturating_add(1);
        let uses = *uses;
        let fits = |rule: &&Rule| {
            rule.function == function && rule.undo == undo && rule.nth.is_none_or(|n| n == uses)
        };
        self.rules.iter().find(fits).map(Rule::come)
    }
}

fn parse_one(text: &str) -> Result<Rule, String> {
    let (call, fault) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not CALL[#N]=FAULT, such as `ebs.attach=refuse`"))?;
    let (call, undo) = match call.strip_prefix("undo:") {
        Some(call) => (call, true),
        None => (call, false),
    };
    let (function, nth) = match call.split_once('#') {
        None => (call, None),
        Some((function, nth)) => match nth.parse() {
            Ok(nth @ 1..) => (function, Some(nth)),
            _ => return Err(format!("`#{nth}` in `{text}` must be a number from 1")),
        },
    };
    if function == COMMIT && !undo {
        return match fault {
            "crash-before" => Ok(rule(text, function, undo, nth, Fault::CrashBefore)),
            "crash-after" => Ok(rule(text, function, undo, nth, Fault::CrashAfter)),
            _ => Err(format!("a commit can only `crash-before` or `crash-after`, not `{fault}`")),
        };
    }
    if !Call::functions().any(|known| known == function) {
        let help = suggest(function, Call::functions());
        return Err(format!("there is no host function `{function}`: {help}"));
    }
    let names = NAMES.iter().map(|(name, _)| *name);
    match NAMES.iter().find(|(name, _)| *name == fault) {
        Some((_, fault)) => Ok(rule(text, function, undo, nth, *fault)),
        None => Err(format!("there is no fault `{fault}`: {}", suggest(fault, names))),
    }
}

fn rule(text: &str, function: &str, undo: bool, nth: Option<u32>, fault: Fault) -> Rule {
    let (text, function, came) = (text.to_owned(), function.to_owned(), Arc::default());
    Rule { function, undo, nth, fault, text, came }
}

/// What a provider says that refuses on request.
pub fn refused(call: &Call) -> Failure {
    let message = format!("{} was refused (injected fault)", call.function());
    Failure::new(FailureClass::Refused, message).with_code("InjectedRefusal")
}

/// What one says that is to be asked again.
pub fn transient(call: &Call) -> Failure {
    let message = format!("{}: try again (injected fault)", call.function());
    Failure::new(FailureClass::Transient, message).with_code("RequestLimitExceeded")
}

/// End this process as `kill -9` would: no destructor runs, nothing is flushed.
pub fn die() -> ! {
    // SAFETY: both calls take no pointers; a process may always signal itself.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
    std::process::abort()
}
