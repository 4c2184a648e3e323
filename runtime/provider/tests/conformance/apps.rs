//! Cases of what apps need of an engine: labels to find their containers by, and ports that stay.

use crate::bench::{Bench, fresh, tags};
use crate::engine::{host, pull, remove, start, stop};
use serde_json::Value;
use stepback_core::calls::ContainerSpec;
use stepback_core::*;

fn find(labels: &[(&str, &str)]) -> Call {
    Call::Docker(DockerCall::FindContainers { host: host(), labels: tags(labels) })
}

/// One with labels and a port.
fn labelled(bench: &Bench, name: &str, labels: &[(&str, &str)], port: &str) -> Call {
    let spec = ContainerSpec {
        image: bench.image.clone(),
        ports: vec![port.to_owned()],
        labels: tags(labels),
        restart: "no".to_owned(),
        ..ContainerSpec::default()
    };
    Call::Docker(DockerCall::CreateContainer { host: host(), container: name.into(), spec })
}

/// Whether they run or not, and by the whole of each label.
pub async fn containers_are_found_by_all_of_their_labels(bench: &Bench) {
    bench.done(&pull(bench)).await;
    let (one, other) = (format!("c{}", fresh()), format!("c{}", fresh()));
    let app = format!("app{}", fresh());
    bench.done(&labelled(bench, &one, &[("app", &app), ("a", "b=c")], "auto:80")).await;
    bench.done(&labelled(bench, &other, &[("app", &app), ("a=b", "c")], "auto:80")).await;
    bench.done(&start(&one)).await;
    let found = async |labels: &[(&str, &str)]| {
        let found = bench.answer(&find(labels)).await.expect("a list");
        let names = found.as_array().expect("a list").iter();
        names.map(|one| one["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    let mut both = vec![one.clone(), other.clone()];
    both.sort();
    assert_eq!(found(&[("app", &app)]).await, both);
    assert_eq!(found(&[("app", &app), ("a", "b=c")]).await, [one.as_str()]);
    assert_eq!(found(&[("app", &app), ("a", "b")]).await, [""; 0]);
    assert_eq!(found(&[("app", &format!("{app}x"))]).await, [""; 0]);
    bench.done(&stop(&one)).await;
    assert_eq!(found(&[("app", &app)]).await, both);
    for name in both {
        bench.done(&remove(&name)).await;
    }
}

/// Where a balancer looks for it: over a stop and a start, and no other container gets it.
pub async fn a_port_that_is_chosen_is_kept(bench: &Bench) {
    bench.done(&pull(bench)).await;
    let (one, other) = (format!("c{}", fresh()), format!("c{}", fresh()));
    let port = |container: &Value| container["ports"][0]["host_port"].as_u64();
    let made = bench.done(&labelled(bench, &one, &[], "auto:80")).await;
    let chosen = port(&made).expect("it is told before it runs");
    assert!((20_000..30_000).contains(&chosen), "{chosen}");
    let second = port(&bench.done(&labelled(bench, &other, &[], "auto:80")).await);
    assert_ne!(second, Some(chosen), "that one is taken, though nobody listens there");
    for _ in 0..2 {
        assert_eq!(port(&bench.done(&start(&one)).await), Some(chosen));
        assert_eq!(port(&bench.done(&stop(&one)).await), Some(chosen));
    }
    for name in [one, other] {
        bench.done(&remove(&name)).await;
    }
}

/// It may be free the next time, or another one is chosen then.
pub async fn a_port_that_somebody_has_is_tried_again(bench: &Bench) {
    bench.done(&pull(bench)).await;
    let third = format!("c{}", fresh());
    let taken = "18080:80".to_owned();
    bench.done(&labelled(bench, &third, &[], &taken)).await;
    bench.done(&start(&third)).await;
    let fourth = format!("c{}", fresh());
    bench.done(&labelled(bench, &fourth, &[], &taken)).await;
    bench.refuses(&start(&fourth), FailureClass::Transient, "port-in-use").await;
    bench.done(&stop(&third)).await;
    for name in [third, fourth] {
        bench.done(&remove(&name)).await;
    }
}
