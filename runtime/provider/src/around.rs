//! A provider around another one: what it is not there for goes through as it is.
//!
//! Whatever a [`Provider`] does is passed on here and nowhere else, so that no such provider leaves
//! anything out.

use crate::advice::Advice;
use crate::inventory::Inventory;
use crate::locks::WorldLocks;
use crate::{Checked, EffectContext, Provider, Settled, Stamped};
use async_trait::async_trait;
use serde_json::Value;
use stepback_core::step::EffectOutcome;
use stepback_core::{
    Call, Epoch, Facts, Failure, Interface, OperationId, Resource, StoreId, Token,
};

/// What a provider around another one may do otherwise; the rest of a [`Provider`] is the inner
/// one's.
#[async_trait]
pub trait Around: Send + Sync {
    /// The one that it is around.
    fn inner(&self) -> &dyn Provider;

    /// As [`Provider::locks`].
    fn locks(&self) -> Option<&dyn WorldLocks> {
        self.inner().locks()
    }

    /// As [`Provider::read`].
    async fn read(&self, call: &Call) -> Result<Value, Failure> {
        self.inner().read(call).await
    }

    /// As [`Provider::may`].
    async fn may(&self, call: &Call) -> Result<(), Failure> {
        self.inner().may(call).await
    }

    /// As [`Provider::wait`].
    async fn wait(&self, call: &Call) -> Result<Value, Failure> {
        self.inner().wait(call).await
    }

    /// As [`Provider::perform`].
    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        self.inner().perform(call, context).await
    }

    /// As [`Provider::settle`].
    async fn settle(&self, call: &Call, context: &EffectContext) -> Settled {
        self.inner().settle(call, context).await
    }

    /// As [`Provider::forget`].
    async fn forget(&self, call: &Call, context: &EffectContext) {
        self.inner().forget(call, context).await;
    }

    /// As [`Provider::take_over`].
    async fn take_over(
        &self,
        store: &StoreId,
        operation: OperationId,
        epoch: Epoch,
    ) -> Result<(), Failure> {
        self.inner().take_over(store, operation, epoch).await
    }

    /// As [`Provider::observe`].
    async fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        self.inner().observe(resource).await
    }

    /// As [`Provider::stamped`].
    async fn stamped(&self, tokens: &[Token]) -> Result<Stamped, Failure> {
        self.inner().stamped(tokens).await
    }
}

#[async_trait]
impl<T: Around> Provider for T {
    fn name(&self) -> &str {
        self.inner().name()
    }

    fn serves(&self) -> &[Interface] {
        self.inner().serves()
    }

    fn pools(&self) -> Vec<String> {
        self.inner().pools()
    }

    async fn identity(&self) -> Result<Value, Failure> {
        self.inner().identity().await
    }

    async fn check(&self) -> Vec<Checked> {
        self.inner().check().await
    }

    fn locks(&self) -> Option<&dyn WorldLocks> {
        Around::locks(self)
    }

    fn looks_through(&self) -> Vec<String> {
        self.inner().looks_through()
    }

    async fn read(&self, call: &Call) -> Result<Value, Failure> {
        Around::read(self, call).await
    }

    async fn may(&self, call: &Call) -> Result<(), Failure> {
        Around::may(self, call).await
    }

    async fn wait(&self, call: &Call) -> Result<Value, Failure> {
        Around::wait(self, call).await
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        Around::perform(self, call, context).await
    }

    async fn settle(&self, call: &Call, context: &EffectContext) -> Settled {
        Around::settle(self, call, context).await
    }

    async fn forget(&self, call: &Call, context: &EffectContext) {
        Around::forget(self, call, context).await;
    }

    async fn take_over(
        &self,
        store: &StoreId,
        operation: OperationId,
        epoch: Epoch,
    ) -> Result<(), Failure> {
        Around::take_over(self, store, operation, epoch).await
    }

    async fn import(&self, found: &mut Inventory) -> Result<(), Failure> {
        self.inner().import(found).await
    }

    fn request_ms_max(&self) -> u64 {
        self.inner().request_ms_max()
    }

    async fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        Around::observe(self, resource).await
    }

    fn advice(&self, resource: &Resource, before: &Facts, now: &Facts) -> Advice {
        self.inner().advice(resource, before, now)
    }

    fn visible_after_ms(&self) -> u64 {
        self.inner().visible_after_ms()
    }

    async fn stamped(&self, tokens: &[Token]) -> Result<Stamped, Failure> {
        Around::stamped(self, tokens).await
    }
}
