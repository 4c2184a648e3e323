//! What a container shows of what it was made of, and of how it ended.

use crate::bench::*;
use crate::engine::{pull, remove, start, stop};
use serde_json::{Value, json};
use stepback_core::calls::ContainerSpec;
use stepback_core::*;

fn spec(bench: &Bench) -> ContainerSpec {
    ContainerSpec { image: bench.image.clone(), ..ContainerSpec::default() }
}

fn create(name: &str, spec: ContainerSpec) -> Call {
    DockerCall::CreateContainer { host: "i-a".into(), container: name.into(), spec }.into()
}

/// What was asked for is shown: labels but for Stepback's own, ports, the restart policy; and when
/// it has ended, how.
pub async fn a_container_shows_what_it_was_made_of(bench: &Bench) {
    bench.done(&pull(bench)).await;
    let name = format!("c{}", fresh());
    let wanted = ContainerSpec {
        ports: vec!["127.0.0.1:18433:5432".to_owned(), "18434:53/udp".to_owned()],
        restart: "on-failure:3".to_owned(),
        labels: [("team".to_owned(), "data".to_owned())].into(),
        ..spec(bench)
    };
    let made = bench.done(&create(&name, wanted)).await;
    assert_eq!(made["labels"]["team"], "data", "{:?}: {made}", bench.world);
    let own = made["labels"].as_object().expect("labels").keys();
    assert_eq!(own.filter(|key| key.starts_with("stepback.")).count(), 0, "{:?}", bench.world);
    let mut ports = made["ports"].as_array().expect("ports").clone();
    ports.sort_by_key(|port| port["container_port"].as_u64());
    let port = |ip: Value, host: u16, container: u16, protocol: &str| {
        json!({
            "host_ip": ip, "host_port": host, "container_port": container, "protocol": protocol,
        })
    };
    let shown = [port(Value::Null, 18434, 53, "udp"), port("127.0.0.1".into(), 18433, 5432, "tcp")];
    assert_eq!(ports, shown, "{:?}", bench.world);
    assert_eq!(made["restart"], "on-failure:3", "{:?}", bench.world);
    assert_eq!(made["restart_count"], 0, "{:?}", bench.world);
    bench.done(&remove(&name)).await;
    let name = format!("c{}", fresh());
    bench.done(&create(&name, spec(bench))).await;
    let started = bench.done(&start(&name)).await;
    assert_eq!(started["state"], "running", "{:?}: {started}", bench.world);
    assert!(started["ended"].is_null(), "{:?}: {started}", bench.world);
    let stopped = bench.done(&stop(&name)).await;
    assert_eq!(stopped["state"], "exited", "{:?}: {stopped}", bench.world);
    assert!(stopped["ended"]["exit_code"].is_i64(), "{:?}: {stopped}", bench.world);
    assert_eq!(stopped["ended"]["out_of_memory"], false, "{:?}: {stopped}", bench.world);
    bench.done(&remove(&name)).await;
    // The marks by which lost answers are settled are nobody else's to give.
    let labels = [("stepback.token".to_owned(), "mine".to_owned())].into();
    let marked = create(&name, ContainerSpec { labels, ..spec(bench) });
    bench.refuses(&marked, FailureClass::InvalidInput, "400").await;
}
