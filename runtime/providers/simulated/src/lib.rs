//! The simulated provider: a strict world that is kept on disk, as an outside world is.
//!
//! It follows the providers' documentation, not their leniency: a wrong zone, a volume in use, a
//! container whose device is missing are refused with the codes that EC2 and Docker give. It is
//! never lax where the real thing is strict.

mod advice;
pub mod apply;
mod docker;
mod ec2;
mod facts;
mod import;
mod instances;
mod limits;
mod looks;
mod pausing;
mod pools;
pub mod read;
pub mod refusals;
pub mod settle;
pub mod world;

pub use import::{Imported, import};
use stepback_core::calls::{DockerCall, SettleMode, run_once_name};
use stepback_core::cut;
use stepback_core::diagnostic::line_column;
use stepback_provider::advice::Advice;
use stepback_provider::inventory::Inventory;
use stepback_provider::locks::{LockFile, WorldLocks};
use stepback_provider::passwords::{without_types, without_values};
use stepback_provider::{EffectContext, Provider, Settled, Stamped};

use async_trait::async_trait;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::step::EffectOutcome;
use stepback_core::{
    Call, Epoch, Facts, Failure, FailureClass, Interface, OperationId, Resource, StoreId, Token,
    UnixMs,
};
use stepback_files::lock::{self, Patience};
use stepback_files::private;
use world::{LOOK_MS, World};

/// A file that is given up when the disk is full and the world must be written.
pub const BALLAST: &str = "ballast";
/// So much is told of why a text is no world.
const WHY_BYTES_MAX: usize = 500;

/// The code of a world that was put in another's place.
const ANOTHER_WORLD: &str = "another-world";

/// Nobody keeps the world for longer who is well.
const TURN_MAX: Duration = Duration::from_secs(5);
/// What a directory of a world has in it.
const MARKS: &[&str] = &[WORLD_FILE, "world.lock", "locks.lock"];

/// How long one real second lasts here, as a divisor.
const TIME_DIVISOR: u64 = 100;

/// A simulated world, in a directory of its own or in memory.
pub struct Simulated {
    backing: Backing,
    /// One mutation at a time in this process; the file lock is for others.
    gate: Mutex<()>,
    clock: Clock,
    locks: LockFile,
    /// Which world it was when it was opened; empty of one in memory.
    id: String,
    /// How long what was just created is not listed.
    lag_ms: u64,
    /// How long another program of ours may have its turn.
    turn_max: Duration,
}

enum Backing {
    Disk(PathBuf),
    Memory(Box<Mutex<World>>),
}

/// The file that a world is kept in, in its directory.
pub const WORLD_FILE: &str = "world.json";

/// The code of a text that is no world.
pub const NOT_A_WORLD: &str = "not-a-world";

/// The code of a world whose files are somebody else's.
pub const NOT_OURS: &str = "not-ours";

fn io_failure(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("{} can't be {what}: {error}", path.display());
    let failure = Failure::new(FailureClass::Internal, message);
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => failure.with_code(NOT_OURS),
        _ => failure,
    }
}

impl Simulated {
    /// Open the world in `dir`; where there is none yet, it begins as `seed` says (TOML).
    ///
    /// # Errors
    /// A seed that is not a world, or a directory that can't be written.
    pub fn open(dir: &Path, seed: &str, clock: Clock) -> Result<Self, Failure> {
        private::top(dir, MARKS).map_err(|error| io_failure("made", dir, &error))?;
        private::tighten(&file(dir)).map_err(|error| io_failure("used", &file(dir), &error))?;
        let mut this = Self::with(Backing::Disk(dir.to_owned()), clock);
        let lock = this.lock()?;
        let mut known = if file(dir).exists() { this.load()? } else { parse(seed)? };
        if known.id.is_empty() {
            known.id = new_name()?;
            this.store(&known)?;
        }
        this.id = known.id;
        drop(lock);
        this.lag_ms = this.load()?.lag_ms();
        Ok(this)
    }

    /// A world that is gone with its process, for rehearsals and tests.
    ///
    /// # Errors
    /// A seed that is not a world.
    pub fn in_memory(seed: &str, clock: Clock) -> Result<Self, Failure> {
        Ok(Self::of(parse(seed)?, clock))
    }

