//! Real volumes with no cloud: image files on this machine, attached as loop devices.
//!
//! An instance is a Docker Engine of this machine. A volume is a file; attached, it is a loop
//! device that only its instance's directory shows. What there is, and what may be done with it,
//! is kept in a ledger with EC2's own rules: the simulated world's. The ledger changes in the same
//! turn as the real thing, under one lock; what a crash left between the two is put right when the
//! onebox is opened next.

mod advice;
mod agrees;
mod disk;
mod home;
mod right;

use async_trait::async_trait;
use disk::Disk;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::calls::{EbsCall, Ec2Call};
use stepback_core::manifest::duration_text;
use stepback_core::step::EffectOutcome;
use stepback_core::{
    Call, Epoch, Facts, Failure, FailureClass, Interface, OperationId, Resource, StoreId, Token,
};
use stepback_docker::Hosts;
use stepback_provider::advice::Advice;
use stepback_provider::endpoint::Endpoint;
use stepback_provider::inventory::Inventory;
use stepback_provider::locks::{LockFile, WorldLocks};
use stepback_provider::{EffectContext, Provider, Settled, Stamped};
use stepback_simulated::world::{Instance, World};
use stepback_simulated::{Simulated, apply, read, settle};

/// How often a wait looks.
const POLL_MS: u64 = 50;
/// A volume is copied in one turn at the ledger.
const TURN_MAX: Duration = Duration::from_secs(600);
/// The zone of instances that name none.
const ZONE: &str = "onebox";

/// What a onebox is made of.
#[derive(Clone, Debug)]
pub struct OneboxConfig {
    /// Where volumes, snapshots and the ledger are.
    pub root: PathBuf,
    /// By the id that manifests name them by.
    pub instances: BTreeMap<String, OneboxInstance>,
}

/// An instance: a Docker Engine of this machine.
#[derive(Clone, Debug)]
pub struct OneboxInstance {
    /// Where its engine listens.
    pub docker: Endpoint,
    /// Only volumes of the same zone can be attached to it; `None` is the zone `onebox`.
    pub zone: Option<String>,
}

/// Volumes and snapshots as files of this machine.
pub struct Onebox {
    shared: Arc<Shared>,
    clock: Clock,
}

struct Shared {
    locks: LockFile,
    disk: Disk,
    ledger: Simulated,
}

/// Where the engines of a onebox are, and where each sees the devices attached to it.
pub struct OneboxHosts {
    config: OneboxConfig,
}

impl Onebox {
    /// Open it, making what is not there, and put right what a crash or a reboot left: attached
    /// volumes get their loop devices back, and loop devices of no attached volume are let go.
    ///
    /// # Errors
    /// A directory that can't be used, or no right to make loop devices.
    pub fn open(config: &OneboxConfig, clock: Clock) -> Result<Self, Failure> {
        let disk = Disk::open(&config.root, clock.clone())?;
        let ledger = Simulated::open(&config.root, "", clock.clone())?.with_turns_of(TURN_MAX);
        let locks = LockFile::in_dir(&config.root, clock.clone());
        let instances = config.instances.clone();
        if config.root.join("world.json").exists() {
            home::must_be_no_copy(&config.root, &ledger.load()?.id)?;
        }
        ledger.change(|world| {
            set_instances(world, &instances)?;
            disk.keep_unknown(world)?;
            disk.put_right(world)
        })?;
        home::must_be_no_copy(&config.root, &ledger.load()?.id)?;
        disk.keep_ballast();
        Ok(Self { shared: Arc::new(Shared { locks, disk, ledger }), clock })
    }

    async fn changed<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Shared) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let shared = Arc::clone(&self.shared);
        let changed = tokio::task::spawn_blocking(move || change(&shared)).await;
        let panicked = |error: tokio::task::JoinError| {
            Err(Failure::new(FailureClass::Internal, error.to_string()))
        };
        changed.unwrap_or_else(panicked)
    }

    async fn applied(
        &self,
        apply: impl FnOnce(&Shared) -> EffectOutcome + Send + 'static,
    ) -> EffectOutcome {
        let applied = self.changed(move |shared| Ok(apply(shared))).await;
        // It may have gone as far as it likes before it panicked.
        applied.unwrap_or_else(|failure| EffectOutcome::Unknown(failure.message))
    }
}

