//! What changes a pool: the same commands to each process, and a look at what came of them.
//!
//! A server gets traffic the moment it is ready, before its first check, and a slot that is used
//! again shows the verdict on whoever had it before. So a slot is drained before a target is put
//! into it, and said to be down then: it is up when as many checks have passed as its `rise` wants
//! (HAProxy Management Guide, *set server*). The address comes last, and goes first: a slot that a
//! crash left half taken is one that nobody has.

use super::pool::Pool;
use super::shapes::{NO_PORT, Slot, quoted};
use super::view::{Place, Seen, View, must_be_there};
use super::wire::NoAnswer;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use stepback_core::calls::LoadBalancerCall;
use stepback_core::step::EffectOutcome;
use stepback_core::{Failure, FailureClass, InstanceId};
use stepback_provider::Settled;
use stepback_provider::pools;

/// What an effect wants of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Added { weight: Option<u32>, floor: u32 },
    Enabled,
    Drained { floor: u32 },
    Removed,
}

impl Wanted {
    /// Of a call that is an effect.
    pub(super) fn of(call: &LoadBalancerCall) -> Option<Self> {
        match call {
            LoadBalancerCall::Add { weight, floor, .. } => {
                Some(Self::Added { weight: *weight, floor: *floor })
            }
            LoadBalancerCall::Enable { .. } => Some(Self::Enabled),
            LoadBalancerCall::Drain { floor, .. } => Some(Self::Drained { floor: *floor }),
            LoadBalancerCall::Remove { .. } => Some(Self::Removed),
            LoadBalancerCall::DescribePool { .. }
            | LoadBalancerCall::WaitHealthy { .. }
            | LoadBalancerCall::WaitDrained { .. } => None,
        }
    }

    /// Whether every process has the target so.
    fn is_so(self, seen: &Seen) -> bool {
        seen.are_all(|one| self.is_so_in(one))
    }

    fn is_so_in(self, one: &pools::Target) -> bool {
        match self {
            Self::Added { weight, .. } => {
                one.present && weight.is_none_or(|weight| one.weight == Some(weight))
            }
            Self::Enabled => one.enabled,
            Self::Drained { .. } => !one.enabled,
            Self::Removed => !one.present,
        }
    }
}

/// An effect: the pool, the target that it is about, what it wants of that, and where instances
/// are.
pub(super) struct Asked<'a> {
    pub(super) pool: &'a Pool,
    pub(super) place: Place,
    pub(super) wanted: Wanted,
    pub(super) hosts: BTreeMap<InstanceId, IpAddr>,
}

/// So often it is made once more where a reload has undone it.
const RELOADS_MAX: u32 = 3;

/// Make an effect.
pub(super) async fn apply(asked: &Asked<'_>) -> EffectOutcome {
    let _turn = match asked.pool.turn().await {
        Ok(turn) => turn,
        Err(failure) => return EffectOutcome::Refused(failure),
    };
    if let Err(failure) = can_be_asked(asked.pool).await {
        return EffectOutcome::Refused(failure);
    }
    for nth in 0..RELOADS_MAX {
        match made(asked).await {
            // Something was told before the reload.
            Made::Ended(EffectOutcome::Refused(failure)) if nth > 0 => {
                return EffectOutcome::Unknown(failure.message);
            }
            Made::Ended(outcome) => return outcome,
            Made::Undone => {}
        }
    }
    let message = format!("pool `{}` was reloaded each time that it was changed", asked.pool.name);
    EffectOutcome::Unknown(message)
}

/// Whether all answer who are asked later, before anything is changed: the processes, and then
/// their masters, who may be in the middle of a reload.
async fn can_be_asked(pool: &Pool) -> Result<(), Failure> {
    pool.view().await?;
    pool.reloads_are_over().await
}

/// What became of an effect.
enum Made {
    Ended(EffectOutcome),
    /// A worker that had read what was kept before has taken over.
    Undone,
}

