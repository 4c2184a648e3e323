//! Several providers as one: each call finds its way by its interface, each resource by that of its
//! kind; where several serve pools, what is about a pool goes to the one that has it.

use crate::advice::Advice;
use crate::inventory::Inventory;
use crate::locks::WorldLocks;
use crate::pools::{no_pool, pool_of};
use crate::{Checked, EffectContext, Provider, Settled, Stamped};
use async_trait::async_trait;
use serde_json::{Map, Value};
use std::sync::Arc;
use stepback_core::step::EffectOutcome;
use stepback_core::{
    Call, Epoch, Facts, Failure, FailureClass, Interface, OperationId, Resource, StoreId, Token,
};

/// The providers of one environment.
pub struct Router {
    providers: Vec<Arc<dyn Provider>>,
    /// What any of them serves.
    interfaces: Vec<Interface>,
}

impl Router {
    /// Of two that serve one interface the first does; of two that serve pools, each its own.
    /// Whoever looks at what others found comes after them: engines after the instances that they
    /// are on.
    pub fn new(providers: Vec<Arc<dyn Provider>>) -> Self {
        let is_served =
            |one: &Interface| providers.iter().any(|provider| provider.serves().contains(one));
        let interfaces = Interface::ALL.into_iter().filter(is_served).collect();
        Self { providers, interfaces }
    }

    fn of(&self, interface: Interface) -> Result<&dyn Provider, Failure> {
        let serves = |one: &&Arc<dyn Provider>| one.serves().contains(&interface);
        let found = self.providers.iter().find(serves).map(|one| &**one);
        found.ok_or_else(|| {
            let name = interface.name();
            let message = format!("nothing in this environment serves `{name}`");
            Failure::new(FailureClass::Internal, message).with_code("not-served")
        })
    }

    /// Whoever has a pool: several balancers of one environment have their own each.
    fn of_pool(&self, pool: &str) -> Result<&dyn Provider, Failure> {
        let serves = |one: &&Arc<dyn Provider>| one.serves().contains(&Interface::LoadBalancer);
        let all: Vec<&Arc<dyn Provider>> = self.providers.iter().filter(serves).collect();
        if all.len() < 2 {
            return self.of(Interface::LoadBalancer);
        }
        let known: Vec<Vec<String>> = all.iter().map(|one| one.pools()).collect();
        let has_it = |names: &Vec<String>| names.iter().any(|name| name == pool);
        match known.iter().position(has_it).and_then(|at| all.get(at)) {
            Some(found) => Ok(&***found),
            None => Err(no_pool(pool, known.iter().flatten().map(String::as_str))),
        }
    }

    fn serving(&self, call: &Call) -> Result<&dyn Provider, Failure> {
        match call {
            Call::LoadBalancer(call) => self.of_pool(pool_of(call)),
            other => self.of(other.interface()),
        }
    }

    fn knowing(&self, resource: &Resource) -> Result<&dyn Provider, Failure> {
        match resource {
            Resource::Pool { pool } | Resource::PoolTarget { pool, .. } => self.of_pool(pool),
            other => self.of(other.kind().interface()),
        }
    }
}

#[async_trait]
impl Provider for Router {
    fn name(&self) -> &str {
        self.providers.first().map_or("nothing", |one| one.name())
    }

    fn serves(&self) -> &[Interface] {
        &self.interfaces
    }

    fn pools(&self) -> Vec<String> {
        self.providers.iter().flat_map(|one| one.pools()).collect()
    }

    async fn identity(&self) -> Result<Value, Failure> {
        let mut all = Map::new();
        for one in &self.providers {
            all.insert(one.name().to_owned(), one.identity().await?);
        }
        Ok(all.into())
    }

    async fn check(&self) -> Vec<Checked> {
        let mut all = vec![];
        for one in &self.providers {
            all.extend(one.check().await);
        }
        all
    }

    fn locks(&self) -> Option<&dyn WorldLocks> {
        self.providers.iter().find_map(|one| one.locks())
    }

    fn looks_through(&self) -> Vec<String> {
        self.providers.iter().flat_map(|one| one.looks_through()).collect()
    }

    async fn read(&self, call: &Call) -> Result<Value, Failure> {
        self.serving(call)?.read(call).await
    }

    async fn may(&self, call: &Call) -> Result<(), Failure> {
        self.serving(call)?.may(call).await
    }

    async fn wait(&self, call: &Call) -> Result<Value, Failure> {
        self.serving(call)?.wait(call).await
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        match self.serving(call) {
            Ok(provider) => provider.perform(call, context).await,
            Err(failure) => EffectOutcome::Refused(failure),
        }
    }

    async fn settle(&self, call: &Call, context: &EffectContext) -> Settled {
        match self.serving(call) {
            Ok(provider) => provider.settle(call, context).await,
            // It may have been served when it was made.
            Err(failure) => Settled::CantKnow(failure.message),
        }
    }

    async fn forget(&self, call: &Call, context: &EffectContext) {
        if let Ok(provider) = self.serving(call) {
            provider.forget(call, context).await;
        }
    }

    async fn take_over(
        &self,
        store: &StoreId,
        operation: OperationId,
        epoch: Epoch,
    ) -> Result<(), Failure> {
        for one in &self.providers {
            one.take_over(store, operation, epoch).await?;
        }
        Ok(())
    }

    async fn import(&self, found: &mut Inventory) -> Result<(), Failure> {
        for one in &self.providers {
            one.import(found).await?;
        }
        Ok(())
    }