/// Instances are what the configuration says; their tags are kept.
fn set_instances(
    world: &mut World,
    wanted: &BTreeMap<String, OneboxInstance>,
) -> Result<(), Failure> {
    for (id, instance) in wanted {
        let zone = instance.zone.clone().unwrap_or_else(|| ZONE.to_owned());
        let kept = world.instances.remove(id);
        let now = Instance {
            state: "running".to_owned(),
            instance_type: "onebox".to_owned(),
            zone,
            private_ip: Some("127.0.0.1".to_owned()),
            tags: kept.map(|kept| kept.tags).unwrap_or_default(),
            stamp: None,
            max_attachments: None,
            own_disks: vec![],
            listed_from_ms: 0,
        };
        world.instances.insert(id.clone(), now);
    }
    let attached = world.volumes.iter().flat_map(|(id, volume)| {
        volume.attachments.iter().map(move |at| (at.instance.as_str(), id.as_str()))
    });
    let lost = attached.into_iter().find(|(instance, _)| !wanted.contains_key(*instance));
    if let Some((instance, volume)) = lost {
        let message = format!(
            "instance `{instance}` is gone from the environment, and volume `{volume}` is still \
             attached to it: put it back, and detach the volume first"
        );
        return Err(Failure::new(FailureClass::Precondition, message));
    }
    world.instances.retain(|id, _| wanted.contains_key(id));
    Ok(())
}

impl Shared {
    /// The ledger says whether it may be done; then it is done; then the ledger is kept.
    fn apply(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        let mut is_done = false;
        match self.try_apply(call, context, &mut is_done) {
            Ok(answer) => EffectOutcome::Done(answer),
            Err(failure) if is_done => EffectOutcome::Unknown(failure.message),
            Err(failure) => EffectOutcome::Refused(failure),
        }
    }

    fn try_apply(
        &self,
        call: &Call,
        context: &EffectContext,
        is_done: &mut bool,
    ) -> Result<Value, Failure> {
        let answer = self.ledger.change(|world| {
            world.fence(context)?;
            if let Some(made) = world.effects.get(&context.token.0) {
                return Ok(made.answer.clone());
            }
            refuse_what_it_can_not(call)?;
            stepback_provider::tags::must_be_free(call)?;
            let before = world.clone();
            let answer = apply::cloud(world, call, &context.token, self.ledger.now())?;
            if let Err(failure) = self.disk.follow(call, &answer, &before) {
                // What it began is put back, or nobody knows how far it came.
                *is_done = self.disk.put_right(&mut before.clone()).is_err();
                return Err(failure);
            }
            *is_done = true;
            world.made(&context.token, call.function(), &answer);
            Ok(answer)
        })?;
        // In a turn too: what somebody else is making is not in the ledger yet.
        self.ledger.look(|world| {
            self.disk.finish(call, &answer)?;
            self.disk.throw_away(world)
        })?;
        Ok(answer)
    }
}

/// This machine is one instance or several, and none of them is made, stopped or resized by it.
fn refuse_what_it_can_not(call: &Call) -> Result<(), Failure> {
    match call {
        Call::Ec2(Ec2Call::RunInstance { .. })
        | Call::Ec2(Ec2Call::Start { .. })
        | Call::Ec2(Ec2Call::Stop { .. })
        | Call::Ec2(Ec2Call::Terminate { .. })
        | Call::Ec2(Ec2Call::SetInstanceType { .. }) => {
            let message = format!(
                "{}: the instances of a onebox are Docker Engines of this machine; they are \
                 added to and taken from its environment in stepback.toml",
                call.function()
            );
            Err(Failure::new(FailureClass::Refused, message).with_code("UnsupportedOperation"))
        }
        _ => Ok(()),
    }
}

#[async_trait]
impl Provider for Onebox {
    fn name(&self) -> &str {
        "onebox"
    }

    fn serves(&self) -> &[Interface] {
        &[Interface::Ec2, Interface::Ebs]
    }

    async fn identity(&self) -> Result<Value, Failure> {
        let ledger = self.shared.ledger.load()?.id;
        let root = self.shared.disk.root();
        Ok(json!({ "provider": "onebox", "root": root, "ledger": ledger }))
    }

    fn locks(&self) -> Option<&dyn WorldLocks> {
        Some(&self.shared.locks)
    }

    async fn read(&self, call: &Call) -> Result<Value, Failure> {
        let ledger = &self.shared.ledger;
        read::answer(&ledger.load()?, call, ledger.now())
    }

    async fn may(&self, call: &Call) -> Result<(), Failure> {
        refuse_what_it_can_not(call)?;
        self.shared.ledger.may(call).await
    }