async fn made(asked: &Asked<'_>) -> Made {
    let told = match told(asked).await {
        Ok(told) => told,
        Err(outcome) => return Made::Ended(outcome),
    };
    came_of(asked, &told).await
}

/// What was there before the processes were told, and what they said against it.
struct Told {
    before: View,
    said: Vec<String>,
}

/// Tell each process what it lacks; the outcome where it ends with that.
async fn told(asked: &Asked<'_>) -> Result<Told, EffectOutcome> {
    let pool = asked.pool;
    let before = pool.view().await.map_err(EffectOutcome::Refused)?;
    let plan = plan(asked, &before).map_err(EffectOutcome::Refused)?;
    let (mut said, mut has_begun) = (vec![], false);
    for (at, commands) in pool.config.sockets.iter().zip(&plan) {
        for command in commands {
            match pool.ask(at, command).await {
                Ok(told) if is_done(told.trim()) => {}
                // What would come after it is not told.
                Ok(told) => {
                    said.push(quoted(&told));
                    return Ok(Told { before, said });
                }
                // What was told before stays so; of this one nobody knows.
                Err(NoAnswer { failure, is_unknown }) if is_unknown || has_begun => {
                    return Err(EffectOutcome::Unknown(failure.message));
                }
                Err(NoAnswer { failure, .. }) => return Err(EffectOutcome::Refused(failure)),
            }
            has_begun = true;
        }
    }
    Ok(Told { before, said })
}

/// Whether a command was taken: most say nothing then, and that of an address what it changed.
fn is_done(told: &str) -> bool {
    told.is_empty() || ["changed from", "no need to change"].iter().any(|word| told.contains(word))
}

/// What the commands came to, by a look.
async fn came_of(asked: &Asked<'_>, told: &Told) -> Made {
    let (pool, wanted) = (asked.pool, asked.wanted);
    let after = match pool.view().await {
        Ok(view) => view,
        Err(failure) => return Made::Ended(EffectOutcome::Unknown(failure.message)),
    };
    let seen = after.of(&asked.place);
    if wanted.is_so(&seen) {
        return match kept(asked).await {
            Ok(Some(answer)) => Made::Ended(EffectOutcome::Done(answer)),
            Ok(None) => Made::Undone,
            Err(failure) => Made::Ended(EffectOutcome::Unknown(failure.message)),
        };
    }
    let why = match &told.said[..] {
        [] => "it is not as it was told".to_owned(),
        told => told.join("; "),
    };
    let message = format!("HAProxy did not do it in pool `{}`: {why}", pool.name);
    Made::Ended(match settings(&told.before) == settings(&after) {
        true => EffectOutcome::Refused(
            Failure::new(FailureClass::Refused, message).with_code("haproxy-refused"),
        ),
        false => EffectOutcome::Unknown(message),
    })
}

/// Write down what is so, and see that it is so of whichever workers serve then: one that a reload
/// had begun before has read what was written earlier. The effect's answer; none where it is lost.
async fn kept(asked: &Asked<'_>) -> Result<Option<Value>, Failure> {
    let pool = asked.pool;
    pool.save().await?;
    pool.reloads_are_over().await?;
    let seen = pool.view().await?.of(&asked.place);
    Ok(asked.wanted.is_so(&seen).then(|| seen.merged().answer()))
}

fn settings(view: &View) -> Vec<Vec<Slot>> {
    view.0.iter().map(|slots| slots.iter().map(Slot::settled).collect()).collect()
}

