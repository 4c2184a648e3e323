//! What a real world refuses whatever state it is in, and what it tells of things that are not
//! there: the simulator is as strict, with the same class and the same code.

use crate::bench::*;
use crate::{cloud, engine};
use stepback_core::calls::{ContainerSpec, Mount, Performance};
use stepback_core::step::EffectOutcome;
use stepback_core::*;
use stepback_provider::Settled;

fn host() -> InstanceId {
    "i-a".into()
}

fn image(bench: &Bench) -> ImageRef {
    ImageRef(bench.image.clone())
}

fn spec(bench: &Bench) -> ContainerSpec {
    ContainerSpec { image: bench.image.clone(), ..ContainerSpec::default() }
}

fn create(name: &str, spec: ContainerSpec) -> Call {
    Call::Docker(DockerCall::CreateContainer { host: host(), container: name.into(), spec })
}

fn rename(name: &str, to: &str) -> Call {
    Call::Docker(DockerCall::RenameContainer {
        host: host(),
        container: name.into(),
        to: to.into(),
    })
}

fn remove(name: &str) -> Call {
    Call::Docker(DockerCall::RemoveContainer { host: host(), container: name.into() })
}

fn docker_volume(name: &str, options: &[(&str, &str)]) -> Call {
    Call::Docker(DockerCall::CreateVolume {
        host: host(),
        volume: name.into(),
        options: tags(options),
    })
}

async fn pull(bench: &Bench) {
    bench.done(&Call::Docker(DockerCall::PullImage { host: host(), image: image(bench) })).await;
}

async fn told(bench: &Bench, call: &Call, class: FailureClass, code: Option<&str>) {
    let answer = bench.answer(call).await;
    let failure = answer.expect_err(call.function());
    let found = (failure.class, failure.code.as_deref());
    assert_eq!(found, (class, code), "{:?}: {}: {failure}", bench.world, call.function());
}

/// Docker docs, *Docker Engine API*: 400, *Bad parameter*.
pub async fn what_makes_no_sense_is_invalid_input(bench: &Bench) {
    engine::clean(bench).await;
    pull(bench).await;
    let name = format!("c{}", fresh());
    bench.done(&create(&name, spec(bench))).await;
    let restart = || "sometimes".to_owned();
    let port = |text: &str| ContainerSpec { ports: vec![text.to_owned()], ..spec(bench) };
    let other = ContainerSpec { restart: restart(), ..spec(bench) };
    let of = || ContainerName(name.clone());
    let odd = [
        create("c", spec(bench)),
        create("c/d", spec(bench)),
        create("other", other.clone()),
        create("other", port("80")),
        create("other", port("x:y")),
        Call::Docker(DockerCall::RunOnce { host: host(), spec: other, timeout_ms: 1_000 }),
        Call::Docker(DockerCall::UpdateContainer {
            host: host(),
            container: of(),
            restart: restart(),
        }),
        rename(&name, "c"),
        rename(&name, &name),
        docker_volume("v", &[]),
        docker_volume("v/w", &[]),
        docker_volume("volume", &[("nonsense", "x")]),
        Call::Docker(DockerCall::PullImage {
            host: host(),
            image: ImageRef("Not A Name".to_owned()),
        }),
    ];
    for call in &odd {
        bench.refuses(call, FailureClass::InvalidInput, "400").await;
    }
    for name in ["other", "c"] {
        let none = Resource::Container { host: host().0, name: name.to_owned() };
        assert!(bench.observe(&none).await.is_absent(), "{:?}: {name} was made", bench.world);
    }
    engine::clean(bench).await;
}

