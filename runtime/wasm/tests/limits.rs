//! A guest that passes a limit is stopped, and told which limit it was.

mod support;

use serde_json::Value;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::calls::EbsCall;
use stepback_core::grants::Grant;
use stepback_core::step::{CheckAnswer, Past, UndoAnswer};
use stepback_core::{Failure, FailureClass};
use stepback_wasm::{
    GuestFault, Interface, Invocation, Limits, MemoryQuota, Mode, PluginError, Runtime,
    RuntimeConfig, Turns,
};
use support::{Port, RUN, Text, invocation, limits, runtime, runtime_within};

const LOOP: &str = "(loop (br 0)) unreachable";
const DEEP: &str = "(call $deep (i32.const 0))";
const GROW: &str = "(loop (drop (memory.grow (i32.const 16))) (br 0)) unreachable";
const TRAP: &str = "unreachable";

fn past() -> Past {
    Past { finished: true, output: None, effects: vec![] }
}

async fn run(body: &str) -> Result<Value, GuestFault> {
    run_within(limits(), &Text::run(body), &Port::new()).await
}

async fn run_within(limits: Limits, text: &Text, port: &Arc<Port>) -> Result<Value, GuestFault> {
    let plugin = runtime_within(limits).load("p", &text.component()).expect("it loads");
    plugin.run(invocation(RUN), port.clone()).await
}

#[tokio::test]
async fn a_guest_that_behaves_is_let_through() {
    let plugin = runtime(None).load("p", &Text::default().component()).expect("it loads");
    assert_eq!(plugin.describe().await, Ok(vec![].into()));
    let port = Port::new();
    assert_eq!(plugin.check(invocation(Mode::Check), port.clone()).await, Ok(CheckAnswer::Ok));
    assert_eq!(plugin.run(invocation(RUN), port.clone()).await, Ok(Value::Null));
    let undone = plugin.undo(invocation(Mode::Undo), &past(), port).await;
    assert_eq!(undone, Ok(UndoAnswer::Undone));
}

#[tokio::test]
async fn each_limit_has_its_own_fault() {
    assert_eq!(run(LOOP).await, Err(GuestFault::OutOfTime { limit_ms: 200 }));
    assert_eq!(run(DEEP).await, Err(GuestFault::StackOverflow));
    assert_eq!(run(GROW).await, Err(GuestFault::OutOfMemory { limit_mib: 4 }));
    let trap = run(TRAP).await;
    assert!(matches!(trap, Err(GuestFault::Trap(_))), "{trap:?}");
    for fault in [LOOP, DEEP, GROW, TRAP] {
        let failure = run(fault).await.expect_err("it faults").to_failure();
        assert_eq!(failure.class, FailureClass::Internal);
    }
}

/// Whether a guest that computes for longer than a turn stands aside is the runtime's choice: where
/// it does not, one look at it sees its end. It never comes to one by itself, so that nothing hangs
/// on how fast the machine is.
#[tokio::test]
async fn a_guest_takes_turns_by_time_or_none() {
    let text = Text::run(LOOP);
    let (long, short) = (Duration::from_secs(600), Duration::from_millis(300));
    for (turns, run_time_max) in [(Turns::ByTime, long), (Turns::UntilACall, short)] {
        let limits = Limits { run_time_max, ..limits() };
        let config = RuntimeConfig { limits, turns, ..RuntimeConfig::default() };
        let plugin = Runtime::new(config).expect("a sandbox").load("p", &text.component());
        let plugin = plugin.expect("it loads");
        let mut run = Box::pin(plugin.run(invocation(RUN), Port::new()));
        let looked = run.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(looked.is_pending(), turns == Turns::ByTime, "{looked:?}");
    }
}

/// All that a step did goes into the guest that takes it back, whatever other guests may have.
#[tokio::test]
async fn an_undo_has_memory_for_what_it_is_told() {
    // 8 MiB, where 4 are the most.
    let undo = "(drop (memory.grow (i32.const 128))) (i32.const 700)".to_owned();
    let memory = r#"(memory (export "memory") 20)"#.to_owned();
    let text = Text { undo, memory, ..Text::default() };
    let plugin = runtime(None).load("p", &text.component()).expect("it loads");
    let undone = plugin.undo(invocation(Mode::Undo), &past(), Port::new()).await;
    assert_eq!(undone, Err(GuestFault::OutOfMemory { limit_mib: 4 }));
    let told = Past { output: Some(Value::String("x".repeat(200 << 10))), ..past() };
    let undone = plugin.undo(invocation(Mode::Undo), &told, Port::new()).await;
    assert_eq!(undone, Ok(UndoAnswer::Undone));
}

