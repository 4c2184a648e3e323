//! What providers say alike of a load balancer's pools and their targets.

use serde::Serialize;
use serde_json::{Value, json};
use stepback_core::calls::{LoadBalancerCall, OnTimeout};
use stepback_core::{Facts, Failure, FailureClass, InstanceId};

/// The code of an effect that would leave a pool below its floor.
pub const BELOW_FLOOR: &str = "below-floor";
/// The code of a target that the pool does not have.
pub const NOT_REGISTERED: &str = "not-registered";
/// The code of a target that still gets traffic, and is to be taken out of its pool.
pub const STILL_ENABLED: &str = "still-enabled";

/// What a balancer's checks say of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// It is not checked.
    Unused,
    /// Its checks have not passed, or failed, often enough to tell.
    Checking,
    /// They pass.
    Healthy,
    /// They fail.
    Unhealthy,
}

/// A target, as the contract shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// The instance.
    pub host: InstanceId,
    /// The port there.
    pub port: u16,
    /// Whether the pool has it.
    pub present: bool,
    /// Whether it gets traffic.
    pub enabled: bool,
    /// Its share of the traffic, where the balancer has one.
    pub weight: Option<u32>,
    /// What its checks say.
    pub health: Health,
    /// Why it is not healthy, in the balancer's words.
    pub reason: Option<String>,
    /// Who is served by it, as far as the balancer tells.
    pub sessions: Option<u32>,
}

impl Target {
    /// One that the pool does not have.
    pub fn absent(host: &InstanceId, port: u16) -> Self {
        Self {
            host: host.clone(),
            port,
            present: false,
            enabled: false,
            weight: None,
            health: Health::Unused,
            reason: Some("the pool does not have it".to_owned()),
            sessions: None,
        }
    }

    /// Whether requests are served by it: one without a share gets none.
    pub fn serves(&self) -> bool {
        self.enabled && self.health == Health::Healthy && self.weight != Some(0)
    }

    /// Whether it may be sent requests: one that nobody checks is taken for one that answers.
    fn takes_traffic(&self) -> bool {
        let may_answer = matches!(self.health, Health::Healthy | Health::Unused);
        self.enabled && may_answer && self.weight != Some(0)
    }

    /// The facts that count: never absent.
    pub fn facts(&self) -> Facts {
        let mut facts = json!({ "present": self.present, "enabled": self.enabled });
        if let (true, Some(weight)) = (self.present, self.weight) {
            facts["weight"] = weight.into();
        }
        Facts::from_json(facts)
    }

    /// As it is told in an answer.
    pub fn answer(&self) -> Value {
        json!(self)
    }

    /// `HOST:PORT`.
    pub fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn name_and_why(&self) -> String {
        let name = self.name();
        match (self.enabled, self.reason.as_deref()) {
            (false, _) => format!("{name} gets no traffic"),
            (true, _) if self.weight == Some(0) => format!("{name} has weight 0"),
            (true, Some(reason)) => format!("{name}: {reason}"),
            (true, None) => format!("{name} is not healthy"),
        }
    }
}

/// A pool, as the contract shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// As the environment names it.
    pub name: String,
    /// Those that it has.
    pub targets: Vec<Target>,
    /// How long the balancer lets a drained target go on, where it has such a limit.
    pub drain_delay_ms: Option<u64>,
    /// How long traffic may still come after a target is drained.
    pub linger_ms: u64,
}

impl Pool {
    /// The target there, whether the pool has it or not.
    pub fn target(&self, host: &InstanceId, port: u16) -> Target {
        let is_it = |one: &&Target| one.host == *host && one.port == port;
        let found = self.targets.iter().find(is_it).cloned();
        found.unwrap_or_else(|| Target::absent(host, port))
    }