/// Docker docs, *docker container run*, *--publish*; the table of all of them is in `ports.rs`.
pub async fn a_port_is_read_as_an_engine_reads_it(bench: &Bench) {
    engine::clean(bench).await;
    pull(bench).await;
    let name = format!("c{}", fresh());
    let with = |ports: &[&str]| {
        let ports = ports.iter().map(|port| (*port).to_owned()).collect();
        create(&name, ContainerSpec { ports, ..spec(bench) })
    };
    let odd = "80: 0-10:80 8010-8000:80 80:65536 80:80-90 +80:80 80:80/icmp 80:80/ a:b:c:d \
               localhost:80:80 [::1:80:80";
    for port in odd.split_whitespace().chain(["80 :80", "80:80 "]) {
        let call = with(&["5432:5432", port]);
        bench.refuses(&call, FailureClass::InvalidInput, "400").await;
        told_by_may(bench, &call).await;
    }
    let none = Resource::Container { host: host().0, name: name.clone() };
    assert!(bench.observe(&none).await.is_absent(), "{:?}: it was made", bench.world);
    let taken = ["127.0.0.1::80", ":81", "18435-18445:82/UDP", "[::1]:18446:83/sctp"];
    let made = bench.done(&with(&taken)).await;
    let mut ports = made["ports"].as_array().expect("ports").clone();
    ports.sort_by_key(|port| port["container_port"].as_u64());
    let told = |port: &serde_json::Value| {
        let word = |name: &str| port[name].as_str().map(str::to_owned);
        (word("host_ip"), port["host_port"].as_u64(), word("protocol").unwrap_or_default())
    };
    let wanted = [
        (Some("127.0.0.1"), None, "tcp"),
        (None, None, "tcp"),
        (None, None, "udp"),
        (Some("::1"), Some(18446), "sctp"),
    ];
    let wanted = wanted.map(|(ip, port, kind)| (ip.map(str::to_owned), port, kind.to_owned()));
    assert_eq!(ports.iter().map(told).collect::<Vec<_>>(), wanted, "{:?}", bench.world);
    bench.done(&remove(&name)).await;
    engine::clean(bench).await;
}

async fn told_by_may(bench: &Bench, call: &Call) {
    let failure = bench.provider.may(call).await.expect_err(call.function());
    assert_eq!(failure.class, FailureClass::InvalidInput, "{:?}: {failure}", bench.world);
}

pub async fn an_image_that_no_registry_has_is_not_pulled(bench: &Bench) {
    let image = ImageRef(format!("{}-none", bench.image));
    let call = Call::Docker(DockerCall::PullImage { host: host(), image });
    bench.refuses(&call, FailureClass::Precondition, "404").await;
}

/// An engine knows no tokens, but what it has carries them: the same again is the same.
pub async fn a_repeated_token_makes_one_container(bench: &Bench) {
    engine::clean(bench).await;
    pull(bench).await;
    let (name, volume) = (format!("c{}", fresh()), format!("v{}", fresh()));
    let command = ["sh", "-c", "exit 3"].map(str::to_owned).to_vec();
    let once = ContainerSpec { command, ..spec(bench) };
    let once = Call::Docker(DockerCall::RunOnce { host: host(), spec: once, timeout_ms: 20_000 });
    for call in [create(&name, spec(bench)), docker_volume(&volume, &[]), once] {
        let context = context();
        let first = bench.perform(&call, &context).await;
        assert!(matches!(first, EffectOutcome::Done(_)), "{:?}: {first:?}", bench.world);
        let second = bench.perform(&call, &context).await;
        assert_eq!(first, second, "{:?}: {}", bench.world, call.function());
        let made = bench.stamped(&context.token).await;
        assert_eq!(made.len(), 1, "{:?}: {}", bench.world, call.function());
        bench.provider.forget(&call, &context).await;
    }
    bench.done(&remove(&name)).await;
    bench
        .done(&Call::Docker(DockerCall::RemoveVolume {
            host: host(),
            volume: volume.as_str().into(),
        }))
        .await;
    engine::clean(bench).await;
}

