//! The shipped operations, killed and cancelled at every instant there is.

use crate::life::{Fate, Lived, Lives};
use crate::mortal::Acks;
use std::sync::Mutex;
use stepback_core::state::Status;
use stepback_engine::{Limits, Mutant};

/// What to sweep.
#[derive(Clone)]
pub struct Sweep {
    pub operation: String,
    pub given: &'static [(&'static str, &'static str)],
    pub faults: &'static [&'static str],
    /// How it must end, whatever befalls it.
    pub ends: Status,
    pub acks: Acks,
    pub mutant: Option<Mutant>,
}

/// The inputs that an operation must be given, and the fault that rolls it back near its end.
type How = (&'static [(&'static str, &'static str)], &'static [&'static str]);

fn how(operation: &str) -> How {
    match operation {
        "provision-database"
        | "redeploy-database"
        | "resize-database-volume"
        | "restart-database" => (&[], &["docker.wait-healthy=refuse"]),
        "backup-database" => (&[], &["ebs.create-snapshot=refuse"]),
        "deprovision-database" => {
            (&[("database", "main"), ("confirm", "main")], &["ebs.detach=refuse"])
        }
        "deploy-app" | "restart-app" => (&[], &["load-balancer.drain=refuse"]),
        other => panic!("say here how `{other}` is swept: what it is given, and which call fails"),
    }
}

/// Each shipped operation, once through and once rolled back near its end.
pub fn sweeps() -> Vec<Sweep> {
    let mut all = vec![];
    for file in std::fs::read_dir(operations()).expect("the shipped operations").flatten() {
        let path = file.path();
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        // What no operation is lies beside them.
        if path.extension().is_none_or(|end| end != "toml") || name == "demo-world" {
            continue;
        }
        let (given, faults) = how(&name);
        let once = Sweep {
            operation: name,
            given,
            faults: &[],
            ends: Status::Succeeded,
            acks: Acks::default(),
            mutant: None,
        };
        all.push(once.clone());
        all.push(Sweep { faults, ends: Status::RolledBack, ..once });
    }
    all.sort_by(|one, other| one.operation.cmp(&other.operation));
    all
}

fn operations() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../operations")
}

impl Sweep {
    fn lives(&self) -> Lives {
        let text = std::fs::read_to_string(operations().join(format!("{}.toml", self.operation)));
        let faults: Vec<String> = self.faults.iter().map(|&fault| fault.to_owned()).collect();
        let mut lives = Lives::new(&text.expect("a shipped operation"), &faults);
        lives.given = self.given;
        lives.acks = self.acks;
        lives.limits = Limits { mutant: self.mutant, ..Limits::default() };
        lives
    }

    /// The instants of a life that nothing befalls.
    pub fn instants(&self) -> Result<u32, String> {
        let mut lives = self.lives();
        let lived = lives.live(Fate::default());
        self.ends_well(&lives, lived.ended).map(|()| lived.instants)
    }

    fn ends_well(
        &self,
        lives: &Lives,
        ended: Option<Result<Status, String>>,
    ) -> Result<(), String> {
        let status = ended.ok_or("it was killed")??;
        lives.check(status)?;
        if status == self.ends {
            return Ok(());
        }
        Err(format!("it ended {status:?}, not {:?}: {:?}", self.ends, lives.state().why))
    }

    /// Kill at these instants, one a life, then let it end.
    fn killed(&self, kills: &[u32]) -> Result<Vec<Lived>, String> {
        let mut lives = self.lives();
        let mut all = vec![];
        for kill_at in kills {
            let fate = Fate { kill_at: Some(*kill_at), cancel_at: None };
            let lived = lives.live(fate);
            if lived.ended.is_some() {
                self.ends_well(&lives, lived.ended.clone()).map_err(|why| {
                    format!("{} with {:?} killed at {kills:?}: {why}", self.operation, self.faults)
                })?;
                all.push(lived);
                return Ok(all);
            }
            all.push(lived);
        }
        let lived = lives.live(Fate::default());
        self.ends_well(&lives, lived.ended.clone()).map_err(|why| {
            format!("{} with {:?} killed at {kills:?}: {why}", self.operation, self.faults)
        })?;
        all.push(lived);
        Ok(all)
    }

    /// Kill at every instant; with a stride, kill the resume that follows as well, once for every
    /// `stride` of its instants. Gives how many kills there were, and how many second ones.
    pub fn kill_everywhere(&self, stride: Option<usize>) -> Result<(u32, u32), String> {
        let instants = self.instants()?;
        let (mut once, mut twice) = (0, 0);
        for (nth, first) in (1..=instants).enumerate() {
            let lives = self.killed(&[first])?;
            once += u32::from(lives[0].ended.is_none());
            let Some(stride) = stride else { continue };
            let resumed = lives.last().map_or(0, |life| life.instants);
            // Another offset for each first kill, so that together they meet every second one.
            for second in (1..=resumed).skip(nth % stride).step_by(stride) {
                let lives = self.killed(&[first, second])?;
                twice += u32::from(lives.len() == 3);
            }
        }
        // Every instant of a quiet life is one at which a life can end.
        if once < instants {
            return Err(format!("{}: {once} kills of {instants}", self.operation));
        }
        Ok((once, twice))
    }

    /// Cancel at every instant; gives how many were honoured and how many came too late.
    pub fn cancel_everywhere(&self) -> Result<(u32, u32), String> {
        let instants = self.instants()?;
        let (mut honoured, mut too_late) = (0, 0);
        for cancel_at in 1..=instants {
            let mut lives = self.lives();
            let fate = Fate { kill_at: None, cancel_at: Some(cancel_at) };
            let why = |why: String| format!("{} cancelled at {cancel_at}: {why}", self.operation);
            let status = lives.live(fate).ended.ok_or("nobody killed it")?.map_err(why)?;
            let state = lives.check(status).map_err(why)?;
            match (status, state.cancel.is_some(), state.committed) {
                (Status::RolledBack, true, false) => honoured += 1,
                (Status::Refused, _, _) => honoured += 1,
                (Status::Succeeded, false, true) => too_late += 1,
                (Status::RolledBack, false, false) if self.ends == Status::RolledBack => {
                    too_late += 1;
                }
                (status, cancelled, committed) => {
                    let what = format!("{status:?}, cancelled {cancelled}, committed {committed}");
                    return Err(why(what));
                }
            }
        }
        Ok((honoured, too_late))
    }
}

/// Each of them, as many at once as there are processors.
fn for_all(sweeps: Vec<Sweep>, swept: impl Fn(&Sweep) + Sync) {
    let left = Mutex::new(sweeps);
    let next = || left.lock().expect("nobody panics with it").pop();
    std::thread::scope(|scope| {
        let at_once = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..at_once {
            scope.spawn(|| std::iter::from_fn(next).for_each(|sweep| swept(&sweep)));
        }
    });
}

/// What the threads of [`for_all`] say is told by the test, whose own output they do not have.
fn tell(lines: Mutex<Vec<String>>) {
    let mut lines = lines.into_inner().expect("nobody panicked");
    lines.sort();
    lines.iter().for_each(|line| println!("{line}"));
}

#[test]
fn an_operation_killed_at_any_instant_and_then_again_comes_to_the_same_end() {
    let told = Mutex::new(vec![]);
    for_all(sweeps(), |sweep| {
        let (once, twice) = sweep.kill_everywhere(Some(211)).unwrap_or_else(|why| panic!("{why}"));
        assert!(twice > 0, "{}", sweep.operation);
        let of = format!("{} {:?}", sweep.operation, sweep.faults);
        let mut told = told.lock().expect("nobody panics with it");
        told.push(format!("{of}: killed at {once} instants"));
        told.push(format!("{of}: killed twice {twice} times"));
    });
    tell(told);
}

#[test]
fn a_cancel_at_any_instant_is_honoured_until_the_commit_point() {
    let told = Mutex::new(vec![]);
    for_all(sweeps(), |sweep| {
        let (honoured, too_late) = sweep.cancel_everywhere().unwrap_or_else(|why| panic!("{why}"));
        let (name, faults) = (&sweep.operation, sweep.faults);
        assert!(honoured > 0 && too_late > 0, "{name} {faults:?}");
        let line = format!("{name} {faults:?}: {honoured} honoured, {too_late} too late");
        told.lock().expect("nobody panics with it").push(line);
    });
    tell(told);
}
