//! A world under test: a provider, what there is to name in its world, and how answers get lost.

use crate::proxy::{Fault, Proxy};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use stepback_core::reverse::Seen;
use stepback_core::step::{Change, EffectOutcome, PastEffect};
use stepback_core::*;
use stepback_provider::faults::Faults;
use stepback_provider::faulty::Faulty;
use stepback_provider::{EffectContext, Notes, Provider};
use tokio_util::sync::CancellationToken;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    Simulated,
    /// On moto's server, with target groups.
    Aws,
    /// One engine, and nothing else.
    Docker,
    /// With two engines.
    Onebox,
    /// Its pools, and nothing else.
    HaProxy,
}

pub struct Bench {
    pub world: World,
    pub provider: Arc<dyn Provider>,
    /// Opens the same world once more.
    pub again: Box<dyn Fn() -> Arc<dyn Provider>>,
    /// Two instances, and one in another zone; where the world makes instances itself, none.
    pub instances: Vec<InstanceId>,
    pub zone: String,
    /// An image that can be pulled, whose containers keep running.
    pub image: String,
    /// Between the provider and AWS.
    pub to_aws: Option<Proxy>,
    /// Between the provider and the first instance's engine.
    pub to_engine: Option<Proxy>,
    /// Lets the first instance's host go down, and come up again; else it is stopped and started.
    pub reboot: Option<Box<dyn Fn()>>,
    pub called: RefCell<BTreeSet<&'static str>>,
}

pub type Tags = BTreeMap<String, String>;

pub fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A number never given before.
pub fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::SeqCst)
}

pub fn context() -> EffectContext {
    let of = AttemptId { step: StepKey::plain("s"), direction: Direction::Do, attempt: Attempt(1) };
    let id = CallId { of, number: CallNumber(1) };
    let store = StoreId(format!("store-{}", std::process::id()));
    let token = Token::derive(&store, OperationId(fresh()), &id);
    EffectContext {
        store,
        operation: OperationId(7),
        token,
        epoch: Epoch(1),
        undo: false,
        cancel: CancellationToken::new(),
        looked: stepback_provider::looked::Looked::default(),
        notes: Notes::default(),
    }
}

pub fn id_of(answer: &Value) -> String {
    answer["id"].as_str().expect("an answer with an id").to_owned()
}

impl Bench {
    /// Whether the world has this function at all.
    pub fn serves(&self, function: &str) -> bool {
        const OF_DEVICES: [&str; 5] = [
            "docker.filesystem",
            "docker.make-filesystem",
            "docker.grow-filesystem",
            "docker.wait-device",
            "docker.wait-unmounted",
        ];
        const OF_INSTANCES: [&str; 5] =
            ["ec2.run-instance", "ec2.start", "ec2.stop", "ec2.terminate", "ec2.set-instance-type"];
        let is_docker = function.starts_with("docker.");
        let is_cloud = function.starts_with("ec2.") || function.starts_with("ebs.");
        let is_pools = function.starts_with("load-balancer.");
        match self.world {
            World::Simulated => is_cloud || is_docker || is_pools,
            World::HaProxy => is_pools,
            World::Aws => is_cloud || is_pools,
            World::Docker => is_docker && !OF_DEVICES.contains(&function),
            World::Onebox => is_docker || is_cloud && !OF_INSTANCES.contains(&function),
        }
    }

