//! Pools of HAProxy: backends whose servers are slots, over the runtime sockets of its processes.
//!
//! A target that is added takes a server of the backend that nobody has, and gives it back when it
//! is removed: servers are not made, nor deleted. Every process that serves a pool is told the
//! same; an effect is done when all of them have it so, and of one that does not answer nobody says
//! so. What is changed at runtime is written down for the next reload.

mod config;
mod effects;
mod pool;
mod saved;
mod shapes;
mod view;
mod waits;
mod wire;

pub use config::{PoolConfig, Saved};

use async_trait::async_trait;
use effects::{Asked, Wanted};
use pool::Pool;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use stepback_clock::Clock;
use stepback_core::calls::LoadBalancerCall;
use stepback_core::shell::word;
use stepback_core::step::EffectOutcome;
use stepback_core::{
    Call, Facts, Failure, FailureClass, InstanceId, Interface, PoolName, Resource, Token,
};
use stepback_provider::addresses::{Addresses, address_of};
use stepback_provider::advice::Advice;
use stepback_provider::endpoint::Endpoint;
use stepback_provider::inventory::{FoundPool, FoundPoolTarget, Inventory};
use stepback_provider::pools::{no_pool, pool_of, target_of, timeout_ms};
use stepback_provider::{Checked, EffectContext, Provider, Settled, Stamped};
use view::{Place, View};

/// HAProxy's pools of one environment.
pub struct HaProxy {
    pools: BTreeMap<String, Pool>,
    addresses: Arc<dyn Addresses>,
    clock: Clock,
}

impl HaProxy {
    /// These pools, by the names that the environment gives them.
    pub fn new(
        pools: BTreeMap<String, PoolConfig>,
        addresses: Arc<dyn Addresses>,
        clock: Clock,
    ) -> Self {
        let of = |(name, config): (String, PoolConfig)| {
            (name.clone(), Pool::new(name, config, clock.clone()))
        };
        Self { pools: pools.into_iter().map(of).collect(), addresses, clock }
    }

    fn pool(&self, name: &str) -> Result<&Pool, Failure> {
        let known = self.pools.keys().map(String::as_str);
        self.pools.get(name).ok_or_else(|| no_pool(name, known))
    }

    /// Where a target is, and the pool that it is a target of.
    async fn place(
        &self,
        pool: &str,
        host: &InstanceId,
        port: u16,
    ) -> Result<(&Pool, Place), Failure> {
        let pool = self.pool(pool)?;
        let address = self.addresses.of(host).await?;
        Ok((pool, Place { host: host.clone(), address, port }))
    }

