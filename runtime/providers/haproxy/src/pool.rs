//! A pool's processes: what they tell, what is told them, and whose turn it is.

use super::config::{PoolConfig, Saved};
use super::saved;
use super::shapes::{Slot, old_workers, slots};
use super::view::{Place, View};
use super::wire::{NoAnswer, ask};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::{Failure, FailureClass};
use stepback_files::lock::{self, Patience};
use stepback_provider::endpoint::Endpoint;
use tokio::sync::{Mutex, MutexGuard};

/// How long another call's turn is waited for: each has a few commands, of which one may hang.
const TURN_WAIT: Duration = Duration::from_secs(60);

/// A pool, by its name in the environment.
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) config: PoolConfig,
    clock: Clock,
    turn: Mutex<()>,
}

/// The turn of one call: nobody else of this machine chooses a slot meanwhile.
pub(super) struct Turn<'a> {
    _here: MutexGuard<'a, ()>,
    _locked: Option<File>,
}

impl Pool {
    pub(super) fn new(name: String, config: PoolConfig, clock: Clock) -> Self {
        Self { name, config, clock, turn: Mutex::new(()) }
    }

    pub(super) async fn ask(&self, at: &Endpoint, command: &str) -> Result<String, NoAnswer> {
        ask(at, command, &self.clock).await
    }

    /// The directory of a socket that all who act on the pool from this machine share.
    fn shared_dir(&self) -> Option<PathBuf> {
        self.config.sockets.iter().find_map(|at| match at {
            Endpoint::Unix(path) => path.parent().map(PathBuf::from),
            Endpoint::Tcp(_) | Endpoint::Ssh(_) => None,
        })
    }

    /// Have this call's turn: held for that one call.
    ///
    /// # Errors
    /// `transient`: another program of this machine has it for too long.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, Failure> {
        let here = self.turn.lock().await;
        let Some(dir) = self.shared_dir() else { return Ok(Turn { _here: here, _locked: None }) };
        let clock = self.clock.clone();
        let locked = tokio::task::spawn_blocking(move || {
            let file = File::open(&dir)?;
            lock::within(&file, &dir, &clock, Patience::of(TURN_WAIT))?;
            Ok(file)
        });
        let locked = locked.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let file = locked.map_err(|error: std::io::Error| {
            let message = format!("pool `{}` can't be locked: {error}", self.name);
            Failure::new(FailureClass::Transient, message).with_code("haproxy-locked")
        })?;
        Ok(Turn { _here: here, _locked: Some(file) })
    }

    async fn slots_of(&self, at: &Endpoint) -> Result<Vec<Slot>, NoAnswer> {
        self.slots_by(at, "").await
    }

    /// The servers of one process; a master's socket is told of which (`@!PID`).
    async fn slots_by(&self, at: &Endpoint, of: &str) -> Result<Vec<Slot>, NoAnswer> {
        let backend = &self.config.backend;
        let state = self.ask(at, &format!("{of}show servers state {backend}")).await?;
        let stat = self.ask(at, &format!("{of}show stat {backend} 4 -1 json")).await?;
        slots(backend, &state, &stat).map_err(|failure| NoAnswer { failure, is_unknown: false })
    }

    /// What every process has.
    ///
    /// # Errors
    /// One of them can't be asked.
    pub(super) async fn view(&self) -> Result<View, Failure> {
        let mut all = vec![];
        for at in &self.config.sockets {
            all.push(self.slots_of(at).await.map_err(|told| told.failure)?);
        }
        Ok(View(all))
    }

    /// Who is still served at a place by the workers that a reload has replaced.
    ///
    /// # Errors
    /// The master can't be asked.
    pub(super) async fn old_sessions(&self, place: &Place) -> Result<u32, Failure> {
        let Some(master) = &self.config.master else { return Ok(0) };
        let told = self.ask(master, "show proc").await.map_err(|told| told.failure)?;
        let mut sessions = 0u32;
        for worker in old_workers(&told) {
            // One that has ended by now serves nobody.
            let Ok(slots) = self.slots_by(master, &format!("@!{worker} ")).await else { continue };
            let at_it = slots.iter().filter(|slot| slot.is_at(place.address, place.port));
            sessions = at_it.map(|slot| slot.sessions).fold(sessions, u32::saturating_add);
        }
        Ok(sessions)
    }

    /// Write down what a reload would lose.
    ///
    /// # Errors
    /// The process can't be asked, or the file can't be written.
    pub(super) async fn save(&self) -> Result<(), Failure> {
        let (Saved::StateFile(path), Some(first)) =
            (&self.config.saved, self.config.sockets.first())
        else {
            return Ok(());
        };
        let ask = format!("show servers state {}", self.config.backend);
        let state = self.ask(first, &ask).await.map_err(|told| told.failure)?;
        let (to, shown) = (path.clone(), path.display().to_string());
        let written = tokio::task::spawn_blocking(move || saved::write(&to, &state)).await;
        let written = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        written.map_err(|error| {
            let message = format!("the state of pool `{}` is not in {shown}: {error}", self.name);
            Failure::new(FailureClass::Transient, message).with_code("state-file")
        })
    }

    /// Whether the socket of every process takes commands (HAProxy Management Guide, *show cli
    /// level*).
    ///
    /// # Errors
    /// It does not, or can't be asked.
    pub(super) async fn must_be_commanded(&self) -> Result<(), Failure> {
        for at in &self.config.sockets {
            let level = self.ask(at, "show cli level").await.map_err(|told| told.failure)?;
            if level.trim() != "admin" {
                let message = format!(
                    "HAProxy at {at} takes no commands: its socket is of level `{}`, and needs \
                     `level admin`",
                    level.trim()
                );
                return Err(Failure::new(FailureClass::Denied, message).with_code("haproxy-level"));
            }
        }
        Ok(())
    }
}
