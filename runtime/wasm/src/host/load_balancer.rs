//! `load-balancer`: pools, and the targets that they send traffic to.

use crate::bindings::stepback::load_balancer::pools::{
    Failure, Host, OnTimeout, Place, Pool, Target,
};
use crate::guest::Guest;
use stepback_core::{Call, ContainerName, InstanceId, LoadBalancerCall, PoolName, calls};

impl Host for Guest {
    async fn describe_pool(&mut self, pool: String) -> Result<Pool, Failure> {
        self.ask(LoadBalancerCall::DescribePool { pool: pool.into() }.into()).await
    }

    async fn add(
        &mut self,
        target: Place,
        weight: Option<u32>,
        floor: u32,
    ) -> Result<Target, Failure> {
        let (pool, host, port, container) = named(target);
        self.ask(LoadBalancerCall::Add { pool, host, port, container, weight, floor }.into()).await
    }

    async fn wait_healthy(
        &mut self,
        target: Place,
        timeout_ms: u64,
        on_timeout: OnTimeout,
    ) -> Result<Target, Failure> {
        let (pool, host, port, _) = named(target);
        let on_timeout = then(on_timeout);
        let call: Call =
            LoadBalancerCall::WaitHealthy { pool, host, port, timeout_ms, on_timeout }.into();
        self.ask(call).await
    }

    async fn enable(&mut self, target: Place, floor: u32) -> Result<Target, Failure> {
        let (pool, host, port, container) = named(target);
        self.ask(LoadBalancerCall::Enable { pool, host, port, container, floor }.into()).await
    }

    async fn drain(&mut self, target: Place, floor: u32) -> Result<Target, Failure> {
        let (pool, host, port, container) = named(target);
        self.ask(LoadBalancerCall::Drain { pool, host, port, container, floor }.into()).await
    }

    async fn wait_drained(
        &mut self,
        target: Place,
        timeout_ms: u64,
        on_timeout: OnTimeout,
    ) -> Result<Target, Failure> {
        let (pool, host, port, _) = named(target);
        let on_timeout = then(on_timeout);
        let call: Call =
            LoadBalancerCall::WaitDrained { pool, host, port, timeout_ms, on_timeout }.into();
        self.ask(call).await
    }

    async fn remove(&mut self, target: Place, floor: u32) -> Result<Target, Failure> {
        let (pool, host, port, container) = named(target);
        self.ask(LoadBalancerCall::Remove { pool, host, port, container, floor }.into()).await
    }
}

fn named(target: Place) -> (PoolName, InstanceId, u16, Option<ContainerName>) {
    let Place { pool, host, port, container } = target;
    (pool.into(), host.into(), port, container.map(Into::into))
}

fn then(on_timeout: OnTimeout) -> calls::OnTimeout {
    match on_timeout {
        OnTimeout::Fail => calls::OnTimeout::Fail,
        OnTimeout::GoOn => calls::OnTimeout::GoOn,
    }
}
