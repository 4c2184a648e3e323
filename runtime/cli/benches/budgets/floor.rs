//! The floor: wasmtime with a pool, one component, one call, one host call, JSON in and out.

use crate::micros;
use std::time::Instant;
use wasmtime::component::{Component, ComponentType, InstancePre, Lift, Linker, Lower};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

const STEPS: &str = "stepback:step/steps@0.2.0";

#[derive(ComponentType, Lower)]
#[component(record)]
struct Call {
    step: String,
    input: String,
}

#[derive(ComponentType, Lift, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "the contract's enum, whole")]
enum FailureClass {
    #[component(name = "invalid-input")]
    InvalidInput,
    #[component(name = "precondition")]
    Precondition,
    #[component(name = "refused")]
    Refused,
    #[component(name = "denied")]
    Denied,
    #[component(name = "transient")]
    Transient,
    #[component(name = "deadline")]
    Deadline,
    #[component(name = "unknown-outcome")]
    UnknownOutcome,
    #[component(name = "cancelled")]
    Cancelled,
    #[component(name = "internal")]
    Internal,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Failure {
    class: FailureClass,
    code: Option<String>,
    message: String,
}

/// A component linked once, as wasmtime's own users would.
pub struct Bare {
    engine: Engine,
    pre: InstancePre<()>,
    run: wasmtime::component::ComponentExportIndex,
}

impl Bare {
    pub fn new() -> Self {
        let mut config = Config::new();
        config.wasm_component_model(true);
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(100).total_core_instances(1000);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).expect("an engine");
        let component = Component::from_binary(&engine, &crate::load::component("core"));
        let component = component.expect("the build's component");
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component).expect("stubs");
        linker.allow_shadowing(true);
        let mut clock = linker.instance("stepback:clock/clock@0.2.0").expect("the clock");
        clock
            .func_wrap_async("sleep", |_, (_ms,): (u64,)| {
                Box::new(async { Ok((Ok::<(), Failure>(()),)) })
            })
            .expect("a host function");
        let pre = linker.instantiate_pre(&component).expect("all imports");
        let (_, steps) = component.get_export(None, STEPS).expect("the interface");
        let (_, run) = component.get_export(Some(&steps), "run").expect("the function");
        Self { engine, pre, run }
    }

    pub async fn call(&self) {
        let mut store = Store::new(&self.engine, ());
        let instance = self.pre.instantiate_async(&mut store).await.expect("an instance");
        let run = instance
            .get_typed_func::<(Call,), (Result<String, Failure>,)>(&mut store, self.run)
            .expect("the function's type");
        let input = serde_json::json!({ "duration": 0 }).to_string();
        let call = Call { step: "sleep".to_owned(), input };
        let (answer,) = run.call_async(&mut store, (call,)).await.expect("no trap");
        let output = answer.unwrap_or_else(|failure| panic!("{}", failure.message));
        let _: serde_json::Value = serde_json::from_str(&output).expect("JSON");
    }

    /// What one takes, in microseconds.
    pub async fn each_us(&self) -> f64 {
        const ROUNDS: u32 = 2_000;
        self.call().await;
        let started = Instant::now();
        for _ in 0..ROUNDS {
            self.call().await;
        }
        micros(started.elapsed()) / f64::from(ROUNDS)
    }
}