/// The commands to each process; none where it is so already.
fn plan(asked: &Asked<'_>, view: &View) -> Result<Vec<Vec<String>>, Failure> {
    let Asked { pool, place, wanted, hosts } = asked;
    let seen = view.of(place);
    match *wanted {
        Wanted::Added { weight, floor } => {
            must_be_a_weight(weight)?;
            if weight == Some(0) {
                view.must_keep(&pool.name, place, floor, hosts)?;
            }
            let free = free_in_all(view, pool)?;
            view.0.iter().map(|slots| adds(pool, slots, place, weight, free.as_deref())).collect()
        }
        Wanted::Enabled => {
            must_be_there(&seen, &pool.name)?;
            Ok(of_each(pool, view, place, |slot| !slot.is_enabled(), &["state ready"]))
        }
        Wanted::Drained { floor } => {
            if seen.is_any(|one| one.enabled) {
                view.must_keep(&pool.name, place, floor, hosts)?;
            }
            Ok(of_each(pool, view, place, Slot::is_enabled, &["state drain"]))
        }
        Wanted::Removed => {
            if seen.is_any(|one| one.enabled) {
                return Err(pools::still_enabled(&seen.merged(), &pool.name));
            }
            for slot in view.present(place) {
                must_be_a_place(pool, slot)?;
            }
            let nowhere = format!("addr {} port {NO_PORT}", place.address);
            let commands = [nowhere.as_str(), "state maint"];
            Ok(of_each(pool, view, place, |slot| !slot.is_in_maintenance, &commands))
        }
    }
}

fn command(pool: &Pool, slot: &Slot, told: &str) -> String {
    format!("set server {}/{} {told}", pool.config.backend, slot.name)
}

/// The same commands for each server that a target has and that is not so yet.
fn of_each(
    pool: &Pool,
    view: &View,
    place: &Place,
    is_wanted: impl Fn(&Slot) -> bool,
    commands: &[&str],
) -> Vec<Vec<String>> {
    let of = |slots: &Vec<Slot>| {
        let at_it = slots.iter().filter(|slot| slot.is_at(place.address, place.port));
        let all = at_it.filter(|slot| is_wanted(slot)).flat_map(|slot| {
            commands.iter().map(|told| command(pool, slot, told)).collect::<Vec<_>>()
        });
        all.collect()
    };
    view.0.iter().map(of).collect()
}

/// The first slot that is free in every process, so that they stay alike.
fn free_in_all(view: &View, pool: &Pool) -> Result<Option<String>, Failure> {
    let Some(first) = view.0.first() else {
        let message = format!("pool `{}` has no process", pool.name);
        return Err(Failure::new(FailureClass::Precondition, message));
    };
    let is_free_in = |slots: &Vec<Slot>, name: &str| {
        slots.iter().any(|slot| slot.name == name && slot.is_free())
    };
    let free = first.iter().filter(|slot| slot.is_free());
    let mut free = free.filter(|slot| view.0.iter().all(|slots| is_free_in(slots, &slot.name)));
    // Who was served by the one before may be so still.
    let idle = free.clone().find(|slot| slot.sessions == 0);
    Ok(idle.or_else(|| free.next()).map(|slot| slot.name.clone()))
}

fn adds(
    pool: &Pool,
    slots: &[Slot],
    place: &Place,
    weight: Option<u32>,
    free: Option<&str>,
) -> Result<Vec<String>, Failure> {
    let at_it = slots.iter().filter(|slot| slot.is_at(place.address, place.port));
    let own = at_it.min_by_key(|slot| slot.is_in_maintenance);
    if let Some(slot) = own {
        must_not_be_held(pool, slot)?;
        let other = weight.filter(|weight| *weight != slot.weight);
        let weighed = other.map(|weight| command(pool, slot, &format!("weight {weight}")));
        return Ok(weighed.into_iter().collect());
    }
    let is_it = |slot: &&Slot| free.is_some_and(|free| slot.name == free);
    let slot = slots.iter().find(is_it).ok_or_else(|| no_slot(pool, slots))?;
    let to = format!("addr {} port {}", place.address, place.port);
    // Who had it before may have had another share.
    let weighed = weight.map_or_else(|| "weight 100%".to_owned(), |one| format!("weight {one}"));
    let told = [&weighed, "state drain", &to, "health down"];
    Ok(told.map(|told| command(pool, slot, told)).to_vec())
}

/// What a server's weight can be (HAProxy Management Guide, *set server … weight*).
const WEIGHT_MAX: u32 = 256;

