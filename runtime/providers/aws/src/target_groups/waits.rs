//! Waiting until a target is healthy, or serves nobody any more.

use super::shapes::{Group, Seen, Standing};
use super::{Pool, TargetGroups};
use crate::errors::{RequestError, misplaced};
use crate::waits::Backoff;
use serde_json::Value;
use std::time::Duration;
use stepback_core::calls::LoadBalancerCall;
use stepback_core::manifest::duration_text;
use stepback_core::{Call, Failure, FailureClass, InstanceId};
use stepback_provider::pools::{self, pool_of, target_of, timeout_ms};

/// A wait, and the target that it is about.
struct Waited<'a> {
    call: &'a LoadBalancerCall,
    pool: &'a Pool,
    host: &'a InstanceId,
    port: u16,
}

impl TargetGroups {
    /// Wait until what a call waits for is so.
    pub(super) async fn wait_for(&self, call: &Call) -> Result<Value, Failure> {
        let Call::LoadBalancer(of) = call else { return Err(misplaced(call)) };
        let (Some((host, port)), Some(timeout_ms)) = (target_of(of), timeout_ms(of)) else {
            return Err(misplaced(call));
        };
        let waited = Waited { call: of, pool: self.pool(pool_of(of))?, host, port };
        let mut last = None;
        let limit = Duration::from_millis(timeout_ms);
        let over = self.look_until_over(&waited, &mut last);
        if let Ok(answer) = self.aws.clock.timeout(limit, over).await {
            return answer;
        }
        let last = match last {
            Some(seen) => seen,
            // There was no time for one whole look.
            None => {
                let seen = self.seen(waited.pool, host, port).await;
                seen.map_err(|trouble| in_vain(&trouble.failure(call.function()).message, of))?
            }
        };
        match pools::goes_on(of) {
            true => Ok(last.target().answer()),
            false => Err(in_vain(&waits_for(&waited, &last), of)),
        }
    }

    /// Look until it is so, or can't become so any more.
    ///
    /// A target that has left may still be sent requests, because a balancer's nodes hear of it one
    /// by one. When it left nobody can say, so that the linger is counted from when it was first
    /// seen gone, by a wait that begins late too; then it must still be gone.
    async fn look_until_over(
        &self,
        waited: &Waited<'_>,
        last: &mut Option<Seen>,
    ) -> Result<Value, Failure> {
        let linger = Duration::from_millis(waited.pool.config.linger_ms);
        let function = waited.call.function();
        let mut backoff = Backoff::new(&self.aws.pace, &self.aws.clock);
        let lingers = matches!(waited.call, LoadBalancerCall::WaitDrained { .. });
        let mut has_lingered = false;
        loop {
            let seen = match self.seen(waited.pool, waited.host, waited.port).await {
                Ok(seen) => seen,
                Err(trouble) if trouble.may_pass(function) => {
                    backoff.pause().await;
                    continue;
                }
                Err(trouble) => return Err(trouble.failure(function)),
            };
            let over = pools::wait_over(waited.call, &seen.target())?;
            *last = Some(seen);
            match over {
                Some(answer) if has_lingered || !lingers => return Ok(answer),
                Some(_) => {
                    self.aws.clock.sleep(linger).await;
                    has_lingered = true;
                }
                None => {
                    has_lingered = false;
                    backoff.pause().await;
                }
            }
        }
    }

    /// Whether a wait could be over in time: a target that is deregistered is shown as draining for
    /// its whole delay, whether anybody is served by it or not (Application Load Balancers User
    /// Guide, *Edit target group attributes*: *Deregistration delay*), and is seen gone at the next
    /// look.
    pub(super) async fn must_have_time(
        &self,
        pool: &Pool,
        group: &Group,
        call: &LoadBalancerCall,
        timeout_ms: u64,
    ) -> Result<(), RequestError> {
        let Some((host, port)) = target_of(call) else { return Ok(()) };
        // What is still to be made has no address yet, and of what drains part is over.
        let standing = match self.place(group, host, port).await {
            Ok(_) => self.seen(pool, host, port).await?.standing,
            Err(_) => Standing::Gone,
        };
        let delay_ms = match standing {
            Standing::Registered(..) | Standing::Idle(_) => self.delay_ms(group).await?,
            Standing::Draining(_) | Standing::Gone => 0,
        };
        let linger_ms = pool.config.linger_ms;
        // Pauses grow with the time that is waited: the last one is half of what was before it.
        let pause_ms = self.aws.pace.poll_ms_max.min(delay_ms.div_ceil(2));
        let needed_ms = delay_ms.saturating_add(linger_ms).saturating_add(pause_ms);
        if timeout_ms >= needed_ms {
            return Ok(());
        }
        let message = format!(
            "{host}:{port} of pool `{}` is drained after {} (the delay of its target group) and {} \
             (`linger`), and is waited for {}: give it {} or more, or let it go on",
            pool.name,
            duration_text(delay_ms),
            duration_text(linger_ms),
            duration_text(timeout_ms),
            duration_text(needed_ms),
        );
        let failure = Failure::new(FailureClass::Precondition, message).with_code("too-short");
        Err(RequestError::NeverSent(failure))
    }
}

fn in_vain(waits_for: &str, call: &LoadBalancerCall) -> Failure {
    let waited = duration_text(timeout_ms(call).unwrap_or_default());
    Failure::new(FailureClass::Deadline, format!("{waits_for}, after {waited}"))
}

/// What a wait waits for still, for whoever it was in vain.
fn waits_for(waited: &Waited<'_>, last: &Seen) -> String {
    let target = last.target();
    match (waited.call, &last.standing) {
        (LoadBalancerCall::WaitDrained { .. }, Standing::Draining(_)) => {
            let why = target.reason.as_deref().unwrap_or_default();
            format!("{} may still serve somebody: {why}", target.name())
        }
        (LoadBalancerCall::WaitDrained { .. }, Standing::Gone) => {
            let linger = duration_text(waited.pool.config.linger_ms);
            format!("{} has left, and lingers for {linger}", target.name())
        }
        (call, _) => pools::waits_for(call, &target),
    }
}
