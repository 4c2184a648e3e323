//! Steps on EC2 instances.
//!
//! Waiting for the state that was asked for belongs to each step: *done* means that the instance
//! is as it was asked to be, not that a request was taken.

mod steps;

pub use steps::*;

stepback_sdk::export_steps!(
    DescribeInstance,
    FindInstance,
    RunInstance,
    StartInstance,
    StopInstance,
    TerminateInstance,
    SetInstanceType,
    WaitInstance,
);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;
    use stepback_sdk::testing::{World, input};
    use stepback_sdk::{Check, FailureClass};

    fn instance(state: &str) -> Value {
        json!({
            "id": "i-1", "state": state, "instance_type": "r6i.large", "zone": "us-east-1a",
            "private_ip": null, "tags": [{ "key": "Name", "value": "db" }],
            "devices": [],
        })
    }

    #[test]
    fn stopping_waits_until_the_instance_is_stopped() {
        World::reset();
        World::answer("ec2.stop", instance("stopping"));
        World::answer("ec2.wait-state", instance("stopped"));
        let output = StopInstance::run(input::<StopInstance>(json!({ "instance": "i-1" })));
        assert_eq!(output.expect("it stops").state, "stopped");
        assert_eq!(World::functions(), ["ec2.stop", "ec2.wait-state"]);
    }

    #[test]
    fn finding_must_find_exactly_one() {
        World::reset();
        World::answer("ec2.find", json!([instance("running"), instance("running")]));
        let with = json!({ "tags": { "Name": "db" } });
        let failure =
            FindInstance::run(input::<FindInstance>(with)).err().expect("two is too many");
        assert_eq!(failure.class, FailureClass::Precondition);
        assert!(failure.message.contains("i-1"), "{}", failure.message);
    }

    #[test]
    fn an_instance_with_more_tags_than_ec2_takes_is_refused() {
        let checked = |count: usize| {
            World::reset();
            let tags: BTreeMap<_, _> = (0..count).map(|n| (format!("k{n}"), "v")).collect();
            let with = json!({ "image": "ami-1", "instance_type": "t3.micro", "zone": "a",
                               "tags": tags });
            RunInstance::check(&input::<RunInstance>(with)).expect("it answers")
        };
        assert_eq!(checked(48), Check::Ok);
        assert!(matches!(checked(49), Check::Refused(_)));
    }

    #[test]
    fn a_type_is_set_only_while_stopped() {
        World::reset();
        World::answer("ec2.describe", instance("running"));
        let with = json!({ "instance": "i-1", "instance_type": "r6i.xlarge" });
        let answer = SetInstanceType::check(&input::<SetInstanceType>(with)).expect("it answers");
        assert!(matches!(answer, Check::NotYet(_)), "{answer:?}");
    }
}