    /// The same of a world that is there already.
    pub fn of(world: World, clock: Clock) -> Self {
        let lag_ms = world.lag_ms();
        Self { lag_ms, ..Self::with(Backing::Memory(Box::new(Mutex::new(world))), clock) }
    }

    fn with(backing: Backing, clock: Clock) -> Self {
        let gate = Mutex::new(());
        let locks = match &backing {
            Backing::Disk(dir) => LockFile::in_dir(dir, clock.clone()),
            Backing::Memory(_) => LockFile::in_memory(clock.clone()),
        };
        Self { backing, gate, clock, locks, id: String::new(), lag_ms: 0, turn_max: TURN_MAX }
    }

    /// The same, where a change may take so long: whoever waits for its turn waits that long for
    /// another program of the same user.
    pub fn with_turns_of(self, turn_max: Duration) -> Self {
        Self { turn_max, ..self }
    }

    fn lock(&self) -> Result<Option<File>, Failure> {
        let Backing::Disk(dir) = &self.backing else { return Ok(None) };
        let path = dir.join("world.lock");
        let file = private::open_or_make(&path);
        let file = file.map_err(|error| io_failure("opened", &path, &error))?;
        let patience = Patience { with_others: TURN_MAX, with_own: self.turn_max };
        match lock::within(&file, &path, &self.clock, patience) {
            Ok(()) => Ok(Some(file)),
            // It names the file, and who has it.
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                Err(Failure::new(FailureClass::Transient, error.to_string()).with_code("locked"))
            }
            Err(error) => Err(io_failure("locked", &path, &error)),
        }
    }

    /// While it is kept nobody else changes the world, of this program or of another.
    fn turn(&self) -> Result<impl Sized, Failure> {
        let gate = self.gate.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // What is first is let go of first: whoever comes through the gate finds no lock of ours.
        Ok((self.lock()?, gate))
    }

    /// The world as it is now.
    ///
    /// # Errors
    /// If the file can't be read, is not a world, or is another one than was opened.
    pub fn load(&self) -> Result<World, Failure> {
        let path = match &self.backing {
            Backing::Disk(dir) => file(dir),
            Backing::Memory(world) => {
                return Ok(world.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone());
            }
        };
        let read = private::open(&path, File::options().read(true));
        let text = read.and_then(std::io::read_to_string);
        let text = text.map_err(|error| io_failure("read", &path, &error))?;
        let written = serde_json::from_str(&text).map_err(|error| {
            let message = format!("{} is not a world: {error}", path.display());
            Failure::new(FailureClass::Internal, message)
        });
        let world = written.map(World::put_right)?;
        if !self.id.is_empty() && world.id != self.id {
            let message = format!(
                "{} is another world than it was when it was opened: it was lost or put in \
                 another's place",
                path.display()
            );
            return Err(Failure::new(FailureClass::Precondition, message).with_code(ANOTHER_WORLD));
        }
        Ok(world)
    }

    fn store(&self, world: &World) -> Result<(), Failure> {
        let (path, part) = match &self.backing {
            Backing::Disk(dir) => (file(dir), dir.join("world.json.part")),
            Backing::Memory(kept) => {
                *kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = world.clone();
                return Ok(());
            }
        };
        let text = serde_json::to_string_pretty(world)
            .map_err(|error| Failure::new(FailureClass::Internal, error.to_string()))?;
        let write = || {
            let mut file = private::create(&part)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
            std::fs::rename(&part, &path)
        };
        let ballast = path.with_file_name(BALLAST);
        let written = write().or_else(|error| match error.kind() {
            std::io::ErrorKind::StorageFull if std::fs::remove_file(ballast).is_ok() => write(),
            _ => Err(error),
        });
        written.map_err(|error| io_failure("written", &path, &error))
    }

    /// Change the world, or leave it as it is; a change from outside is somebody else's doing.
    ///
    /// # Errors
    /// What `change` says, or a world that can't be read or written.
    pub fn change<T>(
        &self,
        change: impl FnOnce(&mut World) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let _turn = self.turn()?;
        let mut world = self.load()?;
        let answer = change(&mut world)?;
        self.store(&world)?;
        Ok(answer)
    }

    /// Look at the world while nobody changes it.
    ///
    /// # Errors
    /// What `look` says, or a world that can't be read.
    pub fn look<T>(&self, look: impl FnOnce(&World) -> Result<T, Failure>) -> Result<T, Failure> {
        let _turn = self.turn()?;
        look(&self.load()?)
    }

    /// The time of day, by the clock that it was opened with.
    pub fn now(&self) -> UnixMs {
        self.clock.unix()
    }

    /// Make the effect. Where the API knows tokens, the same token again gives the same answer;
    /// everywhere else the same request again is another request, as it is in the real world.
    fn apply(&self, call: &Call, context: &EffectContext) -> Result<Value, Failure> {
        self.change(|world| {
            world.fence(context)?;
            stepback_provider::tags::must_be_free(call)?;
            if call.settle_mode() == Some(SettleMode::ReissueSameToken)
                && let Some(made) = world.effects.get(&context.token.0)
            {
                return Ok(made.answer.clone());
            }
            must_be_as_looked(world, call, context)?;
            let is_cut_off = context.cancel.is_cancelled();
            let traffic = world.traffic(self.now());
            let answer = apply::effect(world, call, &context.token, is_cut_off, self.now())?;
            world.note_traffic(&traffic, self.now());
            world.made(&context.token, call.function(), &answer);
            Ok(answer)
        })
    }
}

