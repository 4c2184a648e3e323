//! Docker Engines and the devices of their hosts.

use crate::bench::*;
use crate::cloud;
use serde_json::Value;
use std::collections::BTreeMap;
use stepback_core::calls::{ContainerSpec, Mount};
use stepback_core::step::EffectOutcome;
use stepback_core::*;
use stepback_provider::Settled;

pub fn host() -> InstanceId {
    "i-a".into()
}

fn has_engine(bench: &Bench) -> bool {
    bench.serves("docker.inspect-container")
}

fn has_devices(bench: &Bench) -> bool {
    bench.serves("docker.wait-device")
}

pub fn image(bench: &Bench) -> ImageRef {
    ImageRef(bench.image.clone())
}

pub fn pull(bench: &Bench) -> Call {
    Call::Docker(DockerCall::PullImage { host: host(), image: image(bench) })
}

pub fn create_volume(name: &str, options: &[(&str, &str)]) -> Call {
    Call::Docker(DockerCall::CreateVolume {
        host: host(),
        volume: name.into(),
        options: tags(options),
    })
}

pub fn create(bench: &Bench, name: &str, volume: &str) -> Call {
    let mount = Mount { volume: volume.to_owned(), target: "/data".to_owned(), read_only: false };
    let spec = ContainerSpec {
        image: bench.image.clone(),
        env: BTreeMap::from([("KEY".to_owned(), "value".to_owned())]),
        mounts: vec![mount],
        restart: "no".to_owned(),
        ..ContainerSpec::default()
    };
    Call::Docker(DockerCall::CreateContainer { host: host(), container: name.into(), spec })
}

pub fn start(name: &str) -> Call {
    Call::Docker(DockerCall::StartContainer { host: host(), container: name.into() })
}

pub fn stop(name: &str) -> Call {
    Call::Docker(DockerCall::StopContainer {
        host: host(),
        container: name.into(),
        grace_ms: 5_000,
    })
}

pub fn pause(name: &str) -> Call {
    Call::Docker(DockerCall::PauseContainer { host: host(), container: name.into() })
}

pub fn unpause(name: &str) -> Call {
    Call::Docker(DockerCall::UnpauseContainer { host: host(), container: name.into() })
}

pub fn remove(name: &str) -> Call {
    Call::Docker(DockerCall::RemoveContainer { host: host(), container: name.into() })
}

pub fn remove_volume(name: &str) -> Call {
    Call::Docker(DockerCall::RemoveVolume { host: host(), volume: name.into() })
}

pub fn rename(name: &str, to: &str) -> Call {
    Call::Docker(DockerCall::RenameContainer {
        host: host(),
        container: name.into(),
        to: to.into(),
    })
}

pub fn exec(name: &str, command: &[&str]) -> Call {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    Call::Docker(DockerCall::Exec {
        host: host(),
        container: name.into(),
        command,
        timeout_ms: 20_000,
    })
}

pub fn run_once(bench: &Bench) -> Call {
    let spec = ContainerSpec {
        image: bench.image.clone(),
        command: vec!["sleep".to_owned(), "0".to_owned()],
        ..ContainerSpec::default()
    };
    Call::Docker(DockerCall::RunOnce { host: host(), spec, timeout_ms: 20_000 })
}

/// Another name of the image that is pulled.
fn other_name() -> ImageRef {
    ImageRef("conformance/other:1".to_owned())
}

async fn is_here(bench: &Bench, image: ImageRef) -> bool {
    let here = Call::Docker(DockerCall::InspectImage { host: host(), image });
    !bench.answer(&here).await.expect("an answer").is_null()
}

/// Take everything away that cases left, the images last.
pub async fn clean(bench: &Bench) {
    if !has_engine(bench) {
        return;
    }
    let all = bench
        .answer(&Call::Docker(DockerCall::ListContainers { host: host() }))
        .await
        .expect("a list");
    for container in all.as_array().expect("a list") {
        let name = container["name"].as_str().expect("a name");
        if container["state"] == "running" {
            bench.done(&stop(name)).await;
        }
        bench.done(&remove(name)).await;
    }
    for image in [other_name(), image(bench)] {
        if is_here(bench, image.clone()).await {
            bench.done(&Call::Docker(DockerCall::RemoveImage { host: host(), image })).await;
        }
    }
}

/// A container that does not run yet, on a Docker volume of its own; their names.
pub async fn container(bench: &Bench) -> (String, String) {
    let (name, volume) = (format!("c{}", fresh()), format!("v{}", fresh()));
    bench.done(&pull(bench)).await;
    bench.done(&create_volume(&volume, &[])).await;
    bench.done(&create(bench, &name, &volume)).await;
    (name, volume)
}