#[tokio::test]
async fn limits_hold_while_describing_checking_and_undoing() {
    for (body, fault) in [
        (LOOP, GuestFault::OutOfTime { limit_ms: 200 }),
        (DEEP, GuestFault::StackOverflow),
        (GROW, GuestFault::OutOfMemory { limit_mib: 4 }),
    ] {
        let text = Text {
            describe: body.to_owned(),
            check: body.to_owned(),
            undo: body.to_owned(),
            ..Text::default()
        };
        let plugin = runtime(None).load("p", &text.component()).expect("it loads");
        let name = "p".to_owned();
        let described = plugin.describe().await;
        assert_eq!(described, Err(PluginError::Describe { name, fault: fault.clone() }));
        let checked = plugin.check(invocation(Mode::Check), Port::new()).await;
        assert_eq!(checked, Err(fault.clone()));
        let undone = plugin.undo(invocation(Mode::Undo), &past(), Port::new()).await;
        assert_eq!(undone, Err(fault));
    }
}

#[tokio::test]
async fn memory_counts_from_the_first_byte_and_tables_count_too() {
    // 4 GiB, the most that a memory of 32 bits can be.
    let text = Text { memory: r#"(memory (export "memory") 65536)"#.to_owned(), ..Text::default() };
    let ran = run_within(limits(), &text, &Port::new()).await;
    assert_eq!(ran, Err(GuestFault::OutOfMemory { limit_mib: 4 }));

    let fields = "(table $t 10 funcref)".to_owned();
    let body = "(loop (drop (table.grow $t (ref.null func) (i32.const 10))) (br 0)) unreachable";
    let text = Text { fields, ..Text::run(body) };
    let tight = Limits { table_entries_max: 1000, ..limits() };
    let ran = run_within(tight.clone(), &text, &Port::new()).await;
    assert_eq!(ran, Err(GuestFault::TableTooLarge { limit: 1000 }));

    // Each of these would do alone.
    let fields = "(table 600 funcref) (table 600 funcref)".to_owned();
    let text = Text { fields, ..Text::default() };
    let ran = run_within(tight, &text, &Port::new()).await;
    assert_eq!(ran, Err(GuestFault::TableTooLarge { limit: 1000 }));
}

#[tokio::test]
async fn a_guest_that_never_ends_starting_is_stopped() {
    let fields = "(func $begin (loop (br 0))) (start $begin)".to_owned();
    let text = Text { fields, ..Text::default() };
    let ran = run_within(limits(), &text, &Port::new()).await;
    assert_eq!(ran, Err(GuestFault::OutOfTime { limit_ms: 200 }));
}

#[tokio::test]
async fn a_check_that_asks_for_ever_is_out_of_time_and_one_that_awaits_is_not() {
    let check = "(loop (call $now (i32.const 800)) (br 0)) unreachable".to_owned();
    let text = Text { check, ..Text::default() };
    // Out of time before it is out of calls, however fast the machine is.
    let roomy = runtime_within(Limits { calls_max: u32::MAX, ..limits() });
    let plugin = roomy.load("p", &text.component()).expect("it loads");
    let port = Arc::new(Port { then: Value::from(1), ..Port::default() });
    let checked = plugin.check(invocation(Mode::Check), port).await;
    assert_eq!(checked, Err(GuestFault::OutOfTime { limit_ms: 200 }));

    let sleep = "(call $sleep (i64.const 1) (i32.const 800))";
    let text = Text { check: format!("{sleep} {sleep} (i32.const 640)"), ..Text::default() };
    let plugin = runtime(None).load("p", &text.component()).expect("it loads");
    let port = Arc::new(Port { sleep: Some(Duration::from_millis(150)), ..Port::default() });
    let checked = plugin.check(invocation(Mode::Check), port).await;
    assert_eq!(checked, Ok(CheckAnswer::Ok), "300 ms in the host are not the guest's");
}

#[tokio::test]
async fn a_run_has_its_time_anew_after_each_call_but_not_calls_without_end() {
    // Some milliseconds of work between two calls, and more than 200 in all.
    let work = r#"(local $i i32) (local $calls i32)
        (loop $again
            (local.set $i (i32.const 0))
            (loop $work
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $work (i32.lt_u (local.get $i) (i32.const 10000000))))
            (call $untag (i32.const 264) (i32.const 5) (i32.const 272) (i32.const 3)
                (i32.const 800))
            (local.set $calls (i32.add (local.get $calls) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $calls) (i32.const 80))))
        (i32.const 512)"#;
    let port = Port::new();
    assert_eq!(run_within(limits(), &Text::run(work), &port).await, Ok(Value::Null));
    assert_eq!(port.functions().len(), 80);

    let few = Limits { calls_max: 5, ..limits() };
    let until_denied = format!(
        "(loop $again {UNTAG} (br_if $again (i32.eqz (i32.load8_u (i32.const 800))))) \
         (i32.const 800)"
    );
    let port = Port::new();
    let ran = run_within(few.clone(), &Text::run(&until_denied), &port).await;
    let Err(GuestFault::Failed(Failure { class, message, .. })) = ran else {
        panic!("{ran:?}");
    };
    assert_eq!(class, FailureClass::Internal);
    assert!(message.contains("more host calls"), "{message}");
    assert_eq!(port.functions().len(), 5);

    // One that does not listen is out of time, for only answered calls renew it.
    let deaf = format!("(loop {UNTAG} (global.set $free (i32.const 8192)) (br 0)) unreachable");
    let ran = run_within(few, &Text::run(&deaf), &Port::new()).await;
    assert_eq!(ran, Err(GuestFault::OutOfTime { limit_ms: 200 }));
}

