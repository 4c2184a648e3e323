//! WASI's clocks and its waiting, as the journal tells them.
//!
//! A wait for several things at once is one `clock.sleep` until the first timer is due: two calls
//! side by side would come in any order, and a replay asks in one. Nothing but timers can make a
//! guest wait: its streams end in its log, and there are no sockets.

use super::{RESOURCES_MAX, State, Wasi};
use crate::port::HostPort;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use stepback_core::Call;
use stepback_core::calls::ClockCall;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};
use wasmtime_wasi_io::bindings::wasi::io::poll;

const NANOS_PER_MS: u64 = 1_000_000;

/// Both of WASI's clocks: the journal's time, but never before what was already slept for.
#[derive(Clone)]
pub(super) struct JournalClock {
    port: Arc<dyn HostPort>,
    slept_until_ns: Arc<AtomicU64>,
}

impl JournalClock {
    pub(super) fn new(port: Arc<dyn HostPort>) -> Self {
        Self { port, slept_until_ns: Arc::default() }
    }

    fn now_ns(&self) -> u64 {
        let journaled = self.port.journaled_ms().saturating_mul(NANOS_PER_MS);
        journaled.max(self.slept_until_ns.load(Ordering::Relaxed))
    }
}

impl HostWallClock for JournalClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.now_ns())
    }
}

impl HostMonotonicClock for JournalClock {
    fn resolution(&self) -> u64 {
        NANOS_PER_MS
    }

    fn now(&self) -> u64 {
        self.now_ns()
    }
}

/// When each timer is due, by the number of its pollable.
#[derive(Default)]
pub(super) struct Timers(HashMap<u32, u64>);

/// Stands in for wasmtime's monotonic clock and its polling.
pub(super) struct Clock;

impl HasData for Clock {
    type Data<'a> = ClockView<'a>;
}

pub(super) struct ClockView<'a>(&'a mut Wasi);

impl<'a> From<&'a mut Wasi> for ClockView<'a> {
    fn from(wasi: &'a mut Wasi) -> Self {
        Self(wasi)
    }
}

impl ClockView<'_> {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.0.state().table
    }

    /// When this pollable is due; one that is no timer is due already.
    fn due_ns(&mut self, pollable: &Resource<DynPollable>) -> wasmtime::Result<u64> {
        let State { table, timers, .. } = self.0.state();
        table.get(pollable)?;
        Ok(timers.0.get(&pollable.rep()).copied().unwrap_or(0))
    }

    /// Sleeps as the journal does, if that is still to come.
    async fn sleep_until(&mut self, due_ns: u64) {
        let clock = self.0.state().clock.clone();
        let duration_ms = due_ns.saturating_sub(clock.now_ns()).div_ceil(NANOS_PER_MS);
        if duration_ms == 0 {
            return;
        }
        if let Some(_in_host) = self.0.watch.enter_host() {
            // A sleep that ends early (cancelled) is over too: the next call tells the guest.
            let _ = self.0.port.call(Call::Clock(ClockCall::Sleep { duration_ms })).await;
        }
        clock.slept_until_ns.fetch_max(due_ns, Ordering::Relaxed);
    }
}

impl monotonic_clock::Host for ClockView<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.0.state().clock.now_ns())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(NANOS_PER_MS)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let State { table, timers, .. } = self.0.state();
        let timer = table.push(Timer)?;
        let pollable = subscribe(table, timer)?;
        timers.0.insert(pollable.rep(), when);
        Ok(pollable)
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let when = self.0.state().clock.now_ns().saturating_add(duration);
        self.subscribe_instant(when)
    }
}

impl poll::Host for ClockView<'_> {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        if pollables.len() > RESOURCES_MAX {
            return Err(wasmtime::Error::msg("it polls more than it can hold"));
        }
        let dues: Vec<u64> =
            pollables.iter().map(|one| self.due_ns(one)).collect::<wasmtime::Result<_>>()?;
        let Some(first) = dues.iter().min() else {
            return Err(wasmtime::Error::msg("it polls nothing, which would never end"));
        };
        self.sleep_until(*first).await;
        let now = self.0.state().clock.now_ns();
        Ok((0..).zip(dues).filter(|(_, due)| *due <= now).map(|(index, _)| index).collect())
    }
}

impl poll::HostPollable for ClockView<'_> {
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        Ok(self.due_ns(&pollable)? <= self.0.state().clock.now_ns())
    }

    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        let due = self.due_ns(&pollable)?;
        self.sleep_until(due).await;
        Ok(())
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.0.state().timers.0.remove(&pollable.rep());
        poll::HostPollable::drop(self.table(), pollable)
    }
}

/// What a timer's pollable points to; [`ClockView`] alone waits for it.
struct Timer;

#[wasmtime_wasi::async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {}
}
