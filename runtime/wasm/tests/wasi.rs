//! A guest whose language brings WASI along: nothing of the machine shows through, and what it
//! sees is the same each time.

mod support;

use std::sync::Arc;
use std::time::Duration;
use stepback_core::Call;
use stepback_core::calls::ClockCall;
use stepback_wasm::{GuestFault, Invocation};
use support::{Port, RUN, Text, invocation, runtime};

/// What these tests use of WASI 0.2, which is a part of each interface.
const PACKAGES: [&str; 6] = [
    "package wasi:io@0.2.0;
     interface poll {
         resource pollable { ready: func() -> bool; block: func(); }
         poll: func(in: list<borrow<pollable>>) -> list<u32>;
     }",
    "package wasi:clocks@0.2.0;
     interface wall-clock {
         record datetime { seconds: u64, nanoseconds: u32 }
         now: func() -> datetime;
     }
     interface monotonic-clock {
         use wasi:io/poll@0.2.0.{pollable};
         now: func() -> u64;
         subscribe-duration: func(when: u64) -> pollable;
     }",
    "package wasi:random@0.2.0;
     interface random { get-random-u64: func() -> u64; }
     interface insecure-seed { insecure-seed: func() -> tuple<u64, u64>; }",
    "package wasi:cli@0.2.0;
     interface environment {
         get-environment: func() -> list<tuple<string, string>>;
         get-arguments: func() -> list<string>;
     }
     interface exit { exit: func(status: result); }",
    "package wasi:filesystem@0.2.0;
     interface types { resource descriptor; }
     interface preopens {
         use types.{descriptor};
         get-directories: func() -> list<tuple<descriptor, string>>;
     }",
    "package test:guest;
     world guest {
         import stepback:log/log@0.2.0;
         import stepback:clock/clock@0.2.0;
         import stepback:ebs/volumes@0.2.0;
         import wasi:io/poll@0.2.0;
         import wasi:clocks/wall-clock@0.2.0;
         import wasi:clocks/monotonic-clock@0.2.0;
         import wasi:random/random@0.2.0;
         import wasi:random/insecure-seed@0.2.0;
         import wasi:cli/environment@0.2.0;
         import wasi:cli/exit@0.2.0;
         import wasi:filesystem/preopens@0.2.0;
         export stepback:step/steps@0.2.0;
     }",
];

const FIELDS: &str = r#"
    (import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
    (import "wasi:io/poll@0.2.0" "[method]pollable.ready" (func $ready (param i32) (result i32)))
    (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
    (import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop (param i32)))
    (import "wasi:clocks/wall-clock@0.2.0" "now" (func $wall (param i32)))
    (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $monotonic (result i64)))
    (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration"
        (func $timer (param i64) (result i32)))
    (import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))
    (import "wasi:random/insecure-seed@0.2.0" "insecure-seed" (func $seed (param i32)))
    (import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
    (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))
    (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
    (import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $directories (param i32)))
    ;; Logs a number as its sixteen half bytes, from `a` to `p`.
    (func $spell (param $number i64)
        (local $i i32)
        (loop $next
            (i32.store8 (i32.add (i32.const 3000) (local.get $i))
                (i32.add (i32.const 97) (i32.wrap_i64
                    (i64.and (local.get $number) (i64.const 15)))))
            (local.set $number (i64.shr_u (local.get $number) (i64.const 4)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const 16))))
        (call $line (i32.const 1) (i32.const 3000) (i32.const 16)))"#;

fn text(body: &str) -> Text {
    Text {
        fields: FIELDS.to_owned(),
        world: Some((PACKAGES.to_vec(), "guest")),
        ..Text::run(&format!("{body} (i32.const 512)"))
    }
}

async fn run(body: &str, invocation: Invocation, port: &Arc<Port>) -> Result<(), GuestFault> {
    let plugin = runtime(None).load("p", &text(body).component()).expect("it loads");
    plugin.run(invocation, port.clone()).await.map(drop)
}

