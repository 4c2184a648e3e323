//! What all steps of one operation together may ask for has an end, and the undo goes on beyond.

use crate::life::{BEGIN, WORLD, at_once, deps, request};
use std::sync::Arc;
use std::time::Duration;
use stepback_clock::{Clock, Virtual};
use stepback_core::OperationId;
use stepback_core::calls::bounds::answer_bytes;
use stepback_core::event::{Event, Record, Verdict};
use stepback_core::state::{State, Status};
use stepback_core::step::EffectOutcome;
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
    within_world(WORLD, limits, clock)
}

fn within_world(world: &str, limits: Limits, clock: Clock) -> World {
    let runtime = Arc::new(Runtime::new(RuntimeConfig::default()).expect("a sandbox"));
    let simulated = Arc::new(Simulated::in_memory(world, clock.clone()).expect("a world"));
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

/// What an effect touched is journaled before and after it, and may be far more than its call.
#[test]
fn what_effects_touched_counts_too() {
    let run = |limits: Limits| {
        let time = Virtual::new(BEGIN);
        let world = within(limits, time.clock());
        // In one life: what is taken up has its count from the journal.
        let ended = time.runtime().expect("a runtime").block_on(async {
            stepback_engine::run(&world.deps, &request(&manifest()), &Control::new()).await
        });
        let state = ended.expect("it ends").state;
        let records = at_once(world.deps.store.load(OperationId(1))).expect("records");
        (state, records)
    };
    let (state, records) = run(Limits::default());
    let of_calls = |record: &Record| match &record.event {
        Event::CallStarted { call, .. } => call.bytes(),
        Event::CallAnswered { call, result, .. } => {
            call.bytes() + result.as_ref().map_or(0, answer_bytes)
        }
        Event::CallFinished { outcome: EffectOutcome::Done(answer), .. } => answer_bytes(answer),
        _ => 0,
    };
    let calls = records.iter().map(of_calls).sum::<usize>() as u64;
    assert!(state.used.bytes > calls, "{} of {calls}", state.used.bytes);
    let (state, _) = run(Limits { journaled_bytes_max: calls, ..Limits::default() });
    assert_eq!(state.verdict, Some(Verdict::Restored), "{:?}", state.why);
    assert!(state.why.expect("a reason").contains("what they touched"));
}

/// A step that was well within all quotas had an undo that no guest had room for.
#[test]
fn the_most_that_one_step_may_do_is_undone() {
    let env: String = (0..1_700).map(|at| format!("V{at} = \"{at}\"\n")).collect();
    let world = format!(
        "{WORLD}\n[engines.i-db-1.containers.many]\ndigest = \"sha256:16{}\"\n\
         [engines.i-db-1.containers.many.spec]\nimage = \"postgres:16\"\n\
         [engines.i-db-1.containers.many.spec.env]\n{env}",
        "0".repeat(62)
    );
    let step = |count: usize| {
        let rename = |at: usize| {
            let (from, to) = if at.is_multiple_of(2) { ("many", "more") } else { ("more", "many") };
            format!(
                "{{ call = \"rename\", host = \"i-db-1\", container = \"{from}\", \
                 to = \"{to}\" }}, "
            )
        };
        let calls: String = (0..count).map(rename).collect();
        format!(
            "schema = 1\n[operation]\nname = \"names\"\n[[steps]]\nid = \"all\"\n\
             uses = \"attack/attack\"\nwith = {{ run = [{calls} {{ call = \"fail\" }}] }}\n"
        )
    };
    // Nearly the most that there may be, and more.
    for (count, why) in [(70, "on purpose"), (200, "would have to be told")] {
        let time = Virtual::new(BEGIN);
        let world = within_world(&world, Limits::default(), time.clock());
        let before = world.facts();
        let ended = time.runtime().expect("a runtime").block_on(async {
            stepback_engine::run(&world.deps, &request(&step(count)), &Control::new()).await
        });
        let state = ended.expect("it ends").state;
        assert_eq!(state.verdict, Some(Verdict::Restored), "{:?}", state.why);
        assert!(state.why.as_ref().expect("a reason").contains(why), "{:?}", state.why);
        assert_eq!(world.facts(), before);
    }
}

/// What is made like something else has facts that neither its call nor its answer shows; a step
/// that is taken up has as much left as one that went through.
#[test]
fn what_is_made_like_something_else_counts_as_it_is() {
    let env: String = (0..400).map(|at| format!("V{at} = \"{at}\"\n")).collect();
    let world = format!(
        "{WORLD}\n[engines.i-db-1.containers.many]\ndigest = \"sha256:16{}\"\n\
         [engines.i-db-1.containers.many.spec]\nimage = \"postgres:16\"\n\
         [engines.i-db-1.containers.many.spec.env]\n{env}",
        "0".repeat(62)
    );
    let like = |at: usize| {
        format!(
            "{{ call = \"container\", host = \"i-db-1\", container = \"new-{at}\", \
             like = \"many\" }}, "
        )
    };
    let calls: String = (0..8).map(like).collect();
    let manifest = format!(
        "schema = 1\n[operation]\nname = \"likes\"\n[[steps]]\nid = \"all\"\n\
         uses = \"attack/attack\"\nwith = {{ run = [{calls} {{ call = \"fail\" }}] }}\n"
    );
    for (past_bytes_max, why) in [(1 << 20, "on purpose"), (100_000, "would have to be told")] {
        let time = Virtual::new(BEGIN);
        let limits = Limits { past_bytes_max, ..Limits::default() };
        let world = within_world(&world, limits, time.clock());
        let before = world.facts();
        let ended = time.runtime().expect("a runtime").block_on(async {
            stepback_engine::run(&world.deps, &request(&manifest), &Control::new()).await
        });
        let state = ended.expect("it ends").state;
        assert_eq!(state.verdict, Some(Verdict::Restored), "{:?}", state.why);
        assert!(state.why.as_ref().expect("a reason").contains(why), "{:?}", state.why);
        assert_eq!(world.facts(), before);
    }
}
