//! Who has a lock, as people are told, with what to do.

use super::Behind;
use super::whose::Whose;
use stepback_core::shell::word;
use stepback_core::shown::in_sentence;
use stepback_core::{EnvironmentName, LockName, UnixMs};
use stepback_journal::{Busy, BusyHow};
use stepback_provider::locks::{Holder, WorldLock};

impl Behind {
    pub(super) fn name(&self) -> &LockName {
        match self {
            Behind::Own(busy, _) => &busy.name,
            Behind::World(held, _) => &held.name,
        }
    }

    /// Whether it will let go by itself, as far as is known.
    pub(super) fn lets_go(&self) -> bool {
        match self {
            Behind::Own(busy, _) => busy.how != BusyHow::StandsStill,
            Behind::World(_, whose) => !matches!(whose, Whose::Nobodys | Whose::StandsStill),
        }
    }

    /// Whether it is unfinished, and run by nobody.
    pub(super) fn is_left(&self) -> bool {
        match self {
            Behind::Own(busy, _) => busy.how == BusyHow::LeftUnfinished,
            Behind::World(_, whose) => *whose == Whose::Others,
        }
    }

    /// Who is before, for one who is in this environment.
    pub(super) fn said(&self, environment: &EnvironmentName) -> String {
        match self {
            Behind::Own(busy, theirs) => {
                let same = match theirs == environment {
                    true => String::new(),
                    false => format!(" (of the environment `{theirs}`, which is the same world)"),
                };
                said(busy) + &same
            }
            Behind::World(held, whose) => said_of(held, *whose, environment),
        }
    }
}

fn said_of(held: &WorldLock, whose: Whose, environment: &EnvironmentName) -> String {
    let WorldLock { name, holder } = held;
    let Holder { operation, since, host, .. } = holder;
    let place = in_sentence(holder.place.as_deref().unwrap_or("(unknown)"));
    let (state, host, said) = (word(&place), in_sentence(host), in_sentence(name.as_str()));
    let held = format!("lock `{said}` is held by operation {operation}{}", at(*since));
    let unlock = format!(
        "`stepback unlock -e {} {} --reason …` frees it",
        word(environment.as_str()),
        word(&said)
    );
    match whose {
        Whose::Nobodys => format!(
            "{held}, which nobody can resume: the state directory {place} is gone, or has it no \
             more. {unlock}"
        ),
        Whose::Own | Whose::Running => {
            format!("{held} of another state directory, {place} on {host}, where it runs")
        }
        Whose::Others => format!(
            "{held} of another state directory, {place}, where it is unfinished and run by nobody: \
             `stepback --state {state} resume {operation}` goes on"
        ),
        Whose::StandsStill => format!(
            "{held} of another state directory, {place}, where its rollback is incomplete: \
             `stepback --state {state} show {operation}` tells what is left to do, then \
             `stepback --state {state} rollback {operation}` takes it up again"
        ),
        Whose::Late => format!(
            "{held} of another state directory, {place} on {host}, which there was no time to look \
             into"
        ),
        Whose::Unseen => format!(
            "{held} of another state directory, {place} on {host}, which can't be looked into from \
             here; if it is gone for good, {unlock}"
        ),
    }
}

fn said(busy: &Busy) -> String {
    let Busy { name, by, since, how } = busy;
    let (name, since) = (in_sentence(name.as_str()), at(*since));
    let held = format!("lock `{name}` is held by operation {by}{since}");
    match how {
        BusyHow::Holds => held,
        BusyHow::StandsStill => format!(
            "{held}, whose rollback is incomplete; `stepback show {by}` tells what is left to do, \
             then `stepback rollback {by}` takes it up again"
        ),
        BusyHow::LeftUnfinished => format!(
            "{held}, which is unfinished and run by nobody: `stepback resume {by}` goes on, \
             `stepback show {by}` tells what else can be done"
        ),
        BusyHow::WaitsBefore => {
            format!("operation {by} waits for lock `{name}`{since}, and came first")
        }
    }
}

fn at(since: UnixMs) -> String {
    let since = jiff::Timestamp::from_millisecond(since.0 as i64);
    since.map(|at| format!(" since {at:.0}")).unwrap_or_default()
}
