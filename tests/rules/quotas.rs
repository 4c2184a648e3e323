//! What all steps of one operation together may ask for has an end, and the undo goes on beyond.

use crate::life::{BEGIN, WORLD, deps, request};
use std::sync::Arc;
use std::time::Duration;
use stepback_clock::{Clock, Virtual};
use stepback_core::OperationId;
use stepback_core::event::Verdict;
use stepback_core::state::{State, Status};
use stepback_engine::{Control, Deps, Limits, RunError};
use stepback_journal::Memory;
use stepback_simulated::Simulated;
use stepback_wasm::{Runtime, RuntimeConfig};

/// Two tags, an hour in which nothing happens, and two more.
fn manifest() -> String {
    let tag = |step: &str, after: &str| {
        format!(
            "[[steps]]\nid = \"{step}\"\nneeds = [{after}]\nuses = \"ebs/tag-volume\"\n\
             with = {{ volume = \"vol-db-main\", key = \"{step}\", value = \"yes\" }}\n"
        )
    };
    let sleep = "[[steps]]\nid = \"sleep\"\nneeds = [\"b\"]\nuses = \"core/sleep\"\n\
                 with = { duration = \"1h\" }\n";
    let begin = "schema = 1\n[operation]\nname = \"tags\"\ntimeout = \"3h\"\n";
    [begin, &tag("a", ""), &tag("b", "\"a\""), sleep, &tag("c", "\"sleep\""), &tag("d", "\"c\"")]
        .concat()
}

struct World {
    simulated: Arc<Simulated>,
    deps: Arc<Deps>,
}

fn within(limits: Limits, clock: Clock) -> World {
    let runtime = Arc::new(Runtime::new(RuntimeConfig::default()).expect("a sandbox"));
    let simulated = Arc::new(Simulated::in_memory(WORLD, clock.clone()).expect("a world"));
    let store = Arc::new(Memory::open(clock.clone()).expect("a store"));
    let deps = deps(store, Arc::clone(&simulated) as _, runtime, limits, clock);
    World { simulated, deps }
}

impl World {
    /// Left in the middle of its sleep, and taken up again.
    async fn run_in_two(&self, clock: &Clock) -> State {
        let control = Control::new();
        let left = async {
            clock.sleep(Duration::from_secs(600)).await;
            control.leave();
        };
        let asked = request(&manifest());
        let (ended, ()) = tokio::join!(stepback_engine::run(&self.deps, &asked, &control), left);
        match ended {
            Err(RunError::Left { .. }) => {}
            ended => return ended.expect("it ends").state,
        }
        let resumed = stepback_engine::resume(&self.deps, OperationId(1), &Control::new()).await;
        resumed.expect("it ends").state
    }

    fn facts(&self) -> String {
        self.simulated.load().expect("a world").restorable()
    }
}

#[test]
fn an_operation_has_so_many_effects_and_so_many_bytes_also_when_it_is_taken_up() {
    for (limits, refused) in [
        (Limits { effects_max: 4, ..Limits::default() }, None),
        (Limits { effects_max: 3, ..Limits::default() }, Some("asked for 3 effects")),
        (Limits { journaled_bytes_max: 200, ..Limits::default() }, Some("and 200 are the most")),
    ] {
        let time = Virtual::new(BEGIN);
        let clock = time.clock();
        let world = within(limits.clone(), clock.clone());
        let before = world.facts();
        time.runtime().expect("a runtime").block_on(async {
            let state = world.run_in_two(&clock).await;
            let Some(refused) = refused else {
                assert_eq!(state.status, Status::Succeeded, "{:?}", state.why);
                return;
            };
            assert_eq!(state.verdict, Some(Verdict::Restored), "{:?}", state.why);
            let why = state.why.unwrap_or_default();
            assert!(why.contains(refused) && why.contains("`"), "{why}");
            assert_eq!(world.facts(), before);
            assert!(state.used.bytes > 0, "{:?}", state.used);
        });
    }
}