    async fn wait(&self, call: &Call) -> Result<Value, Failure> {
        let timeout_ms = read::timeout_ms(call);
        let poll = async {
            loop {
                if let Some(answer) = read::wait_over(&self.shared.ledger.load()?, call)? {
                    return Ok(answer);
                }
                self.clock.sleep(Duration::from_millis(POLL_MS)).await;
            }
        };
        let late = |_| {
            let waited = duration_text(timeout_ms);
            let message = format!("{} waited {waited} in vain", call.function());
            Err(Failure::new(FailureClass::Deadline, message))
        };
        let limit = Duration::from_millis(timeout_ms.max(POLL_MS));
        self.clock.timeout(limit, poll).await.unwrap_or_else(late)
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        let (mut call, context) = (call.clone(), context.clone());
        if let Call::Ebs(EbsCall::CreateVolume { encrypted: encrypted @ true, .. }) = &mut call {
            // Nobody is told of an encryption that is not there.
            *encrypted = false;
            context.notes.warn("a onebox does not encrypt: a volume is a plain file".to_owned());
        }
        self.applied(move |shared| shared.apply(&call, &context)).await
    }

    async fn settle(&self, call: &Call, context: &EffectContext) -> Settled {
        let (call, token) = (call.clone(), context.token.clone());
        let settled = self
            .changed(move |shared| {
                shared.ledger.change(|world| {
                    // The real thing may be a step ahead of the ledger.
                    shared.disk.put_right(world)?;
                    let settled = settle::settle(world, &call, &token, shared.ledger.now());
                    match (&settled, shared.disk.must_know_all(world)) {
                        // An older ledger knows nothing of what was made since.
                        (Settled::NotHappened, Err(failure)) => Err(failure),
                        _ => Ok(settled),
                    }
                })
            })
            .await;
        settled.unwrap_or_else(|failure| Settled::CantKnow(failure.message))
    }

    async fn take_over(
        &self,
        store: &StoreId,
        operation: OperationId,
        epoch: Epoch,
    ) -> Result<(), Failure> {
        self.shared.ledger.take_over(store, operation, epoch).await
    }

    async fn import(&self, found: &mut Inventory) -> Result<(), Failure> {
        self.shared.ledger.import(found).await
    }

    fn request_ms_max(&self) -> u64 {
        0
    }

    /// What it made is in its ledger before anybody is told of it.
    fn visible_after_ms(&self) -> u64 {
        0
    }

    async fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        if let Some(host) = resource.host() {
            let message =
                format!("{resource} is on the Docker Engine of {host}, not in the ledger");
            return Err(Failure::new(FailureClass::Internal, message));
        }
        let facts = self.shared.ledger.observe(resource).await?;
        self.shared.disk.must_agree(resource, &facts)?;
        Ok(facts)
    }

    fn advice(&self, resource: &Resource, before: &Facts, now: &Facts) -> Advice {
        advice::advice(resource, before, now)
    }

    async fn stamped(&self, tokens: &[Token]) -> Result<Stamped, Failure> {
        self.shared.ledger.look(|world| self.shared.disk.must_know_all(world))?;
        self.shared.ledger.stamped(tokens).await
    }
}

impl OneboxHosts {
    /// The engines that this configuration names; nothing is connected to yet.
    pub fn new(config: OneboxConfig) -> Self {
        Self { config }
    }
}

/// Where the devices of an instance show up.
fn device_dir(root: &Path, instance: &str) -> PathBuf {
    root.join("instances").join(instance)
}

#[async_trait]
impl Hosts for OneboxHosts {
    async fn endpoint(&self, instance: &str) -> Result<Endpoint, Failure> {
        let found = self.config.instances.get(instance).map(|found| found.docker.clone());
        found.ok_or_else(|| {
            let message = format!("there is no instance `{instance}`");
            Failure::new(FailureClass::Precondition, message)
                .with_code("InvalidInstanceID.NotFound")
        })
    }

    fn fixed(&self) -> Vec<String> {
        self.config.instances.keys().cloned().collect()
    }

