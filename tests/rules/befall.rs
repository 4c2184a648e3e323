//! What befalls an operation beside kills: other people, its machine, its clock, its provider.
//!
//! Each at the n-th instant of its whole story, all lives counted.

use crate::life::{BEGIN, at_once};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stepback_clock::{Clock, Moment, Virtual};
use stepback_core::state::{State, Status, StepState, StepStatus};
use stepback_core::{OperationId, Resource, Token, UnixMs};
use stepback_journal::{Memory, Request as Asked, Store};
use stepback_provider::faults::Faults;
use stepback_provider::faulty::Faulty;
use stepback_simulated::Simulated;
use stepback_simulated::world::{DockerVolume, World};

/// One thing that befalls it.
#[derive(Clone, Debug)]
pub enum Befall {
    /// Somebody cancels it from another terminal.
    Cancel,
    /// Somebody else changes the world.
    Foreign(Foreign),
    /// The machine sleeps.
    Sleep { ms: u64 },
    /// The system's clock is set; whoever starts afterwards sees it.
    ClockSet { by_ms: i64 },
    /// The provider panics at what it is asked next, before it does it or after.
    Panics { after: bool },
    /// The next effect is made, and said to have been refused.
    SaysRefused,
    /// The next effect is not made, and said to be done.
    SaysDone,
}

/// What somebody else does, by the names that the operation uses.
#[derive(Clone, Debug)]
pub enum Foreign {
    Tag(u8),
    Untag(u8),
    /// One of this name, instead of any that was there.
    DockerVolume(u8),
    RemoveDockerVolume(u8),
    /// Another one of its name, and it runs.
    Container,
    StartContainer,
    /// The volumes and snapshots that the operation made.
    DeleteMade,
}

/// Where the volume names of [`Foreign`] are.
pub const HOST: &str = "i-db-2";
/// What tells somebody else's thing.
pub const THEIRS: &str = "theirs";

/// A look that so many instants later has led to no change leads to none.
const INSTANTS_UNDER_WAY: u32 = 16;

impl Foreign {
    /// Whether it changes that resource, by its name.
    fn touches(&self, resource: &str) -> bool {
        match self {
            Foreign::Tag(_) | Foreign::Untag(_) => resource.contains("vol-db-main"),
            Foreign::DockerVolume(name) | Foreign::RemoveDockerVolume(name) => {
                resource.contains(&format!("data-{name}"))
            }
            Foreign::Container | Foreign::StartContainer => resource.ends_with("/container/main"),
            Foreign::DeleteMade => ["vol-", "snap-"].iter().any(|of| resource.contains(of)),
        }
    }

    fn act(&self, world: &mut World) {
        let Some(volume) = world.volumes.get_mut("vol-db-main") else { return };
        match self {
            Foreign::Tag(key) => {
                volume.tags.insert(format!("k{key}"), THEIRS.into());
            }
            Foreign::Untag(key) => {
                volume.tags.remove(&format!("k{key}"));
            }
            Foreign::DockerVolume(name) => {
                let theirs = DockerVolume {
                    id: format!("{THEIRS}-{name}"),
                    options: BTreeMap::new(),
                    stamp: None,
                };
                let engine = world.engines.entry(HOST.into()).or_default();
                engine.volumes.insert(format!("data-{name}"), theirs);
            }
            Foreign::RemoveDockerVolume(name) => {
                let engine = world.engines.entry(HOST.into()).or_default();
                engine.volumes.remove(&format!("data-{name}"));
            }
            Foreign::Container => {
                let engine = world.engines.entry("i-db-1".into()).or_default();
                if let Some(main) = engine.containers.get_mut("main") {
                    (main.id, main.running, main.stamp) = (THEIRS.into(), true, None);
                    (main.went_down, main.exit_code) = (false, None);
                    main.spec.restart = "unless-stopped".into();
                }
            }
            Foreign::StartContainer => {
                let engine = world.engines.entry("i-db-1".into()).or_default();
                if let Some(main) = engine.containers.get_mut("main") {
                    (main.running, main.went_down, main.exit_code) = (true, false, None);
                }
            }
            Foreign::DeleteMade => {
                world.volumes.retain(|_, volume| volume.stamp.is_none());
                world.snapshots.retain(|_, snapshot| snapshot.stamp.is_none());
            }
        }
    }
}

/// What the provider does wrong next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    PanicsBefore,
    PanicsAfter,
    SaysRefused,
    SaysDone,
}