    /// The same of an effect, with what it wants and where all instances are: asked once.
    async fn asked(&self, call: &Call) -> Result<Asked<'_>, Failure> {
        let Call::LoadBalancer(of) = call else { return Err(misplaced(call)) };
        let (Some((host, port)), Some(wanted)) = (target_of(of), Wanted::of(of)) else {
            return Err(misplaced(call));
        };
        let pool = self.pool(pool_of(of))?;
        let hosts = self.addresses.all().await?;
        let address = address_of(host, &hosts)?;
        let place = Place { host: host.clone(), address, port };
        Ok(Asked { pool, place, wanted, hosts })
    }

    async fn describe(&self, name: &PoolName) -> Result<Value, Failure> {
        let view = self.pool(name.as_str())?.view().await?;
        Ok(json!(view.pool(name.as_str(), &self.addresses.all().await?)))
    }

    async fn check_of(&self, pool: &Pool) -> Result<String, Failure> {
        pool.must_be_commanded().await?;
        let mut told = vec![];
        for at in &pool.config.sockets {
            let version = pool.ask(at, "show version").await.map_err(|told| told.failure)?;
            told.push(format!("HAProxy {} at {at}", shapes::quoted(&version)));
        }
        pool.must_be_savable().await?;
        let view = pool.view().await?;
        for slots in &view.0 {
            must_have_places(pool, slots)?;
        }
        let slots = view.0.first().map(Vec::as_slice).unwrap_or_default();
        let places = slots.iter().filter(|slot| slot.is_a_place()).count();
        let free = slots.iter().filter(|slot| slot.is_free()).count();
        let backend = &pool.config.backend;
        told.push(format!("backend `{backend}`: {free} of {places} slots are free"));
        if slots.iter().any(|slot| slot.has_cookie) {
            told.push(
                "clients come back by cookies: a drained target has them until it is removed"
                    .to_owned(),
            );
        }
        for master in &pool.config.masters {
            pool.ask(master, "show proc").await.map_err(|told| told.failure)?;
        }
        if pool.config.masters.is_empty() {
            told.push(
                "whom the workers serve that a reload left can't be seen, nor whether a reload \
                 loses a change that is made meanwhile: `master` names its socket (`-S`)"
                    .to_owned(),
            );
        }
        Ok(told.join("; "))
    }

    /// Whether the call could ever be made there.
    async fn may_be(&self, pool: &Pool, call: &LoadBalancerCall) -> Result<(), Failure> {
        let view: View = pool.view().await?;
        let (Some((host, port)), Some(wanted)) = (target_of(call), Wanted::of(call)) else {
            return Ok(());
        };
        pool.must_be_savable().await?;
        // An instance that is still to be made has no address yet.
        let place = self.place(pool_of(call), host, port).await.ok().map(|(_, place)| place);
        match wanted {
            Wanted::Added { weight, .. } => {
                effects::must_be_a_weight(weight)?;
                for slots in &view.0 {
                    let own = slots.iter().find(|slot| {
                        place.as_ref().is_some_and(|at| slot.is_at(at.address, at.port))
                    });
                    match own {
                        Some(slot) => effects::must_not_be_held(pool, slot)?,
                        None => must_have_places(pool, slots)?,
                    }
                }
                Ok(())
            }
            Wanted::Removed => {
                let mut present = place.iter().flat_map(|place| view.present(place));
                present.try_for_each(|slot| effects::must_be_a_place(pool, slot))
            }
            Wanted::Enabled | Wanted::Drained { .. } => Ok(()),
        }
    }
}

/// Whether some server of a process can be a target's place; else why the first that is none is
/// not.
fn must_have_places(pool: &Pool, slots: &[shapes::Slot]) -> Result<(), Failure> {
    match slots.iter().any(|slot| slot.is_a_place()) {
        true => Ok(()),
        false => slots.iter().try_for_each(|slot| effects::must_be_a_place(pool, slot)),
    }
}

fn misplaced(call: &Call) -> Failure {
    let message = format!("{} is no call that HAProxy answers so", call.function());
    Failure::new(FailureClass::Internal, message)
}

#[async_trait]
impl Provider for HaProxy {
    fn name(&self) -> &str {
        "haproxy"
    }

    fn serves(&self) -> &[Interface] {
        &[Interface::LoadBalancer]
    }

    fn pools(&self) -> Vec<String> {
        self.pools.keys().cloned().collect()
    }

    async fn identity(&self) -> Result<Value, Failure> {
        let of = |pool: &Pool| {
            let sockets: Vec<String> =
                pool.config.sockets.iter().map(Endpoint::to_string).collect();
            json!({ "backend": pool.config.backend, "sockets": sockets })
        };
        let pools: Map<String, Value> =
            self.pools.iter().map(|(name, pool)| (name.clone(), of(pool))).collect();
        Ok(json!({ "provider": "haproxy", "pools": pools }))
    }

    async fn check(&self) -> Vec<Checked> {
        let mut all = vec![];
        for pool in self.pools.values() {
            let what = format!("pool `{}`", pool.name);
            all.push(Checked { what, found: self.check_of(pool).await });
        }
        all
    }

    async fn read(&self, call: &Call) -> Result<Value, Failure> {
        match call {
            Call::LoadBalancer(LoadBalancerCall::DescribePool { pool }) => {
                self.describe(pool).await
            }
            other => Err(misplaced(other)),
        }
    }

