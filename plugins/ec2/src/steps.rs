//! One type a step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepback_sdk::{
    Check, Duration, Failure, FailureClass, NOT_KNOWN_YET, Step, ec2, ec2::InstanceState, failure,
    granted, may, may_take_back, pairs, precondition, tag_map, unfit_tags,
};

/// How long an instance may take to change its state; EC2 mostly needs a minute.
const STATE_WAIT: Duration = Duration::seconds(600);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InstanceInput {
    /// The instance's id, `i-…`.
    instance: String,
}

#[derive(Serialize, JsonSchema)]
pub struct Instance {
    pub id: String,
    pub state: String,
    pub instance_type: String,
    pub zone: String,
    pub private_ip: Option<String>,
    pub tags: BTreeMap<String, String>,
    /// The device names in use, with the volume that is attached as each.
    pub devices: BTreeMap<String, String>,
    /// Every name that can't be given to one more volume: `/dev/sdf` and `/dev/xvdf` are one.
    pub taken: Vec<String>,
}

/// A device's names (Amazon EC2 User Guide, *Device names for volumes on Amazon EC2 instances*).
fn names_of(device: &str) -> Vec<String> {
    let name = device.strip_prefix("/dev/").unwrap_or(device);
    match name.strip_prefix("xvd").or_else(|| name.strip_prefix("sd")) {
        Some(letter) => vec![format!("/dev/sd{letter}"), format!("/dev/xvd{letter}")],
        None => vec![device.to_owned()],
    }
}

impl From<ec2::Instance> for Instance {
    fn from(instance: ec2::Instance) -> Self {
        let ec2::Instance { id, state, instance_type, zone, private_ip, tags, devices } = instance;
        let devices: BTreeMap<String, String> =
            devices.into_iter().map(|one| (one.device, one.volume)).collect();
        let taken = devices.keys().flat_map(|device| names_of(device)).collect();
        let state = state.to_string();
        Self { id, state, instance_type, zone, private_ip, tags: tag_map(&tags), devices, taken }
    }
}

/// Whether the step may wait for a state.
fn may_wait(instance: &str, state: InstanceState) -> Result<(), Failure> {
    granted(|| ec2::wait_state(instance, state, STATE_WAIT.ms()))
}

/// Whether the instance is in one of the states; another may still come.
fn check_state(instance: &str, states: &[InstanceState]) -> Result<Check, Failure> {
    let found = ec2::describe(instance)?;
    let (id, state) = (found.id, found.state);
    let wanted = || states.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    Ok(match state {
        InstanceState::Terminated | InstanceState::ShuttingDown => {
            Check::Refused(format!("instance {id} is {state}"))
        }
        state if states.contains(&state) => Check::Ok,
        _ => Check::NotYet(format!("instance {id} is {state}, not {}", wanted())),
    })
}

pub struct DescribeInstance;

impl Step for DescribeInstance {
    type Input = InstanceInput;
    type Output = Instance;
    const NAME: &'static str = "describe-instance";
    const DOC: &'static str = "Look at an instance.";

    fn check(input: &InstanceInput) -> Result<Check, Failure> {
        granted(|| ec2::describe(&input.instance))?;
        Ok(Check::Ok)
    }

    fn run(input: InstanceInput) -> Result<Instance, Failure> {
        ec2::describe(&input.instance).map(Instance::from).map_err(with_those_that_are)
    }
}

/// So many are named of those that there are.
const NAMED_MAX: usize = 8;

