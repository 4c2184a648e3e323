//! What became of an effect whose answer was lost, told by looking (R3).

use super::Docker;
use super::connect::Engine;
use super::errors::{Answer, RequestError};
use super::helper::Helper;
use super::shapes::{has_run, is_running, restart_of};
use super::stamps::token_of;
use bollard::models::ImageInspect;
use serde_json::Value;
use std::collections::BTreeMap;
use stepback_core::Call;
use stepback_core::calls::{DockerCall, run_once_name};
use stepback_core::{docker_reads, docker_waits};
use stepback_provider::EffectContext;
use stepback_provider::passwords::marked;
use stepback_provider::restart::Policy;

/// The call's answer, if what it asked for is so; `None` if it is not.
pub(super) async fn settle(
    docker: &Docker,
    call: &Call,
    context: &EffectContext,
) -> Answer<Option<Value>> {
    let Some(host) = call.host() else { return Err(super::misplaced(call).into()) };
    let engine = docker.engine(host.as_str()).await?;
    let done = |is_so: bool| Ok(is_so.then_some(Value::Null));
    match call {
        Call::Docker(DockerCall::PullImage { .. })
        | Call::Docker(DockerCall::TagImage { .. })
        | Call::Docker(DockerCall::RemoveImage { .. }) => settle_image(docker, &engine, call).await,
        Call::Docker(DockerCall::CreateContainer { container, .. }) => {
            match engine.is_stamped(container.as_str(), context).await? {
                true => engine.container(container.as_str()).await,
                false => Ok(None),
            }
        }
        Call::Docker(DockerCall::StartContainer { container, .. }) => {
            let found = engine.find(container.as_str()).await?;
            match found.filter(is_running) {
                Some(found) => Ok(Some(engine.shown(&found).await?)),
                None => Ok(None),
            }
        }
        Call::Docker(DockerCall::StopContainer { container, grace_ms, .. }) => {
            engine.settle_stop(container.as_str(), *grace_ms).await
        }
        Call::Docker(DockerCall::PauseContainer { .. } | DockerCall::UnpauseContainer { .. }) => {
            engine.settle_pause(call).await
        }
        Call::Docker(DockerCall::RenameContainer { container, to, .. }) => {
            let old = engine.find(container.as_str()).await?;
            done(old.is_none() && engine.find(to.as_str()).await?.is_some())
        }
        Call::Docker(DockerCall::UpdateContainer { container, restart, .. }) => {
            let found = engine.find(container.as_str()).await?;
            done(found.is_some_and(|found| Policy::are_same(&restart_of(&found), restart)))
        }
        Call::Docker(DockerCall::RemoveContainer { container, .. }) => {
            engine.settle_removal(container.as_str()).await
        }
        Call::Docker(DockerCall::RunOnce { timeout_ms, .. }) => {
            let name = run_once_name(&context.token);
            match engine.find(&name).await? {
                // It is there and never ran: nobody wants it to any more.
                Some(found) if context.cancel.is_cancelled() && !has_run(&found) => Ok(None),
                Some(_) => engine.run_to_its_end(&name, *timeout_ms, context).await.map(Some),
                None => Ok(None),
            }
        }
        Call::Docker(DockerCall::CreateVolume { volume, options, .. }) => {
            settle_volume(&engine, volume.as_str(), options, context).await
        }
        Call::Docker(DockerCall::RemoveVolume { volume, .. }) => {
            done(engine.find_volume(volume.as_str()).await?.is_none())
        }
        Call::Docker(DockerCall::MakeFileSystem { volume, .. })
        | Call::Docker(DockerCall::GrowFileSystem { volume, .. }) => {
            let helper = docker.helper(&engine)?;
            helper.until_idle(volume.as_str(), &context.cancel).await?;
            done(is_written(&helper, call).await?)
        }
        Call::Docker(DockerCall::Exec { .. }) => {
            Err(RequestError::unknown("nothing tells whether the command ran"))
        }
        Call::Ec2(_)
        | Call::Ebs(_)
        | Call::LoadBalancer(_)
        | Call::Docker(docker_reads!() | docker_waits!())
        | Call::Effects(_)
        | Call::Clock(_) => Err(super::misplaced(call).into()),
    }
}

async fn settle_volume(
    engine: &Engine,
    volume: &str,
    options: &BTreeMap<String, String>,
    context: &EffectContext,
) -> Answer<Option<Value>> {
    let found = engine.find_volume(volume).await?;
    let ours = found.filter(|found| {
        token_of(Some(&found.labels)) == Some(context.token.0.as_str())
            || with_marks(engine.raw_options_of(found)) == with_marks(options.clone())
    });
    Ok(ours.map(|found| engine.volume_shown(&found)))
}

async fn settle_image(docker: &Docker, engine: &Engine, call: &Call) -> Answer<Option<Value>> {
    match call {
        // An older one may be there by that name, and to pull again changes nothing more; so it
        // counts as pulled only if the registry says so.
        Call::Docker(DockerCall::PullImage { image, .. }) => {
            let found = engine.image(image.as_str()).await?;
            let wanted = super::pull::digest(engine, image.as_str(), &docker.settings).await;
            Ok(found.filter(|found| wanted.is_some_and(|wanted| found["digest"] == wanted)))
        }
        Call::Docker(DockerCall::TagImage { image, digest, .. }) => {
            let found = engine.find_image(image.as_str()).await?;
            let is_it = |found: &ImageInspect| {
                let known = found.repo_digests.iter().flatten();
                let mut known = known.filter_map(|one| one.split_once('@'));
                found.id.as_ref() == Some(digest) || known.any(|(_, one)| one == digest)
            };
            Ok(found.filter(is_it).map(|_| Value::Null))
        }
        Call::Docker(DockerCall::RemoveImage { image, .. }) => {
            let is_gone = engine.find_image(image.as_str()).await?.is_none();
            Ok(is_gone.then_some(Value::Null))
        }
        other => Err(super::misplaced(other).into()),
    }
}

/// Whether a file system is as the call wants it.
async fn is_written(helper: &Helper<'_>, call: &Call) -> Answer<bool> {
    match call {
        Call::Docker(DockerCall::MakeFileSystem { volume, filesystem_type, .. }) => {
            Ok(helper.kind(volume.as_str()).await? == *filesystem_type)
        }
        Call::Docker(DockerCall::GrowFileSystem { volume, .. }) => {
            helper.is_grown(volume.as_str()).await
        }
        other => Err(super::misplaced(other).into()),
    }
}

/// Options to be compared with those of a call that a journal keeps.
fn with_marks(options: BTreeMap<String, String>) -> BTreeMap<String, String> {
    options.into_iter().map(|(key, value)| (key, marked(&value))).collect()
}