    async fn may(&self, call: &Call) -> Result<(), Failure> {
        let Call::LoadBalancer(of) = call else { return Err(misplaced(call)) };
        if target_of(of).is_none() {
            return Ok(());
        }
        let pool = self.pool(pool_of(of))?;
        pool.must_be_commanded().await?;
        self.may_be(pool, of).await?;
        pool.masters_answer().await
    }

    async fn wait(&self, call: &Call) -> Result<Value, Failure> {
        let Call::LoadBalancer(of) = call else { return Err(misplaced(call)) };
        let (Some((host, port)), Some(timeout_ms)) = (target_of(of), timeout_ms(of)) else {
            return Err(misplaced(call));
        };
        let (pool, place) = self.place(pool_of(of), host, port).await?;
        waits::wait(pool, &place, of, timeout_ms, &self.clock).await
    }

    async fn perform(&self, call: &Call, _: &EffectContext) -> EffectOutcome {
        match self.asked(call).await {
            Ok(asked) => effects::apply(&asked).await,
            Err(failure) => EffectOutcome::Refused(failure),
        }
    }

    async fn settle(&self, call: &Call, _: &EffectContext) -> Settled {
        match self.asked(call).await {
            Ok(asked) => effects::settle(&asked).await,
            Err(failure) => Settled::CantKnow(failure.message),
        }
    }

    async fn import(&self, found: &mut Inventory) -> Result<(), Failure> {
        let hosts = self.addresses.all().await?;
        for pool in self.pools.values() {
            let shown = pool.view().await?.pool(&pool.name, &hosts);
            let mut targets = BTreeMap::new();
            for one in shown.targets {
                match hosts.contains_key(&one.host) {
                    true => {
                        let weight = one.weight.unwrap_or(1);
                        let target = FoundPoolTarget { enabled: one.enabled, weight };
                        targets.insert(one.name(), target);
                    }
                    false => found.left_out.push(format!(
                        "{} of pool `{}`: no instance of the environment is there",
                        one.name(),
                        pool.name
                    )),
                }
            }
            let pool_found = FoundPool { targets, add_enables: false, is_used: true };
            found.pools.insert(pool.name.clone(), pool_found);
        }
        Ok(())
    }

    fn request_ms_max(&self) -> u64 {
        wire::ANSWER_MS_MAX
    }

    async fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        match resource {
            Resource::PoolTarget { pool, host, port } => {
                let (pool, place) = self.place(pool, &host.as_str().into(), *port).await?;
                let view = pool.view().await?;
                let mut facts = view.of(&place).facts();
                // What could not be written down when it was changed can perhaps by now.
                if !pool.is_saved(&view).await
                    && let (Err(failure), Facts::Present(facts)) =
                        (pool.save_now().await, &mut facts)
                {
                    facts.insert("saved".to_owned(), failure.message.into());
                }
                Ok(facts)
            }
            Resource::Pool { .. } => Ok(Facts::Absent),
            other => {
                let message = format!("{other} is nothing of HAProxy's");
                Err(Failure::new(FailureClass::Internal, message))
            }
        }
    }

    fn advice(&self, resource: &Resource, _: &Facts, _: &Facts) -> Advice {
        let (Resource::PoolTarget { pool: name, .. } | Resource::Pool { pool: name }) = resource
        else {
            return Advice::look_at(resource);
        };
        let Some(pool) = self.pools.get(name) else { return Advice::look_at(resource) };
        let looks = pool.config.sockets.iter().map(|at| {
            let to = match at {
                Endpoint::Unix(path) => format!("unix-connect:{}", path.display()),
                Endpoint::Tcp(place) => format!("tcp:{place}"),
                Endpoint::Ssh(place) => format!("ssh:{place}"),
            };
            format!("echo 'show servers state {}' | socat stdio {}", pool.config.backend, word(&to))
        });
        let looks = looks.collect::<Vec<_>>().join(" && ");
        Advice::LookAt(format!("{}: {looks}", Advice::look_at(resource)))
    }

    async fn stamped(&self, _: &[Token]) -> Result<Stamped, Failure> {
        Ok(Stamped::default())
    }
}
