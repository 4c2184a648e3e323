//! Freezing a container, and letting it go on.

use crate::bench::*;
use crate::engine::*;
use serde_json::Value;
use stepback_core::*;

async fn is_paused(bench: &Bench, name: &str) -> bool {
    let resource = Resource::Container { host: host().0, name: name.to_owned() };
    let facts = bench.observe(&resource).await;
    assert_eq!(facts.get("running"), Some(&Value::Bool(true)), "{:?}: {facts}", bench.world);
    facts.get("paused") == Some(&Value::Bool(true))
}

fn wait_healthy(name: &str, timeout_ms: u64) -> Call {
    Call::Docker(DockerCall::WaitHealthy { host: host(), container: name.into(), timeout_ms })
}

/// Docker docs, *Engine API*, *ContainerPause*, *ContainerUnpause*: 409 for what is in the way.
pub async fn a_container_is_frozen_until_it_goes_on(bench: &Bench) {
    let (name, _) = container(bench).await;
    bench.refuses(&pause(&name), FailureClass::Refused, "409").await;
    bench.refuses(&unpause(&name), FailureClass::Refused, "500").await;
    bench.done(&start(&name)).await;
    let shown = bench.done(&pause(&name)).await;
    assert_eq!(shown["state"], "paused", "{:?}: {shown}", bench.world);
    assert!(is_paused(bench, &name).await, "{:?}", bench.world);
    for call in [pause(&name), start(&name), exec(&name, &["sleep", "0"]), remove(&name)] {
        bench.refuses(&call, FailureClass::Refused, "409").await;
    }
    let shown = bench.done(&unpause(&name)).await;
    assert_eq!(shown["state"], "running", "{:?}: {shown}", bench.world);
    assert!(!is_paused(bench, &name).await, "{:?}", bench.world);
    // What goes on already is as it is wanted.
    bench.done(&unpause(&name)).await;
    assert!(!is_paused(bench, &name).await, "{:?}", bench.world);
    clean(bench).await;
}

/// Its last health check, or that it stays up, says nothing of one that answers nobody.
pub async fn a_paused_container_is_not_healthy(bench: &Bench) {
    let (name, _) = container(bench).await;
    bench.done(&start(&name)).await;
    bench.answer(&wait_healthy(&name, 30_000)).await.expect("it is up");
    bench.done(&pause(&name)).await;
    let failure = bench.answer(&wait_healthy(&name, 3_000)).await.expect_err("it is frozen");
    assert_eq!(failure.class, FailureClass::Deadline, "{:?}: {failure}", bench.world);
    bench.done(&unpause(&name)).await;
    bench.answer(&wait_healthy(&name, 30_000)).await.expect("it goes on");
    clean(bench).await;
}

/// A stop ends what is frozen too, and nothing started is frozen: a step that stops it is told.
pub async fn a_paused_container_is_not_stopped_unasked(bench: &Bench) {
    let (name, _) = container(bench).await;
    bench.done(&start(&name)).await;
    bench.done(&pause(&name)).await;
    let failure = bench.provider.may(&stop(&name)).await.expect_err("it is paused");
    let told = (failure.class, failure.code.as_deref());
    assert_eq!(told, (FailureClass::Precondition, Some("paused")), "{:?}", bench.world);
    let shown = bench.done(&stop(&name)).await;
    assert_eq!(shown["state"], "exited", "{:?}: {shown}", bench.world);
    bench.done(&start(&name)).await;
    assert!(!is_paused(bench, &name).await, "{:?}", bench.world);
    clean(bench).await;
}