/// One of each effect, in an order in which each builds on those before it.
pub async fn effects(bench: &Bench) -> Vec<Effect> {
    if !has_engine(bench) {
        return vec![];
    }
    let digest = bench.done(&pull(bench)).await["digest"].as_str().unwrap_or_default().to_owned();
    let tag = Call::Docker(DockerCall::TagImage { host: host(), image: other_name(), digest });
    clean(bench).await;
    let (name, to) = (format!("c{}", fresh()), format!("d{}", fresh()));
    let volume = format!("v{}", fresh());
    let restart = "unless-stopped".to_owned();
    let update = Call::Docker(DockerCall::UpdateContainer {
        host: host(),
        container: to.as_str().into(),
        restart,
    });
    let remove_image = Call::Docker(DockerCall::RemoveImage { host: host(), image: image(bench) });
    vec![
        effect(pull(bench), "POST /images/create"),
        effect(tag, "POST /images/*/tag"),
        effect(create_volume(&volume, &[]), "POST /volumes/create"),
        effect(create(bench, &name, &volume), "POST /containers/create"),
        effect(rename(&name, &to), "POST /containers/*/rename"),
        effect(start(&to), "POST /containers/*/start"),
        effect(update, "POST /containers/*/update"),
        effect(exec(&to, &["sleep", "0"]), "POST /exec/*/start"),
        effect(pause(&to), "POST /containers/*/pause"),
        effect(unpause(&to), "POST /containers/*/unpause"),
        effect(stop(&to), "POST /containers/*/stop"),
        effect(remove(&to), "DELETE /containers/*"),
        effect(run_once(bench), "POST /containers/create"),
        effect(remove_volume(&volume), "DELETE /volumes/*"),
        effect(remove_image, "DELETE /images/*"),
    ]
}

/// A volume of the cloud's, attached to the host.
async fn attached(bench: &Bench) -> VolumeId {
    let volume = cloud::volume(bench).await;
    bench.done(&cloud::attach(&volume, &host(), &cloud::device())).await;
    let wait = Call::Docker(DockerCall::WaitDevice {
        host: host(),
        volume: volume.clone(),
        timeout_ms: 20_000,
    });
    assert_eq!(bench.answer(&wait).await, Ok("none".into()), "{:?}: it is blank", bench.world);
    volume
}

fn make_file_system(volume: &VolumeId) -> Call {
    let filesystem_type = "ext4".to_owned();
    Call::Docker(DockerCall::MakeFileSystem {
        host: host(),
        volume: volume.clone(),
        filesystem_type,
    })
}

pub async fn effects_on_devices(bench: &Bench) -> Vec<Effect> {
    if !has_devices(bench) {
        return vec![];
    }
    let (blank, small) = (attached(bench).await, attached(bench).await);
    bench.done(&make_file_system(&small)).await;
    bench.done(&Call::Ebs(EbsCall::ModifyVolume { volume: small.clone(), size_gib: 2 })).await;
    let grow = Call::Docker(DockerCall::GrowFileSystem { host: host(), volume: small });
    vec![
        effect(make_file_system(&blank), "POST /containers/*/start"),
        effect(grow, "POST /containers/*/start"),
    ]
}

/// Every look, each with its answer, and the effects they look at.
pub async fn story(bench: &Bench) -> Vec<(&'static str, Value)> {
    if !has_engine(bench) {
        return vec![];
    }
    let mut told = vec![];
    for Effect { call, .. } in effects(bench).await {
        let context = context();
        let EffectOutcome::Done(answer) = bench.perform(&call, &context).await else {
            panic!("{:?}: {}", bench.world, call.function())
        };
        bench.provider.forget(&call, &context).await;
        told.push((call.function(), answer));
    }
    let (name, volume) = container(bench).await;
    let container = || ContainerName(name.clone());
    bench.done(&start(&name)).await;
    let mut calls = vec![
        Call::Docker(DockerCall::WaitEngine { host: host(), timeout_ms: 30_000 }),
        Call::Docker(DockerCall::WaitHealthy {
            host: host(),
            container: container(),
            timeout_ms: 30_000,
        }),
        Call::Docker(DockerCall::InspectContainer { host: host(), container: container() }),
        Call::Docker(DockerCall::ListContainers { host: host() }),
        Call::Docker(DockerCall::InspectImage { host: host(), image: image(bench) }),
        Call::Docker(DockerCall::InspectVolume { host: host(), volume: volume.as_str().into() }),
        Call::Docker(DockerCall::Logs { host: host(), container: container(), tail_lines: 3 }),
        Call::Docker(DockerCall::CheckHelper { host: host() }),
    ];
    if has_devices(bench) {
        let on = attached(bench).await;
        let (of, timeout_ms) = (on.clone(), 20_000);
        calls.extend([
            make_file_system(&on),
            Call::Docker(DockerCall::FileSystem { host: host(), volume: on.clone() }),
            Call::Docker(DockerCall::WaitDevice { host: host(), volume: on.clone(), timeout_ms }),
            Call::Docker(DockerCall::WaitUnmounted {
                host: host(),
                volume: on.clone(),
                timeout_ms,
            }),
            Call::Ebs(EbsCall::ModifyVolume { volume: of.clone(), size_gib: 2 }),
            Call::Docker(DockerCall::GrowFileSystem { host: host(), volume: of.clone() }),
            cloud::detach(&on, &host()),
        ]);
    }
    for call in calls {
        let answer = bench.answer(&call).await;
        let answer = answer.unwrap_or_else(|failure| panic!("{}: {failure:?}", call.function()));
        told.push((call.function(), answer));
    }
    clean(bench).await;
    bench.done(&remove_volume(&volume)).await;
    told
}

