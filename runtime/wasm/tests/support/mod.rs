//! Components made from text, and a port that answers what it is told to.

#![allow(dead_code, reason = "each test file uses its own part")]

use async_trait::async_trait;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stepback_clock::Clock;
use stepback_core::calls::{ClockCall, EffectsCall};
use stepback_core::{Call, Failure};
use stepback_wasm::{
    Grants, HostPort, Invocation, Limits, LogLevel, MemoryQuota, Mode, Reversed, Runtime,
    RuntimeConfig, StopSignal,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

const STEPS: &str = "stepback:step/steps@0.2.0";

pub const RUN: Mode = Mode::Run { irreversible_allowed: false };

/// A plugin as WAT bodies; each answers well if it is left alone.
///
/// Answers and what is answered to it lie below 1024, the tests' own data from 1024 to 4096, and
/// what the host hands over is allocated from 8192 on. `$say` logs the string whose address and
/// length lie at its argument.
pub struct Text {
    pub memory: String,
    /// Imports, data and functions of the test's own.
    pub fields: String,
    pub describe: String,
    pub check: String,
    pub run: String,
    pub undo: String,
    /// Packages of WIT, and the world of the last one.
    pub world: Option<(Vec<&'static str>, &'static str)>,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            memory: r#"(memory (export "memory") 2)"#.to_owned(),
            fields: String::new(),
            // No steps; `ok`; the output `null`; `undone`: the memory is zero there.
            describe: "(i32.const 700)".to_owned(),
            check: "(i32.const 640)".to_owned(),
            run: "(i32.const 512)".to_owned(),
            undo: "(i32.const 640)".to_owned(),
            world: None,
        }
    }
}

impl Text {
    /// One that runs this.
    pub fn run(body: &str) -> Self {
        Self { run: body.to_owned(), ..Self::default() }
    }

    /// The component.
    pub fn component(&self) -> Vec<u8> {
        let mut module = wat::parse_str(self.module()).expect("the text is a module");
        let mut resolve = wit_parser::Resolve::default();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        let (mut package, _) = resolve.push_dir(wit).expect("the contract is WIT");
        let (packages, world) = self.world.clone().unwrap_or((vec![], "plugin"));
        for text in packages {
            package = resolve.push_str("test.wit", text).expect("the package is WIT");
        }
        let world = resolve.select_world(&[package], Some(world)).expect("the world is there");
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .expect("the module fits the world");
        let encoder = ComponentEncoder::default();
        let encoder = encoder.module(&module).expect("a module with metadata");
        encoder.validate(true).encode().expect("a component")
    }

    fn module(&self) -> String {
        let Self { memory, fields, describe, check, run, undo, .. } = self;
        format!(
            r#"(module
                (import "stepback:log/log@0.2.0" "line" (func $line (param i32 i32 i32)))
                (import "stepback:clock/clock@0.2.0" "sleep" (func $sleep (param i64 i32)))
                (import "stepback:clock/clock@0.2.0" "now" (func $now (param i32)))
                (import "stepback:ebs/volumes@0.2.0" "untag"
                    (func $untag (param i32 i32 i32 i32 i32)))
                {fields}
                {memory}
                (global $free (mut i32) (i32.const 8192))
                (data (i32.const 256) "null")
                (data (i32.const 264) "vol-1")
                (data (i32.const 272) "key")
                ;; ok(string at 256, 4 bytes)
                (data (i32.const 516) "\00\01\00\00\04\00\00\00")
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    (local $at i32)
                    (local.set $at
                        (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                    (global.set $free (i32.add (local.get $at) (local.get 3)))
                    (local.get $at))
                (func $deep (param i32) (result i32)
                    (call $deep (i32.add (local.get 0) (i32.const 1))))
                (func $say (param $at i32)
                    (call $line (i32.const 1)
                        (i32.load (local.get $at)) (i32.load offset=4 (local.get $at))))
                (func (export "{STEPS}#describe") (result i32) {describe})
                (func (export "{STEPS}#check") (param i32 i32 i32 i32) (result i32) {check})
                (func (export "{STEPS}#run") (param i32 i32 i32 i32) (result i32) {run})
                (func (export "{STEPS}#undo")
                    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) {undo})
            )"#
        )
    }
}