/// Whoever reads the answer sees that the command did not exit with that by itself.
pub async fn a_command_that_is_cut_off_says_so(bench: &Bench) {
    pull(bench).await;
    let command = ["sh", "-c", "trap 'exit 0' TERM; sleep 600 & wait"].map(str::to_owned).to_vec();
    let once = ContainerSpec { command, ..spec(bench) };
    let once = Call::Docker(DockerCall::RunOnce { host: host(), spec: once, timeout_ms: 600_000 });
    let context = context();
    context.cancel.cancel();
    let outcome = bench.perform(&once, &context).await;
    let EffectOutcome::Done(answer) = outcome else { panic!("{:?}: {outcome:?}", bench.world) };
    assert_eq!(answer["exit_code"], 130, "{:?}: {answer}", bench.world);
    let output = answer["output"].as_str().unwrap_or_default();
    assert_eq!(output.lines().last(), Some("stopped: its step is being ended"), "{answer}");
    // It ran, and has ended; asked for again it is not cut off once more.
    let settled = bench.provider.settle(&once, &context).await;
    let Settled::Done(answer) = settled else { panic!("{:?}: {settled:?}", bench.world) };
    assert_ne!(answer["exit_code"], 130, "{:?}: {answer}", bench.world);
    bench.provider.forget(&once, &context).await;
    engine::clean(bench).await;
}

/// A command that could not begin is refused, and so its container was not made either.
pub async fn a_command_that_can_not_begin_leaves_nothing(bench: &Bench) {
    pull(bench).await;
    let volume = cloud::volume(bench).await;
    let device =
        format!("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{}", volume.0.replace('-', ""));
    bench.done(&docker_volume(&volume.0, &[("type", "ext4"), ("device", &device)])).await;
    let mount = Mount { volume: volume.0.clone(), target: "/data".into(), read_only: false };
    let spec = ContainerSpec { mounts: vec![mount], ..spec(bench) };
    let (call, context) =
        (Call::Docker(DockerCall::RunOnce { host: host(), spec, timeout_ms: 20_000 }), context());
    let outcome = bench.perform(&call, &context).await;
    let EffectOutcome::Refused(failure) = outcome else { panic!("{:?}: {outcome:?}", bench.world) };
    assert_eq!(failure.code.as_deref(), Some("500"), "{:?}: {failure}", bench.world);
    assert_eq!(bench.stamped(&context.token).await, [], "{:?}", bench.world);
    bench
        .done(&Call::Docker(DockerCall::RemoveVolume {
            host: host(),
            volume: volume.0.as_str().into(),
        }))
        .await;
}

/// A container that was only made has not ended either.
pub async fn what_never_ran_has_no_exit_code(bench: &Bench) {
    pull(bench).await;
    let name = format!("c{}", fresh());
    let made = bench.done(&create(&name, spec(bench))).await;
    assert!(made["ended"].is_null(), "{:?}: {made}", bench.world);
    assert_eq!(made["state"], "created", "{:?}: {made}", bench.world);
    let healthy = Call::Docker(DockerCall::WaitHealthy {
        host: host(),
        container: name.as_str().into(),
        timeout_ms: 500,
    });
    told(bench, &healthy, FailureClass::Precondition, Some("not-running")).await;
    bench.done(&remove(&name)).await;
    told(bench, &healthy, FailureClass::Precondition, Some("404")).await;
    engine::clean(bench).await;
}

/// A host knows of nothing but the devices that it shows.
pub async fn what_is_not_attached_does_not_show_up(bench: &Bench) {
    let timeout_ms = 100;
    for volume in [cloud::volume(bench).await, VolumeId("vol-0123456789abcdef0".to_owned())] {
        let of = || (host(), volume.clone());
        let (host, volume) = of();
        let look = Call::Docker(DockerCall::FileSystem { host, volume });
        told(bench, &look, FailureClass::Precondition, Some("ENOENT")).await;
        let (host, volume) = of();
        let grow = Call::Docker(DockerCall::GrowFileSystem { host, volume });
        bench.refuses(&grow, FailureClass::Precondition, "ENOENT").await;
        let (host, volume) = of();
        let wait = Call::Docker(DockerCall::WaitDevice { host, volume, timeout_ms });
        told(bench, &wait, FailureClass::Deadline, None).await;
        let (host, volume) = of();
        let wait = Call::Docker(DockerCall::WaitUnmounted { host, volume, timeout_ms });
        told(bench, &wait, FailureClass::Deadline, None).await;
    }
}