/// Whether it is one.
pub(super) fn must_be_a_weight(weight: Option<u32>) -> Result<(), Failure> {
    match weight {
        Some(weight @ WEIGHT_MAX..) if weight > WEIGHT_MAX => {
            let message = format!("a weight of {weight} is none: HAProxy's are 0 to {WEIGHT_MAX}");
            Err(Failure::new(FailureClass::InvalidInput, message).with_code("weight"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether nobody keeps it in maintenance, where no call has put it: its place would be lost.
pub(super) fn must_not_be_held(pool: &Pool, slot: &Slot) -> Result<(), Failure> {
    if !slot.is_in_maintenance {
        return Ok(());
    }
    let (backend, name) = (&pool.config.backend, &slot.name);
    let message = format!(
        "server `{name}` of backend `{backend}` is at that very place, in maintenance: somebody \
         keeps it there; `set server {backend}/{name} state drain` gives it back to the pool"
    );
    Err(Failure::new(FailureClass::Precondition, message).with_code("in-maintenance"))
}

fn no_slot(pool: &Pool, slots: &[Slot]) -> Failure {
    let used = slots.iter().filter(|slot| !slot.is_free()).count();
    let message = format!(
        "backend `{}` has no free server: {used} of {} are in use; give it more \
         (`server-template app 1-{} localhost:1 check disabled init-addr last,libc,none`)",
        pool.config.backend,
        slots.len(),
        slots.len().saturating_mul(2).max(10),
    );
    Failure::new(FailureClass::Precondition, message).with_code("no-slot")
}

/// Whether a target can be put into a slot, so that its health is known and a reload keeps it.
pub(super) fn must_be_a_place(pool: &Pool, slot: &Slot) -> Result<(), Failure> {
    let backend = &pool.config.backend;
    let (why, help, code) = match slot {
        Slot { is_checked: false, .. } => {
            ("is not checked: nobody knows when it is healthy", "give it `check`", "no-check")
        }
        Slot { is_unwatched: true, .. } => (
            "has its checks turned off: nobody knows when it is healthy",
            "turn them on again with `enable health BACKEND/SERVER`",
            "checks-off",
        ),
        Slot { is_kept: false, .. } => (
            "has its address as a number, and loses what it is given at a reload",
            "write a name that is this machine's, `localhost:1`, and `init-addr last,libc,none`",
            "not-kept",
        ),
        _ => return Ok(()),
    };
    let message = format!("server `{}` of backend `{backend}` {why}: {help}", slot.name);
    Err(Failure::new(FailureClass::Precondition, message).with_code(code))
}

/// What became of an effect whose answer was lost. Where some processes have it so, the others are
/// told what they were not: a look has proved that nothing happened there.
pub(super) async fn settle(asked: &Asked<'_>) -> Settled {
    match looked(asked).await {
        Ok(Looked::Done(answer)) => Settled::Done(answer),
        Ok(Looked::Nothing) => Settled::NotHappened,
        Ok(Looked::InPart) => match apply(asked).await {
            EffectOutcome::Done(answer) => Settled::Done(answer),
            EffectOutcome::Refused(failure) => Settled::CantKnow(failure.message),
            EffectOutcome::Unknown(why) => Settled::CantKnow(why),
        },
        Err(failure) => Settled::CantKnow(failure.message),
    }
}

/// What a look tells of an effect.
enum Looked {
    /// All processes have it so, and what a reload reads has it, too.
    Done(Value),
    Nothing,
    /// Some have it so.
    InPart,
}

async fn looked(asked: &Asked<'_>) -> Result<Looked, Failure> {
    let Asked { pool, place, wanted, .. } = asked;
    let _turn = pool.turn().await?;
    let seen = pool.view().await?.of(place);
    if wanted.is_so(&seen) {
        return Ok(match kept(asked).await? {
            Some(answer) => Looked::Done(answer),
            None => Looked::InPart,
        });
    }
    Ok(match seen.is_any(|one| wanted.is_so_in(one)) {
        true => Looked::InPart,
        false => Looked::Nothing,
    })
}
