//! Making an effect: one request, and then the look that shows it.
//!
//! A request goes out once. It goes out again only after a throttle, or where AWS does not know an
//! id yet that it has just given: both prove that nothing happened; and only for so long that
//! [`REQUEST_MS_MAX`] holds. Once AWS has accepted an effect, nothing that goes wrong after it can
//! make it *refused*.

use super::Aws;
use super::errors::{RequestError, misplaced};
use super::settle::{Mark, Probe};
use super::shapes::{STAMP_OPERATION, STAMP_TOKEN};
use super::waits::Backoff;
use aws_sdk_ec2::types::{
    AttributeValue, InstanceType, Placement, ResourceType, Tag, TagSpecification, VolumeType,
};
use std::time::Duration;
use stepback_clock::Moment;
use stepback_core::calls::{EbsCall, Ec2Call, Tags};
use stepback_core::step::EffectOutcome;
use stepback_core::{Call, Failure, FailureClass, Interface};
use stepback_core::{ebs_reads, ebs_waits, ec2_reads, ec2_waits};
use stepback_provider::EffectContext;

/// How long one request may take, from asking for credentials to the last byte of the answer.
pub(super) const ATTEMPT_MS_MAX: u64 = 20_000;

/// How long after an effect was begun its request may be sent: the account is checked before it,
/// and what AWS throttles is sent again.
pub(super) const SENDING_MS_MAX: u64 = 10_000;

/// How long after an effect was begun a request of it can still be on its way.
pub(super) const REQUEST_MS_MAX: u64 = SENDING_MS_MAX + ATTEMPT_MS_MAX;

/// What AWS accepted.
pub(super) enum Accepted {
    /// A new thing with this id.
    Created(String),
    /// A change of what its arguments name.
    Changed,
}

fn invalid(message: String) -> RequestError {
    RequestError::NeverSent(Failure::new(FailureClass::InvalidInput, message))
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// The tags of what is created, the stamp among them: they are there from its first moment
/// (Amazon EC2 User Guide, *Tag your Amazon EC2 resources*).
fn stamped(kind: ResourceType, tags: &Tags, context: &EffectContext) -> TagSpecification {
    let given = tags.iter().map(|(key, value)| tag(key, value));
    let stamps = [
        tag(STAMP_TOKEN, context.token.as_str()),
        tag(STAMP_OPERATION, &context.operation.to_string()),
    ];
    let all = given.chain(stamps).collect();
    TagSpecification::builder().resource_type(kind).set_tags(Some(all)).build()
}

/// Numbers as the API takes them.
fn number(value: u32) -> Result<i32, RequestError> {
    i32::try_from(value).map_err(|_| invalid(format!("{value} is too large")))
}

fn size(size_gib: u32) -> Result<i32, RequestError> {
    i32::try_from(size_gib).map_err(|_| invalid(format!("{size_gib} GiB is too large")))
}

fn created(id: Option<String>) -> Result<Accepted, RequestError> {
    let nameless = || RequestError::NoAnswer("the answer of AWS names nothing".into());
    id.map(Accepted::Created).ok_or_else(nameless)
}

/// An id, if it is of the kind that begins so: tags are written on whatever has the id, and on what
/// is no volume no rule about volumes would be a rule (Amazon EC2 API Reference, *CreateTags*).
fn only<'a>(id: &'a str, begins: &str) -> Result<&'a str, RequestError> {
    let is_hex =
        |rest: &str| !rest.is_empty() && rest.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    match id.strip_prefix(begins).is_some_and(is_hex) {
        true => Ok(id),
        false => {
            let message = format!("`{id}` is no id of that kind: they are `{begins}…`");
            let failure = Failure::new(FailureClass::Precondition, message);
            Err(RequestError::NeverSent(failure.with_code("InvalidID")))
        }
    }
}

