//! Numbers and texts that are too large, or too small, are refused or saturate: none of them makes
//! a sum that is wrong, or ends the program.

use crate::bench::*;
use crate::{cloud, engine};
use serde_json::Value;
use stepback_core::calls::{ContainerSpec, Performance};
use stepback_core::step::EffectOutcome;
use stepback_core::*;
use stepback_provider::Settled;

const VALUE: &str = "InvalidParameterValue";

type Speed = (Option<u32>, Option<u32>);

/// Type, size, IOPS and MiB/s that EC2 refuses (Amazon EC2 API Reference, *CreateVolume*; the
/// ratios: Amazon EBS User Guide, *General Purpose SSD volumes*, *Provisioned IOPS SSD volumes*).
const REFUSED: [(&str, u32, Speed); 22] = [
    ("gp2", 0, (None, None)),
    ("gp2", 16_385, (None, None)),
    ("gp2", 2_000_000_000, (None, None)),
    ("gp3", u32::MAX, (None, None)),
    ("gp3", 65_537, (None, None)),
    ("st1", 124, (None, None)),
    ("sc1", 16_385, (None, None)),
    ("standard", 1_025, (None, None)),
    ("gp3", 8, (Some(2_999), None)),
    ("gp3", 200, (Some(80_001), None)),
    ("gp3", 8, (Some(4_001), None)),
    ("gp3", 8, (Some(u32::MAX), None)),
    ("gp3", 8, (None, Some(124))),
    ("gp3", 8, (None, Some(751))),
    ("gp3", 200, (Some(80_000), Some(2_001))),
    ("gp3", 200, (Some(80_000), Some(u32::MAX))),
    ("io1", 3, (Some(100), None)),
    ("io1", 4, (Some(99), None)),
    ("io1", 4, (Some(201), None)),
    ("io1", 16_384, (Some(64_001), None)),
    ("io2", 4, (Some(4_001), None)),
    ("io2", 65_537, (Some(100), None)),
];

const TAKEN: [(&str, u32, Speed); 7] = [
    ("gp3", 1, (Some(3_000), Some(750))),
    ("gp3", 160, (Some(80_000), Some(2_000))),
    ("io1", 4, (Some(200), None)),
    ("io2", 4, (Some(4_000), None)),
    ("gp2", 16_000, (None, None)),
    ("st1", 125, (None, None)),
    ("standard", 1_024, (None, None)),
];

fn volume(bench: &Bench, kind: &str, size: u32, speed: Speed) -> Call {
    let mut call = cloud::create_volume(bench);
    let Call::Ebs(EbsCall::CreateVolume { size_gib, volume_type, performance, .. }) = &mut call
    else {
        unreachable!()
    };
    (*size_gib, *volume_type) = (size, kind.to_owned());
    *performance = Performance { iops: speed.0, throughput_mibps: speed.1 };
    call
}

pub async fn a_volume_is_as_large_and_fast_as_its_type_allows(bench: &Bench) {
    for (kind, size, speed) in REFUSED {
        bench.refuses(&volume(bench, kind, size, speed), FailureClass::Refused, VALUE).await;
    }
    for (kind, size, speed) in TAKEN {
        let made = bench.done(&volume(bench, kind, size, speed)).await;
        assert_eq!(made["size_gib"], size, "{:?}: {kind}", bench.world);
    }
    let small = bench.done(&volume(bench, "standard", 8, (None, None))).await;
    for size_gib in [1_025, u32::MAX] {
        let grow = Call::Ebs(EbsCall::ModifyVolume { volume: VolumeId(id_of(&small)), size_gib });
        bench.refuses(&grow, FailureClass::Refused, VALUE).await;
    }
}

pub async fn a_type_is_one_that_there_is(bench: &Bench) {
    let call = volume(bench, "gp4", 8, (None, None));
    bench.refuses(&call, FailureClass::Refused, "UnknownVolumeType").await;
}

/// Amazon EC2 User Guide, *Tag restrictions*.
pub async fn a_resource_has_fifty_tags_at_most(bench: &Bench) {
    let with = |count: usize| {
        let mut call = cloud::create_volume(bench);
        let Call::Ebs(EbsCall::CreateVolume { tags, .. }) = &mut call else { unreachable!() };
        *tags = (0..count).map(|n| (format!("k{n}"), "v".to_owned())).collect();
        call
    };
    let (class, code) = (FailureClass::Refused, "TagLimitExceeded");
    // Two are the operation's stamps.
    bench.refuses(&with(49), class, code).await;
    let volume = VolumeId(id_of(&bench.done(&with(48)).await));
    let tag = |key: &str| {
        let (key, value) = (key.to_owned(), "other".to_owned());
        Call::Ebs(EbsCall::Tag { volume: volume.clone(), key, value })
    };
    bench.refuses(&tag("one-more"), class, code).await;
    bench.done(&tag("k0")).await;
    let Some(instance) = bench.instances.first() else { return };
    // What there was before any operation carries no stamp.
    let key = |n: usize| format!("fifty-{n}");
    let tag =
        |n| Call::Ec2(Ec2Call::Tag { instance: instance.clone(), key: key(n), value: "v".into() });
    let facts = bench.observe(&Resource::Instance { id: instance.0.clone() }).await;
    let has = facts.get("tags").and_then(Value::as_object).map_or(0, serde_json::Map::len);
    for n in has..50 {
        bench.done(&tag(n)).await;
    }
    bench.refuses(&tag(50), class, code).await;
    for n in has..50 {
        bench.done(&Call::Ec2(Ec2Call::Untag { instance: instance.clone(), key: key(n) })).await;
    }
}