    fn request_ms_max(&self) -> u64 {
        self.providers.iter().map(|one| one.request_ms_max()).max().unwrap_or_default()
    }

    fn visible_after_ms(&self) -> u64 {
        self.providers.iter().map(|one| one.visible_after_ms()).max().unwrap_or_default()
    }

    async fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        self.knowing(resource)?.observe(resource).await
    }

    fn advice(&self, resource: &Resource, before: &Facts, now: &Facts) -> Advice {
        match self.knowing(resource) {
            Ok(provider) => provider.advice(resource, before, now),
            Err(failure) => {
                let look = Advice::look_at(resource);
                Advice::LookAt(format!("{look}: {}", failure.message))
            }
        }
    }

    async fn stamped(&self, tokens: &[Token]) -> Result<Stamped, Failure> {
        let mut all = Stamped::default();
        for one in &self.providers {
            match one.stamped(tokens).await {
                Ok(told) => {
                    all.found.extend(told.found);
                    all.not_asked.extend(told.not_asked);
                    all.cloud_not_asked = all.cloud_not_asked.or(told.cloud_not_asked);
                }
                // What an engine has can be told without the cloud.
                Err(failure) if one.serves().contains(&Interface::Ebs) => {
                    all.cloud_not_asked = Some(failure.message);
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use stepback_core::VolumeId;
    use stepback_core::calls::{EbsCall, LoadBalancerCall};

    #[tokio::test]
    async fn what_nothing_serves_is_refused_by_name() {
        let router = Router::new(vec![]);
        let call = Call::Ebs(EbsCall::Describe { volume: VolumeId("vol-1".into()) });
        let failure = router.read(&call).await.unwrap_err();
        assert_eq!(failure.code.as_deref(), Some("not-served"));
        assert!(failure.message.contains("`ebs`"), "{failure:?}");
        let volume = Resource::Volume { id: "vol-1".into() };
        router.observe(&volume).await.unwrap_err();
        let advice =
            router.advice(&volume, &Facts::Absent, &Facts::Present(BTreeMap::new().into()));
        let wanted = format!("look at ebs:volume/vol-1: {}", failure.message);
        assert_eq!(advice, Advice::LookAt(wanted));
        assert_eq!(router.may(&call).await, Err(failure));
    }

    /// A balancer that only tells its name.
    struct Balancer(&'static str, &'static [&'static str]);

    #[async_trait]
    impl Provider for Balancer {
        fn name(&self) -> &str {
            self.0
        }

        fn serves(&self) -> &[Interface] {
            &[Interface::LoadBalancer]
        }

        fn pools(&self) -> Vec<String> {
            self.1.iter().map(|name| (*name).to_owned()).collect()
        }

        async fn identity(&self) -> Result<Value, Failure> {
            Ok(self.0.into())
        }

        async fn read(&self, _: &Call) -> Result<Value, Failure> {
            Ok(self.0.into())
        }

        async fn wait(&self, _: &Call) -> Result<Value, Failure> {
            Ok(self.0.into())
        }

        async fn perform(&self, _: &Call, _: &EffectContext) -> EffectOutcome {
            EffectOutcome::Done(self.0.into())
        }

        async fn settle(&self, _: &Call, _: &EffectContext) -> Settled {
            Settled::Done(self.0.into())
        }

        async fn import(&self, _: &mut Inventory) -> Result<(), Failure> {
            Ok(())
        }

        fn request_ms_max(&self) -> u64 {
            0
        }

        async fn observe(&self, _: &Resource) -> Result<Facts, Failure> {
            Ok(Facts::from_json(serde_json::json!({ "by": self.0 })))
        }

        fn advice(&self, _: &Resource, _: &Facts, _: &Facts) -> Advice {
            Advice::LookAt(self.0.to_owned())
        }

        async fn stamped(&self, _: &[Token]) -> Result<Stamped, Failure> {
            Ok(Stamped::default())
        }
    }

    #[tokio::test]
    async fn of_two_that_serve_pools_each_is_asked_for_its_own() {
        let describe = |pool: &str| LoadBalancerCall::DescribePool { pool: pool.into() }.into();
        let all: Vec<Arc<dyn Provider>> =
            vec![Arc::new(Balancer("one", &["a", "b"])), Arc::new(Balancer("other", &["c"]))];
        let router = Router::new(all.clone());
        for (pool, by) in [("a", "one"), ("b", "one"), ("c", "other")] {
            assert_eq!(router.read(&describe(pool)).await, Ok(by.into()), "{pool}");
            let (pool, host) = (pool.to_owned(), "i-1".to_owned());
            let target = Resource::PoolTarget { pool: pool.clone(), host, port: 80 };
            for resource in [Resource::Pool { pool }, target] {
                let facts = router.observe(&resource).await.expect("facts");
                assert_eq!(facts.get("by"), Some(&by.into()), "{resource}");
                let advice = router.advice(&resource, &Facts::Absent, &facts);
                assert_eq!(advice, Advice::LookAt(by.to_owned()));
            }
        }
        let none = router.read(&describe("d")).await.expect_err("nobody has it");
        assert_eq!(none.code.as_deref(), Some("no-pool"));
        assert!(none.message.ends_with("it has a, b, c"), "{none}");
        assert_eq!(router.pools(), ["a", "b", "c"]);
        // One alone says itself what it does not have.
        let alone = Router::new(all[1..].to_vec());
        assert_eq!(alone.read(&describe("d")).await, Ok("other".into()));
    }
}
