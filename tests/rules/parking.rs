//! A guest whose wait lasts is dropped, and the attempt goes on as if it had stayed.

use crate::life::{BEGIN, WORLD, deps, request};
use std::sync::Arc;
use std::time::Duration;
use stepback_clock::{Clock, Virtual};
use stepback_core::OperationId;
use stepback_core::event::Event;
use stepback_core::state::Status;
use stepback_engine::{Control, Deps, Limits};
use stepback_journal::Memory;
use stepback_simulated::Simulated;
use stepback_wasm::{Limits as GuestLimits, Runtime, RuntimeConfig};

const SLEEPER: &str = "schema = 1
[operation]
name = \"sleeper\"
timeout = \"2h\"
[[steps]]
id = \"sleep\"
uses = \"core/sleep\"
with = { duration = \"1h\" }
";

/// Deps with room for so many guests at once.
fn with_room(guests_max: u32, clock: Clock) -> Arc<Deps> {
    let limits = GuestLimits { guests_max, ..GuestLimits::default() };
    let runtime =
        Runtime::new(RuntimeConfig { limits, ..RuntimeConfig::default() }).expect("a sandbox");
    let world = Simulated::in_memory(WORLD, clock.clone()).expect("a world");
    let store = Arc::new(Memory::open(clock.clone()).expect("a store"));
    deps(store, Arc::new(world), Arc::new(runtime), Limits::default(), clock)
}

#[test]
fn more_operations_wait_at_once_than_there_is_room_for_guests() {
    const OPERATIONS: usize = 20;
    let time = Virtual::new(BEGIN);
    let (deps, clock) = (with_room(2, time.clock()), time.clock());
    time.runtime().expect("a runtime").block_on(async {
        let began = clock.now();
        let operations: Vec<_> = (0..OPERATIONS)
            .map(|_| {
                let deps = Arc::clone(&deps);
                let run = async move {
                    stepback_engine::run(&deps, &request(SLEEPER), &Control::new()).await
                };
                tokio::spawn(run)
            })
            .collect();
        for operation in operations {
            let ended = operation.await.expect("no panic").expect("it ends");
            assert_eq!(ended.state.status, Status::Succeeded);
        }
        // The clock stands still but for waits: one after another they would take ten hours.
        assert!(clock.now().since(began) < Duration::from_secs(2 * 3600));
    });
}

#[test]
fn a_parked_wait_is_answered_once_and_ends_with_a_cancel() {
    for cancel in [false, true] {
        let time = Virtual::new(BEGIN);
        let (deps, clock) = (with_room(1, time.clock()), time.clock());
        time.runtime().expect("a runtime").block_on(parked(&deps, &clock, cancel));
    }
}

async fn parked(deps: &Arc<Deps>, clock: &Clock, cancel: bool) {
    let control = Control::new();
    let running = {
        let (deps, control) = (Arc::clone(deps), control.clone());
        let run = async move { stepback_engine::run(&deps, &request(SLEEPER), &control).await };
        tokio::spawn(run)
    };
    let began = clock.now();
    clock.sleep(Duration::from_secs(60)).await;
    if cancel {
        control.cancel("ann", None);
    }
    let ended = running.await.expect("no panic").expect("it ends");
    let wanted = if cancel { Status::RolledBack } else { Status::Succeeded };
    assert_eq!(ended.state.status, wanted);
    let took = clock.now().since(began);
    assert_eq!(took < Duration::from_secs(120), cancel, "{took:?}");
    let records = deps.store.load(OperationId(1)).await.expect("the journal");
    let answers = records.iter().filter(|one| matches!(one.event, Event::CallAnswered { .. }));
    assert_eq!(answers.count(), 1, "the sleep, and not its replay");
}