/// Amazon EC2 User Guide, *Tag restrictions*: counted in characters, not in bytes.
pub async fn a_tag_is_not_longer_than_ec2_takes_it(bench: &Bench) {
    let volume = cloud::volume(bench).await;
    let tag = |key: usize, value: usize| {
        let (key, value) = ("ä".repeat(key), "ä".repeat(value));
        Call::Ebs(EbsCall::Tag { volume: volume.clone(), key, value })
    };
    bench.done(&tag(128, 256)).await;
    bench.refuses(&tag(129, 1), FailureClass::Refused, VALUE).await;
    bench.refuses(&tag(1, 257), FailureClass::Refused, VALUE).await;
    let malformed = FailureClass::InvalidInput;
    bench.refuses(&tag(0, 1), malformed, "InvalidTagKey.Malformed").await;
}

/// Durations come from manifests: the longest there is are as good as any.
pub async fn no_time_is_too_long(bench: &Bench) {
    engine::clean(bench).await;
    bench.done(&engine::pull(bench)).await;
    let (name, host) = (format!("c{}", fresh()), engine::host);
    let spec = ContainerSpec { image: bench.image.clone(), ..ContainerSpec::default() };
    let container = || ContainerName(name.clone());
    let create =
        Call::Docker(DockerCall::CreateContainer { host: host(), container: container(), spec });
    bench.done(&create).await;
    bench.done(&engine::start(&name)).await;
    let timeout_ms = u64::MAX;
    for wait in [
        Call::Docker(DockerCall::WaitEngine { host: host(), timeout_ms }),
        Call::Docker(DockerCall::WaitHealthy { host: host(), container: container(), timeout_ms }),
    ] {
        bench.answer(&wait).await.unwrap_or_else(|why| panic!("{}: {why}", wait.function()));
    }
    let mut once = engine::run_once(bench);
    if let Call::Docker(DockerCall::RunOnce { timeout_ms, .. }) = &mut once {
        *timeout_ms = u64::MAX;
    }
    let context = context();
    let ran = bench.perform(&once, &context).await;
    assert!(matches!(ran, EffectOutcome::Done(_)), "{:?}: {ran:?}", bench.world);
    bench.provider.forget(&once, &context).await;
    let grace_ms = u64::MAX;
    let stop =
        Call::Docker(DockerCall::StopContainer { host: host(), container: container(), grace_ms });
    assert_eq!(bench.done(&stop).await["state"], "exited", "{:?}", bench.world);
    engine::clean(bench).await;
}

/// Docker docs, *docker container run*, *--restart*.
pub async fn a_restart_policy_is_shown_as_the_engine_has_it(bench: &Bench) {
    engine::clean(bench).await;
    bench.done(&engine::pull(bench)).await;
    let (name, host) = (format!("c{}", fresh()), engine::host);
    let restart = "on-failure:00".to_owned();
    let spec = ContainerSpec { image: bench.image.clone(), restart, ..ContainerSpec::default() };
    let container = || ContainerName(name.clone());
    bench
        .done(&Call::Docker(DockerCall::CreateContainer {
            host: host(),
            container: container(),
            spec,
        }))
        .await;
    let there = Resource::Container { host: host().0, name: name.clone() };
    let update = |restart: &str| {
        let restart = restart.to_owned();
        Call::Docker(DockerCall::UpdateContainer { host: host(), container: container(), restart })
    };
    let shown = |facts: Facts| facts.get("restart").cloned();
    assert_eq!(shown(bench.observe(&there).await), Some("on-failure".into()), "{:?}", bench.world);
    for (restart, wanted) in [
        ("on-failure:4294967295", "on-failure:4294967295"),
        ("on-failure:03", "on-failure:3"),
        ("on-failure:0", "on-failure"),
        ("always", "always"),
    ] {
        bench.done(&update(restart)).await;
        let found = shown(bench.observe(&there).await);
        assert_eq!(found, Some(wanted.into()), "{:?}: {restart}", bench.world);
        let settled = bench.provider.settle(&update(restart), &context()).await;
        assert_eq!(settled, Settled::Done(Value::Null), "{:?}: {restart}", bench.world);
    }
    for odd in ["", "on-failure:4294967296", "on-failure:-1", "always:3"] {
        bench.refuses(&update(odd), FailureClass::InvalidInput, "400").await;
    }
    engine::clean(bench).await;
}
