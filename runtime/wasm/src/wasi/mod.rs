//! WASI for languages whose runtimes need it, with nothing granted: no files, no network, no
//! environment, no arguments.
//!
//! What is left is deterministic: random numbers come from the attempt's seed, clocks show the
//! journal's time, and waiting is `clock.sleep` (R4). What a guest prints goes to its log.

mod clock;
mod print;
mod random;

use crate::log::GuestLog;
use crate::port::{HostPort, LogLevel};
use crate::watch::Watch;
use clock::{Clock, JournalClock, Timers};
use print::Printer;
use random::Seeded;
use std::sync::Arc;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_io::bindings::wasi::io::poll;

/// Streams, pollables and the like that a guest may hold at once; each takes the host's memory.
const RESOURCES_MAX: usize = 10_000;

/// Random bytes a guest may ask for at once.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

/// A guest's WASI state, made when it is first asked for: most guests import none of it.
pub(crate) struct Wasi {
    port: Arc<dyn HostPort>,
    seed: [u8; 32],
    log: GuestLog,
    watch: Arc<Watch>,
    state: Option<State>,
}

struct State {
    context: WasiCtx,
    table: ResourceTable,
    clock: JournalClock,
    timers: Timers,
}

impl Wasi {
    pub(crate) fn new(
        port: Arc<dyn HostPort>,
        seed: [u8; 32],
        log: GuestLog,
        watch: Arc<Watch>,
    ) -> Self {
        Self { port, seed, log, watch, state: None }
    }

    /// What wasmtime's own implementation needs.
    pub(crate) fn view(&mut self) -> WasiCtxView<'_> {
        let State { context, table, .. } = self.state();
        WasiCtxView { ctx: context, table }
    }

    fn state(&mut self) -> &mut State {
        let Self { port, seed, log, state, .. } = self;
        state.get_or_insert_with(|| {
            let clock = JournalClock::new(port.clone());
            let mut insecure_seed = [0; 16];
            insecure_seed.copy_from_slice(&seed[..16]);
            let context = WasiCtxBuilder::new()
                .allow_tcp(false)
                .allow_udp(false)
                .secure_random(Seeded::new(*seed, 0))
                .insecure_random(Seeded::new(*seed, 1))
                .insecure_random_seed(u128::from_le_bytes(insecure_seed))
                .max_random_size(RANDOM_BYTES_MAX)
                .wall_clock(clock.clone())
                .monotonic_clock(clock.clone())
                .stdout(Printer::new(log.clone(), LogLevel::Info))
                .stderr(Printer::new(log.clone(), LogLevel::Warn))
                .build();
            let mut table = ResourceTable::new();
            table.set_max_capacity(RESOURCES_MAX);
            State { context, table, clock, timers: Timers::default() }
        })
    }
}

/// Who keeps a guest's WASI state.
pub(crate) trait HasWasi {
    fn wasi(&mut self) -> &mut Wasi;
}

/// Adds WASI to what components may import.
pub(crate) fn add_to_linker<T: HasWasi + WasiView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    // Waiting as wasmtime does it would pass the journal by.
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<T, Clock>(linker, |guest| guest.wasi().into())?;
    poll::add_to_linker::<T, Clock>(linker, |guest| guest.wasi().into())?;
    linker.allow_shadowing(false);
    Ok(())
}
