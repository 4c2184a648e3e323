//! Waiting until a target is healthy, or serves nobody any more.

use super::pool::Pool;
use super::view::Place;
use serde_json::Value;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::calls::LoadBalancerCall;
use stepback_core::manifest::duration_text;
use stepback_core::{Failure, FailureClass};
use stepback_provider::pools::{self, Health, Target};

/// How often it is looked at: checks are made every two seconds by default.
const LOOK: Duration = Duration::from_millis(100);

/// So long a look may take where no time is left: a short wait has one look.
const LOOK_AT_LEAST: Duration = Duration::from_secs(5);

/// Wait until what a call waits for is so.
pub(super) async fn wait(
    pool: &Pool,
    place: &Place,
    call: &LoadBalancerCall,
    timeout_ms: u64,
    clock: &Clock,
) -> Result<Value, Failure> {
    let until = clock.now().after(Duration::from_millis(timeout_ms));
    let mut is_fresh = matches!(call, LoadBalancerCall::WaitDrained { .. });
    let mut last: Option<Target> = None;
    loop {
        // A look may take long itself: it asks every worker that a reload has left.
        let left = until.since(clock.now()).max(LOOK_AT_LEAST);
        let looked = clock.timeout(left, look(pool, place, call, &mut is_fresh)).await;
        let looked = looked.unwrap_or_else(|_| Err(unanswered(pool)));
        let late = clock.now() >= until;
        if let Ok((target, _)) = &looked {
            last = Some(target.clone());
        }
        match looked {
            Ok((_, Some(answer))) => return Ok(answer),
            Ok((target, None)) if late && pools::goes_on(call) => return Ok(target.answer()),
            Ok((target, None)) if late => {
                return Err(in_vain(pools::waits_for(call, &target), timeout_ms));
            }
            Err(failure) if failure.is_retryable() && late && pools::goes_on(call) => {
                let Some(target) = last else { return Err(in_vain(failure.message, timeout_ms)) };
                return Ok(target.answer());
            }
            // It may answer later.
            Err(failure) if failure.is_retryable() && !late => {}
            Err(failure) if failure.is_retryable() => {
                return Err(in_vain(failure.message, timeout_ms));
            }
            Err(failure) => return Err(failure),
            Ok((_, None)) => {}
        }
        clock.sleep(LOOK.min(until.since(clock.now()))).await;
    }
}

fn unanswered(pool: &Pool) -> Failure {
    let message = format!("the processes of pool `{}` do not answer in time", pool.name);
    Failure::new(FailureClass::Transient, message).with_code("haproxy-unreachable")
}

fn in_vain(waits_for: String, timeout_ms: u64) -> Failure {
    let message = format!("{waits_for}, after {}", duration_text(timeout_ms));
    Failure::new(FailureClass::Deadline, message)
}

async fn look(
    pool: &Pool,
    place: &Place,
    call: &LoadBalancerCall,
    is_fresh: &mut bool,
) -> Result<(Target, Option<Value>), Failure> {
    if !*is_fresh {
        check_anew(pool, place).await?;
        *is_fresh = true;
    }
    let seen = pool.view().await?.of(place);
    let mut target = seen.merged();
    if let LoadBalancerCall::WaitDrained { .. } = call {
        let old = pool.old_sessions(place).await?;
        target.sessions = Some(target.sessions.unwrap_or_default().saturating_add(old));
    } else if target.present && !seen.are_all(|one| one.health == Health::Healthy) {
        return Ok((target, None));
    }
    let answer = pools::wait_over(call, &target)?;
    Ok((target, answer))
}

/// Have the checks of one that gets no traffic begin anew: the verdict may be on whatever was at
/// its place before.
async fn check_anew(pool: &Pool, place: &Place) -> Result<(), Failure> {
    let _turn = pool.turn().await?;
    let view = pool.view().await?;
    let seen = view.of(place);
    if seen.is_any(|one| one.enabled) {
        return Ok(());
    }
    for (at, slots) in pool.config.sockets.iter().zip(&view.0) {
        let at_it = slots.iter().filter(|slot| slot.is_at(place.address, place.port));
        // One that still serves somebody was not made anew, and may be cut off by a server that is
        // down (`on-marked-down shutdown-sessions`).
        let idle = at_it.filter(|slot| slot.sessions == 0 && slot.is_checked);
        for slot in idle.filter(|slot| !slot.is_in_maintenance) {
            let down = format!("set server {}/{} health down", pool.config.backend, slot.name);
            pool.ask(at, &down).await.map_err(|told| told.failure)?;
        }
    }
    Ok(())
}