#[tokio::test]
async fn not_a_number_is_one_number() {
    // Without care the hardware keeps the bits of the number that came in.
    let body = "(if (i32.ne (i32.reinterpret_f32 (f32.add (f32.const nan:0x200001) \
                (f32.load (i32.const 3000)))) (i32.const 0x7fc00000)) (then unreachable)) \
                (i32.const 512)";
    assert_eq!(run(body).await, Ok(Value::Null));
}

#[tokio::test]
async fn a_flood_of_lines_is_cut_with_one_notice_and_the_guest_goes_on() {
    let body = r#"(local $i i32)
        (loop $again
            (call $line (i32.const 1) (i32.const 256) (i32.const 4))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 10000))))
        (i32.const 512)"#;
    let text = Text { run: body.to_owned(), ..Text::default() };
    let plugin = runtime(None).load("p", &text.component()).expect("it loads");
    let port = Port::new();
    assert_eq!(plugin.run(invocation(RUN), port.clone()).await, Ok(Value::Null));
    let lines = port.lines();
    assert!(lines.len() < 1000, "{} lines came through", lines.len());
    let notices = lines.iter().filter(|line| line.contains("logs too much")).count();
    assert_eq!(notices, 1);
}

/// Blank lines are not kept, but each is looked at.
#[tokio::test]
async fn blank_lines_count() {
    // A line's end a byte, more than 4 KiB of them.
    let body = "(memory.fill (i32.const 16384) (i32.const 10) (i32.const 32768)) \
                (call $line (i32.const 1) (i32.const 16384) (i32.const 32768)) \
                (call $line (i32.const 1) (i32.const 256) (i32.const 4)) (i32.const 512)";
    let plugin = runtime(None).load("p", &Text::run(body).component()).expect("it loads");
    let port = Port::new();
    assert_eq!(plugin.run(invocation(RUN), port.clone()).await, Ok(Value::Null));
    let lines = port.lines();
    assert!(matches!(&lines[..], [notice] if notice.contains("logs too much")), "{lines:?}");
}

#[tokio::test]
async fn what_is_handed_over_is_bounded_in_answers_and_in_arguments() {
    let memory = r#"(memory (export "memory") 1700)"#;
    let roomy = Limits { memory_bytes_max: 256 << 20, ..limits() };
    let too_much = GuestFault::TooMuchOutput { limit_mib: 8 };
    // ok(string at 1024, 100 MiB); a line of 100 MiB; a list of 30 million steps.
    let answer = "(i32.store (i32.const 516) (i32.const 1024)) \
                  (i32.store (i32.const 520) (i32.const 104857600)) (i32.const 512)";
    let line = "(call $line (i32.const 1) (i32.const 1024) (i32.const 104857600)) (i32.const 512)";
    for body in [answer, line] {
        let text = Text { memory: memory.to_owned(), ..Text::run(body) };
        let port = Port::new();
        let ran = run_within(roomy.clone(), &text, &port).await;
        assert_eq!(ran, Err(too_much.clone()), "{body}");
        assert!(port.lines().is_empty());
    }
    let describe = "(i32.store (i32.const 700) (i32.const 1024)) \
                    (i32.store (i32.const 704) (i32.const 3000000)) (i32.const 700)";
    let text = Text { memory: memory.to_owned(), describe: describe.to_owned(), ..Text::default() };
    let plugin = runtime_within(roomy).load("p", &text.component()).expect("it loads");
    let name = "p".to_owned();
    let described = plugin.describe().await;
    assert_eq!(described, Err(PluginError::Describe { name, fault: too_much }));
}