    /// Whether a target may be taken traffic from: so many others must be enabled and healthy,
    /// unless it serves nobody itself.
    ///
    /// # Errors
    /// `transient`, because a check that was missed once passes the next time. Where it lasts it is
    /// refused for good, an undo's too: what is up stays up.
    pub fn must_keep(&self, host: &InstanceId, port: u16, floor: u32) -> Result<(), Failure> {
        let is_other = |one: &&Target| one.host != *host || one.port != port;
        let others: Vec<&Target> = self.targets.iter().filter(is_other).collect();
        let serving = others.iter().filter(|one| one.serves()).count();
        let is_idle = !self.target(host, port).takes_traffic();
        if is_idle || u32::try_from(serving).unwrap_or(u32::MAX) >= floor {
            return Ok(());
        }
        let idle = others.iter().filter(|one| !one.serves()).map(|one| one.name_and_why());
        let idle: Vec<String> = idle.collect();
        let besides = match idle.is_empty() {
            true => String::new(),
            false => format!(" ({})", idle.join("; ")),
        };
        let message = format!(
            "without {host}:{port} pool `{}` would have {serving} healthy targets that get \
             traffic, and {floor} are the floor{besides}",
            self.name
        );
        Err(Failure::new(FailureClass::Transient, message).with_code(BELOW_FLOOR))
    }
}

/// The pool that a call is about.
pub fn pool_of(call: &LoadBalancerCall) -> &str {
    match call {
        LoadBalancerCall::DescribePool { pool }
        | LoadBalancerCall::Add { pool, .. }
        | LoadBalancerCall::WaitHealthy { pool, .. }
        | LoadBalancerCall::Enable { pool, .. }
        | LoadBalancerCall::Drain { pool, .. }
        | LoadBalancerCall::WaitDrained { pool, .. }
        | LoadBalancerCall::Remove { pool, .. } => pool.as_str(),
    }
}

/// The target that a call is about; a question about the whole pool is about none.
pub fn target_of(call: &LoadBalancerCall) -> Option<(&InstanceId, u16)> {
    match call {
        LoadBalancerCall::Add { host, port, .. }
        | LoadBalancerCall::WaitHealthy { host, port, .. }
        | LoadBalancerCall::Enable { host, port, .. }
        | LoadBalancerCall::Drain { host, port, .. }
        | LoadBalancerCall::WaitDrained { host, port, .. }
        | LoadBalancerCall::Remove { host, port, .. } => Some((host, *port)),
        LoadBalancerCall::DescribePool { .. } => None,
    }
}

/// How long a wait may take; none for a call that does not wait.
pub fn timeout_ms(call: &LoadBalancerCall) -> Option<u64> {
    match call {
        LoadBalancerCall::WaitHealthy { timeout_ms, .. }
        | LoadBalancerCall::WaitDrained { timeout_ms, .. } => Some(*timeout_ms),
        LoadBalancerCall::DescribePool { .. }
        | LoadBalancerCall::Add { .. }
        | LoadBalancerCall::Enable { .. }
        | LoadBalancerCall::Drain { .. }
        | LoadBalancerCall::Remove { .. } => None,
    }
}

/// A pool that the environment does not have.
pub fn no_pool<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Failure {
    let known: Vec<&str> = known.collect();
    let there = match known.is_empty() {
        true => "it has none".to_owned(),
        false => format!("it has {}", known.join(", ")),
    };
    let message = format!("the environment has no pool `{name}`: {there}");
    Failure::new(FailureClass::Precondition, message).with_code("no-pool")
}

/// What only a target that the pool has can be asked for.
pub fn not_registered(target: &Target, pool: &str) -> Failure {
    let message = format!("pool `{pool}` does not have {}: add it first", target.name());
    Failure::new(FailureClass::Precondition, message).with_code(NOT_REGISTERED)
}

/// Why a target is not taken out of its pool.
pub fn still_enabled(target: &Target, pool: &str) -> Failure {
    let message = format!("{} of pool `{pool}` still gets traffic: drain it first", target.name());
    Failure::new(FailureClass::Precondition, message).with_code(STILL_ENABLED)
}

