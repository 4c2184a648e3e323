//! A pool's processes: what they tell, what is told them, and whose turn it is.

use super::config::{PoolConfig, Saved};
use super::saved;
use super::shapes::{Slot, is_kept, is_state, must_be_whole, number, old_workers, quoted, slots};
use super::view::{Place, View};
use super::wire::{NoAnswer, ask};
use std::path::{Path, PathBuf};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::{Failure, FailureClass};
use stepback_provider::endpoint::Endpoint;
use stepback_provider::turn::{Turn, Turns};

/// How long a master may take to read its configuration: one of thousands of servers takes seconds.
const RELOAD: Duration = Duration::from_secs(30);
/// So long it is waited for where nothing is to be changed yet.
const SOON: Duration = Duration::from_secs(2);
/// How often it is asked meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// A pool, by its name in the environment.
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) config: PoolConfig,
    clock: Clock,
    turns: Turns,
}

impl Pool {
    pub(super) fn new(name: String, config: PoolConfig, clock: Clock) -> Self {
        let turns = Turns::at(config.sockets.iter(), clock.clone());
        Self { name, config, clock, turns }
    }

    pub(super) async fn ask(&self, at: &Endpoint, command: &str) -> Result<String, NoAnswer> {
        ask(at, command, &self.clock).await
    }