#[tokio::test]
async fn an_output_beyond_the_memory_or_no_json_is_told_so() {
    let beyond = "(i32.store (i32.const 516) (i32.const 1024)) \
                  (i32.store (i32.const 520) (i32.const 200000)) (i32.const 512)";
    let ran = run(beyond).await;
    assert!(matches!(ran, Err(GuestFault::Trap(_))), "{ran:?}");
    let not_json = "(i32.store (i32.const 516) (i32.const 264)) \
                    (i32.store (i32.const 520) (i32.const 5)) (i32.const 512)";
    let failure = run(not_json).await.expect_err("vol-1 is no JSON").to_failure();
    assert!(failure.message.contains("not JSON"), "{}", failure.message);
}

#[tokio::test]
async fn a_stop_ends_a_guest_that_loops_but_only_the_port_ends_one_that_waits() {
    let endless = Limits { run_time_max: Duration::from_secs(3600), ..limits() };
    let runtime = runtime_within(endless);
    let start = |body: &str| {
        let plugin = runtime.load("p", &Text::run(body).component()).expect("it loads");
        let invocation = invocation(RUN);
        let stop = invocation.stop.clone();
        let running = tokio::spawn(async move { plugin.run(invocation, Port::new()).await });
        (running, stop)
    };
    let (looping, stop) = start(LOOP);
    Clock::real().sleep(Duration::from_millis(50)).await;
    assert!(!looping.is_finished());
    stop.stop();
    assert_eq!(looping.await.expect("no panic"), Err(GuestFault::Stopped));

    // Time in a host call is not the guest's: it is the port that must answer.
    let (waiting, stop) =
        start("(call $sleep (i64.const 1000000) (i32.const 800)) (i32.const 512)");
    Clock::real().sleep(Duration::from_millis(50)).await;
    stop.stop();
    Clock::real().sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    waiting.abort();
}

/// Many guests share a few processors, so that the own time of one may take long.
#[tokio::test]
async fn a_stop_ends_a_guest_by_the_clock_too() {
    let hour = Duration::from_secs(3600);
    let (run_time_max, stop_grace) = (hour, hour);
    let stop_by_clock = Duration::from_millis(20);
    let limits = Limits { run_time_max, stop_grace, stop_by_clock, ..limits() };
    let invocation = invocation(RUN);
    invocation.stop.stop();
    let plugin = runtime_within(limits).load("p", &Text::run(LOOP).component()).expect("it loads");
    assert_eq!(plugin.run(invocation, Port::new()).await, Err(GuestFault::Stopped));
}

#[tokio::test]
async fn a_stop_gives_the_guest_time_to_end_by_itself() {
    let body = "(call $sleep (i64.const 1) (i32.const 800)) (i32.const 512)";
    let plugin = runtime(None).load("p", &Text::run(body).component()).expect("it loads");
    let invocation = invocation(RUN);
    invocation.stop.stop();
    let port = Arc::new(Port { sleep: Some(Duration::from_millis(100)), ..Port::default() });
    assert_eq!(plugin.run(invocation, port).await, Ok(Value::Null));
}

const UNTAG: &str = "(call $untag (i32.const 264) (i32.const 5) (i32.const 272) (i32.const 3) \
                     (i32.const 800))";

#[tokio::test]
async fn what_is_not_granted_or_does_not_fit_the_mode_never_reaches_the_port() {
    let text = Text {
        check: format!("{UNTAG} (i32.const 640)"),
        run: format!("{UNTAG} (i32.const 512)"),
        ..Text::default()
    };
    let plugin = runtime(None).load("p", &text.component()).expect("it loads");
    assert!(plugin.imports().contains(&Interface::Ebs));

    let mut poor = invocation(RUN);
    poor.grants = [Grant::whole(Interface::Ec2)].into_iter().collect();
    let port = Port::new();
    let refused = plugin.run(poor, port.clone()).await;
    assert_eq!(refused, Err(GuestFault::NotGranted("ebs".to_owned())));
    assert!(port.functions().is_empty());

    // The guest ignores the denial; the call is stopped all the same.
    let checked = plugin.check(invocation(Mode::Check), port.clone()).await;
    assert_eq!(checked, Ok(CheckAnswer::Ok));
    assert!(port.functions().is_empty(), "an effect got out of a check");

    assert_eq!(plugin.run(invocation(RUN), port.clone()).await, Ok(Value::Null));
    assert_eq!(port.functions(), ["ebs.untag"]);
    let call = port.calls.lock().expect("no panic")[0].clone();
    let expected =
        stepback_core::Call::Ebs(EbsCall::Untag { volume: "vol-1".into(), key: "key".to_owned() });
    assert_eq!(call, expected);
}

