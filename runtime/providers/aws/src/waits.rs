//! Waiting: how patient to be, pauses that grow, and the calls of class *wait*.
//!
//! A wait is only looks with pauses between them, so dropping its future ends it at once and
//! leaves nothing behind. What may pass (throttling, a broken connection) does not end a wait.

use super::Aws;
use super::errors::{RequestError, misplaced, missing};
use serde_json::Value;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::calls::{EbsCall, Ec2Call};
use stepback_core::manifest::duration_text;
use stepback_core::{Call, Failure, FailureClass, InstanceId, SnapshotId, VolumeId};
use stepback_provider::Notes;

/// How patiently the world is looked at. The defaults are for AWS; a local stand-in is faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The first pause between two looks; each is half as long again as the one before it.
    pub poll_ms: u64,
    /// The longest pause between two looks.
    pub poll_ms_max: u64,
    /// How long an accepted effect may take to show.
    pub effect_ms_max: u64,
    /// How long a passing state is waited out, when facts are read or a lost answer is settled.
    pub steady_ms_max: u64,
    /// So many looks in a row make sure that what is not found is not there.
    pub absent_looks: u32,
}

impl Default for Pace {
    /// EC2 shows what was just changed with a delay, and asks for looks with growing pauses
    /// (Amazon EC2 API Reference, *Eventual consistency in the Amazon EC2 API*): ten looks are
    /// spread over more than a minute. An instance takes minutes to stop.
    fn default() -> Self {
        Self {
            poll_ms: 1_000,
            poll_ms_max: 15_000,
            effect_ms_max: 10 * 60_000,
            steady_ms_max: 5 * 60_000,
            absent_looks: 10,
        }
    }
}

impl Pace {
    /// How long it takes to be sure that what is not found is not there.
    pub(super) fn absent_ms(&self) -> u64 {
        let mut pauses = Pauses::of(self);
        // Before the first look there is none.
        (1..self.absent_looks).fold(0_u64, |all, _| all.saturating_add(pauses.next_ms()))
    }
}

/// Pauses that grow, in milliseconds: each is half as long again as the one before it.
struct Pauses {
    next_ms: u64,
    max_ms: u64,
}

impl Pauses {
    fn of(pace: &Pace) -> Self {
        Self { next_ms: pace.poll_ms.max(1), max_ms: pace.poll_ms_max.max(1) }
    }

    fn next_ms(&mut self) -> u64 {
        let now_ms = self.next_ms;
        self.next_ms = now_ms.saturating_add(now_ms.div_ceil(2)).min(self.max_ms);
        now_ms
    }
}

/// Pauses that grow.
pub(super) struct Backoff {
    pauses: Pauses,
    clock: Clock,
    looks: u32,
}

/// A reason why nothing has come yet is told at each so many looks: after some ten seconds, and
/// about once a minute from then on.
const TOLD_EVERY: u32 = 5;

impl Backoff {
    pub(super) fn new(pace: &Pace, clock: &Clock) -> Self {
        Self { pauses: Pauses::of(pace), clock: clock.clone(), looks: 0 }
    }

    /// Tell whoever waits why, from time to time.
    pub(super) fn tell(&self, notes: &Notes, call: &Call, why: &str) {
        if self.looks > 0 && self.looks.is_multiple_of(TOLD_EVERY) {
            notes.info(format!("{} is waited for: {why}", call.function()));
        }
    }

    pub(super) async fn pause(&mut self) {
        self.looks = self.looks.saturating_add(1);
        self.clock.sleep(Duration::from_millis(self.pauses.next_ms())).await;
    }
}

/// What one look of a wait told.
enum Waited {
    Over(Value),
    NotYet,
    /// It will never be so.
    InVain(Failure),
}

fn never(message: String) -> Waited {
    Waited::InVain(Failure::new(FailureClass::Precondition, message))
}

impl Aws {
    /// Look until it is so, the time is over, or it can't become so any more.
    pub(super) async fn wait_for(&self, call: &Call) -> Result<Value, Failure> {
        let timeout_ms = timeout_ms(call).ok_or_else(|| misplaced(call))?;
        let reads = async {
            let mut backoff = Backoff::new(&self.pace, &self.clock);
            loop {
                match self.look_of_wait(call).await {
                    Ok(Waited::Over(answer)) => return Ok(answer),
                    Ok(Waited::InVain(failure)) => return Err(failure),
                    Ok(Waited::NotYet) => {}
                    Err(trouble) if trouble.may_pass(call.function()) => {}
                    Err(trouble) => return Err(trouble.failure(call.function())),
                }
                backoff.pause().await;
            }
        };
        let late = || {
            let waited = duration_text(timeout_ms);
            let message = format!("{} waited {waited} in vain", call.function());
            Failure::new(FailureClass::Deadline, message)
        };
        let limit = Duration::from_millis(timeout_ms);
        self.clock.timeout(limit, reads).await.unwrap_or_else(|_| Err(late()))
    }

