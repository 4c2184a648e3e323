//! What must hold of an operation that has ended, whatever befell it.

use crate::befall::{HOST, Story};
use crate::life::{Lives, at_once};
use std::collections::BTreeMap;
use stepback_core::calls::DockerCall;
use stepback_core::event::{Event, Record, Verdict};
use stepback_core::expr::secret_placeholder;
use stepback_core::manifest::parse_pinned;
use stepback_core::state::{State, Status, StepStatus};
use stepback_core::step::EffectOutcome;
use stepback_core::texts::MapTexts;
use stepback_core::{Call, CallId, Facts, OperationId, Resource, StepId};
use stepback_journal::Store;
use stepback_provider::Provider;
use stepback_simulated::world::World;

/// Hold everything against everything.
pub fn check(lives: &Lives, status: Status) -> Result<State, String> {
    let (state, story) = (lives.state(), &lives.story);
    let world = story.world.load().map_err(|failure| failure.message)?;
    let says = |what: &str| Err(format!("{what}: it ended {status:?}, {:?}", state.why));
    if state.status != status || !status.is_final() {
        return says("the last word is not the journal's");
    }
    if let Some(wrong) = story.wrong().first() {
        return says(wrong);
    }
    let twice: Vec<_> = world.effects.values().filter(|made| made.times > 1).collect();
    // Whether something was made that somebody else has taken away, nobody can see.
    if !twice.is_empty() && !story.has_others() {
        return says(&format!("effects took place twice: {twice:?}"));
    }
    let wanted = without_neighbour(story.after_others(lives.before.clone())).restorable();
    let found = without_neighbour(world).restorable();
    let is_restored = found == wanted;
    let differs = || format!("\n--- wanted\n{wanted}\n--- found\n{found}\n---");
    match (status, state.verdict) {
        (Status::Refused, _) if !is_restored => {
            return says(&format!("refused, and something changed{}", differs()));
        }
        (Status::RolledBack, Some(Verdict::Restored)) if !is_restored => {
            return says(&format!("not restored{}", differs()));
        }
        (Status::RollbackFailed, _) if lives.expects_restored => {
            return says("incomplete, and nothing stood in the way");
        }
        (Status::RollbackFailed, _) if state.not_restored.is_empty() => {
            return says("incomplete, and nothing is named");
        }
        _ => {}
    }
    if matches!(status, Status::RolledBack | Status::RollbackFailed)
        && let Err(why) = tells_the_truth(lives, &state)
    {
        return says(&why);
    }
    let records = at_once(story.store.load(OperationId(1))).unwrap_or_default();
    let told = times_go_on(&records)
        .and_then(|()| windows_are_true(story, &state, &records))
        .and_then(|()| turns_are_kept(&records));
    if let Err(why) = told {
        return says(&why);
    }
    let locks = at_once(story.store.locks());
    let locks = locks.map_err(|error| error.to_string())?;
    if status != Status::RollbackFailed && !locks.is_empty() {
        return says("a lock is left");
    }
    neighbour_is_well(lives)?;
    Ok(state)
}

/// Whether two facts are the same to a person: not which thing it is, and nothing that is sealed.
fn comparable(facts: &Facts) -> BTreeMap<String, String> {
    let Facts::Present(map) = facts else { return BTreeMap::new() };
    let sealed = ["id", "env", "config"];
    let kept = map.iter().filter(|(name, _)| !sealed.contains(&name.as_str()));
    kept.map(|(name, value)| (name.clone(), value.to_string())).collect()
}

fn is_same(one: &Facts, other: &Facts) -> bool {
    one.is_absent() == other.is_absent() && comparable(one) == comparable(other)
}

/// A line for each event that says what was done.
pub fn story(records: &[Record]) -> String {
    let line = |record: &Record| {
        let what = match &record.event {
            Event::CallAnswered { id, call, result } => {
                let told = match result {
                    Ok(_) => "ok".to_owned(),
                    Err(failure) => failure.message.clone(),
                };
                format!("{} {} {told}", id, call.function())
            }
            Event::CallStarted { id, call, changes, .. } => {
                let before: Vec<_> = changes.iter().map(|c| c.before.to_string()).collect();
                format!("{id} {} was {}", call.function(), before.join(" and "))
            }
            Event::CallFinished { id, outcome, .. } => format!("{id} {outcome:?}"),
            Event::UndoEnded { step, result } => format!("{step} {result:?}"),
            Event::AttemptFinished { of, result } => format!("{of:?} {result:?}"),
            Event::RollbackStarted { why, .. } => why.clone(),
            other => other.step().map(ToString::to_string).unwrap_or_default(),
        };
        let short: String = what.chars().take(220).collect();
        format!("{:>3} {} {short}\n", record.seq.0, record.event.name())
    };
    records.iter().map(line).collect()
}

