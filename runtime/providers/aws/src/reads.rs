//! Reading EC2: one thing by its id, all with these tags, what carries a stamp, and the facts
//! that count.

use super::Aws;
use super::errors::{RequestError, misplaced, missing};
use super::shapes::{InstanceSeen, STAMP_TOKEN, SnapshotSeen, VolumeSeen};
use super::waits::Backoff;
use aws_sdk_ec2::types::{Filter, Reservation};
use serde_json::Value;
use std::time::Duration;
use stepback_core::calls::{EbsCall, Ec2Call, Tags};
use stepback_core::{Call, Facts, Failure, FailureClass, Resource, Token};
use stepback_core::{ebs_effects, ebs_waits, ec2_effects, ec2_waits};

/// At most so many values in one filter; EC2 takes 200
/// (Amazon EC2 API Reference, *Error codes*: `FilterLimitExceeded`).
const FILTER_VALUES_MAX: usize = 100;

/// How long a volume may be between two states while its facts are read.
const ATTACHMENT_MS_MAX: u64 = 30_000;

/// How long a question about what was made a moment ago is asked again.
const LATE_MS_MAX: u64 = 10_000;

/// A filter that lets through at least what has this value: `*` and `?` stand for other text too,
/// and a backslash for what is behind it (Amazon EC2 User Guide, *Filter your resources*). What
/// comes back is compared exactly.
fn at_least(value: &str) -> String {
    value.replace('\\', "?")
}

fn filters(tags: &Tags) -> Vec<Filter> {
    let one = |(key, value): (&String, &String)| {
        Filter::builder().name(format!("tag:{key}")).values(at_least(value)).build()
    };
    tags.iter().map(one).collect()
}

fn stamp_filter(tokens: &[Token]) -> Filter {
    let values = tokens.iter().map(|token| token.0.clone()).collect();
    Filter::builder().name(format!("tag:{STAMP_TOKEN}")).set_values(Some(values)).build()
}

fn carries(tags: &Tags, wanted: &Tags) -> bool {
    wanted.iter().all(|(key, value)| tags.get(key) == Some(value))
}

fn instances_of(reservations: Vec<Reservation>) -> Vec<InstanceSeen> {
    let all = reservations.into_iter().flat_map(|one| one.instances.unwrap_or_default());
    all.map(InstanceSeen::from).collect()
}

/// Nothing where EC2 says that there is no such thing.
fn if_there<T>(found: Result<T, RequestError>, code: &str) -> Result<Option<T>, RequestError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(trouble) if trouble.has_code(&[code]) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

impl Aws {
    /// An instance as it is now (Amazon EC2 API Reference, *DescribeInstances*).
    pub(super) async fn instance(&self, id: &str) -> Result<Option<InstanceSeen>, RequestError> {
        let answer = self.reads.describe_instances().instance_ids(id).send().await;
        let found = if_there(answer.map_err(RequestError::from), "InvalidInstanceID.NotFound")?;
        let reservations = found.and_then(|found| found.reservations).unwrap_or_default();
        Ok(instances_of(reservations).into_iter().next())
    }

    /// A volume as it is now (Amazon EC2 API Reference, *DescribeVolumes*).
    pub(super) async fn volume(&self, id: &str) -> Result<Option<VolumeSeen>, RequestError> {
        let answer = self.reads.describe_volumes().volume_ids(id).send().await;
        let found = if_there(answer.map_err(RequestError::from), "InvalidVolume.NotFound")?;
        let volumes = found.and_then(|found| found.volumes).unwrap_or_default();
        Ok(volumes.into_iter().next().map(VolumeSeen::from))
    }

    /// A snapshot as it is now (Amazon EC2 API Reference, *DescribeSnapshots*).
    pub(super) async fn snapshot(&self, id: &str) -> Result<Option<SnapshotSeen>, RequestError> {
        let answer = self.reads.describe_snapshots().snapshot_ids(id).send().await;
        let found = if_there(answer.map_err(RequestError::from), "InvalidSnapshot.NotFound")?;
        let snapshots = found.and_then(|found| found.snapshots).unwrap_or_default();
        Ok(snapshots.into_iter().next().map(SnapshotSeen::from))
    }

