//! Steps on the pools of load balancers.
//!
//! A target gets traffic in two steps: it is added, and is healthy by the balancer's own checks;
//! then it is enabled. It loses it in two as well: it is drained until nobody is served by it, then
//! it is removed. Each keeps to a floor: so many other targets get traffic and are healthy, in an
//! undo too.

mod steps;

pub use steps::*;

stepback_sdk::export_steps!(
    DescribePool,
    AddTarget,
    WaitTarget,
    EnableTarget,
    DrainTarget,
    RemoveTarget
);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use stepback_sdk::testing::{World, input};
    use stepback_sdk::{Check, FailureClass, failure};

    fn target(enabled: bool, health: &str) -> Value {
        json!({
            "host": "i-1", "port": 8080, "present": true, "enabled": enabled, "weight": 1,
            "health": health, "reason": null, "sessions": 0,
        })
    }

    fn with() -> Value {
        json!({ "pool": "web", "host": "i-1", "port": 8080 })
    }

    #[test]
    fn what_is_added_is_waited_for_until_it_is_healthy() {
        World::reset();
        World::answer("load-balancer.add", target(false, "Checking"));
        World::answer("load-balancer.wait-healthy", target(false, "Healthy"));
        let added = AddTarget::run(input::<AddTarget>(with())).expect("it is added");
        assert_eq!((added.health.as_str(), added.enabled), ("healthy", false));
        let asked = ["load-balancer.add", "load-balancer.wait-healthy"];
        assert_eq!(World::functions(), asked);
    }

    /// An undo goes by it: a slip in its name is told.
    #[test]
    fn the_container_behind_a_target_is_one_that_is_there() {
        World::reset();
        World::answer("docker.inspect-container", Value::Null);
        let mut with = with();
        with["container"] = "ap".into();
        let failed = AddTarget::run(input::<AddTarget>(with)).err().expect("there is none");
        assert_eq!(failed.class, FailureClass::Precondition);
        assert!(failed.message.contains("no container `ap` on i-1"), "{}", failed.message);
        assert_eq!(World::functions(), ["docker.inspect-container"]);
    }

    #[test]
    fn what_is_drained_is_waited_for_until_nobody_is_served() {
        World::reset();
        World::answer("load-balancer.drain", target(false, "Healthy"));
        World::answer("load-balancer.wait-drained", target(false, "Healthy"));
        let drained = DrainTarget::run(input::<DrainTarget>(with())).expect("it is drained");
        assert!(!drained.enabled);
        World::reset();
        World::fail("load-balancer.drain", failure(FailureClass::Transient, "below the floor"));
        let failed = DrainTarget::run(input::<DrainTarget>(with())).err().expect("it fails");
        assert_eq!(failed.class, FailureClass::Transient);
    }

    #[test]
    fn a_pool_tells_how_many_serve() {
        World::reset();
        let targets = [target(true, "Healthy"), target(true, "Checking"), target(false, "Healthy")];
        let pool =
            json!({ "name": "web", "targets": targets, "drain_delay_ms": 9, "linger_ms": 0 });
        World::answer("load-balancer.describe-pool", pool);
        let with = json!({ "pool": "web" });
        let pool = DescribePool::run(input::<DescribePool>(with)).expect("it is there");
        assert_eq!((pool.targets.len(), pool.serving), (3, 1));
    }

    #[test]
    fn a_check_asks_for_what_its_step_would_do() {
        World::reset();
        let checked = DrainTarget::check(&input::<DrainTarget>(with()));
        assert!(matches!(checked, Ok(Check::Ok)), "{checked:?}");
        let mut odd = with();
        odd["on_timeout"] = "never".into();
        let checked = DrainTarget::check(&input::<DrainTarget>(odd)).expect_err("it is told");
        assert!(checked.message.contains("go-on"), "{}", checked.message);
    }
}