    fn device_dir(&self, instance: &str) -> String {
        device_dir(&self.config.root, instance).display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepback_provider::Notes;
    use tokio_util::sync::CancellationToken;

    fn context() -> EffectContext {
        EffectContext {
            store: StoreId("store".to_owned()),
            operation: OperationId(1),
            token: Token("token".to_owned()),
            epoch: Epoch(1),
            undo: false,
            cancel: CancellationToken::new(),
            notes: Notes::default(),
        }
    }

    /// Whoever only looks takes nothing away that is not Stepback's, here or behind a link.
    #[test]
    fn nothing_of_others_is_removed_or_written_through() {
        let (dir, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let config = OneboxConfig { root: dir.path().to_owned(), instances: BTreeMap::new() };
        if let Err(failure) = Onebox::open(&config, Clock::real()) {
            return println!("SKIPPED: no onebox here: {failure}");
        }
        let instances = dir.path().join("instances");
        std::fs::create_dir_all(instances.join("i-x")).unwrap();
        let kept = [others.path().join("a.txt"), instances.join("i-x/notes.txt")];
        for file in &kept {
            std::fs::write(file, "kept").unwrap();
        }
        let link = std::os::unix::fs::symlink::<&std::path::Path, std::path::PathBuf>;
        link(others.path(), instances.join("i-a")).unwrap();
        let (ballast, led_to) = (dir.path().join("ballast"), others.path().join("made"));
        let _ = std::fs::remove_file(&ballast);
        link(&led_to, ballast).unwrap();
        Onebox::open(&config, Clock::real()).map(drop).unwrap();
        for file in &kept {
            assert_eq!(std::fs::read_to_string(file).unwrap(), "kept");
        }
        assert!(!led_to.exists(), "it was written through a link");

        // An id of the ledger is a file's name here.
        let ledger = dir.path().join("world.json");
        let mut world: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&ledger).unwrap()).unwrap();
        world["snapshots"]["../../outside"] = serde_json::json!({
            "volume": "vol-1", "size_gib": 1, "encrypted": false, "tags": {},
        });
        std::fs::write(&ledger, world.to_string()).unwrap();
        let told = Onebox::open(&config, Clock::real()).map(drop).unwrap_err();
        assert!(told.message.contains("../../outside"), "{told:?}");
    }

    /// What one is making is not thrown away by another that has made its own.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_made_side_by_side_is_all_there() {
        let dir = tempfile::tempdir().unwrap();
        let config = OneboxConfig { root: dir.path().to_owned(), instances: BTreeMap::new() };
        let opened = || Onebox::open(&config, Clock::real());
        if let Err(failure) = opened() {
            return println!("SKIPPED: no onebox here: {failure}");
        }
        let making = (0..24).map(|number: usize| {
            // Some by another program.
            let onebox = opened().unwrap();
            tokio::spawn(async move {
                let context = EffectContext {
                    token: Token(format!("token-{number}")),
                    operation: OperationId(number as u64),
                    ..context()
                };
                let call = Call::Ebs(stepback_core::calls::EbsCall::CreateVolume {
                    size_gib: 1,
                    zone: ZONE.to_owned(),
                    volume_type: "gp3".to_owned(),
                    snapshot: None,
                    performance: Default::default(),
                    encrypted: false,
                    tags: BTreeMap::new(),
                });
                onebox.perform(&call, &context).await
            })
        });
        for made in making.collect::<Vec<_>>() {
            let EffectOutcome::Done(answer) = made.await.unwrap() else { panic!("not made") };
            let id = answer["id"].as_str().unwrap();
            assert!(dir.path().join(format!("volumes/{id}.img")).is_file(), "{id} has no file");
        }
    }

    /// Nobody knows how far it had gone, and whoever comes next is let in.
    #[tokio::test]
    async fn what_panics_is_unknown_and_blocks_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let config = OneboxConfig { root: dir.path().to_owned(), instances: BTreeMap::new() };
        let onebox = match Onebox::open(&config, Clock::real()) {
            Ok(onebox) => onebox,
            Err(failure) => return println!("SKIPPED: no onebox here: {failure}"),
        };
        let applied = onebox.applied(|shared| {
            let changed = shared.ledger.change(|_| -> Result<(), Failure> { panic!("on purpose") });
            panic!("it went on: {changed:?}")
        });
        let applied = applied.await;
        let EffectOutcome::Unknown(why) = applied else { panic!("{applied:?}") };
        assert!(why.contains("on purpose"), "{why}");
        let (key, value) = ("k".to_owned(), "v".to_owned());
        let tag = Call::Ebs(EbsCall::Tag { volume: "vol-none".into(), key, value });
        let EffectOutcome::Refused(failure) = onebox.perform(&tag, &context()).await else {
            panic!("there is no such volume")
        };
        assert_eq!(failure.code.as_deref(), Some("InvalidVolume.NotFound"));
        assert_eq!(onebox.settle(&tag, &context()).await, Settled::NotHappened);
    }
}