/// The answer of a wait, if what it waits for is so by now.
///
/// # Errors
/// A target that the pool does not have never gets healthy.
pub fn wait_over(call: &LoadBalancerCall, target: &Target) -> Result<Option<Value>, Failure> {
    let is_over = match call {
        LoadBalancerCall::WaitHealthy { pool, .. } if !target.present => {
            return Err(not_registered(target, pool.as_str()));
        }
        LoadBalancerCall::WaitHealthy { .. } => target.health == Health::Healthy,
        // One of which the balancer does not tell has its whole delay, as the provider sees to.
        LoadBalancerCall::WaitDrained { .. } => {
            !target.enabled && target.sessions.unwrap_or_default() == 0
        }
        LoadBalancerCall::DescribePool { .. }
        | LoadBalancerCall::Add { .. }
        | LoadBalancerCall::Enable { .. }
        | LoadBalancerCall::Drain { .. }
        | LoadBalancerCall::Remove { .. } => false,
    };
    Ok(is_over.then(|| target.answer()))
}

/// What a wait waits for still, for whoever it was in vain.
pub fn waits_for(call: &LoadBalancerCall, target: &Target) -> String {
    let name = target.name();
    match call {
        LoadBalancerCall::WaitDrained { .. } if target.enabled => {
            format!("{name} still gets traffic")
        }
        LoadBalancerCall::WaitDrained { .. } => {
            format!("{name} still serves {}", target.sessions.unwrap_or_default())
        }
        _ => match &target.reason {
            Some(reason) => format!("{name} is not healthy: {reason}"),
            None => format!("{name} is not healthy"),
        },
    }
}

/// Whether a wait answers how the target is when its time is over.
pub fn goes_on(call: &LoadBalancerCall) -> bool {
    match call {
        LoadBalancerCall::WaitHealthy { on_timeout, .. }
        | LoadBalancerCall::WaitDrained { on_timeout, .. } => *on_timeout == OnTimeout::GoOn,
        LoadBalancerCall::DescribePool { .. }
        | LoadBalancerCall::Add { .. }
        | LoadBalancerCall::Enable { .. }
        | LoadBalancerCall::Drain { .. }
        | LoadBalancerCall::Remove { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, enabled: bool, health: Health) -> Target {
        let absent = Target::absent(&host.into(), 80);
        Target { present: true, enabled, health, reason: None, ..absent }
    }

    #[test]
    fn the_floor_is_of_others_that_are_enabled_and_healthy() {
        let pool = Pool {
            name: "web".to_owned(),
            targets: vec![
                target("i-1", true, Health::Healthy),
                target("i-2", true, Health::Healthy),
                target("i-3", true, Health::Unhealthy),
                target("i-4", false, Health::Healthy),
                target("i-5", true, Health::Unused),
                Target { weight: Some(0), ..target("i-6", true, Health::Healthy) },
            ],
            drain_delay_ms: None,
            linger_ms: 0,
        };
        for (host, floor, wanted) in [
            ("i-1", 0, true),
            ("i-1", 1, true),
            ("i-1", 2, false),
            ("i-3", 2, true),
            ("i-4", 2, true),
            // Who serves nobody takes nothing away.
            ("i-3", 3, true),
            ("i-4", 3, true),
            ("i-9", 3, true),
            // Who is not checked may serve somebody, and counts for nobody else.
            ("i-5", 2, true),
            ("i-5", 3, false),
        ] {
            let kept = pool.must_keep(&host.into(), 80, floor);
            assert_eq!(kept.is_ok(), wanted, "{host} {floor}: {kept:?}");
        }
        let told = pool.must_keep(&"i-1".into(), 80, 2).unwrap_err();
        assert_eq!(told.class, FailureClass::Transient);
        assert!(told.message.contains("would have 1 healthy"), "{}", told.message);
        assert!(told.message.contains("i-3:80 is not healthy; i-4:80 gets no traffic"));
        assert!(told.message.contains("i-6:80 has weight 0"), "{}", told.message);
    }
}
