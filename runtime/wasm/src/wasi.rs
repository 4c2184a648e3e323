//! WASI for languages whose runtimes need it, with nothing granted: no files, no network, no
//! environment, no arguments.
//!
//! What is left is deterministic: random numbers come from the attempt's seed, clocks show the
//! journal's time, and waiting is `clock.sleep` (R4). What a guest prints goes to its log.

use crate::guest::{Guest, GuestLog, InHost};
use crate::port::{HostPort, LogLevel};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use stepback_core::Call;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult, subscribe};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// What a guest may print in one call of its stream.
const PRINT_BYTES_MAX: usize = 64 << 10;

/// Random bytes drawn from the seed before they repeat; hash maps' keys and identifiers need few.
const RANDOM_BYTES: usize = 4 << 10;

const NANOS_PER_MS: u64 = 1_000_000;

/// A guest's WASI state, made when it is first asked for: most guests import none of it.
pub(crate) struct Wasi {
    port: Arc<dyn HostPort>,
    seed: [u8; 32],
    log: GuestLog,
    in_host: Arc<AtomicBool>,
    state: Option<(WasiCtx, ResourceTable)>,
}

impl Wasi {
    pub(crate) fn new(
        port: Arc<dyn HostPort>,
        seed: [u8; 32],
        log: GuestLog,
        in_host: Arc<AtomicBool>,
    ) -> Self {
        Self { port, seed, log, in_host, state: None }
    }

    fn state(&mut self) -> &mut (WasiCtx, ResourceTable) {
        let Self { port, seed, log, state, .. } = self;
        state.get_or_insert_with(|| {
            let clock = JournalClock(port.clone());
            let mut insecure_seed = [0; 16];
            insecure_seed.copy_from_slice(&seed[..16]);
            let context = WasiCtxBuilder::new()
                .secure_random(Deterministic::new(random_bytes(seed, 0)))
                .insecure_random(Deterministic::new(random_bytes(seed, 1)))
                .insecure_random_seed(u128::from_le_bytes(insecure_seed))
                .wall_clock(clock.clone())
                .monotonic_clock(clock)
                .stdout(Printer { log: log.clone(), level: LogLevel::Info })
                .stderr(Printer { log: log.clone(), level: LogLevel::Warn })
                .build();
            (context, ResourceTable::new())
        })
    }
}

/// Adds WASI to what components may import.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<Guest, Clock>(linker, |guest| ClockView {
        wasi: &mut guest.wasi,
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (ctx, table) = self.wasi.state();
        WasiCtxView { ctx, table }
    }
}

fn random_bytes(seed: &[u8; 32], stream: u8) -> Vec<u8> {
    let block = |number: usize| {
        let mut hash = Sha256::new();
        hash.update(seed);
        hash.update([stream]);
        hash.update(number.to_le_bytes());
        hash.finalize()
    };
    (0..RANDOM_BYTES / 32).flat_map(block).collect()
}

/// Both of WASI's clocks, as the journal tells them.
#[derive(Clone)]
struct JournalClock(Arc<dyn HostPort>);

impl HostWallClock for JournalClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.journaled_ms())
    }
}

impl HostMonotonicClock for JournalClock {
    fn resolution(&self) -> u64 {
        NANOS_PER_MS
    }
    fn now(&self) -> u64 {
        self.0.journaled_ms().saturating_mul(NANOS_PER_MS)
    }
}

/// Stands in for wasmtime's monotonic clock, whose waits the journal would not see.
struct Clock;

impl HasData for Clock {
    type Data<'a> = ClockView<'a>;
}

struct ClockView<'a> {
    wasi: &'a mut Wasi,
}

impl ClockView<'_> {
    fn now_ns(&self) -> u64 {
        self.wasi.port.journaled_ms().saturating_mul(NANOS_PER_MS)
    }
}

impl monotonic_clock::Host for ClockView<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.now_ns())
    }
    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(NANOS_PER_MS)
    }
    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let duration = when.saturating_sub(self.now_ns());
        self.subscribe_duration(duration)
    }
    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let port = self.wasi.port.clone();
        let in_host = self.wasi.in_host.clone();
        let left_ms = duration.div_ceil(NANOS_PER_MS);
        let (_, table) = self.wasi.state();
        let sleep = table.push(Sleep { port, in_host, left_ms })?;
        subscribe(table, sleep)
    }
}

/// A wait that goes through the journal, once.
struct Sleep {
    port: Arc<dyn HostPort>,
    in_host: Arc<AtomicBool>,
    left_ms: u64,
}

#[wasmtime_wasi::async_trait]
impl Pollable for Sleep {
    async fn ready(&mut self) {
        if self.left_ms > 0 {
            let _in_host = InHost::enter(&self.in_host);
            // A sleep that ends early (cancelled) is over too: the next call tells the guest.
            let _ = self.port.call(Call::ClockSleep { duration_ms: self.left_ms }).await;
            self.left_ms = 0;
        }
    }
}

/// What a guest prints becomes lines of its log.
#[derive(Clone)]
struct Printer {
    log: GuestLog,
    level: LogLevel,
}

impl IsTerminal for Printer {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printer {
    /// Only WASI 0.3 asks for this one, which is not linked.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Printer {
    async fn ready(&mut self) {}
}

impl OutputStream for Printer {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        for line in String::from_utf8_lossy(&bytes).lines().filter(|line| !line.is_empty()) {
            self.log.line(self.level, line.to_owned());
        }
        Ok(())
    }
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PRINT_BYTES_MAX)
    }
}