/// One of each kind, with the token that made it.
pub async fn resources(bench: &Bench) -> Vec<(Resource, Option<Token>)> {
    if !has_engine(bench) {
        return vec![];
    }
    bench.done(&pull(bench)).await;
    let host_name = || host().0;
    let mut made = vec![(Resource::Image { host: host_name(), image: bench.image.clone() }, None)];
    let (name, volume) = (format!("c{}", fresh()), format!("v{}", fresh()));
    for call in [create_volume(&volume, &[]), create(bench, &name, &volume)] {
        let context = context();
        let outcome = bench.perform(&call, &context).await;
        assert!(matches!(outcome, EffectOutcome::Done(_)), "{outcome:?}");
        let (host, name) = (host_name(), name.clone());
        let resource = match call {
            Call::Docker(DockerCall::CreateVolume { .. }) => {
                Resource::DockerVolume { host, name: volume.clone() }
            }
            _ => Resource::Container { host, name },
        };
        made.push((resource, Some(context.token)));
    }
    if has_devices(bench) {
        let on = attached(bench).await;
        bench.done(&make_file_system(&on)).await;
        made.push((Resource::FileSystem { host: host_name(), volume: on.0 }, None));
    }
    made
}

pub fn of_nothing(bench: &Bench) -> Vec<Call> {
    if !has_engine(bench) {
        return vec![];
    }
    vec![
        Call::Docker(DockerCall::InspectContainer { host: host(), container: "none".into() }),
        Call::Docker(DockerCall::InspectImage {
            host: host(),
            image: ImageRef("none:1".to_owned()),
        }),
        Call::Docker(DockerCall::InspectVolume { host: host(), volume: "none".into() }),
        Call::Docker(DockerCall::Logs { host: host(), container: "none".into(), tail_lines: 1 }),
        start("none"),
        stop("none"),
        remove("none"),
        pause("none"),
        unpause("none"),
        rename("none", "other"),
        exec("none", &["sleep", "0"]),
        remove_volume("none"),
        Call::Docker(DockerCall::RemoveImage {
            host: host(),
            image: ImageRef("none:1".to_owned()),
        }),
        Call::Docker(DockerCall::TagImage {
            host: host(),
            image: other_name(),
            digest: "sha256:00".to_owned(),
        }),
    ]
}

pub fn nothing(bench: &Bench) -> Vec<Resource> {
    if !has_engine(bench) {
        return vec![];
    }
    let name = || "none".to_owned();
    vec![
        Resource::Container { host: host().0, name: name() },
        Resource::Image { host: host().0, image: "none:1".to_owned() },
        Resource::DockerVolume { host: host().0, name: name() },
    ]
}

pub async fn names_are_used_once(bench: &Bench) {
    let (one, volume) = container(bench).await;
    let other = format!("c{}", fresh());
    bench.done(&create(bench, &other, &volume)).await;
    bench.refuses(&create(bench, &one, &volume), FailureClass::Refused, "409").await;
    bench.refuses(&rename(&one, &other), FailureClass::Refused, "409").await;
    for name in ["c", "-c", "a/b"] {
        let invalid = create(bench, name, &volume);
        bench.refuses(&invalid, FailureClass::InvalidInput, "400").await;
    }
    clean(bench).await;
}

pub async fn what_runs_or_is_in_use_is_not_removed(bench: &Bench) {
    let (name, volume) = container(bench).await;
    bench.done(&start(&name)).await;
    bench.refuses(&remove(&name), FailureClass::Refused, "409").await;
    bench.refuses(&remove_volume(&volume), FailureClass::Refused, "409").await;
    let remove_image = Call::Docker(DockerCall::RemoveImage { host: host(), image: image(bench) });
    bench.refuses(&remove_image, FailureClass::Refused, "409").await;
    // What runs is started, and what has stopped is stopped.
    bench.done(&start(&name)).await;
    bench.done(&stop(&name)).await;
    bench.done(&stop(&name)).await;
    bench.refuses(&remove_volume(&volume), FailureClass::Refused, "409").await;
    clean(bench).await;
    bench.done(&remove_volume(&volume)).await;
}