/// The story of one operation.
pub struct Story {
    pub world: Arc<Simulated>,
    /// The world with the faults of the life that goes on.
    pub faulty: Arc<Faulty>,
    pub store: Arc<Memory>,
    pub time: Virtual,
    passed: AtomicU32,
    befalls: Mutex<VecDeque<(u32, Befall)>>,
    next: Mutex<Option<Wrong>>,
    has_lied: AtomicBool,
    /// What somebody else did, in order.
    theirs: Mutex<Vec<Foreign>>,
    /// What the operation may be about to change.
    about: Mutex<AboutTo>,
    /// The clock of the runner that lives.
    clock: Mutex<Option<Clock>>,
    /// When a runner wrote last, by a clock that nobody can set, and by its own.
    wrote: Mutex<Option<(Moment, UnixMs)>>,
    /// What must not be, and was.
    wrong: Mutex<Vec<String>>,
    pub seen: Mutex<Seen>,
}

/// What the operation has looked at, by instants, and the effects on their way.
#[derive(Default)]
struct AboutTo {
    looked: Vec<(u32, String)>,
    on_the_way: Vec<(Token, String)>,
}

/// What was seen of the downtime from outside.
#[derive(Default)]
pub struct Seen {
    pub appends: u32,
    pub lives: u32,
    /// How often an engine was asked whose instance is down.
    pub looks_at_what_is_down: u32,
    pub is_clock_set_back: bool,
    /// The append that opened it.
    pub open_since: Option<u32>,
    /// After so many appends the machine slept, and how long.
    pub sleeps: Vec<(u32, u64)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Story {
    pub fn new(
        world: Arc<Simulated>,
        store: Arc<Memory>,
        time: Virtual,
        mut befalls: Vec<(u32, Befall)>,
    ) -> Arc<Self> {
        befalls.sort_by_key(|(at, _)| *at);
        let faulty = Arc::new(Faulty::new(Arc::clone(&world) as _, Faults::default()));
        Arc::new(Self {
            world,
            faulty,
            store,
            time,
            passed: AtomicU32::new(0),
            befalls: Mutex::new(befalls.into()),
            next: Mutex::default(),
            has_lied: AtomicBool::new(false),
            theirs: Mutex::default(),
            about: Mutex::default(),
            clock: Mutex::default(),
            wrote: Mutex::default(),
            wrong: Mutex::default(),
            seen: Mutex::default(),
        })
    }

    /// An instant goes by.
    pub async fn pass(&self) {
        let now = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        loop {
            let due = lock(&self.befalls).pop_front_if(|(at, _)| *at <= now);
            let Some((_, befall)) = due else { return };
            match befall {
                Befall::Foreign(foreign) if self.is_about_to_change(&foreign, now) => {
                    lock(&self.befalls).push_front((now + 1, Befall::Foreign(foreign)));
                    return;
                }
                befall => self.befall(befall).await,
            }
        }
    }

    /// It looks at a resource, and may change it next.
    pub fn looks_at(&self, resource: &Resource) {
        let is_down = |host: &str| {
            let instance = self.world.load().ok()?.instances.get(host)?.state != "running";
            instance.then_some(())
        };
        if resource.host().and_then(is_down).is_some() {
            lock(&self.seen).looks_at_what_is_down += 1;
        }
        let now = self.passed.load(Ordering::SeqCst);
        lock(&self.about).looked.push((now, resource.to_string()));
    }

    /// An effect on these is on its way.
    pub fn begins(&self, token: &Token, resources: &[Resource]) {
        let mut about = lock(&self.about);
        for resource in resources {
            let name = resource.to_string();
            if let Some(at) = about.looked.iter().position(|(_, looked)| *looked == name) {
                about.looked.remove(at);
            }
            about.on_the_way.push((token.clone(), name));
        }
    }

    /// It has arrived.
    pub fn arrives(&self, token: &Token) {
        lock(&self.about).on_the_way.retain(|(one, _)| one != token);
    }

    /// Whoever was about to do something is dead, and another begins to live.
    pub fn begins_again(&self) {
        *lock(&self.about) = AboutTo::default();
        *lock(&self.clock) = Some(self.time.clock());
        lock(&self.seen).lives += 1;
    }

    /// A runner writes.
    pub fn writes(&self) {
        let clock = lock(&self.clock).clone();
        *lock(&self.wrote) = clock.map(|clock| (clock.now(), clock.unix()));
    }

    /// When a runner wrote last, and how long ago that is, whatever the system's clock says.
    pub fn wrote(&self) -> Option<(UnixMs, u64)> {
        let (moment, unix) = (*lock(&self.wrote))?;
        Some((unix, self.time.clock().now().since(moment).as_millis() as u64))
    }

    /// Whether a change would come between the operation's look at the same and its own change.
    ///
    /// The interfaces have no *change it if it is still so*: what comes just there can't be seen.
    fn is_about_to_change(&self, foreign: &Foreign, now: u32) -> bool {
        let about = lock(&self.about);
        let is_near = |at: u32| now.saturating_sub(at) < INSTANTS_UNDER_WAY;
        let looked = about.looked.iter().filter(|(at, _)| is_near(*at)).map(|(_, name)| name);
        let mut all = looked.chain(about.on_the_way.iter().map(|(_, name)| name));
        all.any(|resource| foreign.touches(resource))
    }

    async fn befall(&self, befall: Befall) {
        match befall {
            Befall::Cancel => {
                let cancel = Asked::Cancel { actor: "ann".into(), reason: Some("a story".into()) };
                // Before there is an operation, there is nothing to cancel.
                let _ = self.store.request(OperationId(1), cancel).await;
            }
            // What is compared is what was read, and nobody can read all at one instant.
            Befall::Foreign(_) if is_being_verified(&self.store).await => {}
            Befall::Foreign(foreign) => {
                let acted = self.world.change(|world| {
                    foreign.act(world);
                    Ok(())
                });
                acted.expect("a world in memory");
                lock(&self.theirs).push(foreign);
            }
            Befall::Sleep { ms } => {
                let mut seen = lock(&self.seen);
                let appends = seen.appends;
                seen.sleeps.push((appends, ms));
                self.time.advance(Duration::from_millis(ms));
            }
            Befall::ClockSet { by_ms } => {
                lock(&self.seen).is_clock_set_back |= by_ms < 0;
                let now = self.time.clock().unix().0;
                self.time.set_unix(UnixMs(now.saturating_add_signed(by_ms)));
            }
            Befall::Panics { after: false } => *lock(&self.next) = Some(Wrong::PanicsBefore),
            Befall::Panics { after: true } => *lock(&self.next) = Some(Wrong::PanicsAfter),
            Befall::SaysRefused => {
                self.has_lied.store(true, Ordering::SeqCst);
                *lock(&self.next) = Some(Wrong::SaysRefused);
            }
            Befall::SaysDone => *lock(&self.next) = Some(Wrong::SaysDone),
        }
    }

    /// What the provider is to do wrong at what it is asked now, if it is one of these.
    pub fn goes_wrong(&self, how: &[Wrong]) -> Option<Wrong> {
        let mut next = lock(&self.next);
        next.take_if(|wrong| how.contains(wrong))
    }

    pub fn says(&self, wrong: String) {
        lock(&self.wrong).push(wrong);
    }

    /// What must not be, and was.
    pub fn wrong(&self) -> Vec<String> {
        lock(&self.wrong).clone()
    }

    /// Whether others changed the world.
    pub fn has_others(&self) -> bool {
        !lock(&self.theirs).is_empty()
    }

    /// Whether others, or lies, had to do with the container, so that nobody knows by the journal
    /// alone whether it runs.
    pub fn is_container_uncertain(&self) -> bool {
        self.has_lied.load(Ordering::SeqCst)
            || lock(&self.theirs)
                .iter()
                .any(|foreign| matches!(foreign, Foreign::Container | Foreign::StartContainer))
    }

    /// A world as it is after all that others did to it.
    pub fn after_others(&self, mut world: World) -> World {
        lock(&self.theirs).iter().for_each(|foreign| foreign.act(&mut world));
        world
    }
}

/// Whether every undo has ended, so that nothing happens any more but looking.
async fn is_being_verified(store: &Memory) -> bool {
    let records = store.load(OperationId(1)).await.unwrap_or_default();
    let Ok(state) = State::fold(&records) else { return true };
    let awaits = |step: &StepState| match step.status {
        StepStatus::Undone | StepStatus::Kept | StepStatus::UndoFailed => false,
        _ => step.open.is_some() || step.needs_undo(),
    };
    let back =
        state.status == Status::RollingBack && !state.steps.values().any(|step| awaits(step));
    back || state.status.is_final()
}

/// The operation's state as the journal has it.
pub fn state_of(store: &Memory) -> State {
    let records = at_once(store.load(OperationId(1)));
    State::fold(&records.unwrap_or_default()).expect("the journal folds")
}

/// A clock's worth of time after which somebody hangs who has not ended.
pub fn too_long() -> Duration {
    Duration::from_secs(40 * 24 * 3600)
}

/// When the case began.
pub fn begin() -> Virtual {
    Virtual::new(BEGIN)
}
