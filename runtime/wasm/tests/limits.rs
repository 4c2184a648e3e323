//! A guest that passes a limit is stopped, and told which limit it was.

mod support;

use serde_json::Value;
use std::time::Duration;
use stepback_core::FailureClass;
use stepback_core::step::{CheckAnswer, Past, UndoAnswer};
use stepback_wasm::{GuestFault, Interface, Mode};
use support::{Port, Text, invocation, runtime};

const LOOP: &str = "(loop (br 0)) unreachable";
const DEEP: &str = "(call $deep (i32.const 0))";
const GROW: &str = "(loop (drop (memory.grow (i32.const 16))) (br 0)) unreachable";
const TRAP: &str = "unreachable";
const RUN: Mode = Mode::Run { irreversible_allowed: false };

fn past() -> Past {
    Past { finished: true, output: None, effects: vec![] }
}

async fn run(body: &str) -> Result<Value, GuestFault> {
    let text = Text { run: body.to_owned(), ..Text::default() };
    let plugin = runtime(None).load("p", &text.component()).expect("it loads");
    plugin.run(invocation(RUN), Port::new()).await
}

#[tokio::test]
async fn a_guest_that_behaves_is_let_through() {
    let plugin = runtime(None).load("p", &Text::default().component()).expect("it loads");
    assert_eq!(plugin.describe().await, Ok(vec![]));
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

#[tokio::test]
async fn limits_hold_while_describing_checking_and_undoing() {
    for body in [LOOP, DEEP, GROW, TRAP] {
        let text = Text {
            describe: body.to_owned(),
            check: body.to_owned(),
            undo: body.to_owned(),
            ..Text::default()
        };
        let plugin = runtime(None).load("p", &text.component()).expect("it loads");
        assert!(plugin.describe().await.is_err(), "{body}");
        assert!(plugin.check(invocation(Mode::Check), Port::new()).await.is_err(), "{body}");
        let undone = plugin.undo(invocation(Mode::Undo), &past(), Port::new()).await;
        assert!(undone.is_err(), "{body}");
    }
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

#[tokio::test]
async fn an_output_that_is_too_large_or_no_json_is_told_so() {
    // ok(string at 1024, 100 MiB)
    let huge = "(i32.store (i32.const 516) (i32.const 1024)) \
                (i32.store (i32.const 520) (i32.const 104857600)) (i32.const 512)";
    assert!(run(huge).await.is_err());
    let not_json = "(i32.store (i32.const 516) (i32.const 264)) \
                    (i32.store (i32.const 520) (i32.const 5)) (i32.const 512)";
    let failure = run(not_json).await.expect_err("vol-1 is no JSON").to_failure();
    assert!(failure.message.contains("not JSON"), "{}", failure.message);
}

#[tokio::test]
async fn a_stop_ends_a_guest_that_waits_and_one_that_loops() {
    for body in ["(call $sleep (i64.const 1000000) (i32.const 800)) (i32.const 512)", LOOP] {
        let text = Text { run: body.to_owned(), ..Text::default() };
        let mut limits = support::limits();
        limits.run_time_max = Duration::from_secs(3600);
        let config = stepback_wasm::RuntimeConfig { cache_dir: None, limits };
        let runtime = stepback_wasm::Runtime::new(config).expect("a sandbox");
        let plugin = runtime.load("p", &text.component()).expect("it loads");
        let invocation = invocation(RUN);
        let stop = invocation.stop.clone();
        let running = tokio::spawn(async move { plugin.run(invocation, Port::new()).await });
        stop.stop();
        if body == LOOP {
            assert_eq!(running.await.expect("no panic"), Err(GuestFault::Stopped));
        } else {
            // Time in a host call is not the guest's: it is the port that must answer.
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(!running.is_finished());
            running.abort();
        }
    }
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
    poor.grants = [Interface::Ec2].into_iter().collect();
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
    let expected = stepback_core::Call::EbsUntag { volume: "vol-1".into(), key: "key".to_owned() };
    assert_eq!(call, expected);
}

#[tokio::test]
async fn more_guests_than_there_is_room_for_wait_in_line() {
    let plugin = runtime(None).load("p", &Text::default().component()).expect("it loads");
    let runs = (0..40).map(|_| {
        let plugin = plugin.clone();
        tokio::spawn(async move { plugin.run(invocation(RUN), Port::new()).await })
    });
    for run in runs.collect::<Vec<_>>() {
        assert_eq!(run.await.expect("no panic"), Ok(Value::Null));
    }
}
