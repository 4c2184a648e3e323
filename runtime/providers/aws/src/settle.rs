//! What became of an effect, told from the world alone (R3).
//!
//! One look answers it for an effect just accepted and for one whose answer was lost: is the
//! world as the call wants it, on its way there, or not? What was created is known by its id, or,
//! when no answer told one, by the stamp it carries.

use super::Aws;
use super::errors::{RequestError, misplaced};
use super::shapes::{InstanceSeen, VolumeSeen};
use super::waits::Backoff;
use aws_sdk_ec2::types::VolumeModificationState;
use serde_json::Value;
use std::time::Duration;
use stepback_core::calls::{EbsCall, Ec2Call, SettleMode, Tags};
use stepback_core::{Call, InstanceId, Token, VolumeId};
use stepback_core::{ebs_reads, ebs_waits, ec2_reads, ec2_waits};
use stepback_provider::{EffectContext, Notes, Settled};

/// What one look told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Probe {
    /// The world is as the call wants it; its answer.
    Done(Value),
    /// On the way there, and what is in between.
    Passing(String),
    /// Not so.
    Not,
    /// It took place, and what it made is no good.
    Broken(String),
}

/// How what a call is about is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark<'a> {
    /// By the id that the answer told.
    Id(&'a str),
    /// By the stamp.
    Stamp(&'a Token),
    /// By the call's arguments.
    Named,
}

fn done(is_so: bool) -> Probe {
    if is_so { Probe::Done(Value::Null) } else { Probe::Not }
}

fn tag_is(tags: Option<&Tags>, key: &str, value: Option<&String>) -> Probe {
    done(tags.is_some_and(|tags| tags.get(key) == value))
}

fn instance_made(found: &InstanceSeen) -> Probe {
    let (id, state) = (&found.id, found.state.as_str());
    match state {
        "running" => Probe::Done(found.json()),
        "pending" => Probe::Passing(format!("instance `{id}` is pending")),
        _ => {
            let why = found.reason.as_deref().unwrap_or("no reason was given");
            Probe::Broken(format!("instance `{id}` was created and is {state}: {why}"))
        }
    }
}

fn volume_made(found: &VolumeSeen) -> Probe {
    let (id, state) = (&found.id, found.state.as_str());
    match state {
        "available" | "in-use" => Probe::Done(found.json()),
        "creating" => Probe::Passing(format!("volume `{id}` is being created")),
        _ => Probe::Broken(format!("volume `{id}` was created and is in state {state}")),
    }
}

/// An instance that is to come into `wanted` through `via`.
fn state_is(found: Option<InstanceSeen>, wanted: &str, via: &str) -> Probe {
    let Some(found) = found else { return Probe::Not };
    match found.state.as_str() {
        state if state == wanted => Probe::Done(found.json()),
        state if state == via => Probe::Passing(format!("instance `{}` is {state}", found.id)),
        _ => Probe::Not,
    }
}

fn terminated(found: Option<&InstanceSeen>) -> Probe {
    match found.map(|found| found.state.as_str()) {
        None | Some("terminated") => Probe::Done(Value::Null),
        Some("shutting-down") => Probe::Passing("the instance is shutting down".into()),
        Some(_) => Probe::Not,
    }
}

fn attached(found: Option<VolumeSeen>, instance: &InstanceId, device: &str) -> Probe {
    let Some(found) = found else { return Probe::Not };
    let here = found.attachments.iter().find(|a| a.instance == instance.0 && a.device == device);
    match here.map(|attachment| attachment.state.as_str()) {
        // A volume's own state may lag behind that of its attachment.
        Some("attached") if found.state == "in-use" => Probe::Done(found.json()),
        Some("attached" | "attaching") => {
            Probe::Passing(format!("volume `{}` is being attached to {instance}", found.id))
        }
        Some(_) | None => Probe::Not,
    }
}

fn detached(found: Option<VolumeSeen>, instance: &InstanceId) -> Probe {
    let Some(found) = found else { return Probe::Not };
    let here = found.attachments.iter().find(|attachment| attachment.instance == instance.0);
    match here.map(|attachment| attachment.state.as_str()) {
        None if found.attachments.is_empty() && found.state == "in-use" => {
            Probe::Passing(format!("volume `{}` is on its way to available", found.id))
        }
        None => Probe::Done(found.json()),
        Some(state @ ("detaching" | "busy")) => {
            let id = &found.id;
            Probe::Passing(format!("volume `{id}` is {state}: is it mounted on {instance}?"))
        }
        Some(_) => Probe::Not,
    }
}

impl Aws {
    /// Look once at what the call brings about.
    pub(super) async fn look(&self, call: &Call, mark: Mark<'_>) -> Result<Probe, RequestError> {
        match call {
            Call::Ec2(Ec2Call::RunInstance { .. }) => {
                let found = match mark {
                    Mark::Id(id) => self.instance(id).await?,
                    Mark::Stamp(token) => self.instances_by(token).await?.into_iter().next(),
                    Mark::Named => None,
                };
                Ok(found.as_ref().map_or(Probe::Not, instance_made))
            }
            Call::Ebs(EbsCall::CreateVolume { .. }) => {
                let found = match mark {
                    Mark::Id(id) => self.volume(id).await?,
                    Mark::Stamp(token) => self.volumes_by(token).await?.into_iter().next(),
                    Mark::Named => None,
                };
                Ok(found.as_ref().map_or(Probe::Not, volume_made))
            }
            // It counts from the moment it was begun; `ebs.wait-snapshot` waits for the rest
            // (Amazon EC2 API Reference, *CreateSnapshot*).
            Call::Ebs(EbsCall::CreateSnapshot { .. }) => {
                let found = match mark {
                    Mark::Id(id) => self.snapshot(id).await?,
                    Mark::Stamp(token) => self.snapshots_by(token).await?.into_iter().next(),
                    Mark::Named => None,
                };
                Ok(found.map_or(Probe::Not, |found| Probe::Done(found.json())))
            }
            _ => self.look_at_named(call).await,
        }
    }

    async fn look_at_named(&self, call: &Call) -> Result<Probe, RequestError> {
        let id_of_instance = |id: &InstanceId| id.0.clone();
        match call {
            Call::Ec2(Ec2Call::Start { instance }) => {
                Ok(state_is(self.instance(&id_of_instance(instance)).await?, "running", "pending"))
            }
            Call::Ec2(Ec2Call::Stop { instance }) => {
                Ok(state_is(self.instance(&id_of_instance(instance)).await?, "stopped", "stopping"))
            }
            Call::Ec2(Ec2Call::Terminate { instance }) => {
                Ok(terminated(self.instance(instance.as_str()).await?.as_ref()))
            }
            Call::Ec2(Ec2Call::SetInstanceType { instance, instance_type }) => {
                let found = self.instance(instance.as_str()).await?;
                Ok(done(found.is_some_and(|found| found.instance_type == *instance_type)))
            }
            Call::Ec2(Ec2Call::Tag { instance, key, value }) => {
                let found = self.instance(instance.as_str()).await?;
                Ok(tag_is(found.as_ref().map(|found| &found.tags), key, Some(value)))
            }
            Call::Ec2(Ec2Call::Untag { instance, key }) => {
                let found = self.instance(instance.as_str()).await?;
                Ok(tag_is(found.as_ref().map(|found| &found.tags), key, None))
            }
            Call::Ebs(EbsCall::Tag { volume, key, value }) => {
                let found = self.volume(volume.as_str()).await?;
                Ok(tag_is(found.as_ref().map(|found| &found.tags), key, Some(value)))
            }
            Call::Ebs(EbsCall::Untag { volume, key }) => {
                let found = self.volume(volume.as_str()).await?;
                Ok(tag_is(found.as_ref().map(|found| &found.tags), key, None))
            }
            Call::Ebs(EbsCall::Attach { volume, instance, device }) => {
                Ok(attached(self.volume(volume.as_str()).await?, instance, device))
            }
            Call::Ebs(EbsCall::Detach { volume, instance }) => {
                Ok(detached(self.volume(volume.as_str()).await?, instance))
            }
            Call::Ebs(EbsCall::ModifyVolume { volume, size_gib }) => {
                self.grown(volume, *size_gib).await
            }
            Call::Ebs(EbsCall::DeleteVolume { volume }) => {
                let found = self.volume(volume.as_str()).await?;
                Ok(done(found.is_none_or(|found| found.is_gone())))
            }
            Call::Ebs(EbsCall::DeleteSnapshot { snapshot }) => {
                Ok(done(self.snapshot(snapshot.as_str()).await?.is_none()))
            }
            Call::Ec2(ec2_reads!() | ec2_waits!() | Ec2Call::RunInstance { .. })
            | Call::Ebs(
                ebs_reads!()
                | ebs_waits!()
                | EbsCall::CreateVolume { .. }
                | EbsCall::CreateSnapshot { .. },
            )
            | Call::Docker(_)
            | Call::LoadBalancer(_)
            | Call::Effects(_)
            | Call::Clock(_) => Err(RequestError::NeverSent(misplaced(call))),
        }
    }

    /// A modification is told by its target size, and the volume has that size from `optimizing`
    /// on, hours before `completed` (Amazon EBS User Guide, *Monitor the progress of volume
    /// modifications*). One that failed left the volume as it was.
    async fn grown(&self, id: &VolumeId, size_gib: u32) -> Result<Probe, RequestError> {
        let Some(found) = self.volume(id.as_str()).await? else { return Ok(Probe::Not) };
        if found.size_gib == size_gib {
            return Ok(Probe::Done(found.json()));
        }
        let asked = self.reads.describe_volumes_modifications().volume_ids(id.as_str());
        let none = ["InvalidVolumeModification.NotFound", "InvalidVolume.NotFound"];
        let all = match asked.send().await.map_err(RequestError::from) {
            Ok(answer) => answer.volumes_modifications.unwrap_or_default(),
            Err(trouble) if trouble.has_code(&none) => vec![],
            Err(trouble) => return Err(trouble),
        };
        let under_way = all.iter().any(|one| {
            let target = one.target_size.and_then(|size| u32::try_from(size).ok());
            let failed = one.modification_state == Some(VolumeModificationState::Failed);
            target == Some(size_gib) && !failed
        });
        let why = || format!("volume `{id}` is being grown to {size_gib} GiB");
        Ok(if under_way { Probe::Passing(why()) } else { Probe::Not })
    }

    /// Find out what became of an effect whose answer was lost.
    pub(super) async fn find_out(&self, call: &Call, context: &EffectContext) -> Settled {
        let mark = match call.settle_mode() {
            Some(SettleMode::ReissueSameToken | SettleMode::FindByStamp) => {
                Mark::Stamp(&context.token)
            }
            Some(SettleMode::DesiredState) => Mark::Named,
            Some(SettleMode::Unknowable) | None => {
                return Settled::CantKnow(format!("nothing tells whether {} ran", call.function()));
            }
        };
        self.settle_by(call, &context.notes, || self.look(call, mark)).await
    }

    /// Look, for a while, until it is sure what became of it.
    pub(super) async fn settle_by<F>(
        &self,
        call: &Call,
        notes: &Notes,
        look: impl Fn() -> F,
    ) -> Settled
    where
        F: Future<Output = Result<Probe, RequestError>>,
    {
        let mut last = "nothing was seen".to_owned();
        let limit = Duration::from_millis(self.pace.steady_ms_max);
        let reads = self.look_until_sure(call, notes, look, &mut last);
        match self.clock.timeout(limit, reads).await {
            Ok(settled) => settled,
            Err(_) => Settled::CantKnow(format!("after {limit:?}: {last}")),
        }
    }

    /// *Absent* counts only after several looks, because a describe may lag; looks that failed
    /// are none.
    async fn look_until_sure<F>(
        &self,
        call: &Call,
        notes: &Notes,
        look: impl Fn() -> F,
        last: &mut String,
    ) -> Settled
    where
        F: Future<Output = Result<Probe, RequestError>>,
    {
        let mut backoff = Backoff::new(&self.pace, &self.clock);
        let mut absent = 0;
        loop {
            match look().await {
                Ok(Probe::Done(answer)) => return Settled::Done(answer),
                Ok(Probe::Broken(why)) => return Settled::CantKnow(why),
                Ok(Probe::Passing(why)) => {
                    absent = 0;
                    backoff.tell(notes, call, &why);
                    *last = why;
                }
                Ok(Probe::Not) => {
                    absent += 1;
                    if absent >= self.pace.absent_looks {
                        return Settled::NotHappened;
                    }
                    *last = "it has not happened so far".into();
                }
                Err(trouble) if trouble.may_pass(call.function()) => {
                    *last = trouble.failure(call.function()).message;
                }
                Err(trouble) => return Settled::CantKnow(trouble.failure(call.function()).message),
            }
            backoff.pause().await;
        }
    }
}
