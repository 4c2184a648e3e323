//! Pools that are target groups of Elastic Load Balancing: their targets are instances, or the
//! addresses of instances.
//!
//! A target group has one state for two facts: a target that is registered gets traffic as soon as
//! it is healthy, and one that is deregistered gets none and is gone when its delay is over. So
//! each effect looks first, and finds its fact already so where another one made it. Nothing here
//! makes, changes or deletes a target group.

mod config;
mod effects;
mod reads;
mod shapes;
mod waits;

pub use config::TargetGroup;

use crate::errors::{RequestError, misplaced};
use crate::{Aws, REQUEST_MS_MAX, client_for};
use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_elasticloadbalancingv2 as elb;
use serde_json::{Map, Value, json};
use shapes::not_in_use;
use std::collections::BTreeMap;
use std::sync::Arc;
use stepback_core::calls::{LoadBalancerCall, OnTimeout};
use stepback_core::manifest::duration_text;
use stepback_core::shell::word;
use stepback_core::step::EffectOutcome;
use stepback_core::{Call, Facts, Failure, FailureClass, Interface, Resource, Token};
use stepback_provider::addresses::Addresses;
use stepback_provider::advice::Advice;
use stepback_provider::inventory::{FoundPool, FoundPoolTarget, Inventory};
use stepback_provider::pools::{no_pool, pool_of};
use stepback_provider::{Checked, EffectContext, Provider, Settled, Stamped};

/// Elastic Load Balancing, asked with and without retries.
pub(super) struct Balancers {
    /// Retries what failed.
    reads: elb::Client,
    /// Never retries.
    effects: elb::Client,
}

impl Balancers {
    pub(super) fn new(sdk: &SdkConfig, endpoint: Option<&str>, retry: RetryConfig) -> Self {
        let client = |retry: RetryConfig| {
            let mut config = elb::config::Builder::from(sdk).retry_config(retry);
            if let Some(endpoint) = endpoint {
                config = config.endpoint_url(endpoint);
            }
            let client = client_for(endpoint.or(sdk.endpoint_url()));
            elb::Client::from_conf(config.http_client(client).build())
        };
        Self { reads: client(retry), effects: client(RetryConfig::disabled()) }
    }
}

/// The target groups that are pools of one environment.
pub struct TargetGroups {
    aws: Arc<Aws>,
    pools: BTreeMap<String, Pool>,
    addresses: Arc<dyn Addresses>,
}

/// A pool, by its name in the environment.
struct Pool {
    name: String,
    config: TargetGroup,
}

impl TargetGroups {
    /// These pools of an account, by the names that the environment gives them.
    ///
    /// The targets of a group that has addresses are where `addresses` says.
    pub fn new(
        aws: Arc<Aws>,
        pools: BTreeMap<String, TargetGroup>,
        addresses: Arc<dyn Addresses>,
    ) -> Self {
        let of = |(name, config): (String, TargetGroup)| (name.clone(), Pool { name, config });
        Self { aws, pools: pools.into_iter().map(of).collect(), addresses }
    }

    fn pool(&self, name: &str) -> Result<&Pool, Failure> {
        let known = self.pools.keys().map(String::as_str);
        self.pools.get(name).ok_or_else(|| no_pool(name, known))
    }

    async fn describe(&self, call: &Call, name: &str) -> Result<Value, Failure> {
        let pool = self.pool(name)?;
        let failed = |trouble: RequestError| trouble.failure(call.function());
        let view = self.view(pool).await.map_err(failed)?;
        let delay_ms = self.delay_ms(&view.group).await.map_err(failed)?;
        Ok(json!(view.pool(pool, Some(delay_ms))))
    }

    async fn check_of(&self, pool: &Pool) -> Result<String, Failure> {
        let what = "asking Elastic Load Balancing";
        let failed = |trouble: RequestError| trouble.failure(what);
        let view = self.view(pool).await.map_err(failed)?;
        let group = &view.group;
        if !group.is_used() {
            return Err(not_in_use(pool, group));
        }
        let delay_ms = self.delay_ms(group).await.map_err(failed)?;
        Ok(format!(
            "target group `{}` of {}; load balancers that use it: {}; targets: {}; one that is \
             drained goes on for {} and lingers for {}",
            group.name,
            group.kind.in_words(),
            group.balancers,
            view.registered().count(),
            duration_text(delay_ms),
            duration_text(pool.config.linger_ms),
        ))
    }

    /// What stays in a call's way.
    async fn nothing_is_in_its_way(
        &self,
        pool: &Pool,
        call: &LoadBalancerCall,
    ) -> Result<(), RequestError> {
        let group = self.group(pool).await?;
        match call {
            LoadBalancerCall::Add { .. } | LoadBalancerCall::WaitHealthy { .. } => {
                match group.is_used() {
                    true => Ok(()),
                    false => Err(RequestError::NeverSent(not_in_use(pool, &group))),
                }
            }
            LoadBalancerCall::WaitDrained { timeout_ms, on_timeout: OnTimeout::Fail, .. } => {
                self.must_have_time(pool, &group, call, *timeout_ms).await
            }
            LoadBalancerCall::DescribePool { .. }
            | LoadBalancerCall::WaitDrained { on_timeout: OnTimeout::GoOn, .. }
            | LoadBalancerCall::Enable { .. }
            | LoadBalancerCall::Drain { .. }
            | LoadBalancerCall::Remove { .. } => Ok(()),
        }
    }
}