/// Whether the container that a call goes by is the one that was looked at.
fn must_be_as_looked(world: &World, call: &Call, context: &EffectContext) -> Result<(), Failure> {
    let (host, name) = match call {
        Call::Docker(DockerCall::CreateContainer { spec, .. }) => match &spec.like {
            Some(like) => (like.host.as_str(), like.container.as_str()),
            None => return Ok(()),
        },
        Call::Docker(DockerCall::Exec { host, container, .. }) => {
            (host.as_str(), container.as_str())
        }
        _ => return Ok(()),
    };
    let there = world.engines.get(host).and_then(|engine| engine.containers.get(name));
    there.map_or(Ok(()), |one| context.looked.must_be(host, name, &one.id))
}

fn file(dir: &Path) -> PathBuf {
    dir.join(WORLD_FILE)
}

/// The world of a world file (TOML), with nothing in it that can't be.
///
/// # Errors
/// What is no world.
pub fn parse(seed: &str) -> Result<World, Failure> {
    let written = toml::from_str(seed).map_err(|error: toml::de::Error| {
        // Its lines have containers' variables and volumes' options, passwords among them.
        let (line, column) = line_column(seed, error.span().map_or(0, |span| span.start));
        let why = cut::beginning(&without_types(&without_values(error.message())), WHY_BYTES_MAX);
        let message = format!("the world file is not a world: {line}:{column}: {why}");
        Failure::new(FailureClass::InvalidInput, message).with_code(NOT_A_WORLD)
    });
    let world = written.map(|world: World| World { id: String::new(), ..world }.put_right())?;
    pools::names_must_be_places(&world)?;
    Ok(world)
}

/// A name that no other world has.
fn new_name() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        let message = format!("the system gives no random numbers: {error}");
        Failure::new(FailureClass::Internal, message)
    })?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

#[async_trait]
impl Provider for Simulated {
    fn name(&self) -> &str {
        "simulated"
    }

    fn serves(&self) -> &[Interface] {
        &[Interface::Ec2, Interface::Ebs, Interface::Docker, Interface::LoadBalancer]
    }

    fn locks(&self) -> Option<&dyn WorldLocks> {
        Some(&self.locks)
    }

    async fn identity(&self) -> Result<Value, Failure> {
        let world = Some(self.load()?.id).filter(|id| !id.is_empty());
        Ok(json!({ "provider": "simulated", "account": "000000000000", "world": world }))
    }

    async fn read(&self, call: &Call) -> Result<Value, Failure> {
        looks::answer(&self.load()?, call, self.now())
    }

    /// Everything is permitted but what nobody can write, and what could not be put back.
    async fn may(&self, call: &Call) -> Result<(), Failure> {
        stepback_provider::tags::must_be_free(call)?;
        stepback_provider::rules::must_make_sense(call)?;
        let world = self.load()?;
        ec2::nothing_is_in_its_way(&world, call)?;
        pools::nothing_is_in_its_way(&world, call)?;
        docker::nothing_is_in_its_way(&world, call)
    }