    pub fn called(&self) -> BTreeSet<&'static str> {
        self.called.borrow().clone()
    }

    fn note(&self, call: &Call) {
        self.called.borrow_mut().insert(call.function());
    }

    pub async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        self.note(call);
        self.provider.perform(call, context).await
    }

    #[track_caller]
    pub fn done(&self, call: &Call) -> impl Future<Output = Value> {
        let at = std::panic::Location::caller();
        async move {
            match self.perform(call, &context()).await {
                EffectOutcome::Done(answer) => answer,
                other => panic!("{at}: {}: {other:?}", call.function()),
            }
        }
    }

    /// What a call of any class answers.
    pub async fn answer(&self, call: &Call) -> Result<Value, Failure> {
        self.note(call);
        match call.class() {
            Class::Read => self.provider.read(call).await,
            Class::Wait => self.provider.wait(call).await,
            Class::Effect | Class::Irreversible => Ok(self.done(call).await),
        }
    }

    pub async fn refused(&self, call: &Call) -> Failure {
        self.note(call);
        match self.provider.perform(call, &context()).await {
            EffectOutcome::Refused(failure) => failure,
            other => panic!("{:?}: {} was not refused: {other:?}", self.world, call.function()),
        }
    }

    /// Refused with this class, and where the wire has codes, with this one.
    pub async fn refuses(&self, call: &Call, class: FailureClass, code: &str) {
        let failure = self.refused(call).await;
        let found = (failure.class, failure.code.as_deref());
        assert_eq!(found, (class, Some(code)), "{:?}: {}: {failure}", self.world, call.function());
    }

    pub async fn observe(&self, resource: &Resource) -> Facts {
        let facts = self.provider.observe(resource).await;
        facts.unwrap_or_else(|failure| panic!("{:?}: {resource}: {failure}", self.world))
    }

    /// What carries a stamp, where everybody could be asked.
    pub async fn stamped(&self, token: &Token) -> Vec<Resource> {
        let told = self.provider.stamped(std::slice::from_ref(token)).await.expect("an answer");
        // Instances that cases made, and stopped, are none that anything was made on.
        let is_host = |host: &str| self.instances.iter().any(|known| known.as_str() == host);
        let not_asked = told.not_asked.iter().find(|(host, _)| is_host(host));
        assert_eq!(not_asked, None, "{:?}", self.world);
        assert!(told.found.iter().all(|(found, _)| found == token), "{:?}", told.found);
        told.found.into_iter().map(|(_, resource)| resource).collect()
    }

    /// Issue the call so that its request never arrives.
    pub async fn with_request_lost(&self, effect: &Effect, to: &EffectContext) -> EffectOutcome {
        match (effect.wire, self.wire(&effect.call)) {
            (Some(wire), Some(proxy)) => {
                proxy.on(wire, 1, Fault::LoseRequest);
                self.perform(&effect.call, to).await
            }
            // Where nothing lies between, it gets lost at the provider's door.
            _ => {
                to.cancel.cancel();
                self.at_the_door("hang", effect, to).await
            }
        }
    }

    /// Issue it so that it takes effect, and its answer never arrives.
    pub async fn with_answer_lost(&self, effect: &Effect, to: &EffectContext) -> EffectOutcome {
        match (effect.wire, self.wire(&effect.call)) {
            (Some(wire), Some(proxy)) => {
                proxy.on(wire, 1, Fault::LoseAnswer);
                self.perform(&effect.call, to).await
            }
            _ => {
                let cancel = CancellationToken::new();
                let to = EffectContext { cancel, ..to.clone() };
                self.at_the_door("lost", effect, &to).await
            }
        }
    }

    /// Through the same provider, with one of the simulator's faults.
    async fn at_the_door(&self, fault: &str, effect: &Effect, to: &EffectContext) -> EffectOutcome {
        self.note(&effect.call);
        let faults = Faults::parse(&[format!("{}={fault}", effect.call.function())]);
        let faulty = Faulty::new(Arc::clone(&self.provider), faults.expect("a fault"));
        faulty.perform(&effect.call, to).await
    }

    /// How often the request of such an effect was sent, where somebody counts.
    pub fn sent(&self, effect: &Effect) -> Option<usize> {
        let proxy = self.wire(&effect.call)?;
        // Looks run in helpers, too: those that write say what.
        let writes = match effect.call {
            Call::Docker(DockerCall::MakeFileSystem { .. }) => "DO=make",
            Call::Docker(DockerCall::GrowFileSystem { .. }) => "DO=grow",
            _ => return Some(proxy.seen(effect.wire?).len()),
        };
        let helpers = proxy.seen("POST /containers/create");
        Some(helpers.iter().filter(|body| body.contains(writes)).count())
    }

    /// Take the engine of the first instance down, as its instance going down does, or bring it
    /// back.
    pub async fn set_engine_up(&self, is_up: bool) {
        let instance = self.instances[0].clone();
        match (&self.to_engine, is_up) {
            (Some(proxy), false) => proxy.go_away(),
            (Some(proxy), true) => proxy.come_back(),
            (None, false) => drop(self.done(&Call::Ec2(Ec2Call::Stop { instance })).await),
            (None, true) => drop(self.done(&Call::Ec2(Ec2Call::Start { instance })).await),
        }
    }

    /// Let the first instance go down, and come up again.
    pub async fn reboot(&self) {
        if let Some(reboot) = &self.reboot {
            return reboot();
        }
        self.set_engine_up(false).await;
        self.set_engine_up(true).await;
    }

    fn wire(&self, call: &Call) -> Option<&Proxy> {
        match call.function().starts_with("docker.") {
            true => self.to_engine.as_ref(),
            false => self.to_aws.as_ref(),
        }
    }
}

/// One effect, with how its request looks on the wire to a real world.
pub struct Effect {
    pub call: Call,
    pub wire: Option<&'static str>,
}

pub fn effect(call: Call, wire: &'static str) -> Effect {
    Effect { call, wire: Some(wire) }
}

/// Each of the effect's resources as it is now, and whether it carries the effect's stamp.
pub async fn seen_now(bench: &Bench, effect: &PastEffect) -> Vec<Seen> {
    let stamped = bench.stamped(&effect.token).await;
    let mut now = vec![];
    for change in &effect.changes {
        let resource = change.resource.clone();
        let facts = bench.observe(&resource).await;
        now.push(Seen { is_stamped: Some(stamped.contains(&resource)), resource, facts });
    }
    now
}

pub fn facts_of(seen: &[Seen]) -> Vec<(Resource, Facts)> {
    seen.iter().map(|one| (one.resource.clone(), one.facts.clone())).collect()
}

/// Make an effect as the engine does: the facts before, the effect, its name, the facts after.
pub async fn observed(bench: &Bench, call: &Call) -> PastEffect {
    let context = context();
    let mut changes = vec![];
    for resource in call.resources(&context.token) {
        let before = match &resource {
            Resource::Created { .. } => Facts::Absent,
            named => bench.observe(named).await,
        };
        changes.push(Change { resource, before, after: None });
    }
    let outcome = bench.perform(call, &context).await;
    let is_done = matches!(outcome, EffectOutcome::Done(_));
    assert!(is_done, "{:?}: {}: {outcome:?}", bench.world, call.function());
    for change in &mut changes {
        if let Resource::Created { token, .. } = &change.resource {
            change.resource = bench.stamped(&Token(token.clone())).await.remove(0);
        }
        change.after = Some(bench.observe(&change.resource).await);
    }
    let of = AttemptId { step: StepKey::plain("s"), direction: Direction::Do, attempt: Attempt(1) };
    let id = CallId { of, number: CallNumber(1) };
    PastEffect { id, call: call.clone(), token: context.token, outcome, changes }
}