/// Limits that a test reaches quickly.
pub fn limits() -> Limits {
    Limits {
        memory_bytes_max: 4 << 20,
        check_time_max: Duration::from_millis(200),
        run_time_max: Duration::from_millis(200),
        stop_grace: Duration::from_millis(50),
        log_bytes_max: 4 << 10,
        guests_max: 4,
        ..Limits::default()
    }
}

pub fn runtime(cache_dir: Option<PathBuf>) -> Runtime {
    Runtime::new(RuntimeConfig { cache_dir, limits: limits(), ..RuntimeConfig::default() })
        .expect("a sandbox")
}

pub fn runtime_within(limits: Limits) -> Runtime {
    Runtime::new(RuntimeConfig { limits, ..RuntimeConfig::default() }).expect("a sandbox")
}

pub fn invocation(mode: Mode) -> Invocation {
    Invocation {
        step: "s".to_owned(),
        input: json!({}),
        mode,
        grants: Grants::all(),
        seed: [7; 32],
        stop: StopSignal::new(),
        memory: MemoryQuota::new(&limits()),
    }
}

/// Notes what it is asked, and answers in turn what it was given to answer, then null.
#[derive(Default)]
pub struct Port {
    pub calls: Mutex<Vec<Call>>,
    /// What checks asked for.
    pub asked: Mutex<Vec<&'static str>>,
    pub lines: Mutex<Vec<String>>,
    pub progress: Mutex<Vec<(String, u64, Option<u64>)>>,
    pub answers: Mutex<VecDeque<Result<Value, Failure>>>,
    /// What it answers when these are used up.
    pub then: Value,
    pub reversed: Mutex<VecDeque<Reversed>>,
    /// How long a sleep takes; without it, for ever.
    pub sleep: Option<Duration>,
    pub journaled_ms: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Port {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn answering(answers: impl IntoIterator<Item = Result<Value, Failure>>) -> Arc<Self> {
        let answers = Mutex::new(answers.into_iter().collect());
        Arc::new(Self { answers, ..Self::default() })
    }

    pub fn reversing(answers: impl IntoIterator<Item = Reversed>) -> Arc<Self> {
        let reversed = Mutex::new(answers.into_iter().collect());
        Arc::new(Self { reversed, ..Self::default() })
    }

    pub fn calls(&self) -> Vec<Call> {
        lock(&self.calls).clone()
    }

    pub fn functions(&self) -> Vec<&'static str> {
        lock(&self.calls).iter().map(Call::function).collect()
    }

    pub fn lines(&self) -> Vec<String> {
        lock(&self.lines).clone()
    }
}

#[async_trait]
impl HostPort for Port {
    async fn call(&self, call: Call) -> Result<Value, Failure> {
        let sleeps = matches!(call, Call::Clock(ClockCall::Sleep { .. }));
        lock(&self.calls).push(call);
        match self.sleep {
            Some(duration) if sleeps => Clock::real().sleep(duration).await,
            None if sleeps => std::future::pending::<()>().await,
            _ => {}
        }
        lock(&self.answers).pop_front().unwrap_or_else(|| Ok(self.then.clone()))
    }

    async fn may(&self, call: Call) -> Result<(), Failure> {
        lock(&self.asked).push(call.function());
        Ok(())
    }

    async fn reverse(&self, effect_id: &str) -> Result<Reversed, Failure> {
        lock(&self.calls)
            .push(Call::Effects(EffectsCall::Reverse { effect: effect_id.to_owned() }));
        Ok(lock(&self.reversed).pop_front().unwrap_or(Reversed::NothingToDo))
    }

    fn log(&self, _level: LogLevel, text: String) {
        lock(&self.lines).push(text);
    }

    fn progress(&self, text: String, done: u64, total: Option<u64>) {
        lock(&self.progress).push((text, done, total));
    }

    fn journaled_ms(&self) -> u64 {
        self.journaled_ms
    }
}