    async fn wait(&self, call: &Call) -> Result<Value, Failure> {
        let timeout_ms = read::timeout_ms(call);
        let in_vain = || format!("{} waited in vain", call.function());
        let mut waits_for = in_vain();
        let poll = async {
            loop {
                match looks::wait_over(&self.load()?, call, self.now()) {
                    Ok(Some(answer)) => return Ok(answer),
                    Ok(None) => waits_for = in_vain(),
                    // An engine that does not answer may do so later.
                    Err(failure) if failure.is_retryable() => waits_for = failure.message,
                    Err(failure) => return Err(failure),
                }
                self.clock.sleep(Duration::from_millis(LOOK_MS)).await;
            }
        };
        let limit = Duration::from_millis((timeout_ms / TIME_DIVISOR).max(LOOK_MS));
        match self.clock.timeout(limit, poll).await {
            Ok(told) => told,
            Err(_) => looks::in_the_end(&self.load()?, call, self.now(), waits_for),
        }
    }

    async fn perform(&self, call: &Call, context: &EffectContext) -> EffectOutcome {
        match self.apply(call, context) {
            Ok(answer) => EffectOutcome::Done(answer),
            Err(failure) => EffectOutcome::Refused(failure),
        }
    }

    async fn settle(&self, call: &Call, context: &EffectContext) -> Settled {
        // What was just created may not be listed yet: absent counts only after a while.
        let until = self.clock.now().after(Duration::from_millis(self.lag_ms));
        loop {
            // What is looked at after that is all there is.
            let is_last = !settle::may_lag(call) || self.clock.now() >= until;
            let world = match self.load() {
                Ok(world) => world,
                Err(failure) => return Settled::CantKnow(failure.message),
            };
            match settle::settle(&world, call, &context.token, self.now()) {
                Settled::NotHappened if !is_last => {
                    self.clock.sleep(Duration::from_millis(LOOK_MS)).await;
                }
                settled => return settled,
            }
        }
    }

    async fn forget(&self, call: &Call, context: &EffectContext) {
        if let Call::Docker(DockerCall::RunOnce { host, .. }) = call {
            // Where that fails now, the container is found again at the next resume.
            let _ = self.change(|world| {
                let name = run_once_name(&context.token);
                docker::engine_mut(world, host)?.containers.remove(&name);
                Ok(())
            });
        }
    }

    async fn take_over(
        &self,
        store: &StoreId,
        operation: OperationId,
        epoch: Epoch,
    ) -> Result<(), Failure> {
        self.change(|world| {
            world.take_over(store, operation, epoch);
            Ok(())
        })
    }

    async fn import(&self, found: &mut Inventory) -> Result<(), Failure> {
        self.load()?.show(found);
        Ok(())
    }

    fn request_ms_max(&self) -> u64 {
        0
    }

    /// The lag of its describes; engines show at once what they made.
    fn visible_after_ms(&self) -> u64 {
        self.lag_ms
    }

    async fn observe(&self, resource: &Resource) -> Result<Facts, Failure> {
        self.load()?.seen(resource, self.now())
    }

    fn advice(&self, resource: &Resource, before: &Facts, now: &Facts) -> Advice {
        advice::advice(resource, before, now)
    }

    async fn stamped(&self, tokens: &[Token]) -> Result<Stamped, Failure> {
        Ok(self.load()?.carrying(tokens, None, self.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const SEED: &str = "[instances.i-1]\nstate = \"running\"\ntype = \"t\"\nzone = \"a\"\n";

    /// The world is as it was, and whoever comes next is let in.
    #[test]
    fn what_panics_changes_nothing_and_blocks_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::real;
        for world in [
            Simulated::open(dir.path(), SEED, clock()).unwrap(),
            Simulated::in_memory(SEED, clock()).unwrap(),
        ] {
            let before = world.load().unwrap();
            let died = catch_unwind(AssertUnwindSafe(|| {
                world.change(|world| -> Result<(), Failure> {
                    world.instances.clear();
                    panic!("on purpose")
                })
            }));
            assert!(died.is_err());
            assert_eq!(world.load().unwrap(), before);
            let clear = |world: &mut World| {
                world.instances.clear();
                Ok(())
            };
            world.change(clear).unwrap();
            assert!(world.load().unwrap().instances.is_empty());
        }
    }
}
