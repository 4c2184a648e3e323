//! The engine of guests: what it takes, and how much of everything there may be.

use crate::limits::Limits;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// The engine of guests with these bounds. The pool reserves address space for every guest there
/// may be; where that can't be had (a limit of the shell's, a small processor), each guest gets its
/// own when it comes.
pub(crate) fn engine(limits: &Limits) -> wasmtime::Result<Engine> {
    engine_with(limits, InstanceAllocationStrategy::Pooling(pool(limits)))
        .or_else(|_| engine_with(limits, InstanceAllocationStrategy::OnDemand))
}

/// One that compiles for that engine, and runs nothing: it sets no places aside, which would count
/// as memory that the compiler has taken.
pub(crate) fn compiling(limits: &Limits) -> wasmtime::Result<Engine> {
    engine_with(limits, InstanceAllocationStrategy::OnDemand)
}

fn engine_with(limits: &Limits, places: InstanceAllocationStrategy) -> wasmtime::Result<Engine> {
    // Host functions run on the guest's stack, above what the guest itself may use. A request to an
    // engine took more than one MiB of it in a build that is not optimised, and one that is used up
    // ends the program.
    const HOST_STACK_BYTES: usize = 8 << 20;
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        // R4: what a guest sees is deterministic.
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        // No guest may have as much memory as these address.
        .wasm_memory64(false)
        .max_wasm_stack(limits.stack_bytes_max)
        .async_stack_size(limits.stack_bytes_max + HOST_STACK_BYTES)
        .allocation_strategy(places);
    Engine::new(&config)
}

/// Slots for every guest at once: a component is its own module, the shims of the tooling, and
/// for some languages a dozen libraries; one or two memories.
fn pool(limits: &Limits) -> PoolingAllocationConfig {
    const MODULES_PER_GUEST: u32 = 64;
    const MEMORIES_PER_GUEST: u32 = 2;
    const TABLES_PER_GUEST: u32 = 4;
    let guests = limits.guests_max;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(guests)
        .total_stacks(guests)
        .total_memories(guests * MEMORIES_PER_GUEST)
        .total_tables(guests * TABLES_PER_GUEST)
        .total_core_instances(guests * MODULES_PER_GUEST)
        .max_core_instances_per_component(MODULES_PER_GUEST)
        .max_memories_per_component(MEMORIES_PER_GUEST)
        .max_tables_per_component(TABLES_PER_GUEST)
        .max_tables_per_module(TABLES_PER_GUEST)
        .table_elements(limits.table_entries_max)
        // The first pages stay mapped: resetting them is cheaper than faulting them in again. It is
        // all that a small plugin has, if its stack is small, too.
        .linear_memory_keep_resident(192 << 10)
        .table_keep_resident(4 << 10);
    pool
}