    /// Instances that pass the filters, terminated ones left out.
    pub(super) async fn instances(
        &self,
        filters: Vec<Filter>,
    ) -> Result<Vec<InstanceSeen>, RequestError> {
        let asked = self.reads.describe_instances().set_filters(Some(filters));
        let found = asked.into_paginator().items().send().try_collect().await?;
        let mut found = instances_of(found);
        found.retain(|instance| !instance.is_terminated());
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// Volumes that pass the filters, those on their way out left out.
    pub(super) async fn volumes(
        &self,
        filters: Vec<Filter>,
    ) -> Result<Vec<VolumeSeen>, RequestError> {
        let asked = self.reads.describe_volumes().set_filters(Some(filters));
        let found = asked.into_paginator().items().send().try_collect().await?;
        let mut found: Vec<VolumeSeen> = found.into_iter().map(VolumeSeen::from).collect();
        found.retain(|volume| !volume.is_gone());
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// The account's own snapshots that pass the filters, not everybody's public ones.
    pub(super) async fn snapshots(
        &self,
        filters: Vec<Filter>,
    ) -> Result<Vec<SnapshotSeen>, RequestError> {
        let asked = self.reads.describe_snapshots().owner_ids("self").set_filters(Some(filters));
        let found = asked.into_paginator().items().send().try_collect().await?;
        let mut found: Vec<SnapshotSeen> = found.into_iter().map(SnapshotSeen::from).collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    /// The instances that a token's effect created.
    pub(super) async fn instances_by(
        &self,
        token: &Token,
    ) -> Result<Vec<InstanceSeen>, RequestError> {
        self.instances(vec![stamp_filter(std::slice::from_ref(token))]).await
    }

    /// The volumes that a token's effect created.
    pub(super) async fn volumes_by(&self, token: &Token) -> Result<Vec<VolumeSeen>, RequestError> {
        self.volumes(vec![stamp_filter(std::slice::from_ref(token))]).await
    }

    /// The snapshots that a token's effect created.
    pub(super) async fn snapshots_by(
        &self,
        token: &Token,
    ) -> Result<Vec<SnapshotSeen>, RequestError> {
        self.snapshots(vec![stamp_filter(std::slice::from_ref(token))]).await
    }

    /// Answer a call of class *read*; what was made a moment ago is looked for again.
    pub(super) async fn answer(&self, call: &Call) -> Result<Value, Failure> {
        let reads = async {
            let mut backoff = Backoff::new(&self.pace, &self.clock);
            loop {
                let answer = self.answer_once(call).await;
                let code = answer.as_ref().err().and_then(|failure| failure.code.as_deref());
                if !code.is_some_and(|code| self.is_late(call, code)) {
                    return answer;
                }
                backoff.pause().await;
            }
        };
        let limit = Duration::from_millis(LATE_MS_MAX);
        match self.clock.timeout(limit, reads).await {
            Ok(answer) => answer,
            Err(_) => self.answer_once(call).await,
        }
    }

    async fn answer_once(&self, call: &Call) -> Result<Value, Failure> {
        let failed = |trouble: RequestError| trouble.failure(call.function());
        match call {
            Call::Ec2(Ec2Call::Describe { instance: id }) => {
                let found = self.instance(id.as_str()).await.map_err(failed)?;
                let none = || missing("InvalidInstanceID.NotFound", "instance", id);
                found.map(|found| found.json()).ok_or_else(none)
            }
            Call::Ebs(EbsCall::Describe { volume: id }) => {
                let found = self.volume(id.as_str()).await.map_err(failed)?;
                let none = || missing("InvalidVolume.NotFound", "volume", id);
                found.filter(|v| !v.is_gone()).map(|found| found.json()).ok_or_else(none)
            }
            Call::Ebs(EbsCall::DescribeSnapshot { snapshot: id }) => {
                let found = self.snapshot(id.as_str()).await.map_err(failed)?;
                let none = || missing("InvalidSnapshot.NotFound", "snapshot", id);
                found.map(|found| found.json()).ok_or_else(none)
            }
            Call::Ec2(Ec2Call::Find { tags }) => {
                let found = self.instances(filters(tags)).await.map_err(failed)?;
                Ok(found
                    .iter()
                    .filter(|i| carries(&i.tags, tags))
                    .map(InstanceSeen::json)
                    .collect())
            }
            Call::Ebs(EbsCall::Find { tags }) => {
                let found = self.volumes(filters(tags)).await.map_err(failed)?;
                Ok(found.iter().filter(|v| carries(&v.tags, tags)).map(VolumeSeen::json).collect())
            }
            Call::Ebs(EbsCall::FindSnapshots { tags }) => {
                let found = self.snapshots(filters(tags)).await.map_err(failed)?;
                Ok(found
                    .iter()
                    .filter(|s| carries(&s.tags, tags))
                    .map(SnapshotSeen::json)
                    .collect())
            }
            Call::Ec2(ec2_waits!() | ec2_effects!())
            | Call::Ebs(ebs_waits!() | ebs_effects!())
            | Call::Docker(_)
            | Call::LoadBalancer(_)
            | Call::Effects(_)
            | Call::Clock(_) => Err(misplaced(call)),
        }
    }

    /// The facts that count, passing states waited out.
    pub(super) async fn facts(&self, resource: &Resource) -> Result<Facts, Failure> {
        let what = resource.to_string();
        let mut named = resource.clone();
        if let Resource::Created { kind, token, .. } = resource {
            let token = Token(token.clone());
            let found = self.carrying(&[token]).await.map_err(|t| t.failure(&what))?;
            match found.into_iter().find(|(_, found)| found.kind() == *kind) {
                Some((_, found)) => named = found,
                None => return Ok(Facts::Absent),
            }
        }
        let steady = async {
            let mut backoff = Backoff::new(&self.pace, &self.clock);
            loop {
                if let Some(facts) = self.steady_facts(&named).await? {
                    return Ok(facts);
                }
                backoff.pause().await;
            }
        };
        // An attachment that takes longer is stuck, and whoever waits for it keeps a service down.
        let limit_ms = match named {
            Resource::Volume { .. } => self.pace.steady_ms_max.min(ATTACHMENT_MS_MAX),
            _ => self.pace.steady_ms_max,
        };
        let limit = Duration::from_millis(limit_ms);
        match self.clock.timeout(limit, steady).await {
            Ok(facts) => facts,
            Err(_) => self.unsteady_facts(&named, limit).await,
        }
    }

    /// What is being attached counts as attached, however long it takes, because it can be
    /// detached; of any other state that only passes through nothing is known.
    async fn unsteady_facts(&self, resource: &Resource, limit: Duration) -> Result<Facts, Failure> {
        let failed = |trouble: RequestError| trouble.failure(&resource.to_string());
        if let Resource::Volume { id } = resource
            && let Some(found) = self.volume(id).await.map_err(failed)?
            && found.is_coming()
        {
            return Ok(found.facts());
        }
        let message = format!("{resource} was between two states for {limit:?}");
        Err(Failure::new(FailureClass::Deadline, message))
    }

    /// The facts, unless the state only passes through.
    async fn steady_facts(&self, resource: &Resource) -> Result<Option<Facts>, Failure> {
        let failed = |trouble: RequestError| trouble.failure(&resource.to_string());
        match resource {
            Resource::Instance { id } => Ok(match self.instance(id).await.map_err(failed)? {
                None => Some(Facts::Absent),
                Some(found) => (!found.is_passing()).then(|| found.facts()),
            }),
            Resource::Volume { id } => Ok(match self.volume(id).await.map_err(failed)? {
                None => Some(Facts::Absent),
                Some(found) => (found.is_gone() || !found.is_passing()).then(|| found.facts()),
            }),
            Resource::Snapshot { id } => {
                let found = self.snapshot(id).await.map_err(failed)?;
                Ok(Some(found.map_or(Facts::Absent, |found| found.facts())))
            }
            Resource::Created { .. }
            | Resource::Container { .. }
            | Resource::Image { .. }
            | Resource::DockerVolume { .. }
            | Resource::FileSystem { .. }
            | Resource::Containers { .. }
            | Resource::Pool { .. }
            | Resource::PoolTarget { .. } => {
                let message = format!("{resource} is not a resource of AWS");
                Err(Failure::new(FailureClass::Internal, message))
            }
        }
    }

    /// What carries one of these stamps.
    pub(super) async fn carrying(
        &self,
        tokens: &[Token],
    ) -> Result<Vec<(Token, Resource)>, RequestError> {
        let mut all = vec![];
        for some in tokens.chunks(FILTER_VALUES_MAX) {
            let mut add = |tags: &Tags, resource: Resource| {
                all.extend(tags.get(STAMP_TOKEN).map(|token| (Token(token.clone()), resource)));
            };
            for found in self.volumes(vec![stamp_filter(some)]).await? {
                add(&found.tags, Resource::Volume { id: found.id.clone() });
            }
            for found in self.snapshots(vec![stamp_filter(some)]).await? {
                add(&found.tags, Resource::Snapshot { id: found.id.clone() });
            }
            for found in self.instances(vec![stamp_filter(some)]).await? {
                add(&found.tags, Resource::Instance { id: found.id.clone() });
            }
        }
        Ok(all)
    }
}
