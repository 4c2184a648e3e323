//! Leases: who may write, until when, and how they are renewed (R13).
//!
//! One row a runner holds the time until which all its leases last, so that ten thousand
//! operations are renewed by one write. A runner that was stopped past that time must ask, lease
//! by lease, whether it still holds it: somebody else may have taken the operation over.
//!
//! The store's clock is the machine's, which all programs with this file share: the time since it
//! was started, sleep included. No other is asked for a lease.

use super::liveness::Liveness;
use super::writer::Writer;
use crate::{Lease, LeaseTerms, RunnerId, StoreError, StoreTime};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::{OperationId, UnixMs};
use tokio::sync::watch;

/// What is known of one of this process's runners.
#[derive(Default)]
struct Held {
    until: StoreTime,
    /// Since when it was renewed without a gap.
    since: StoreTime,
    /// When each of its leases was last known to be its own.
    leases: HashMap<OperationId, StoreTime>,
}

/// The leases of this process's runners.
pub(super) struct Leases {
    terms: LeaseTerms,
    pub(super) liveness: Liveness,
    clock: Clock,
    held: Mutex<HashMap<String, Held>>,
    /// Counts the gaps: times that a runner wrote down that it lives, and its leases had run out.
    gaps: watch::Sender<u64>,
}

impl Leases {
    pub(super) fn new(terms: LeaseTerms, liveness: Liveness, clock: Clock) -> Arc<Self> {
        let (held, gaps) = (Mutex::default(), watch::Sender::new(0));
        Arc::new(Self { terms, liveness, clock, held, gaps })
    }

    /// Changes with each gap, in which a lease may have been taken by somebody else.
    pub(super) fn gaps(&self) -> watch::Receiver<u64> {
        self.gaps.subscribe()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What time it is by the store's clock.
    pub(super) fn now(&self) -> StoreTime {
        self.clock.now().into()
    }

    /// Write down that the runner lives, in the transaction that is open.
    pub(super) fn write(
        &self,
        connection: &Connection,
        runner: &RunnerId,
    ) -> Result<StoreTime, StoreError> {
        let asked = self.now();
        let until_ms = asked.after_ms(self.terms.length_ms).0 as i64;
        connection.execute(
            "INSERT INTO runners (name, until_ms, seen_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET until_ms = ?2, seen_at = ?3",
            params![runner.0, until_ms, self.clock.unix().0 as i64],
        )?;
        Ok(asked)
    }

    /// Take note that what [`Leases::write`] wrote is durable, and that a lease was asked for.
    pub(super) fn written(&self, runner: &RunnerId, asked: StoreTime, lease: Option<OperationId>) {
        let mut held = self.held();
        let held = held.entry(runner.0.clone()).or_default();
        if held.until <= asked {
            held.since = asked;
            self.gaps.send_modify(|gaps| *gaps += 1);
            if held.until > StoreTime::default() {
                let late_ms = asked.since_ms(held.until);
                tracing::warn!(late_ms, "leases were renewed late: somebody may have taken over");
            }
        }
        held.until = held.until.max(asked.after_ms(self.terms.length_ms));
        if let Some(id) = lease {
            held.leases.insert(id, asked);
        }
    }

    pub(super) fn drop_lease(&self, lease: &Lease) {
        if let Some(held) = self.held().get_mut(&lease.runner.0) {
            held.leases.remove(&lease.operation);
        }
    }

    /// Whether the lease can't have been taken by anybody else.
    pub(super) fn is_fresh(&self, lease: &Lease) -> bool {
        let held = self.held();
        let Some(held) = held.get(&lease.runner.0) else { return false };
        let known = held.leases.get(&lease.operation);
        self.now() < held.until && known.is_some_and(|at| *at >= held.since)
    }

    /// How long, in milliseconds, the runner may still live; 0 if it is gone.
    ///
    /// `None` if nothing is known but that it has not ended.
    pub(super) fn left_ms(
        &self,
        connection: &Connection,
        runner: &str,
        grace_ms: u64,
    ) -> Result<Option<u64>, StoreError> {
        if self.liveness.is_dead(runner) {
            return Ok(Some(0));
        }
        let Some(until) = until(connection, runner)? else { return Ok(None) };
        let now = self.now();
        // Longer than any lease lasts: it was written before the machine was started again.
        if until > now.after_ms(self.terms.length_ms) {
            // Or by a clock of another machine, or another view of this one's, where it lives.
            let lives = self.liveness.is_shown(runner);
            return Ok((!lives).then_some(0));
        }
        Ok(Some(until.after_ms(grace_ms).since_ms(now)))
    }

    /// When the runner wrote down last that it lives; now, if there is none or it is not known.
    ///
    /// After another start of the machine it may be longer ago than that.
    pub(super) fn silent_since(
        &self,
        connection: &Connection,
        runner: Option<&str>,
    ) -> Result<StoreTime, StoreError> {
        let now = self.now();
        let Some(runner) = runner else { return Ok(now) };
        let wrote = until(connection, runner)?.map(|until| until.before_ms(self.terms.length_ms));
        Ok(wrote.map_or(now, |wrote| wrote.min(now)))
    }

    /// When the runner was last known to live.
    pub(super) fn seen_at(
        connection: &Connection,
        runner: &str,
    ) -> Result<Option<UnixMs>, StoreError> {
        let sql = "SELECT seen_at FROM runners WHERE name = ?1";
        let mut statement = connection.prepare_cached(sql)?;
        let seen: Option<i64> = statement.query_row([runner], |row| row.get(0)).optional()?;
        Ok(seen.map(|at| UnixMs(at as u64)))
    }

    /// Renew in a thread of its own until the store is closed.
    pub(super) fn keep_renewing(this: &Arc<Self>, writer: &Arc<Writer>) -> std::io::Result<()> {
        let Some(every_ms) = this.terms.renew_every_ms else { return Ok(()) };
        let (leases, writer) = (Arc::downgrade(this), Arc::downgrade(writer));
        let clock = this.clock.clone();
        let work = move || {
            loop {
                clock.rest(Duration::from_millis(every_ms));
                let (Some(leases), Some(writer)) = (Weak::upgrade(&leases), Weak::upgrade(&writer))
                else {
                    return;
                };
                Self::renew(&leases, &writer);
            }
        };
        std::thread::Builder::new().name("stepback-leases".to_owned()).spawn(work).map(drop)
    }

    fn renew(this: &Arc<Self>, writer: &Writer) {
        // A runner without a lease has nothing to renew, and costs no commit.
        let held = this.held();
        let busy = held.iter().filter(|(_, held)| !held.leases.is_empty());
        let runners: Vec<RunnerId> = busy.map(|(name, _)| RunnerId(name.clone())).collect();
        drop(held);
        for runner in runners {
            let (leases, name) = (Arc::clone(this), runner.clone());
            let written = writer.write_blocking(move |connection| leases.write(connection, &name));
            // What can't be renewed runs out, and is asked for before the next effect.
            if let Ok(asked) = written {
                this.written(&runner, asked, None);
            }
        }
    }
}

/// Until when the runner's leases last, by what it wrote down.
fn until(connection: &Connection, runner: &str) -> Result<Option<StoreTime>, StoreError> {
    let sql = "SELECT until_ms FROM runners WHERE name = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let until: Option<i64> = statement.query_row([runner], |row| row.get(0)).optional()?;
    Ok(until.map(|until| StoreTime(until.max(0) as u64)))
}