    async fn look_of_wait(&self, call: &Call) -> Result<Waited, RequestError> {
        match call {
            Call::Ec2(Ec2Call::WaitState { instance, state, .. }) => {
                self.instance_is(instance, state).await
            }
            Call::Ebs(EbsCall::WaitVolume { volume, state, .. }) => {
                self.volume_is(volume, state).await
            }
            Call::Ebs(EbsCall::WaitSnapshot { snapshot, .. }) => {
                self.snapshot_is_complete(snapshot).await
            }
            other => Ok(Waited::InVain(misplaced(other))),
        }
    }

    /// What is not found, and was made a moment ago, may be found yet.
    fn not_there(&self, failure: Failure, id: &str) -> Waited {
        if self.is_new(id) { Waited::NotYet } else { Waited::InVain(failure) }
    }

    async fn instance_is(&self, id: &InstanceId, state: &str) -> Result<Waited, RequestError> {
        let Some(found) = self.instance(id.as_str()).await? else {
            return Ok(
                self.not_there(missing("InvalidInstanceID.NotFound", "instance", id), id.as_str())
            );
        };
        let dying = found.is_terminated() || found.state == "shutting-down";
        Ok(match found.state == state {
            true => Waited::Over(found.json()),
            false if dying && state != "terminated" => {
                let why = found.reason.as_deref().unwrap_or("no reason was given");
                never(format!("instance `{id}` is {}: {why}", found.state))
            }
            false => Waited::NotYet,
        })
    }

    async fn volume_is(&self, id: &VolumeId, state: &str) -> Result<Waited, RequestError> {
        let none = || missing("InvalidVolume.NotFound", "volume", id);
        let found = match self.volume(id.as_str()).await? {
            None => return Ok(self.not_there(none(), id.as_str())),
            Some(found) if found.is_gone() => return Ok(Waited::InVain(none())),
            Some(found) => found,
        };
        Ok(match found.state.as_str() {
            // `in-use` begins with the attaching.
            now if now == state && !found.is_passing() => Waited::Over(found.json()),
            "error" => never(format!("volume `{id}` is in state error")),
            _ => Waited::NotYet,
        })
    }

    async fn snapshot_is_complete(&self, id: &SnapshotId) -> Result<Waited, RequestError> {
        let Some(found) = self.snapshot(id.as_str()).await? else {
            return Ok(
                self.not_there(missing("InvalidSnapshot.NotFound", "snapshot", id), id.as_str())
            );
        };
        Ok(match found.state.as_str() {
            "completed" => Waited::Over(found.json()),
            "error" => {
                let why = found.message.as_deref().unwrap_or("no reason was given");
                never(format!("snapshot `{id}` failed: {why}"))
            }
            _ => Waited::NotYet,
        })
    }
}

fn timeout_ms(call: &Call) -> Option<u64> {
    match call {
        Call::Ec2(Ec2Call::WaitState { timeout_ms, .. })
        | Call::Ebs(EbsCall::WaitVolume { timeout_ms, .. })
        | Call::Ebs(EbsCall::WaitSnapshot { timeout_ms, .. }) => Some(*timeout_ms),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_looks_at_ec2_take_more_than_a_minute() {
        assert_eq!(Pace::default().absent_ms(), 62_176);
        let pace =
            |absent_looks| Pace { poll_ms: 2, poll_ms_max: 4, absent_looks, ..Pace::default() };
        assert_eq!([1, 2, 3, 4].map(|looks| pace(looks).absent_ms()), [0, 2, 5, 9]);
        let never = Pace { poll_ms: u64::MAX, poll_ms_max: u64::MAX, ..Pace::default() };
        assert_eq!(never.absent_ms(), u64::MAX);
    }

    #[tokio::test]
    async fn whoever_waits_is_told_why_from_time_to_time() {
        let told = std::sync::Arc::new(std::sync::Mutex::new(vec![]));
        let to = std::sync::Arc::clone(&told);
        let notes = Notes::new(move |note| to.lock().unwrap().push(note));
        let pace = Pace { poll_ms: 1, poll_ms_max: 1, ..Pace::default() };
        let mut backoff = Backoff::new(&pace, &Clock::real());
        let call = EbsCall::WaitSnapshot { snapshot: "s".into(), timeout_ms: 1 }.into();
        for _ in 0..11 {
            backoff.tell(&notes, &call, "it is busy");
            backoff.pause().await;
        }
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 2);
        assert!(format!("{:?}", told[0]).contains("is waited for: it is busy"));
    }
}
