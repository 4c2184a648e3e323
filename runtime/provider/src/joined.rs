//! Two providers as one: instances and volumes here, the engines on the instances there.

use crate::locks::WorldLocks;
use crate::simulated::world::World;
use crate::{Checked, EffectContext, Provider, Settled, Stamped};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;
use stepback_core::step::EffectOutcome;
use stepback_core::{
    Call, Epoch, Facts, Failure, OperationId, Resource, ResourceKind, StoreId, Token,
};

/// A cloud, and the Docker Engines on its instances.
pub struct Joined {
    cloud: Arc<dyn Provider>,
    docker: Arc<dyn Provider>,
}

impl Joined {
    pub fn new(cloud: Arc<dyn Provider>, docker: Arc<dyn Provider>) -> Self {
        Self { cloud, docker }
    }

    fn of(&self, call: &Call) -> &dyn Provider {
        match call.host() {
            Some(_) => &*self.docker,
            None => &*self.cloud,
        }
    }
}

#[async_trait]
impl Provider for Joined {
    fn name(&self) -> &str {
        self.cloud.name()
    }

    async fn identity(&self) -> Result<Value, Failure> {
        let (cloud, docker) = (self.cloud.identity().await?, self.docker.identity().await?);
        Ok(json!({ self.cloud.name(): cloud, self.docker.name(): docker }))
    }

    async fn check(&self) -> Vec<Checked> {
        let mut all = self.cloud.check().await;
        all.extend(self.docker.check().await);
        all
    }

    fn locks(&self) -> Option<&dyn WorldLocks> {
        self.cloud.locks()
    }

    fn looks_through(&self) -> Vec<String> {
        [self.cloud.looks_through(), self.docker.looks_through()].concat()
    }

    async fn read(&self, call: &Call) -> Result<Value, Failure> {
        self.of(call).read(call).await
    }

    async fn may(&self, call: &Call) -> Result<(), Failure> {
        self.of(call).may(call).await
    }

    async fn wait(&self, call: &Call) -> Result<Value, Failure> {
        self.of(call).wait(call).await
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        self.of(call).perform(call, context).await
    }

    async fn settle(&self, call: &Call, context: &EffectContext) -> Settled {
        self.of(call).settle(call, context).await
    }

    async fn forget(&self, call: &Call, context: &EffectContext) {
        self.of(call).forget(call, context).await;
    }

    async fn take_over(
        &self,
        store: &StoreId,
        operation: OperationId,
        epoch: Epoch,
    ) -> Result<(), Failure> {
        self.cloud.take_over(store, operation, epoch).await?;
        self.docker.take_over(store, operation, epoch).await
    }

    async fn import(&self, world: &mut World) -> Result<Vec<String>, Failure> {
        let mut left_out = self.cloud.import(world).await?;
        left_out.extend(self.docker.import(world).await?);
        Ok(left_out)
    }

    fn request_ms_max(&self) -> u64 {
        self.cloud.request_ms_max().max(self.docker.request_ms_max())
    }

    fn visible_after_ms(&self) -> u64 {
        self.cloud.visible_after_ms().max(self.docker.visible_after_ms())
    }

    async fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        match resource.kind() {
            ResourceKind::Volume | ResourceKind::Snapshot | ResourceKind::Instance => {
                self.cloud.observe(resource).await
            }
            ResourceKind::Container
            | ResourceKind::Image
            | ResourceKind::DockerVolume
            | ResourceKind::FileSystem
            | ResourceKind::Containers => self.docker.observe(resource).await,
        }
    }

    async fn stamped(&self, tokens: &[Token]) -> Result<Stamped, Failure> {
        // What an engine has can be told without the cloud.
        let mut told = self.cloud.stamped(tokens).await.unwrap_or_else(|failure| Stamped {
            cloud_not_asked: Some(failure.message),
            ..Stamped::default()
        });
        let on_engines = self.docker.stamped(tokens).await?;
        told.found.extend(on_engines.found);
        told.not_asked.extend(on_engines.not_asked);
        Ok(told)
    }
}
