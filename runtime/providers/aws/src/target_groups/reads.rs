//! Reading a target group: itself, its targets with their health, and how long one that is drained
//! may go on.

use super::shapes::{Group, Kind, Place, Seen, Standing, View};
use super::{Pool, TargetGroups};
use crate::errors::{RequestError, missing};
use aws_sdk_elasticloadbalancingv2::types::TargetHealthDescription;
use std::collections::BTreeMap;
use stepback_core::InstanceId;

/// The attribute that says how long a target that is deregistered may go on, in seconds
/// (Elastic Load Balancing API Reference, *TargetGroupAttribute*).
const DELAY_KEY: &str = "deregistration_delay.timeout_seconds";
/// What it is where nobody has set it.
const DELAY_S: u64 = 300;

/// What is not there, in Elastic Load Balancing's words.
const NO_GROUP: &str = "TargetGroupNotFound";

impl TargetGroups {
    /// The target group of a pool (Elastic Load Balancing API Reference, *DescribeTargetGroups*).
    pub(super) async fn group(&self, pool: &Pool) -> Result<Group, RequestError> {
        let asked = self.aws.balancers.reads.describe_target_groups();
        let asked = match pool.config.is_arn() {
            true => asked.target_group_arns(&pool.config.group),
            false => asked.names(&pool.config.group),
        };
        let none = || {
            let what = format!("target group in {} for pool `{}`:", self.aws.region, pool.name);
            RequestError::NeverSent(missing(NO_GROUP, &what, &pool.config.group))
        };
        let answer = match asked.send().await.map_err(RequestError::from) {
            Err(trouble) if trouble.has_code(&[NO_GROUP]) => return Err(none()),
            answer => answer?,
        };
        let found = answer.target_groups.unwrap_or_default().into_iter().next();
        Group::of(pool, found.ok_or_else(none)?).map_err(RequestError::NeverSent)
    }

    /// The group with its targets (Elastic Load Balancing API Reference, *DescribeTargetHealth*).
    pub(super) async fn view(&self, pool: &Pool) -> Result<View, RequestError> {
        let group = self.group(pool).await?;
        let hosts = self.hosts(&group).await?;
        self.view_of(group, &hosts).await
    }

    async fn view_of(
        &self,
        group: Group,
        hosts: &BTreeMap<String, InstanceId>,
    ) -> Result<View, RequestError> {
        let asked = self.aws.balancers.reads.describe_target_health();
        let answer = asked.target_group_arn(&group.arn).send().await.map_err(RequestError::from)?;
        let all = answer.target_health_descriptions.unwrap_or_default();
        let targets = all.into_iter().filter_map(|one| seen(one, hosts)).collect();
        Ok(View { group, targets })
    }

    /// The instances that have an address, where targets are known by that.
    async fn hosts(&self, group: &Group) -> Result<BTreeMap<String, InstanceId>, RequestError> {
        match group.kind {
            Kind::Instance => Ok(BTreeMap::new()),
            Kind::Ip => {
                let all = self.addresses.all().await.map_err(RequestError::NeverSent)?;
                Ok(all.into_iter().map(|(host, at)| (canonical(&at.to_string()), host)).collect())
            }
        }
    }

    /// What a group calls a target.
    pub(super) async fn place(
        &self,
        group: &Group,
        host: &InstanceId,
        port: u16,
    ) -> Result<Place, RequestError> {
        let id = match group.kind {
            Kind::Instance => host.0.clone(),
            Kind::Ip => {
                let address = self.addresses.of(host).await.map_err(RequestError::NeverSent)?;
                address.to_string()
            }
        };
        Ok(Place { host: host.clone(), id, port })
    }

    /// One target, whether its group has it or not.
    pub(super) async fn seen(
        &self,
        pool: &Pool,
        host: &InstanceId,
        port: u16,
    ) -> Result<Seen, RequestError> {
        let group = self.group(pool).await?;
        let place = self.place(&group, host, port).await?;
        let view = self.view_of(group, &BTreeMap::new()).await?;
        Ok(view.of(&place))
    }

    /// How long a target that is drained may go on (Elastic Load Balancing API Reference,
    /// *DescribeTargetGroupAttributes*).
    pub(super) async fn delay_ms(&self, group: &Group) -> Result<u64, RequestError> {
        let asked = self.aws.balancers.reads.describe_target_group_attributes();
        let answer = asked.target_group_arn(&group.arn).send().await.map_err(RequestError::from)?;
        let all = answer.attributes.unwrap_or_default();
        let found = all.into_iter().find(|one| one.key.as_deref() == Some(DELAY_KEY));
        let seconds = found.and_then(|one| one.value?.parse().ok()).unwrap_or(DELAY_S);
        Ok(seconds.saturating_mul(1_000))
    }
}

/// An address as every other that means the same is written; an instance's id as it is.
fn canonical(id: &str) -> String {
    match id.parse::<std::net::IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => id.to_owned(),
    }
}

/// A target; where no instance has its address, the address stands for one.
fn seen(found: TargetHealthDescription, hosts: &BTreeMap<String, InstanceId>) -> Option<Seen> {
    let at = found.target?;
    let id = canonical(&at.id?);
    let host = hosts.get(&id).cloned().unwrap_or_else(|| id.as_str().into());
    let port = u16::try_from(at.port?).ok()?;
    let standing = Standing::of(found.target_health);
    Some(Seen { place: Place { host, id, port }, standing })
}