pub async fn a_file_system_is_one_that_can_be_made(bench: &Bench) {
    let volume = cloud::volume(bench).await;
    bench.done(&cloud::attach(&volume, &host(), &cloud::device())).await;
    let wait = Call::Docker(DockerCall::WaitDevice {
        host: host(),
        volume: volume.clone(),
        timeout_ms: 20_000,
    });
    assert_eq!(bench.answer(&wait).await, Ok("none".into()), "{:?}", bench.world);
    let make = |kind: &str| {
        let (volume, filesystem_type) = (volume.clone(), kind.to_owned());
        Call::Docker(DockerCall::MakeFileSystem { host: host(), volume, filesystem_type })
    };
    let grow = Call::Docker(DockerCall::GrowFileSystem { host: host(), volume: volume.clone() });
    bench.refuses(&grow, FailureClass::Refused, "500").await;
    bench.refuses(&make("zfs"), FailureClass::Refused, "500").await;
    bench.done(&make("ext4")).await;
    bench.refuses(&make("ext4"), FailureClass::Refused, "EEXIST").await;
    bench.done(&cloud::detach(&volume, &host())).await;
}

/// Amazon EC2 User Guide, *Tag restrictions*: `aws:` is AWS's own; `stepback:` is ours.
pub async fn reserved_tags_are_not_written(bench: &Bench) {
    let (instance, volume) = (cloud::instance(bench, 0).await, cloud::volume(bench).await);
    for key in ["stepback:token", "aws:x"] {
        let (key, value) = (key.to_owned(), "v".to_owned());
        let create = Call::Ebs(EbsCall::CreateVolume {
            zone: bench.zone.clone(),
            size_gib: 1,
            volume_type: "gp3".into(),
            snapshot: None,
            tags: tags(&[(&key, "v")]),
            performance: Performance::default(),
            encrypted: false,
        });
        let calls = [
            Call::Ebs(EbsCall::Tag {
                volume: volume.clone(),
                key: key.clone(),
                value: value.clone(),
            }),
            Call::Ec2(Ec2Call::Tag { instance: instance.clone(), key: key.clone(), value }),
            Call::Ebs(EbsCall::Untag { volume: volume.clone(), key }),
            create,
        ];
        for call in calls {
            told_of(bench, &call, FailureClass::InvalidInput).await;
            let failure = bench.provider.may(&call).await.expect_err(call.function());
            assert_eq!(failure.class, FailureClass::InvalidInput, "{:?}: {failure}", bench.world);
        }
    }
}

async fn told_of(bench: &Bench, call: &Call, class: FailureClass) {
    let failure = bench.refused(call).await;
    assert_eq!(failure.class, class, "{:?}: {}: {failure}", bench.world, call.function());
}

/// An attachment to its own target is what an earlier request with a lost answer made.
pub async fn attaching_where_it_is_attached_is_done(bench: &Bench) {
    let (instance, volume) = (cloud::instance(bench, 0).await, cloud::volume(bench).await);
    let attach = cloud::attach(&volume, &instance, &cloud::device());
    let first = bench.done(&attach).await;
    assert_eq!(bench.done(&attach).await, first, "{:?}", bench.world);
    bench.done(&cloud::detach(&volume, &instance)).await;
}

/// Amazon EC2 API Reference, *ModifyInstanceAttribute*.
pub async fn an_instance_that_runs_keeps_its_type(bench: &Bench) {
    let instance = cloud::new_instance(bench).await;
    let set = Call::Ec2(Ec2Call::SetInstanceType { instance, instance_type: "t3.large".into() });
    bench.refuses(&set, FailureClass::Refused, "IncorrectInstanceState").await;
}