#[async_trait]
impl Provider for TargetGroups {
    fn name(&self) -> &str {
        "elb"
    }

    fn serves(&self) -> &[Interface] {
        &[Interface::LoadBalancer]
    }

    fn pools(&self) -> Vec<String> {
        self.pools.keys().cloned().collect()
    }

    async fn identity(&self) -> Result<Value, Failure> {
        let of = |(name, pool): (&String, &Pool)| {
            (name.clone(), json!({ "target_group": pool.config.group }))
        };
        let pools: Map<String, Value> = self.pools.iter().map(of).collect();
        Ok(json!({ "provider": "elb", "pools": pools }))
    }

    async fn check(&self) -> Vec<Checked> {
        let mut all = vec![];
        for pool in self.pools.values() {
            let what = format!("pool `{}`", pool.name);
            all.push(Checked { what, found: self.check_of(pool).await });
        }
        all
    }

    async fn read(&self, call: &Call) -> Result<Value, Failure> {
        match call {
            Call::LoadBalancer(LoadBalancerCall::DescribePool { pool }) => {
                self.describe(call, pool.as_str()).await
            }
            other => Err(misplaced(other)),
        }
    }

    /// Elastic Load Balancing has no *DryRun*: whether an effect is permitted can't be asked. What
    /// can be is whether its target group can be read, and whether the effect could ever do
    /// what it is for.
    async fn may(&self, call: &Call) -> Result<(), Failure> {
        let Call::LoadBalancer(of) = call else { return Err(misplaced(call)) };
        let pool = self.pool(pool_of(of))?;
        if call.is_effect() {
            effects::must_have_no_weight(of)?;
            self.aws.must_be_its_account().await?;
        }
        match self.nothing_is_in_its_way(pool, of).await {
            // Nobody says no.
            Err(trouble) if trouble.may_pass(call.function()) => Ok(()),
            answer => answer.map_err(|trouble| trouble.failure(call.function())),
        }
    }

    async fn wait(&self, call: &Call) -> Result<Value, Failure> {
        self.wait_for(call).await
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        self.make(call, context).await
    }

    async fn settle(&self, call: &Call, context: &EffectContext) -> Settled {
        self.aws.settle_by(call, &context.notes, || self.look(call)).await
    }

    async fn import(&self, found: &mut Inventory) -> Result<(), Failure> {
        let hosts = self.addresses.all().await?;
        for pool in self.pools.values() {
            let what = "reading what there is";
            let view = self.view(pool).await.map_err(|trouble| trouble.failure(what))?;
            let mut targets = BTreeMap::new();
            for one in view.pool(pool, None).targets {
                match hosts.contains_key(&one.host) {
                    // None has a weight.
                    true => {
                        let target = FoundPoolTarget { enabled: true, weight: 1 };
                        targets.insert(one.name(), target);
                    }
                    false => found.left_out.push(format!(
                        "{} of pool `{}`: no instance of the environment is there",
                        one.name(),
                        pool.name
                    )),
                }
            }
            let is_used = view.group.is_used();
            let pool_found = FoundPool { targets, add_enables: true, is_used };
            found.pools.insert(pool.name.clone(), pool_found);
        }
        Ok(())
    }

    fn request_ms_max(&self) -> u64 {
        REQUEST_MS_MAX
    }

    async fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        let failed = |trouble: RequestError| trouble.failure(&resource.to_string());
        match resource {
            Resource::PoolTarget { pool, host, port } => {
                let pool = self.pool(pool)?;
                let seen = self.seen(pool, &host.as_str().into(), *port).await;
                Ok(seen.map_err(failed)?.target().facts())
            }
            Resource::Pool { .. } => Ok(Facts::Absent),
            other => {
                let message = format!("{other} is nothing of a target group's");
                Err(Failure::new(FailureClass::Internal, message))
            }
        }
    }

    fn advice(&self, resource: &Resource, _: &Facts, _: &Facts) -> Advice {
        let (Resource::PoolTarget { pool: name, .. } | Resource::Pool { pool: name }) = resource
        else {
            return Advice::look_at(resource);
        };
        let Some(pool) = self.pools.get(name) else { return Advice::look_at(resource) };
        let look = match pool.config.is_arn() {
            true => format!(
                "aws elbv2 describe-target-health --target-group-arn {}",
                word(&pool.config.group)
            ),
            false => format!(
                "aws elbv2 describe-target-health --target-group-arn \"$(aws elbv2 \
                 describe-target-groups --names {} --query 'TargetGroups[0].TargetGroupArn' \
                 --output text)\"",
                word(&pool.config.group)
            ),
        };
        Advice::LookAt(format!("{}: {look}", Advice::look_at(resource)))
    }

    async fn stamped(&self, _: &[Token]) -> Result<Stamped, Failure> {
        Ok(Stamped::default())
    }
}