/// Each guest leaves its place only when its memory is free again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_guests_than_there_is_room_for_wait_in_line() {
    let few = Limits { guests_max: 2, ..limits() };
    let plugin = runtime_within(few).load("p", &Text::default().component()).expect("it loads");
    let runs = (0..2000).map(|_| {
        let plugin = plugin.clone();
        tokio::spawn(async move { plugin.run(invocation(RUN), Port::new()).await })
    });
    for run in runs.collect::<Vec<_>>() {
        assert_eq!(run.await.expect("no panic"), Ok(Value::Null));
    }
}

#[tokio::test]
async fn a_guest_in_line_can_be_stopped() {
    let one = Limits { guests_max: 1, ..limits() };
    let waits = "(call $sleep (i64.const 1000000) (i32.const 800)) (i32.const 512)";
    let plugin = runtime_within(one).load("p", &Text::run(waits).component()).expect("it loads");
    let first = plugin.clone();
    let port = Port::new();
    let seen = port.clone();
    let first = tokio::spawn(async move { first.run(invocation(RUN), port).await });
    while seen.functions().is_empty() {
        Clock::real().sleep(Duration::from_millis(1)).await;
    }
    let second = invocation(RUN);
    second.stop.stop();
    assert_eq!(plugin.run(second, Port::new()).await, Err(GuestFault::Stopped));
    first.abort();
}

/// The guests of one operation have 8 MiB together, and each 4 at most.
#[tokio::test]
async fn what_the_guests_of_one_operation_have_together_is_bounded() {
    let tight = Limits { operation_memory_bytes_max: 8 << 20, ..limits() };
    // To 4 MiB, then it stays until it is told to end.
    let grows = "(drop (memory.grow (i32.const 60))) \
                 (call $sleep (i64.const 1000000) (i32.const 800)) (i32.const 512)";
    let runtime = runtime_within(tight.clone());
    let large = runtime.load("large", &Text::run(grows).component()).expect("it loads");
    let small = runtime.load("small", &Text::default().component()).expect("it loads");
    let (memory, port) = (MemoryQuota::new(&tight), Port::new());
    let of_it = || Invocation { memory: memory.clone(), ..invocation(RUN) };
    let begin = |invocation: Invocation| {
        let (large, port) = (large.clone(), port.clone());
        tokio::spawn(async move { large.run(invocation, port).await })
    };
    let has_begun = async |runs: usize| {
        while port.functions().len() < runs {
            Clock::real().sleep(Duration::from_millis(1)).await;
        }
    };
    let first = begin(of_it());
    has_begun(1).await;
    // By now it is known what they need: the second has the rest, and nothing else is let in.
    let second = begin(of_it());
    has_begun(2).await;
    let waiting = {
        let (small, invocation) = (small.clone(), of_it());
        tokio::spawn(async move { small.run(invocation, Port::new()).await })
    };
    let others = small.run(invocation(RUN), Port::new()).await;
    assert_eq!(others, Ok(Value::Null), "another operation has its own");
    assert!(!waiting.is_finished());
    first.abort();
    assert_eq!(waiting.await.expect("no panic"), Ok(Value::Null));
    second.abort();
}

#[tokio::test]
async fn a_guest_that_wants_what_others_have_is_told_so() {
    let tight = Limits { operation_memory_bytes_max: 7 << 20, ..limits() };
    let grows = "(call $sleep (i64.const 1) (i32.const 800)) (drop (memory.grow (i32.const 60))) \
                 (call $sleep (i64.const 1000000) (i32.const 800)) (i32.const 512)";
    let plugin = runtime_within(tight.clone()).load("p", &Text::run(grows).component());
    let (plugin, memory) = (plugin.expect("it loads"), MemoryQuota::new(&tight));
    // Both are let in before anybody knows how much they want.
    let begun = Arc::new(Port { sleep: Some(Duration::from_millis(20)), ..Port::default() });
    let runs = [(); 2].map(|()| {
        let invocation = Invocation { memory: memory.clone(), ..invocation(RUN) };
        plugin.run(invocation, begun.clone())
    });
    let [one, other] = runs;
    let ended = tokio::select! { ended = one => ended, ended = other => ended };
    assert_eq!(ended, Err(GuestFault::OutOfMemoryTogether { limit_mib: 7 }));
}
