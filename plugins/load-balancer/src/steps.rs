//! One type a step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stepback_sdk::load_balancer::{self, OnTimeout, Place, TargetHealth};
use stepback_sdk::{
    Check, Duration, Failure, FailureClass, Step, docker, failure, granted, may, precondition,
};

/// How long a target may take to be healthy.
const HEALTHY_WAIT: Duration = Duration::seconds(300);
/// How long those who are served by a target may take.
const DRAINED_WAIT: Duration = Duration::seconds(300);

fn healthy_wait() -> Duration {
    HEALTHY_WAIT
}

fn drained_wait() -> Duration {
    DRAINED_WAIT
}

fn one() -> u32 {
    1
}

fn fail() -> String {
    OnTimeout::Fail.to_string()
}

/// A target of a pool.
#[derive(Serialize, JsonSchema)]
pub struct Target {
    pub host: String,
    pub port: u16,
    /// Whether the pool has it.
    pub present: bool,
    /// Whether it gets traffic.
    pub enabled: bool,
    /// Its share of the traffic, as far as the balancer has one.
    pub weight: Option<u32>,
    /// unused, checking, healthy or unhealthy.
    pub health: String,
    /// Why it is not healthy, as the balancer says it.
    pub reason: Option<String>,
    /// Who is served by it, as far as the balancer tells.
    pub sessions: Option<u32>,
}

