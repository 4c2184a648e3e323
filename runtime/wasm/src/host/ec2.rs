//! `ec2`: instances.

use super::map_of;
use crate::bindings::stepback::ec2::instances::{
    Failure, Host, Instance, InstanceState, Pair, RunSpec,
};
use crate::guest::Guest;
use stepback_core::Call;
use stepback_core::calls::Ec2Call;

impl Host for Guest {
    async fn describe(&mut self, instance: String) -> Result<Instance, Failure> {
        self.ask(Call::Ec2(Ec2Call::Describe { instance: instance.into() })).await
    }

    async fn find(&mut self, tags: Vec<Pair>) -> Result<Vec<Instance>, Failure> {
        self.ask(Call::Ec2(Ec2Call::Find { tags: map_of("tags", tags)? })).await
    }

    async fn run_instance(&mut self, spec: RunSpec) -> Result<Instance, Failure> {
        let RunSpec { image, instance_type, zone, tags } = spec;
        self.ask(Call::Ec2(Ec2Call::RunInstance {
            image,
            instance_type,
            zone,
            tags: map_of("tags", tags)?,
        }))
        .await
    }

    async fn start(&mut self, instance: String) -> Result<Instance, Failure> {
        self.ask(Call::Ec2(Ec2Call::Start { instance: instance.into() })).await
    }

    async fn stop(&mut self, instance: String) -> Result<Instance, Failure> {
        self.ask(Call::Ec2(Ec2Call::Stop { instance: instance.into() })).await
    }

    async fn terminate(&mut self, instance: String) -> Result<(), Failure> {
        self.tell(Call::Ec2(Ec2Call::Terminate { instance: instance.into() })).await
    }

    async fn set_instance_type(
        &mut self,
        instance: String,
        instance_type: String,
    ) -> Result<(), Failure> {
        self.tell(Call::Ec2(Ec2Call::SetInstanceType { instance: instance.into(), instance_type }))
            .await
    }

    async fn wait_state(
        &mut self,
        instance: String,
        state: InstanceState,
        timeout_ms: u64,
    ) -> Result<Instance, Failure> {
        let (instance, state) = (instance.into(), word(state).to_owned());
        self.ask(Call::Ec2(Ec2Call::WaitState { instance, state, timeout_ms })).await
    }

    async fn tag(&mut self, instance: String, key: String, value: String) -> Result<(), Failure> {
        self.tell(Call::Ec2(Ec2Call::Tag { instance: instance.into(), key, value })).await
    }

    async fn untag(&mut self, instance: String, key: String) -> Result<(), Failure> {
        self.tell(Call::Ec2(Ec2Call::Untag { instance: instance.into(), key })).await
    }
}

fn word(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Pending => "pending",
        InstanceState::Running => "running",
        InstanceState::ShuttingDown => "shutting-down",
        InstanceState::Terminated => "terminated",
        InstanceState::Stopping => "stopping",
        InstanceState::Stopped => "stopped",
    }
}