#[tokio::test]
async fn random_numbers_are_the_seeds() {
    let body = r#"(call $spell (call $random)) (call $spell (call $random))
        (call $seed (i32.const 800)) (call $spell (i64.load (i32.const 800)))"#;
    let drawn = async |seed| {
        let port = Port::new();
        run(body, Invocation { seed: [seed; 32], ..invocation(RUN) }, &port)
            .await
            .expect("it runs");
        port.lines()
    };
    let first = drawn(1).await;
    assert_eq!(first.len(), 3);
    assert_ne!(first[0], first[1]);
    assert_eq!(drawn(1).await, first);
    let other = drawn(2).await;
    assert!(first.iter().zip(&other).all(|(one, other)| one != other), "{first:?} {other:?}");
}

#[tokio::test]
async fn both_clocks_show_the_journals_time() {
    let body = r#"
        (call $wall (i32.const 800))
        (if (i64.ne (i64.load (i32.const 800)) (i64.const 1700000000)) (then unreachable))
        (if (i32.ne (i32.load (i32.const 808)) (i32.const 123000000)) (then unreachable))
        (if (i64.ne (call $monotonic) (i64.const 1700000000123000000)) (then unreachable))"#;
    let port = Arc::new(Port { journaled_ms: 1_700_000_000_123, ..Port::default() });
    run(body, invocation(RUN), &port).await.expect("the clocks agree");
}

#[tokio::test]
async fn a_wait_for_several_timers_is_one_sleep_until_the_first() {
    // Two timers at 2000, of 5 s and 1 s: the second is ready, and a look at the first is none.
    let body = r#"
        (local $began i64)
        (local.set $began (call $monotonic))
        (i32.store (i32.const 2000) (call $timer (i64.const 5000000000)))
        (i32.store (i32.const 2004) (call $timer (i64.const 1000000000)))
        (if (call $ready (i32.load (i32.const 2004))) (then unreachable))
        (call $poll (i32.const 2000) (i32.const 2) (i32.const 800))
        (if (i32.ne (i32.load (i32.const 804)) (i32.const 1)) (then unreachable))
        (if (i32.ne (i32.load (i32.load (i32.const 800))) (i32.const 1)) (then unreachable))
        (if (i32.eqz (call $ready (i32.load (i32.const 2004)))) (then unreachable))
        (if (call $ready (i32.load (i32.const 2000))) (then unreachable))
        (if (i64.ne (i64.sub (call $monotonic) (local.get $began)) (i64.const 1000000000))
            (then unreachable))
        (call $block (i32.load (i32.const 2000)))
        (call $drop (i32.load (i32.const 2000)))
        (call $drop (i32.load (i32.const 2004)))"#;
    let port = Arc::new(Port { sleep: Some(Duration::ZERO), ..Port::default() });
    run(body, invocation(RUN), &port).await.expect("it waits");
    let sleep = |duration_ms| Call::Clock(ClockCall::Sleep { duration_ms });
    assert_eq!(port.calls(), [sleep(1000), sleep(4000)]);
}

#[tokio::test]
async fn time_asleep_is_not_the_guests_own() {
    let body = "(call $block (call $timer (i64.const 1)))";
    let port = Arc::new(Port { sleep: Some(Duration::from_millis(400)), ..Port::default() });
    run(body, invocation(RUN), &port).await.expect("twice its own time, but all of it asleep");
}

#[tokio::test]
async fn timers_are_bounded() {
    let body = "(loop (drop (call $timer (i64.const 1))) (br 0)) unreachable";
    let ran = run(body, invocation(RUN), &Port::new()).await;
    assert!(matches!(&ran, Err(GuestFault::Trap(why)) if why.contains("table")), "{ran:?}");
}

#[tokio::test]
async fn there_are_no_files_no_environment_and_no_arguments() {
    let body = r#"
        (i64.store (i32.const 800) (i64.const -1))
        (call $environment (i32.const 800))
        (if (i32.load (i32.const 804)) (then unreachable))
        (i64.store (i32.const 800) (i64.const -1))
        (call $arguments (i32.const 800))
        (if (i32.load (i32.const 804)) (then unreachable))
        (i64.store (i32.const 800) (i64.const -1))
        (call $directories (i32.const 800))
        (if (i32.load (i32.const 804)) (then unreachable))"#;
    run(body, invocation(RUN), &Port::new()).await.expect("there is nothing");
}

#[tokio::test]
async fn a_guest_that_exits_has_not_answered() {
    let ran = run("(call $exit (i32.const 0))", invocation(RUN), &Port::new()).await;
    assert!(matches!(&ran, Err(GuestFault::Trap(why)) if why.contains("exit")), "{ran:?}");
}
