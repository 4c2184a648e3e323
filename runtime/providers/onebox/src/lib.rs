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
mod instances;
mod right;
mod turns;

use async_trait::async_trait;
use disk::Disk;
pub use instances::{OneboxConfig, OneboxHosts, OneboxInstance};
use instances::{refuse_what_it_can_not, set_instances};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::calls::EbsCall;
use stepback_core::manifest::duration_text;
use stepback_core::step::EffectOutcome;
use stepback_core::{
    Call, Epoch, Facts, Failure, FailureClass, Interface, OperationId, Resource, StoreId, Token,
};
use stepback_provider::advice::Advice;
use stepback_provider::inventory::Inventory;
use stepback_provider::locks::{LockFile, WorldLocks};
use stepback_provider::{EffectContext, Provider, Settled, Stamped};
use stepback_simulated::{Simulated, read};
use turns::Shared;

/// How often a wait looks.
const POLL_MS: u64 = 50;
/// A volume is copied in one turn at the ledger.
const TURN_MAX: Duration = Duration::from_secs(600);

/// Volumes and snapshots as files of this machine.
pub struct Onebox {
    shared: Arc<Shared>,
    /// Of each instance.
    addresses: BTreeMap<String, IpAddr>,
    clock: Clock,
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
        let addresses = instances.iter().map(|(id, one)| (id.clone(), one.address)).collect();
        Ok(Self { shared: Arc::new(Shared { locks, disk, ledger }), addresses, clock })
    }

    /// What waits for a turn at the ledger, where it blocks nobody.
    async fn in_turn<T: Send + 'static>(
        &self,
        turn: impl FnOnce(&Shared) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || turn(&shared)).await;
        let panicked = |error: tokio::task::JoinError| {
            Err(Failure::new(FailureClass::Internal, error.to_string()))
        };
        done.unwrap_or_else(panicked)
    }

    async fn applied(
        &self,
        apply: impl FnOnce(&Shared) -> EffectOutcome + Send + 'static,
    ) -> EffectOutcome {
        let applied = self.in_turn(move |shared| Ok(apply(shared))).await;
        // It may have gone as far as it likes before it panicked.
        applied.unwrap_or_else(|failure| EffectOutcome::Unknown(failure.message))
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
        let mut identity = json!({ "provider": "onebox", "root": root, "ledger": ledger });
        // A pool's target is at its instance's address: at another one it is somebody else.
        for (id, address) in &self.addresses {
            identity["addresses"][id] = address.to_string().into();
        }
        Ok(identity)
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
        let settled = self.in_turn(move |shared| shared.settle(&call, &token)).await;
        settled.unwrap_or_else(|failure| Settled::CantKnow(failure.message))
    }

    async fn take_over(
        &self,
        store: &StoreId,
        operation: OperationId,
        epoch: Epoch,
    ) -> Result<(), Failure> {
        let store = store.clone();
        self.in_turn(move |shared| shared.take_over(&store, operation, epoch)).await
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
        let resource = resource.clone();
        self.in_turn(move |shared| shared.observe(&resource)).await
    }

    fn advice(&self, resource: &Resource, before: &Facts, now: &Facts) -> Advice {
        advice::advice(resource, before, now)
    }

    async fn stamped(&self, tokens: &[Token]) -> Result<Stamped, Failure> {
        let tokens = tokens.to_vec();
        self.in_turn(move |shared| shared.stamped(&tokens)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use instances::ZONE;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::sync::mpsc;
    use stepback_provider::Notes;
    use tokio_util::sync::CancellationToken;

    /// One without instances; `None` where there can be none here.
    fn opened(root: &Path) -> Option<Onebox> {
        let config = OneboxConfig { root: root.to_owned(), instances: BTreeMap::new() };
        let told = |failure| println!("SKIPPED: no onebox here: {failure}");
        Onebox::open(&config, Clock::real()).map_err(told).ok()
    }

    fn make_one() -> Call {
        Call::Ebs(EbsCall::CreateVolume {
            size_gib: 1,
            zone: ZONE.to_owned(),
            volume_type: "gp3".to_owned(),
            snapshot: None,
            performance: Default::default(),
            encrypted: false,
            tags: BTreeMap::new(),
        })
    }

    /// A volume of 1 GiB.
    async fn made(onebox: &Onebox) -> String {
        match onebox.perform(&make_one(), &context()).await {
            EffectOutcome::Done(answer) => answer["id"].as_str().unwrap().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    fn context() -> EffectContext {
        EffectContext {
            store: StoreId("store".to_owned()),
            operation: OperationId(1),
            token: Token("token".to_owned()),
            epoch: Epoch(1),
            undo: false,
            cancel: CancellationToken::new(),
            looked: stepback_provider::looked::Looked::default(),
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

    /// Loop devices and Docker would be told another one.
    #[test]
    fn a_directory_whose_path_is_no_text_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join(std::ffi::OsStr::from_bytes(b"one\xffbox"));
        let config = OneboxConfig { root: root.clone(), instances: BTreeMap::new() };
        let told = Onebox::open(&config, Clock::real()).map(drop).unwrap_err();
        assert!(told.message.contains("its path is not UTF-8"), "{told:?}");
        assert_eq!(std::fs::read_dir(root).unwrap().count(), 0, "nothing is made there");
    }

    /// What one is making is not thrown away by another that has made its own.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_made_side_by_side_is_all_there() {
        let dir = tempfile::tempdir().unwrap();
        if opened(dir.path()).is_none() {
            return;
        }
        let making = (0..24).map(|number: usize| {
            // Some by another program.
            let onebox = opened(dir.path()).unwrap();
            tokio::spawn(async move {
                let context = EffectContext {
                    token: Token(format!("token-{number}")),
                    operation: OperationId(number as u64),
                    ..context()
                };
                onebox.perform(&make_one(), &context).await
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
        let Some(onebox) = opened(dir.path()) else { return };
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
    /// Its file is a step ahead of the ledger while somebody else's change is under way.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_looked_at_in_the_middle_of_a_change_is_told_as_it_is_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let (Some(one), Some(other)) = (opened(dir.path()), opened(dir.path())) else { return };
        let id = made(&one).await;
        let (volume, file) = (Resource::Volume { id: id.clone() }, one.shared.disk.volume(&id));
        let ((grown, is_grown), (seen, is_seen)) = (mpsc::channel(), mpsc::channel());
        let path = file.clone();
        let change = std::thread::spawn(move || {
            other.shared.ledger.change(|world| {
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                file.set_len(2 * disk::GIB).unwrap();
                grown.send(()).unwrap();
                // Whoever waits for this turn has seen nothing by then.
                let looked = is_seen.recv_timeout(Duration::from_millis(200));
                world.volumes.get_mut(&id).unwrap().size_gib = 2;
                Ok(looked.is_ok())
            })
        });
        is_grown.recv().unwrap();
        let told = one.observe(&volume).await;
        // Nobody is there to be told where the change is through, as it is to be.
        let _ = seen.send(());
        assert!(!change.join().unwrap().unwrap(), "it was looked at in the middle: {told:?}");
        assert_eq!(told.unwrap().get("size_gib"), Some(&json!(2)));

        // As between the turn that makes it and the one that gives it its name.
        std::fs::rename(&file, file.with_extension("img.part")).unwrap();
        assert_eq!(one.observe(&volume).await.unwrap().get("size_gib"), Some(&json!(2)));
        assert!(file.is_file());
    }

    /// Of all that waits for a turn nothing blocks the thread that everything else runs on.
    #[tokio::test]
    async fn who_waits_for_a_turn_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let (Some(one), Some(other)) = (opened(dir.path()), opened(dir.path())) else { return };
        let (other, store) = (Arc::new(other), StoreId("store".to_owned()));
        // It is looked at in a turn, because the ledger does not know it.
        let odd = Resource::Volume { id: "vol-odd".to_owned() };
        std::fs::write(one.shared.disk.volume("vol-odd"), "bytes").unwrap();
        for asked in ["stamped", "take_over", "observe", "settle", "perform"] {
            let ((held, is_held), (end, is_ended)) = (mpsc::channel(), mpsc::channel());
            let holder = Arc::clone(&other);
            let turn = std::thread::spawn(move || {
                holder.shared.ledger.look(|_| {
                    held.send(()).unwrap();
                    // It is let go by what runs beside it, or by nobody.
                    Ok(is_ended.recv_timeout(Duration::from_secs(2)).is_ok())
                })
            });
            is_held.recv().unwrap();
            let (context, epoch) = (context(), Epoch(1));
            let ask = async {
                match asked {
                    "stamped" => drop(one.stamped(&[]).await),
                    "take_over" => drop(one.take_over(&store, OperationId(1), epoch).await),
                    "observe" => drop(one.observe(&odd).await),
                    "settle" => drop(one.settle(&make_one(), &context).await),
                    _ => drop(one.perform(&make_one(), &context).await),
                }
            };
            tokio::join!(ask, async { end.send(()).unwrap_or_default() });
            assert!(turn.join().unwrap().unwrap(), "{asked} blocked everything else");
        }
    }
}