/// What is named as not restored is as it is said to be, and what is not named is as it was.
fn tells_the_truth(lives: &Lives, state: &State) -> Result<(), String> {
    let reveal = |text: &str| {
        lives.secrets().fold(text.to_owned(), |text, (name, value)| {
            text.replace(&secret_placeholder(name), value)
        })
    };
    let now = |resource: &Resource| {
        let revealed = resource.map_texts(&reveal);
        at_once(lives.story.world.observe(&revealed)).map_err(|failure| failure.message)
    };
    for lost in &state.not_restored {
        let (Some(told), Ok(is)) = (&lost.now, now(&lost.resource)) else { continue };
        if !is_same(&told.map_texts(&reveal), &is) {
            return Err(format!("{} is {is}, and told is {told}", lost.resource));
        }
    }
    let is_kept = |resource: &Resource| matches!(resource, Resource::Image { .. });
    for (resource, before) in state.baselines.iter() {
        let named = state.not_restored.iter().any(|lost| lost.resource == *resource);
        if named || is_kept(resource) || matches!(before, Facts::Unknown(_)) {
            continue;
        }
        let is = now(resource)?;
        if !is_same(&before.map_texts(&reveal), &is) {
            return Err(format!("{resource} is {is}, it was {before}, and nobody is told"));
        }
    }
    Ok(())
}

/// The journal's time does not go back; an answer has the time at which it came, which may be
/// before that of what was written down meanwhile.
fn times_go_on(records: &[Record]) -> Result<(), String> {
    let decided = |record: &&Record| !matches!(record.event, Event::CallAnswered { .. });
    let decided: Vec<&Record> = records.iter().filter(decided).collect();
    for two in decided.windows(2) {
        if two[1].at < two[0].at {
            return Err(format!("event {} is before event {}", two[1].seq.0, two[0].seq.0));
        }
    }
    Ok(())
}

/// No more instances of a step are under way at a time than it may have: those that wait to be
/// tried again count, and so do those that are being undone.
fn turns_are_kept(records: &[Record]) -> Result<(), String> {
    let mut state = State::default();
    let mut at_most: BTreeMap<StepId, usize> = BTreeMap::new();
    for record in records {
        state.apply(record).map_err(|error| error.to_string())?;
        if let Event::Created(pinned) = &record.event {
            let manifest = parse_pinned("random.toml", &pinned.manifest);
            let manifest = manifest.map_err(|error| error.to_string())?;
            let bounded = manifest.steps.into_iter();
            at_most =
                bounded.filter_map(|step| Some((step.id, step.at_most?.get() as usize))).collect();
        }
        for (step, at_most) in &at_most {
            let going = state.steps.iter().filter(|(key, one)| {
                let is_going = match (state.status, one.status) {
                    (Status::RollingBack, status) => status == StepStatus::Undoing,
                    (_, StepStatus::Pending | StepStatus::Skipped) => false,
                    (_, StepStatus::Done | StepStatus::Leftover) => false,
                    _ => !state.status.is_final(),
                };
                key.step == *step && is_going
            });
            let going = going.count();
            if going > *at_most {
                return Err(format!("{going} of `{step}` at event {}", record.seq.0));
            }
        }
    }
    Ok(())
}

/// The downtime is open whenever the service may be down by what the window did to it.
fn windows_are_true(story: &Story, state: &State, records: &[Record]) -> Result<(), String> {
    let (mut is_open, mut is_back, mut is_committed) = (false, false, false);
    let mut stops: BTreeMap<CallId, bool> = BTreeMap::new();
    let mut is_down = false;
    for record in records {
        match &record.event {
            Event::DowntimeStarted => is_open = true,
            Event::DowntimeEnded { .. } => {
                if is_down && is_back && !story.is_container_uncertain() {
                    return Err(format!("event {}: the downtime ends too early", record.seq.0));
                }
                is_open = false;
            }
            Event::Committed => is_committed = true,
            // Going forward the manifest may leave it down.
            Event::RollbackStarted { .. } => is_back = true,
            Event::CallStarted { id, call, changes, .. } => {
                let is_of_service = changes.first().is_some_and(|change| {
                    let before = state.baselines.of(&change.resource);
                    before.is_some_and(|facts| facts.get("running") == Some(&true.into()))
                });
                if let (Call::Docker(DockerCall::StopContainer { .. }), true) =
                    (call, is_of_service)
                {
                    stops.insert(id.clone(), true);
                    is_down = true;
                    if !is_open && !is_committed {
                        let seq = record.seq.0;
                        return Err(format!("event {seq}: it is stopped out of a window"));
                    }
                }
                if let (Call::Docker(DockerCall::StartContainer { .. }), true) =
                    (call, is_of_service)
                {
                    stops.insert(id.clone(), false);
                }
            }
            Event::CallFinished { id, outcome, changes } => match stops.get(id) {
                Some(true) if matches!(outcome, EffectOutcome::Refused(_)) => {
                    let runs = |facts: &Facts| facts.get("running") == Some(&true.into());
                    is_down = !changes.iter().any(|change| runs(&change.before));
                }
                // Whether it was stopped nobody knows, but who looked afterwards.
                Some(true) if matches!(outcome, EffectOutcome::Unknown(_)) => {
                    let looked = changes.iter().filter_map(|change| change.after.as_ref());
                    is_down =
                        looked.into_iter().any(|after| after.get("running") == Some(&false.into()));
                }
                Some(false) if matches!(outcome, EffectOutcome::Done(_)) => is_down = false,
                Some(_) | None => {}
            },
            _ => {}
        }
    }
    match state.status {
        Status::RolledBack
            if state.downtime.since.is_some() && state.verdict == Some(Verdict::Restored) =>
        {
            Err("restored, and the downtime is not over".into())
        }
        Status::Succeeded if state.downtime.since.is_some() => {
            Err("succeeded, and the downtime is not over".into())
        }
        _ => Ok(()),
    }
}