impl Aws {
    /// Make an effect, once.
    pub(super) async fn make(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        let begun = self.clock.now();
        let limit = Duration::from_millis(SENDING_MS_MAX);
        match self.clock.timeout(limit, self.may_change(call)).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => return EffectOutcome::Refused(failure),
            Err(_) => {
                let message = "AWS did not tell in time whose the credentials are";
                return EffectOutcome::Refused(Failure::new(FailureClass::Transient, message));
            }
        }
        match self.send(call, context, begun, || self.send_once(call, context, None)).await {
            Ok(accepted) => {
                match &accepted {
                    Accepted::Created(id) => self.note_made(id),
                    Accepted::Changed => self.forget_gone(call),
                }
                self.confirm(call, &accepted, context).await
            }
            Err(trouble) => self.turned_down(call, &trouble, context).await,
        }
    }

    /// What keeps an effect from being asked for at all.
    pub(super) async fn may_change(&self, call: &Call) -> Result<(), Failure> {
        let is_ours = matches!(call.interface(), Interface::Ec2 | Interface::Ebs);
        if !call.is_effect() || !is_ours {
            return Err(misplaced(call));
        }
        stepback_provider::tags::must_be_free(call)?;
        self.must_be_its_account().await
    }

    /// Send the request; again, for a while, as long as AWS throttles it, or does not find what was
    /// made a moment ago.
    pub(super) async fn send<T, F>(
        &self,
        call: &Call,
        context: &EffectContext,
        begun: Moment,
        once: impl Fn() -> F,
    ) -> Result<T, RequestError>
    where
        F: Future<Output = Result<T, RequestError>>,
    {
        let mut backoff = Backoff::new(&self.pace, &self.clock);
        loop {
            let trouble = match once().await {
                Err(trouble) if trouble.is_throttled() => trouble,
                Err(trouble) if trouble.code().is_some_and(|code| self.is_late(call, code)) => {
                    trouble
                }
                other => return other,
            };
            let until = begun.after(Duration::from_millis(SENDING_MS_MAX));
            let paused = self.clock.timeout_at(until, backoff.pause()).await.is_ok();
            // A pause longer than what is left ends the trying.
            if !paused || context.cancel.is_cancelled() {
                return Err(trouble);
            }
        }
    }

    /// With `dry_run`, AWS says whether the caller has the permission, and does nothing (Amazon EC2
    /// API Reference, the parameter *DryRun* of each action).
    pub(super) async fn send_once(
        &self,
        call: &Call,
        context: &EffectContext,
        dry_run: Option<bool>,
    ) -> Result<Accepted, RequestError> {
        match call {
            Call::Ec2(Ec2Call::RunInstance { .. })
            | Call::Ebs(EbsCall::CreateVolume { .. })
            | Call::Ebs(EbsCall::CreateSnapshot { .. }) => {
                self.create(call, context, dry_run).await
            }
            Call::Ec2(Ec2Call::Start { .. })
            | Call::Ec2(Ec2Call::Stop { .. })
            | Call::Ec2(Ec2Call::Terminate { .. })
            | Call::Ec2(Ec2Call::SetInstanceType { .. }) => {
                self.change_instance(call, dry_run).await
            }
            Call::Ebs(EbsCall::Attach { .. })
            | Call::Ebs(EbsCall::Detach { .. })
            | Call::Ebs(EbsCall::ModifyVolume { .. })
            | Call::Ebs(EbsCall::DeleteVolume { .. })
            | Call::Ebs(EbsCall::DeleteSnapshot { .. }) => self.change_storage(call, dry_run).await,
            Call::Ec2(Ec2Call::Tag { instance, key, value }) => {
                self.write_tag(only(instance.as_str(), "i-")?, key, value, dry_run).await
            }
            Call::Ebs(EbsCall::Tag { volume, key, value }) => {
                self.write_tag(only(volume.as_str(), "vol-")?, key, value, dry_run).await
            }
            Call::Ec2(Ec2Call::Untag { instance, key }) => {
                self.delete_tag(only(instance.as_str(), "i-")?, key, dry_run).await
            }
            Call::Ebs(EbsCall::Untag { volume, key }) => {
                self.delete_tag(only(volume.as_str(), "vol-")?, key, dry_run).await
            }
            Call::Ec2(ec2_reads!() | Ec2Call::WaitState { .. })
            | Call::Ebs(ebs_reads!() | ebs_waits!())
            | Call::Docker(_)
            | Call::LoadBalancer(_)
            | Call::Effects(_)
            | Call::Clock(_) => Err(RequestError::NeverSent(misplaced(call))),
        }
    }

    /// *RunInstances* and *CreateVolume* take the token as their client token
    /// (Amazon EC2 API Reference, *Ensuring idempotency in Amazon EC2 API requests*).
    async fn create(
        &self,
        call: &Call,
        context: &EffectContext,
        dry_run: Option<bool>,
    ) -> Result<Accepted, RequestError> {
        // A question uses no token of ours up; the SDK makes up one of its own.
        let token = dry_run.is_none().then(|| context.token.0.clone());
        match call {
            Call::Ec2(Ec2Call::RunInstance { image, instance_type, zone, tags }) => {
                let placement = Placement::builder().availability_zone(zone).build();
                let request = self.effects.run_instances().image_id(image).set_client_token(token);
                let request = request.set_dry_run(dry_run);
                let request = request.min_count(1).max_count(1).placement(placement);
                let request = request.instance_type(InstanceType::from(instance_type.as_str()));
                let tags = stamped(ResourceType::Instance, tags, context);
                let answer = request.tag_specifications(tags).send().await?;
                let made = answer.instances.unwrap_or_default().into_iter().next();
                created(made.and_then(|instance| instance.instance_id))
            }
            Call::Ebs(EbsCall::CreateVolume {
                zone,
                size_gib,
                volume_type,
                snapshot,
                tags,
                performance,
                encrypted,
            }) => {
                let request = self.effects.create_volume().set_client_token(token);
                let request = request.set_dry_run(dry_run);
                let request = request.availability_zone(zone).size(size(*size_gib)?);
                let request = request.volume_type(VolumeType::from(volume_type.as_str()));
                let request = request.set_iops(performance.iops.map(number).transpose()?);
                let throughput = performance.throughput_mibps.map(number).transpose()?;
                // Left out, it is as the account and the snapshot have it.
                let request =
                    request.set_throughput(throughput).set_encrypted(encrypted.then_some(true));
                let snapshot = snapshot.as_ref().map(|snapshot| snapshot.0.clone());
                let tags = stamped(ResourceType::Volume, tags, context);
                let request = request.set_snapshot_id(snapshot).tag_specifications(tags);
                created(request.send().await?.volume_id)
            }
            Call::Ebs(EbsCall::CreateSnapshot { volume, description, tags }) => {
                let tags = stamped(ResourceType::Snapshot, tags, context);
                let request = self.effects.create_snapshot().volume_id(volume.as_str());
                let request = request.set_dry_run(dry_run);
                let request = request.description(description).tag_specifications(tags);
                created(request.send().await?.snapshot_id)
            }
            other => Err(RequestError::NeverSent(misplaced(other))),
        }
    }

    async fn change_instance(
        &self,
        call: &Call,
        dry_run: Option<bool>,
    ) -> Result<Accepted, RequestError> {
        match call {
            Call::Ec2(Ec2Call::Start { instance }) => {
                let request = self.effects.start_instances().instance_ids(instance.as_str());
                request.set_dry_run(dry_run).send().await?;
            }
            Call::Ec2(Ec2Call::Stop { instance }) => {
                let request = self.effects.stop_instances().instance_ids(instance.as_str());
                request.set_dry_run(dry_run).send().await?;
            }
            Call::Ec2(Ec2Call::Terminate { instance }) => {
                let request = self.effects.terminate_instances().instance_ids(instance.as_str());
                request.set_dry_run(dry_run).send().await?;
            }
            Call::Ec2(Ec2Call::SetInstanceType { instance, instance_type }) => {
                let request = self.effects.modify_instance_attribute().set_dry_run(dry_run);
                let value = AttributeValue::builder().value(instance_type).build();
                request.instance_id(instance.as_str()).instance_type(value).send().await?;
            }
            Call::Ec2(
                ec2_reads!()
                | ec2_waits!()
                | Ec2Call::RunInstance { .. }
                | Ec2Call::Tag { .. }
                | Ec2Call::Untag { .. },
            )
            | Call::Ebs(_)
            | Call::Docker(_)
            | Call::LoadBalancer(_)
            | Call::Effects(_)
            | Call::Clock(_) => return Err(RequestError::NeverSent(misplaced(call))),
        }
        Ok(Accepted::Changed)
    }

    async fn change_storage(
        &self,
        call: &Call,
        dry_run: Option<bool>,
    ) -> Result<Accepted, RequestError> {
        match call {
            Call::Ebs(EbsCall::Attach { volume, instance, device }) => {
                let request = self.effects.attach_volume().volume_id(volume.as_str());
                let request = request.instance_id(instance.as_str()).device(device);
                request.set_dry_run(dry_run).send().await?;
            }
            Call::Ebs(EbsCall::Detach { volume, instance }) => {
                let request = self.effects.detach_volume().volume_id(volume.as_str());
                let request = request.instance_id(instance.as_str());
                request.set_dry_run(dry_run).send().await?;
            }
            Call::Ebs(EbsCall::ModifyVolume { volume, size_gib }) => {
                let request = self.effects.modify_volume().volume_id(volume.as_str());
                request.size(size(*size_gib)?).set_dry_run(dry_run).send().await?;
            }
            Call::Ebs(EbsCall::DeleteVolume { volume }) => {
                let request = self.effects.delete_volume().volume_id(volume.as_str());
                request.set_dry_run(dry_run).send().await?;
            }
            Call::Ebs(EbsCall::DeleteSnapshot { snapshot }) => {
                let request = self.effects.delete_snapshot().snapshot_id(snapshot.as_str());
                request.set_dry_run(dry_run).send().await?;
            }
            Call::Ec2(_)
            | Call::Ebs(
                ebs_reads!()
                | ebs_waits!()
                | EbsCall::CreateVolume { .. }
                | EbsCall::CreateSnapshot { .. }
                | EbsCall::Tag { .. }
                | EbsCall::Untag { .. },
            )
            | Call::Docker(_)
            | Call::LoadBalancer(_)
            | Call::Effects(_)
            | Call::Clock(_) => return Err(RequestError::NeverSent(misplaced(call))),
        }
        Ok(Accepted::Changed)
    }

    async fn write_tag(
        &self,
        id: &str,
        key: &str,
        value: &str,
        dry_run: Option<bool>,
    ) -> Result<Accepted, RequestError> {
        let request = self.effects.create_tags().resources(id).tags(tag(key, value));
        request.set_dry_run(dry_run).send().await?;
        Ok(Accepted::Changed)
    }

    /// A key without a value deletes the tag whatever its value is
    /// (Amazon EC2 API Reference, *DeleteTags*).
    async fn delete_tag(
        &self,
        id: &str,
        key: &str,
        dry_run: Option<bool>,
    ) -> Result<Accepted, RequestError> {
        let tag = Tag::builder().key(key).build();
        let request = self.effects.delete_tags().resources(id).tags(tag);
        request.set_dry_run(dry_run).send().await?;
        Ok(Accepted::Changed)
    }

    async fn confirm(
        &self,
        call: &Call,
        accepted: &Accepted,
        context: &EffectContext,
    ) -> EffectOutcome {
        let mark = match accepted {
            Accepted::Created(id) => Mark::Id(id),
            Accepted::Changed => Mark::Named,
        };
        self.show(call, context, || self.look(call, mark)).await
    }

    /// Look until what AWS accepted is to be seen; the answer is what is seen then. Nobody looks on
    /// whose step is ended, by its timeout, the budget or a cancel: it has been accepted, and is
    /// taken back from where it is.
    pub(super) async fn show<F>(
        &self,
        call: &Call,
        context: &EffectContext,
        look: impl Fn() -> F,
    ) -> EffectOutcome
    where
        F: Future<Output = Result<Probe, RequestError>>,
    {
        let function = call.function();
        let reads = async {
            let mut backoff = Backoff::new(&self.pace, &self.clock);
            loop {
                match look().await {
                    Ok(Probe::Done(answer)) => return EffectOutcome::Done(answer),
                    Ok(Probe::Broken(why)) => return EffectOutcome::Unknown(why),
                    Ok(Probe::Passing(why)) => backoff.tell(&context.notes, call, &why),
                    Ok(Probe::Not) => {}
                    Err(trouble) if trouble.may_pass(function) => {}
                    Err(trouble) => {
                        let message = trouble.failure(function).message;
                        return EffectOutcome::Unknown(message);
                    }
                }
                backoff.pause().await;
            }
        };
        let limit = Duration::from_millis(self.pace.effect_ms_max);
        tokio::select! {
            outcome = self.clock.timeout(limit, reads) => outcome.unwrap_or_else(|_| {
                EffectOutcome::Unknown(format!(
                    "{function} was accepted, and did not show in {limit:?}"
                ))
            }),
            () = context.cancel.cancelled() => self.as_far_as_it_came(call, look().await).await,
        }
    }

    /// What was accepted and is on its way counts as done: going back it is taken from there.
    async fn as_far_as_it_came(
        &self,
        call: &Call,
        seen: Result<Probe, RequestError>,
    ) -> EffectOutcome {
        let function = call.function();
        let why = match seen {
            Ok(Probe::Done(answer)) => return EffectOutcome::Done(answer),
            Ok(Probe::Passing(why)) => match call {
                Call::Ebs(EbsCall::Attach { volume, .. }) => {
                    match self.volume(volume.as_str()).await {
                        Ok(Some(found)) => return EffectOutcome::Done(found.json()),
                        Ok(None) | Err(_) => why,
                    }
                }
                _ => why,
            },
            Ok(Probe::Broken(why)) => why,
            Ok(Probe::Not) => format!("{function} was accepted, and has not shown"),
            Err(trouble) => trouble.failure(function).message,
        };
        EffectOutcome::Unknown(format!("{why}, when its step was ended"))
    }

    /// An attachment refused because the volume is on its target already is done: an earlier
    /// request with a lost answer may have made it.
    async fn turned_down(
        &self,
        call: &Call,
        trouble: &RequestError,
        context: &EffectContext,
    ) -> EffectOutcome {
        let attach = matches!(call, Call::Ebs(EbsCall::Attach { .. }));
        if attach && trouble.has_code(&["VolumeInUse"]) {
            match self.look(call, Mark::Named).await {
                Ok(Probe::Done(answer)) => return EffectOutcome::Done(answer),
                Ok(Probe::Passing(_)) => {
                    return self.confirm(call, &Accepted::Changed, context).await;
                }
                Ok(Probe::Not | Probe::Broken(_)) | Err(_) => {}
            }
        }
        match trouble.outcome(call.function()) {
            // A step's retry may find it.
            EffectOutcome::Refused(failure)
                if trouble.code().is_some_and(|code| self.is_late(call, code)) =>
            {
                EffectOutcome::Refused(Failure { class: FailureClass::Transient, ..failure })
            }
            outcome => outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_written_on_what_the_function_is_about() {
        for id in ["i-0123456789abcdef0", "snap-01234567", "sg-01", "vol-", "vol-0 ", "VOL-0"] {
            assert!(matches!(only(id, "vol-"), Err(RequestError::NeverSent(_))), "{id}");
        }
        assert!(only("vol-0123456789abcdef0", "vol-").is_ok());
    }
}