impl From<load_balancer::Target> for Target {
    fn from(target: load_balancer::Target) -> Self {
        let load_balancer::Target { host, port, present, enabled, weight, .. } = target;
        let load_balancer::Target { health, reason, sessions, .. } = target;
        let health = health.to_string();
        Self { host, port, present, enabled, weight, health, reason, sessions }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolInput {
    /// As the environment names it.
    pool: String,
}

#[derive(Serialize, JsonSchema)]
pub struct Pool {
    /// Those that it has.
    pub targets: Vec<Target>,
    /// How many of them get traffic and are healthy.
    pub serving: usize,
    /// How long the balancer lets a drained target go on, where it has such a limit, in
    /// milliseconds.
    pub drain_delay_ms: Option<u64>,
    /// How long traffic may still come after a target is drained, in milliseconds.
    pub linger_ms: u64,
}

pub struct DescribePool;

impl Step for DescribePool {
    type Input = PoolInput;
    type Output = Pool;
    const NAME: &'static str = "describe-pool";
    const DOC: &'static str = "Look at a pool and its targets.";

    fn check(input: &PoolInput) -> Result<Check, Failure> {
        load_balancer::describe_pool(&input.pool)?;
        Ok(Check::Ok)
    }

    fn run(input: PoolInput) -> Result<Pool, Failure> {
        let load_balancer::Pool { targets, drain_delay_ms, linger_ms, .. } =
            load_balancer::describe_pool(&input.pool)?;
        let serves = |one: &&load_balancer::Target| {
            one.enabled && one.health == TargetHealth::Healthy && one.weight != Some(0)
        };
        let serving = targets.iter().filter(serves).count();
        let targets = targets.into_iter().map(Target::from).collect();
        Ok(Pool { targets, serving, drain_delay_ms, linger_ms })
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddInput {
    /// As the environment names it.
    pool: String,
    /// The instance that it is on.
    host: String,
    port: u16,
    /// The container behind it: an undo does not stop it before the pool has let go of it. Without
    /// one that goes for all that is on the host.
    container: Option<String>,
    /// Its share of the traffic, where the balancer has one.
    weight: Option<u32>,
    /// So many other targets must get traffic and be healthy, where this is taken back.
    #[serde(default = "one")]
    floor: u32,
    /// How long it may take to be healthy.
    #[serde(default = "healthy_wait")]
    timeout: Duration,
}

impl AddInput {
    fn place(&self) -> Place {
        place(&self.pool, &self.host, self.port, &self.container)
    }
}

fn place(pool: &str, host: &str, port: u16, container: &Option<String>) -> Place {
    let (pool, host, container) = (pool.to_owned(), host.to_owned(), container.clone());
    Place { pool, host, port, container }
}

/// Whether the container is there that an undo goes by: with a slip in its name it would be stopped
/// while the pool still sends traffic to it.
fn must_be_there(place: &Place) -> Result<(), Failure> {
    let Some(name) = &place.container else { return Ok(()) };
    match docker::inspect_container(&place.host, name)? {
        Some(_) => Ok(()),
        None => {
            let why = format!("there is no container `{name}` on {} behind the target", place.host);
            Err(precondition(why))
        }
    }
}

/// What comes before a target's own questions: its container may still be made.
fn may_look(place: &Place) -> Result<(), Failure> {
    let name = place.container.as_ref();
    name.map_or(Ok(()), |name| granted(|| docker::inspect_container(&place.host, name)))
}

pub struct AddTarget;

impl Step for AddTarget {
    type Input = AddInput;
    type Output = Target;
    const NAME: &'static str = "add-target";
    const DOC: &'static str = "Add a target to a pool and wait until its checks pass. It gets no \
                               traffic yet where the balancer can do that.";

    fn check(input: &AddInput) -> Result<Check, Failure> {
        let place = input.place();
        may_look(&place)?;
        may(|| load_balancer::add(&place, input.weight, input.floor))?;
        let timeout_ms = input.timeout.ms();
        granted(|| load_balancer::wait_healthy(&place, timeout_ms, OnTimeout::Fail))?;
        Ok(Check::Ok)
    }

    fn run(input: AddInput) -> Result<Target, Failure> {
        let place = input.place();
        must_be_there(&place)?;
        load_balancer::add(&place, input.weight, input.floor)?;
        let healthy = load_balancer::wait_healthy(&place, input.timeout.ms(), OnTimeout::Fail)?;
        Ok(healthy.into())
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetInput {
    /// As the environment names it.
    pool: String,
    /// The instance that it is on.
    host: String,
    port: u16,
    /// The container behind it: an undo does not stop it before the pool has let go of it. Without
    /// one that goes for all that is on the host.
    container: Option<String>,
    /// So many other targets must get traffic and be healthy, where it loses its own.
    #[serde(default = "one")]
    floor: u32,
}

impl TargetInput {
    fn place(&self) -> Place {
        place(&self.pool, &self.host, self.port, &self.container)
    }
}

pub struct EnableTarget;

impl Step for EnableTarget {
    type Input = TargetInput;
    type Output = Target;
    const NAME: &'static str = "enable-target";
    const DOC: &'static str = "Send traffic to a target that is healthy; it is drained again in an \
                               undo.";

    fn check(input: &TargetInput) -> Result<Check, Failure> {
        let place = input.place();
        may_look(&place)?;
        may(|| load_balancer::enable(&place, input.floor))?;
        Ok(Check::Ok)
    }

    fn run(input: TargetInput) -> Result<Target, Failure> {
        let place = input.place();
        must_be_there(&place)?;
        load_balancer::enable(&place, input.floor).map(Target::from)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitInput {
    /// As the environment names it.
    pool: String,
    /// The instance that it is on.
    host: String,
    port: u16,
    /// How long it may take to be healthy.
    #[serde(default = "healthy_wait")]
    timeout: Duration,
}

pub struct WaitTarget;

impl Step for WaitTarget {
    type Input = WaitInput;
    type Output = Target;
    const NAME: &'static str = "wait-target";
    const DOC: &'static str = "Wait until a target is healthy by the balancer's checks.";

    fn check(input: &WaitInput) -> Result<Check, Failure> {
        let place = place(&input.pool, &input.host, input.port, &None);
        granted(|| load_balancer::wait_healthy(&place, input.timeout.ms(), OnTimeout::Fail))?;
        Ok(Check::Ok)
    }

    fn run(input: WaitInput) -> Result<Target, Failure> {
        let place = place(&input.pool, &input.host, input.port, &None);
        let healthy = load_balancer::wait_healthy(&place, input.timeout.ms(), OnTimeout::Fail)?;
        Ok(healthy.into())
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainInput {
    /// As the environment names it.
    pool: String,
    /// The instance that it is on.
    host: String,
    port: u16,
    /// The container behind it, as `add-target` has it.
    container: Option<String>,
    /// So many other targets must get traffic and be healthy.
    #[serde(default = "one")]
    floor: u32,
    /// How long those who are served by it may take.
    #[serde(default = "drained_wait")]
    timeout: Duration,
    /// Where they take longer: fail, or go-on.
    #[serde(default = "fail")]
    on_timeout: String,
}

impl DrainInput {
    fn place(&self) -> Place {
        place(&self.pool, &self.host, self.port, &self.container)
    }

    fn on_timeout(&self) -> Result<OnTimeout, Failure> {
        let read = self.on_timeout.parse::<OnTimeout>();
        read.map_err(|error| failure(FailureClass::InvalidInput, error.to_string()))
    }
}

pub struct DrainTarget;

impl Step for DrainTarget {
    type Input = DrainInput;
    type Output = Target;
    const NAME: &'static str = "drain-target";
    const DOC: &'static str = "Send no new traffic to a target, and wait until nobody is served by \
                               it.";

    fn check(input: &DrainInput) -> Result<Check, Failure> {
        let (place, timeout_ms) = (input.place(), input.timeout.ms());
        may_look(&place)?;
        may(|| load_balancer::drain(&place, input.floor))?;
        let on_timeout = input.on_timeout();
        // Where that can't be read no time is asked for: it may be to go on.
        let any = on_timeout.as_ref().map_or(OnTimeout::GoOn, |one| *one);
        may(|| load_balancer::wait_drained(&place, timeout_ms, any))?;
        on_timeout.map(|_| Check::Ok)
    }

    fn run(input: DrainInput) -> Result<Target, Failure> {
        let (place, on_timeout) = (input.place(), input.on_timeout()?);
        must_be_there(&place)?;
        load_balancer::drain(&place, input.floor)?;
        let drained = load_balancer::wait_drained(&place, input.timeout.ms(), on_timeout)?;
        Ok(drained.into())
    }
}

pub struct RemoveTarget;

impl Step for RemoveTarget {
    type Input = TargetInput;
    type Output = Target;
    const NAME: &'static str = "remove-target";
    const DOC: &'static str = "Take a drained target out of its pool.";

    fn check(input: &TargetInput) -> Result<Check, Failure> {
        let place = input.place();
        may_look(&place)?;
        may(|| load_balancer::remove(&place, input.floor))?;
        Ok(Check::Ok)
    }

    fn run(input: TargetInput) -> Result<Target, Failure> {
        let place = input.place();
        must_be_there(&place)?;
        load_balancer::remove(&place, input.floor).map(Target::from)
    }
}