/// What records say of the downtime.
#[derive(Clone, Copy)]
pub enum Told {
    Opens,
    Closes { after_ms: u64 },
}

pub fn windows(records: &[Record]) -> Vec<Told> {
    let told = |record: &Record| match record.event {
        Event::DowntimeStarted => Some(Told::Opens),
        Event::DowntimeEnded { downtime_ms } => Some(Told::Closes { after_ms: downtime_ms }),
        _ => None,
    };
    records.iter().filter_map(told).collect()
}

/// So many appends after the machine slept, nothing that was decided before is still to come.
const APPENDS_UNDER_WAY: u32 = 3;

/// How long the downtime was is no less than how long the machine slept in it.
pub fn holds_windows(story: &Story, told: &[Told]) {
    let mut seen = story.seen.lock().expect("no panic");
    seen.appends += 1;
    for told in told {
        match told {
            Told::Opens => seen.open_since = Some(seen.appends),
            Told::Closes { after_ms } => {
                let Some(since) = seen.open_since.take() else { continue };
                let within = since..=seen.appends.saturating_sub(APPENDS_UNDER_WAY);
                let slept = seen.sleeps.iter().filter(|(at, _)| within.contains(at));
                let slept_ms: u64 = slept.map(|(_, ms)| ms).sum();
                // The third runner can't tell how far the second one's clock was ahead.
                let is_known = !seen.is_clock_set_back || seen.lives < 3;
                if *after_ms < slept_ms && is_known {
                    story.says(format!("a downtime of {slept_ms} ms is told as {after_ms} ms"));
                }
            }
        }
    }
}

/// The world without what only the neighbour touches.
fn without_neighbour(mut world: World) -> World {
    if let Some(engine) = world.engines.get_mut(HOST) {
        engine.volumes.retain(|name, _| !name.starts_with("n-"));
    }
    world
}

/// Whatever befalls the operation, the one beside it is not kept from its own end; and nobody is
/// told that somebody took over who did not.
fn neighbour_is_well(lives: &Lives) -> Result<(), String> {
    let is_fenced = |state: &State| {
        let failed = state.steps.values().filter_map(|step| step.error.as_ref());
        let failed = failed.map(|failure| failure.message.clone());
        let undos = state.steps.values().filter_map(|step| step.undo_error.clone());
        failed.chain(undos).any(|why| why.contains("has taken this operation over"))
    };
    if is_fenced(&lives.state()) {
        return Err("the operation is fenced, and nobody took it over".into());
    }
    let Some(state) = lives.neighbour() else { return Ok(()) };
    if is_fenced(&state) {
        return Err("the neighbour is fenced, and nobody took it over".into());
    }
    let world = lives.story.world.load().map_err(|failure| failure.message)?;
    let engine = world.engines.get(HOST);
    let has = |name: &str| engine.is_some_and(|engine| engine.volumes.contains_key(name));
    let (first, last) = (has("n-first"), has("n-last"));
    match (state.status, state.verdict) {
        (Status::Succeeded, _) if first && last => Ok(()),
        (Status::RolledBack, Some(Verdict::Restored)) if !first && !last => Ok(()),
        (Status::RollbackFailed, _) if first || last => Ok(()),
        (status, verdict) => Err(format!(
            "the neighbour ended {status:?} {verdict:?}, first {first}, last {last}: {:?}",
            state.why
        )),
    }
}
