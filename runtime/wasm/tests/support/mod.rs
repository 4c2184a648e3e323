//! Components made from text, and a port that answers what it is told to.

#![allow(dead_code, reason = "each test file uses its own part")]

use async_trait::async_trait;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use stepback_core::{Call, Failure};
use stepback_wasm::{
    Grants, HostPort, Invocation, Limits, LogLevel, Mode, Reversed, Runtime, RuntimeConfig,
    StopSignal,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

const STEPS: &str = "stepback:step/steps@0.1.0";

/// A plugin of the contract's world, as WAT bodies; each answers well if it is left alone.
pub struct Text {
    pub describe: String,
    pub check: String,
    pub run: String,
    pub undo: String,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            // No steps; `ok`; the output `null`; `undone`: the memory is zero there.
            describe: "(i32.const 700)".to_owned(),
            check: "(i32.const 640)".to_owned(),
            run: "(i32.const 512)".to_owned(),
            undo: "(i32.const 640)".to_owned(),
        }
    }
}

impl Text {
    /// The component.
    pub fn component(&self) -> Vec<u8> {
        let Self { describe, check, run, undo } = self;
        let text = format!(
            r#"(module
                (import "stepback:step/log@0.1.0" "line" (func $line (param i32 i32 i32)))
                (import "stepback:step/clock@0.1.0" "sleep" (func $sleep (param i64 i32)))
                (import "stepback:step/clock@0.1.0" "now" (func $now (param i32)))
                (import "stepback:step/ebs@0.1.0" "untag"
                    (func $untag (param i32 i32 i32 i32 i32)))
                (memory (export "memory") 2)
                (data (i32.const 256) "null")
                (data (i32.const 264) "vol-1")
                (data (i32.const 272) "key")
                ;; ok(string at 256, 4 bytes)
                (data (i32.const 516) "\00\01\00\00\04\00\00\00")
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    i32.const 1024)
                (func $deep (param i32) (result i32)
                    (call $deep (i32.add (local.get 0) (i32.const 1))))
                (func (export "{STEPS}#describe") (result i32) {describe})
                (func (export "{STEPS}#check") (param i32 i32 i32 i32) (result i32) {check})
                (func (export "{STEPS}#run") (param i32 i32 i32 i32) (result i32) {run})
                (func (export "{STEPS}#undo")
                    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) {undo})
            )"#
        );
        let mut module = wat::parse_str(text).expect("the text is a module");
        let mut resolve = wit_parser::Resolve::default();
        let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
        let (package, _) = resolve.push_dir(wit).expect("the contract is WIT");
        let world = resolve.select_world(&[package], Some("plugin")).expect("the world is there");
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
            .expect("the module fits the world");
        let mut encoder = ComponentEncoder::default();
        let encoder = encoder.module(&module).expect("a module with metadata");
        encoder.validate(true).encode().expect("a component")
    }
}

/// Limits that a test reaches quickly.
pub fn limits() -> Limits {
    use std::time::Duration;
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
    Runtime::new(RuntimeConfig { cache_dir, limits: limits() }).expect("a sandbox")
}

pub fn invocation(mode: Mode) -> Invocation {
    Invocation {
        step: "s".to_owned(),
        input: json!({}),
        mode,
        grants: Grants::all(),
        seed: [7; 32],
        stop: StopSignal::new(),
    }
}

/// Notes what it is asked; reads and effects answer null, sleeps never end.
#[derive(Default)]
pub struct Port {
    pub calls: Mutex<Vec<Call>>,
    pub lines: Mutex<Vec<String>>,
}

impl Port {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn functions(&self) -> Vec<&'static str> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().map(Call::function).collect()
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl HostPort for Port {
    async fn call(&self, call: Call) -> Result<Value, Failure> {
        let sleeps = matches!(call, Call::ClockSleep { .. });
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        if sleeps {
            std::future::pending::<()>().await;
        }
        Ok(Value::Null)
    }

    async fn reverse(&self, _effect_id: &str) -> Result<Reversed, Failure> {
        Ok(Reversed::NothingToDo)
    }

    fn log(&self, _level: LogLevel, text: String) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    fn progress(&self, _text: String, _done: u64, _total: Option<u64>) {}
}