/// Amazon EC2 API Reference, *StartInstances*, *StopInstances*.
pub async fn a_terminated_instance_stays_so(bench: &Bench) {
    let instance = cloud::new_instance(bench).await;
    let of = || instance.clone();
    let (class, code) = (FailureClass::Refused, "IncorrectInstanceState");
    bench.done(&Call::Ec2(Ec2Call::Terminate { instance: of() })).await;
    bench.refuses(&Call::Ec2(Ec2Call::Start { instance: of() }), class, code).await;
    bench.refuses(&Call::Ec2(Ec2Call::Stop { instance: of() }), class, code).await;
}

/// It never comes into another state.
pub async fn a_terminated_instance_is_not_waited_for(bench: &Bench) {
    let instance = cloud::new_instance(bench).await;
    bench.done(&Call::Ec2(Ec2Call::Terminate { instance: instance.clone() })).await;
    let wait = |state: &str| {
        let (instance, state) = (instance.clone(), state.to_owned());
        Call::Ec2(Ec2Call::WaitState { instance, state, timeout_ms: 20_000 })
    };
    told(bench, &wait("running"), FailureClass::Precondition, None).await;
    let answer = bench.answer(&wait("terminated")).await.expect("it is");
    assert_eq!(answer["state"], "terminated", "{:?}", bench.world);
}

fn volume_from(bench: &Bench, snapshot: SnapshotId) -> Call {
    Call::Ebs(EbsCall::CreateVolume {
        zone: bench.zone.clone(),
        size_gib: 1,
        volume_type: "gp3".into(),
        snapshot: Some(snapshot),
        tags: tags(&[]),
        performance: Performance::default(),
        encrypted: false,
    })
}

pub async fn a_volume_comes_from_a_snapshot_that_is_there(bench: &Bench) {
    let none = volume_from(bench, SnapshotId("snap-0123456789abcdef0".to_owned()));
    bench.refuses(&none, FailureClass::Precondition, "InvalidSnapshot.NotFound").await;
}

/// Amazon EC2 API Reference, *CreateVolume*.
pub async fn a_volume_holds_its_snapshot(bench: &Bench) {
    let volume = cloud::volume(bench).await;
    bench.done(&Call::Ebs(EbsCall::ModifyVolume { volume: volume.clone(), size_gib: 2 })).await;
    let snapshot = SnapshotId(id_of(&bench.done(&cloud::snapshot_of(&volume, "own")).await));
    let small = volume_from(bench, snapshot);
    bench.refuses(&small, FailureClass::Refused, "InvalidParameterValue").await;
}

/// Amazon EC2 API Reference, *CreateVolume*, *Iops* and *Throughput*.
pub async fn a_type_takes_what_it_can_be_provisioned_with(bench: &Bench) {
    let cases = [("io2", None, None), ("gp2", Some(4_000), None), ("io1", Some(400), Some(250))];
    for (kind, iops, throughput_mibps) in cases {
        let mut call = cloud::create_volume(bench);
        let Call::Ebs(EbsCall::CreateVolume { volume_type, performance, .. }) = &mut call else {
            unreachable!()
        };
        (*volume_type, *performance) = (kind.into(), Performance { iops, throughput_mibps });
        let failure = bench.refused(&call).await;
        // EC2's code is InvalidParameterCombination; moto says InvalidParameterDependency.
        assert_eq!(failure.class, FailureClass::Refused, "{:?}: {failure}", bench.world);
    }
}

pub async fn a_call_that_is_nobodys_is_a_defect(bench: &Bench) {
    for call in [
        Call::Clock(ClockCall::Now {}),
        Call::Effects(EffectsCall::Reverse { effect: "x".to_owned() }),
    ] {
        let failure = bench.provider.read(&call).await.expect_err(call.function());
        assert_eq!(failure.class, FailureClass::Internal, "{:?}: {failure}", bench.world);
    }
}

/// Whoever does not refuse an older runner's requests says how long they can still take effect.
pub async fn a_takeover_waits_out_what_is_not_refused(bench: &Bench) {
    let refuses_all = bench.world == World::Simulated;
    assert_eq!(bench.provider.request_ms_max() == 0, refuses_all, "{:?}", bench.world);
}