/// A volume that is not there would be made, empty, and the database in it would be a new one.
pub async fn a_container_needs_its_image_and_its_volumes(bench: &Bench) {
    clean(bench).await;
    let volume = format!("v{}", fresh());
    bench.done(&create_volume(&volume, &[])).await;
    let make = create(bench, "made", &volume);
    bench.refuses(&make, FailureClass::Precondition, "404").await;
    bench.done(&pull(bench)).await;
    let without = create(bench, "made", "none");
    bench.refuses(&without, FailureClass::Precondition, "404").await;
    let none = Resource::DockerVolume { host: host().0, name: "none".to_owned() };
    assert!(bench.observe(&none).await.is_absent(), "{:?}: it was made", bench.world);
    bench.done(&make).await;
    clean(bench).await;
}

pub async fn a_command_needs_a_container_that_runs(bench: &Bench) {
    let (name, _) = container(bench).await;
    bench.refuses(&exec(&name, &["sleep", "0"]), FailureClass::Refused, "409").await;
    bench.done(&start(&name)).await;
    let answer = bench.done(&exec(&name, &["sleep", "0"])).await;
    assert_eq!(answer["exit_code"], 0, "{:?}", bench.world);
    clean(bench).await;
}

/// Docker answers *created* for a volume that is there, and keeps its options.
pub async fn a_volume_keeps_its_options(bench: &Bench) {
    let name = format!("v{}", fresh());
    let options = [("type", "tmpfs"), ("device", "tmpfs")];
    let first = bench.done(&create_volume(&name, &options)).await;
    assert_eq!(bench.done(&create_volume(&name, &options)).await, first, "{:?}", bench.world);
    bench.refuses(&create_volume(&name, &[]), FailureClass::Refused, "409").await;
    bench.done(&remove_volume(&name)).await;
}

/// A container on an EBS volume.
async fn on_device(bench: &Bench, kind: &str) -> (VolumeId, String) {
    let volume = attached(bench).await;
    bench.done(&make_file_system(&volume)).await;
    let device =
        format!("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{}", volume.0.replace('-', ""));
    let options = [("type", kind), ("device", device.as_str())];
    bench.done(&pull(bench)).await;
    bench.done(&create_volume(&volume.0, &options)).await;
    let name = format!("c{}", fresh());
    bench.done(&create(bench, &name, &volume.0)).await;
    (volume, name)
}

pub async fn a_container_starts_only_on_its_device(bench: &Bench) {
    let (volume, name) = on_device(bench, "ext4").await;
    bench.done(&start(&name)).await;
    let detach = cloud::detach(&volume, &host());
    bench.refuses(&detach, FailureClass::Refused, "IncorrectState").await;
    bench.done(&stop(&name)).await;
    bench.done(&detach).await;
    bench.refuses(&start(&name), FailureClass::Refused, "500").await;
    let (_, name) = on_device(bench, "xfs").await;
    bench.refuses(&start(&name), FailureClass::Refused, "500").await;
    clean(bench).await;
}

pub async fn only_what_is_blank_gets_a_file_system(bench: &Bench) {
    let volume = attached(bench).await;
    bench.done(&make_file_system(&volume)).await;
    let failure = bench.refused(&make_file_system(&volume)).await;
    assert_eq!(failure.class, FailureClass::Refused, "{:?}: {failure}", bench.world);
    let kind = Call::Docker(DockerCall::FileSystem { host: host(), volume: volume.clone() });
    assert_eq!(bench.answer(&kind).await, Ok("ext4".into()));
    bench.done(&cloud::detach(&volume, &host())).await;
    // What the host does not show has no file system there, and nothing tells what became of it.
    let there = Resource::FileSystem { host: host().0, volume: volume.0.clone() };
    assert!(bench.observe(&there).await.is_absent(), "{:?}: {volume} is detached", bench.world);
    for call in [
        make_file_system(&volume),
        Call::Docker(DockerCall::GrowFileSystem { host: host(), volume }),
    ] {
        let failure = bench.refused(&call).await;
        assert_eq!(failure.class, FailureClass::Precondition, "{:?}: {failure}", bench.world);
        let settled = bench.provider.settle(&call, &context()).await;
        assert!(matches!(settled, Settled::CantKnow(_)), "{:?}: {settled:?}", bench.world);
    }
}
