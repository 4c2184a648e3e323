//! Which room an effect is made in.

use super::{docker, ec2, instances, limits, pools};
use crate::world::World;
use serde_json::Value;
use stepback_core::calls::Ec2Call;
use stepback_core::{Call, Failure, Token, UnixMs};

/// Make an effect in the world, or refuse it.
///
/// # Errors
/// What EC2, an engine or a load balancer says.
pub(super) fn effect(
    world: &mut World,
    call: &Call,
    token: &Token,
    is_cut_off: bool,
    now: UnixMs,
) -> Result<Value, Failure> {
    match call {
        Call::Docker(_) => docker::apply(world, call, token, is_cut_off),
        Call::LoadBalancer(of) => pools::apply(world, of, now),
        Call::Ec2(_) | Call::Ebs(_) | Call::Effects(_) | Call::Clock(_) => {
            cloud(world, call, token, now)
        }
    }
}

/// The same of EC2 and EBS alone.
///
/// # Errors
/// What EC2 says.
pub fn cloud(world: &mut World, call: &Call, token: &Token, now: UnixMs) -> Result<Value, Failure> {
    match call {
        Call::Ec2(Ec2Call::RunInstance { instance_type, zone, tags, .. }) => {
            limits::must_be_tags(tags, true)?;
            Ok(instances::run(world, instance_type, zone, tags, token, now))
        }
        Call::Ec2(Ec2Call::Start { instance }) => instances::start(world, instance),
        Call::Ec2(Ec2Call::Stop { instance }) => instances::stop(world, instance),
        Call::Ec2(Ec2Call::Terminate { instance }) => instances::terminate(world, instance),
        other => ec2::apply(world, other, token, now),
    }
}
