//! What changes a target group: one target is registered, or deregistered.
//!
//! It is looked at first: what is so already is done without a request, and the floor is kept by
//! what is seen. All that comes before the request is bounded, so that no request leaves late.

use super::shapes::{Group, Kind, Seen, Standing};
use super::{Pool, TargetGroups};
use crate::effects::SENDING_MS_MAX;
use crate::errors::{RequestError, misplaced};
use crate::settle::Probe;
use aws_sdk_elasticloadbalancingv2::types::TargetDescription;
use std::time::Duration;
use stepback_core::calls::LoadBalancerCall;
use stepback_core::step::EffectOutcome;
use stepback_core::{Call, Failure, FailureClass, InstanceId};
use stepback_provider::EffectContext;
use stepback_provider::pools::{pool_of, target_of};

/// What an effect wants of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Registered,
    Deregistered { floor: u32 },
}

impl Wanted {
    /// Of a call that is an effect.
    fn of(call: &LoadBalancerCall) -> Option<Self> {
        match call {
            LoadBalancerCall::Add { .. } | LoadBalancerCall::Enable { .. } => {
                Some(Self::Registered)
            }
            LoadBalancerCall::Drain { floor, .. } | LoadBalancerCall::Remove { floor, .. } => {
                Some(Self::Deregistered { floor: *floor })
            }
            LoadBalancerCall::DescribePool { .. }
            | LoadBalancerCall::WaitHealthy { .. }
            | LoadBalancerCall::WaitDrained { .. } => None,
        }
    }

    /// Whether a target is so.
    fn is_so(self, seen: &Seen) -> bool {
        match self {
            Self::Registered => seen.is_registered(),
            Self::Deregistered { .. } => !seen.is_registered(),
        }
    }
}

/// The one request of an effect.
struct Request {
    group_arn: String,
    target: TargetDescription,
    wanted: Wanted,
}

/// Whether a call leaves its target's share to the group: a target of one has none.
pub(super) fn must_have_no_weight(call: &LoadBalancerCall) -> Result<(), Failure> {
    match call {
        LoadBalancerCall::Add { weight: Some(weight), pool, .. } => {
            let message = format!(
                "pool `{pool}` is a target group, whose targets have no weight of their own: \
                 leave {weight} out"
            );
            Err(Failure::new(FailureClass::InvalidInput, message).with_code("no-weight"))
        }
        LoadBalancerCall::Add { weight: None, .. }
        | LoadBalancerCall::DescribePool { .. }
        | LoadBalancerCall::WaitHealthy { .. }
        | LoadBalancerCall::Enable { .. }
        | LoadBalancerCall::Drain { .. }
        | LoadBalancerCall::WaitDrained { .. }
        | LoadBalancerCall::Remove { .. } => Ok(()),
    }
}

/// Whether a target can be registered: an address that still drains can't be, before its delay is
/// over; an instance comes back at once (Application Load Balancers User Guide, *Register targets
/// with your Application Load Balancer target group*).
fn must_be_free(seen: &Seen, group: &Group) -> Result<(), Failure> {
    match (&seen.standing, group.kind) {
        (Standing::Draining(_), Kind::Ip) => {
            let message = format!(
                "{}:{} of target group `{}` still drains: an address can be registered again when \
                 its delay is over",
                seen.place.host, seen.place.port, group.name
            );
            Err(Failure::new(FailureClass::Transient, message).with_code("draining"))
        }
        (Standing::Draining(_), Kind::Instance)
        | (Standing::Gone | Standing::Registered(..) | Standing::Idle(_), _) => Ok(()),
    }
}

/// The target that an effect is about, and what it wants of it.
struct Asked<'a> {
    pool: &'a Pool,
    host: &'a InstanceId,
    port: u16,
    wanted: Wanted,
}

impl TargetGroups {
    fn asked<'a>(&'a self, call: &'a Call) -> Result<Asked<'a>, RequestError> {
        let Call::LoadBalancer(of) = call else {
            return Err(RequestError::NeverSent(misplaced(call)));
        };
        let (Some((host, port)), Some(wanted)) = (target_of(of), Wanted::of(of)) else {
            return Err(RequestError::NeverSent(misplaced(call)));
        };
        let pool = self.pool(pool_of(of)).map_err(RequestError::NeverSent)?;
        must_have_no_weight(of).map_err(RequestError::NeverSent)?;
        Ok(Asked { pool, host, port, wanted })
    }

    /// Make an effect, once.
    pub(super) async fn make(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        let begun = self.aws.clock.now();
        let limit = Duration::from_millis(SENDING_MS_MAX);
        let request = match self.aws.clock.timeout(limit, self.plan(call)).await {
            Ok(Ok(request)) => request,
            Ok(Err(trouble)) => return EffectOutcome::Refused(trouble.failure(call.function())),
            Err(_) => {
                let message = "Elastic Load Balancing did not tell in time how the target is";
                return EffectOutcome::Refused(Failure::new(FailureClass::Transient, message));
            }
        };
        if let Some(request) = request {
            let sent = self.aws.send(call, context, begun, || self.send(&request)).await;
            if let Err(trouble) = sent {
                return trouble.outcome(call.function());
            }
        }
        self.aws.show(call, context, || self.look(call)).await
    }

    /// The request of an effect; none where it is so already.
    async fn plan(&self, call: &Call) -> Result<Option<Request>, RequestError> {
        let Asked { pool, host, port, wanted } = self.asked(call)?;
        self.aws.must_be_its_account().await.map_err(RequestError::NeverSent)?;
        let view = self.view(pool).await?;
        let place = self.place(&view.group, host, port).await?;
        let seen = view.of(&place);
        if wanted.is_so(&seen) {
            return Ok(None);
        }
        match (wanted, &seen.standing) {
            (Wanted::Registered, _) => must_be_free(&seen, &view.group),
            // It takes nothing away: one whose instance is dead can be let go of.
            (Wanted::Deregistered { .. }, Standing::Idle(_)) => Ok(()),
            (Wanted::Deregistered { floor }, _) => {
                view.pool(pool, None).must_keep(host, port, floor)
            }
        }
        .map_err(RequestError::NeverSent)?;
        let target = TargetDescription::builder().id(place.id).port(i32::from(port)).build();
        Ok(Some(Request { group_arn: view.group.arn, target, wanted }))
    }

    async fn send(&self, request: &Request) -> Result<(), RequestError> {
        let (arn, target) = (&request.group_arn, request.target.clone());
        let client = &self.aws.balancers.effects;
        match request.wanted {
            Wanted::Registered => {
                let asked = client.register_targets().target_group_arn(arn).targets(target);
                asked.send().await?;
            }
            Wanted::Deregistered { .. } => {
                let asked = client.deregister_targets().target_group_arn(arn).targets(target);
                asked.send().await?;
            }
        }
        Ok(())
    }

    /// Look once at what an effect brings about.
    pub(super) async fn look(&self, call: &Call) -> Result<Probe, RequestError> {
        let Asked { pool, host, port, wanted } = self.asked(call)?;
        let seen = self.seen(pool, host, port).await?;
        match wanted.is_so(&seen) {
            true => Ok(Probe::Done(seen.target().answer())),
            false => Ok(Probe::Not),
        }
    }
}