/// A failure of one that is not there, with those that are.
fn with_those_that_are(failure: Failure) -> Failure {
    if failure.class != FailureClass::Precondition {
        return failure;
    }
    let Ok(all) = ec2::find(&[]) else { return failure };
    let mut ids: Vec<&str> = all.iter().map(|one| one.id.as_str()).collect();
    ids.sort_unstable();
    let more = if ids.len() > NAMED_MAX { " and others" } else { "" };
    ids.truncate(NAMED_MAX);
    let ids = if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
    Failure { message: format!("{}; there are {ids}{more}", failure.message), ..failure }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FindInput {
    /// Every tag it must carry.
    tags: BTreeMap<String, String>,
}

pub struct FindInstance;

impl Step for FindInstance {
    type Input = FindInput;
    type Output = Instance;
    const NAME: &'static str = "find-instance";
    const DOC: &'static str = "Find the one instance that carries these tags.";

    fn check(input: &FindInput) -> Result<Check, Failure> {
        granted(|| ec2::find(&pairs(&input.tags)))?;
        Ok(Check::Ok)
    }

    fn run(input: FindInput) -> Result<Instance, Failure> {
        let mut found = ec2::find(&pairs(&input.tags))?;
        match (found.pop(), found.len()) {
            (Some(one), 0) => Ok(one.into()),
            (None, _) => Err(precondition(format!("no instance carries {:?}", input.tags))),
            (Some(last), _) => {
                let ids = found.iter().map(|one| one.id.as_str()).chain([last.id.as_str()]);
                let ids: Vec<&str> = ids.collect();
                let ids = ids.join(", ");
                Err(precondition(format!("{ids} all carry {:?}; only one may", input.tags)))
            }
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunInput {
    /// The machine image, `ami-…`.
    image: String,
    instance_type: String,
    /// The availability zone.
    zone: String,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

impl RunInput {
    fn spec(&self) -> ec2::RunSpec {
        let Self { image, instance_type, zone, tags } = self;
        let (image, instance_type) = (image.clone(), instance_type.clone());
        ec2::RunSpec { image, instance_type, zone: zone.clone(), tags: pairs(tags) }
    }
}

pub struct RunInstance;

impl Step for RunInstance {
    type Input = RunInput;
    type Output = Instance;
    const NAME: &'static str = "run-instance";
    const DOC: &'static str = "Run a new instance and wait until it runs.";

    fn check(input: &RunInput) -> Result<Check, Failure> {
        if let Some(why) = unfit_tags(&input.tags) {
            return Ok(Check::Refused(why));
        }
        may(|| ec2::run_instance(&input.spec()))?;
        may_wait(NOT_KNOWN_YET, InstanceState::Running)?;
        Ok(Check::Ok)
    }

    fn run(input: RunInput) -> Result<Instance, Failure> {
        let made = ec2::run_instance(&input.spec())?;
        ec2::wait_state(&made.id, InstanceState::Running, STATE_WAIT.ms()).map(Instance::from)
    }
}

pub struct StartInstance;

impl Step for StartInstance {
    type Input = InstanceInput;
    type Output = Instance;
    const NAME: &'static str = "start-instance";
    const DOC: &'static str = "Start a stopped instance and wait until it runs.";

    fn check(input: &InstanceInput) -> Result<Check, Failure> {
        may(|| ec2::start(&input.instance))?;
        may_wait(&input.instance, InstanceState::Running)?;
        may_take_back(|| ec2::stop(&input.instance))?;
        check_state(
            &input.instance,
            &[InstanceState::Stopped, InstanceState::Running, InstanceState::Pending],
        )
    }

    fn run(input: InstanceInput) -> Result<Instance, Failure> {
        ec2::start(&input.instance)?;
        ec2::wait_state(&input.instance, InstanceState::Running, STATE_WAIT.ms())
            .map(Instance::from)
    }
}

pub struct StopInstance;

impl Step for StopInstance {
    type Input = InstanceInput;
    type Output = Instance;
    const NAME: &'static str = "stop-instance";
    const DOC: &'static str = "Stop an instance and wait until it is stopped.";

    fn check(input: &InstanceInput) -> Result<Check, Failure> {
        may(|| ec2::stop(&input.instance))?;
        may_wait(&input.instance, InstanceState::Stopped)?;
        may_take_back(|| ec2::start(&input.instance))?;
        check_state(
            &input.instance,
            &[InstanceState::Running, InstanceState::Stopped, InstanceState::Stopping],
        )
    }

    fn run(input: InstanceInput) -> Result<Instance, Failure> {
        ec2::stop(&input.instance)?;
        ec2::wait_state(&input.instance, InstanceState::Stopped, STATE_WAIT.ms())
            .map(Instance::from)
    }
}

pub struct TerminateInstance;

impl Step for TerminateInstance {
    type Input = InstanceInput;
    type Output = ();
    const NAME: &'static str = "terminate-instance";
    const DOC: &'static str = "Terminate an instance for good.";
    const REVERSIBLE: bool = false;

    fn check(input: &InstanceInput) -> Result<Check, Failure> {
        may(|| ec2::terminate(&input.instance))?;
        may_wait(&input.instance, InstanceState::Terminated)?;
        check_state(
            &input.instance,
            &[
                InstanceState::Running,
                InstanceState::Stopped,
                InstanceState::Stopping,
                InstanceState::Pending,
            ],
        )
    }

    fn run(input: InstanceInput) -> Result<(), Failure> {
        ec2::terminate(&input.instance)?;
        ec2::wait_state(&input.instance, InstanceState::Terminated, STATE_WAIT.ms()).map(drop)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetTypeInput {
    instance: String,
    instance_type: String,
}

pub struct SetInstanceType;

impl Step for SetInstanceType {
    type Input = SetTypeInput;
    type Output = ();
    const NAME: &'static str = "set-instance-type";
    const DOC: &'static str = "Change the type of a stopped instance.";

    fn check(input: &SetTypeInput) -> Result<Check, Failure> {
        may(|| ec2::set_instance_type(&input.instance, &input.instance_type))?;
        check_state(&input.instance, &[InstanceState::Stopped])
    }

    fn run(input: SetTypeInput) -> Result<(), Failure> {
        ec2::set_instance_type(&input.instance, &input.instance_type)
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitInput {
    instance: String,
    /// running, stopped or terminated.
    state: String,
    #[serde(default = "state_wait")]
    timeout: Duration,
}

fn state_wait() -> Duration {
    STATE_WAIT
}

impl WaitInput {
    fn state(&self) -> Result<InstanceState, Failure> {
        let state = self.state.parse::<InstanceState>();
        state.map_err(|error| failure(FailureClass::InvalidInput, error.to_string()))
    }
}

pub struct WaitInstance;

impl Step for WaitInstance {
    type Input = WaitInput;
    type Output = Instance;
    const NAME: &'static str = "wait-instance";
    const DOC: &'static str = "Wait until an instance is in a state.";

    fn check(input: &WaitInput) -> Result<Check, Failure> {
        // The world can't be asked for a state that there is not, and grants know none.
        let state = input.state();
        let any = state.as_ref().map_or(InstanceState::Running, |state| *state);
        granted(|| ec2::wait_state(&input.instance, any, input.timeout.ms()))?;
        state.map(|_| Check::Ok)
    }

    fn run(input: WaitInput) -> Result<Instance, Failure> {
        ec2::wait_state(&input.instance, input.state()?, input.timeout.ms()).map(Instance::from)
    }
}