    /// Have this call's turn: nobody else of this machine chooses a slot meanwhile.
    ///
    /// # Errors
    /// `transient`: another program of this machine has it for too long.
    pub(super) async fn turn(&self) -> Result<Turn<'_>, Failure> {
        self.turns.take().await.map_err(|error| {
            let message = format!("pool `{}` can't be locked: {error}", self.name);
            Failure::new(FailureClass::Transient, message).with_code("haproxy-locked")
        })
    }

    async fn slots_of(&self, at: &Endpoint) -> Result<Vec<Slot>, NoAnswer> {
        Ok(self.told_by(at, "").await?.0)
    }

    /// The servers of one process, and the state that they were read of; a master's socket is told
    /// of which process (`@!PID`).
    async fn told_by(&self, at: &Endpoint, of: &str) -> Result<(Vec<Slot>, String), NoAnswer> {
        let backend = &self.config.backend;
        let read = |failure| NoAnswer { failure, is_unknown: false };
        let state = self.ask(at, &format!("{of}show servers state {backend}")).await?;
        let of_backend = number(backend, &state).map_err(read)?;
        must_be_whole(&state).map_err(read)?;
        let Some(number) = of_backend else {
            return Ok((vec![], state));
        };
        let stat = self.ask(at, &format!("{of}show stat {number} 4 -1 json")).await?;
        Ok((slots(backend, &state, &stat).map_err(read)?, state))
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
    /// A master can't be asked, or a worker that is still there.
    pub(super) async fn old_sessions(&self, place: &Place) -> Result<u32, Failure> {
        let mut sessions = 0u32;
        for master in &self.config.masters {
            for worker in self.old_workers(master).await? {
                let slots = match self.told_by(master, &format!("@!{worker} ")).await {
                    Ok((slots, _)) => slots,
                    // One that has ended by now serves nobody.
                    Err(_) if !self.old_workers(master).await?.contains(&worker) => continue,
                    Err(NoAnswer { failure, .. }) => {
                        let message = format!(
                            "worker {worker}, which a reload has replaced, does not tell whom it \
                             serves: {failure}"
                        );
                        let told = Failure::new(FailureClass::Transient, message);
                        return Err(told.with_code("haproxy-old-worker"));
                    }
                };
                let at_it = slots.iter().filter(|slot| slot.is_at(place.address, place.port));
                sessions = at_it.map(|slot| slot.sessions).fold(sessions, u32::saturating_add);
            }
        }
        Ok(sessions)
    }

    async fn old_workers(&self, master: &Endpoint) -> Result<Vec<u32>, Failure> {
        let told = self.ask(master, "show proc").await.map_err(|told| told.failure)?;
        Ok(old_workers(&told))
    }

    /// Write down what a reload would lose: of an answer that is whole, and of nothing else.
    ///
    /// # Errors
    /// A process can't be asked, or its file can't be written.
    pub(super) async fn save(&self) -> Result<(), Failure> {
        let Saved::StateFiles(files) = &self.config.saved else { return Ok(()) };
        for (at, path) in self.config.sockets.iter().zip(files) {
            let (_, state) = self.told_by(at, "").await.map_err(|told| told.failure)?;
            self.with_file(path.clone(), move |path| saved::write(path, &state)).await?;
        }
        Ok(())
    }

    /// Wait until no reload is under way: its master answers nobody while it reads its
    /// configuration and what was kept, and the worker that it replaces is told in vain.
    ///
    /// # Errors
    /// A master that does not answer for long.
    pub(super) async fn reloads_are_over(&self) -> Result<(), Failure> {
        self.masters_answer_within(RELOAD).await
    }

    /// The same for whoever only asks beforehand: a socket that is not there is told soon.
    ///
    /// # Errors
    /// As of [`Self::reloads_are_over`].
    pub(super) async fn masters_answer(&self) -> Result<(), Failure> {
        self.masters_answer_within(SOON).await
    }

    async fn masters_answer_within(&self, limit: Duration) -> Result<(), Failure> {
        let until = self.clock.now().after(limit);
        for master in &self.config.masters {
            while let Err(NoAnswer { failure, .. }) = self.ask(master, "show proc").await {
                if self.clock.now() >= until {
                    let message = format!("whether a reload is over can't be known: {failure}");
                    let told = Failure::new(FailureClass::Transient, message);
                    return Err(told.with_code("haproxy-reload"));
                }
                self.clock.sleep(LOOK).await;
            }
        }
        Ok(())
    }

    /// The same as [`Self::save`], where this call has no turn yet.
    pub(super) async fn save_now(&self) -> Result<(), Failure> {
        let _turn = self.turn().await?;
        self.save().await
    }

    /// Whether a reload of each process would find what it has.
    pub(super) async fn is_saved(&self, view: &View) -> bool {
        let Saved::StateFiles(files) = &self.config.saved else { return true };
        for (slots, path) in view.0.iter().zip(files) {
            let is_so = match self.with_file(path.clone(), saved::read).await {
                Ok(Some(kept)) => is_kept(&self.config.backend, slots, &kept),
                // Where there is none, nothing was ever changed.
                Ok(None) => true,
                Err(_) => false,
            };
            if !is_so {
                return false;
            }
        }
        true
    }

    /// Whether what is changed can be written down, and takes nobody else's place there.
    ///
    /// # Errors
    /// The file that it can't be written to, or that is no state of this backend.
    pub(super) async fn must_be_savable(&self) -> Result<(), Failure> {
        let Saved::StateFiles(files) = &self.config.saved else { return Ok(()) };
        let for_good = |failure| Failure { class: FailureClass::Precondition, ..failure };
        for path in files {
            let there = self.with_file(path.clone(), saved::read).await.map_err(for_good)?;
            let backend = &self.config.backend;
            if there.is_some_and(|there| !there.trim().is_empty() && !is_state(backend, &there)) {
                let message = format!(
                    "{} is no state of backend `{backend}`, and would be written over: give pool \
                     `{}` a `state_file` of its own, which that backend loads",
                    path.display(),
                    self.name
                );
                let told = Failure::new(FailureClass::Precondition, message);
                return Err(told.with_code("state-file"));
            }
            self.with_file(path.clone(), saved::may_write).await.map_err(for_good)?;
        }
        Ok(())
    }

    async fn with_file<T: Send + 'static>(
        &self,
        path: PathBuf,
        work: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let shown = path.display().to_string();
        let done = tokio::task::spawn_blocking(move || work(&path)).await;
        let done = done.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        done.map_err(|error| {
            let message =
                format!("the state of pool `{}` can't be kept in {shown}: {error}", self.name);
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
                    quoted(&level)
                );
                return Err(Failure::new(FailureClass::Denied, message).with_code("haproxy-level"));
            }
        }
        Ok(())
    }
}
