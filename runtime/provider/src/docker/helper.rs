//! What needs a tool on the host: a short-lived container that sees its devices, and nothing of
//! its network. Only growing what is mounted, and making xfs, takes capabilities.
//!
//! Each look or change is one container, named at random, removed when it has ended. One that a
//! crash left behind carries the label [`HELPER_LABEL`] and is removed by the next one.

use super::connect::Engine;
use super::errors::{Answer, Told};
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;
use stepback_core::{Failure, FailureClass};

/// The label of helper containers.
pub(super) const HELPER_LABEL: &str = "stepback.helper";
/// Growing a large file system takes minutes.
const HELPER_MS_MAX: u64 = 10 * 60_000;
const LOOK_EVERY_MS: u64 = 50;
/// Helpers of other runs may still be at work; older ones were left behind.
const LEFT_BEHIND_S: i64 = 3600;

/// What the script exits with when the device is not there.
const NO_DEVICE: i64 = 44;
/// What the script exits with when the device holds something already.
const NOT_BLANK: i64 = 45;
/// What the script exits with when it must mount the device for that.
const MUST_BE_MOUNTED: i64 = 46;
/// What takes capabilities: to mount, and to resize what is mounted.
const GROW_MOUNTED: &str = "grow-mounted";
const GROW_CAPABILITIES: [&str; 2] = ["SYS_ADMIN", "SYS_RESOURCE"];

const SCRIPT: &str = include_str!("helper.sh");

/// A helper for one host.
pub(super) struct Helper<'a> {
    engine: &'a Engine,
    image: &'a str,
}

/// What a helper printed, and how it ended.
struct Ran {
    code: i64,
    lines: Vec<String>,
}

impl<'a> Helper<'a> {
    pub(super) fn on(engine: &'a Engine, image: Option<&'a str>) -> Result<Self, Failure> {
        let Some(image) = image else {
            let message = format!(
                "what is on a volume can't be looked at on {}: name an image with e2fsprogs and \
                 util-linux as `helper_image` in the environment's `docker` table",
                engine.host
            );
            return Err(Failure::new(FailureClass::Precondition, message).with_code("no-helper"));
        };
        Ok(Self { engine, image })
    }

    pub(super) fn image(&self) -> &'a str {
        self.image
    }

    /// The file system on a volume, `none` if it is blank.
    pub(super) async fn kind(&self, volume: &str) -> Answer<String> {
        let ran = self.run(volume, "kind", "").await?;
        let ran = self.ended_well(volume, ran)?;
        Ok(ran.into_iter().next().unwrap_or_else(|| "none".to_owned()))
    }

    /// Its kind and size; nothing if the volume is blank or not on this host.
    pub(super) async fn facts(&self, volume: &str) -> Answer<Value> {
        let ran = self.run(volume, "facts", "").await?;
        if ran.code == NO_DEVICE {
            return Ok(Value::Null);
        }
        let lines = self.ended_well(volume, ran)?;
        let [kind, bytes, ..] = &lines[..] else { return Ok(Value::Null) };
        // A file system is a little smaller than its device.
        let size_gib = bytes.parse::<u64>().unwrap_or_default().div_ceil(1 << 30);
        Ok(json!({ "type": kind, "size_gib": size_gib }))
    }

    pub(super) async fn make(&self, volume: &str, kind: &str) -> Answer<Value> {
        let ran = self.run(volume, "make", kind).await?;
        self.ended_well(volume, ran)?;
        Ok(Value::Null)
    }

    pub(super) async fn grow(&self, volume: &str) -> Answer<Value> {
        let mut ran = self.run(volume, "grow", "").await?;
        if ran.code == MUST_BE_MOUNTED {
            ran = self.run(volume, GROW_MOUNTED, "").await?;
        }
        self.ended_well(volume, ran)?;
        Ok(Value::Null)
    }

    /// Where the host has the volume mounted.
    pub(super) async fn mounts(&self, volume: &str) -> Answer<Vec<String>> {
        let ran = self.run(volume, "mounts", "").await?;
        match ran.code {
            NO_DEVICE => Ok(vec![]),
            _ => self.ended_well(volume, ran),
        }
    }

    fn ended_well(&self, volume: &str, ran: Ran) -> Answer<Vec<String>> {
        let host = &self.engine.host;
        let (class, code, message) = match ran.code {
            0 => return Ok(ran.lines),
            NO_DEVICE => (
                FailureClass::Precondition,
                "ENOENT",
                format!("volume `{volume}` does not show up on {host}: is it attached?"),
            ),
            NOT_BLANK => (
                FailureClass::Refused,
                "EEXIST",
                format!("volume `{volume}` holds something already; it is not formatted"),
            ),
            code => (
                FailureClass::Refused,
                "500",
                format!("volume `{volume}` on {host}: exit {code}: {}", ran.lines.join("; ")),
            ),
        };
        Err(Told::no(class, code, message))
    }

    async fn run(&self, volume: &str, what_to_do: &str, kind: &str) -> Answer<Ran> {
        self.clear_away().await?;
        let engine = self.engine;
        let what = format!("the helper {} on {}", self.image, engine.host);
        let text = |text: &str| text.to_owned();
        // mkfs.xfs sets the device's block size, which takes SYS_ADMIN (ioctl BLKBSZSET).
        let capabilities: &[&str] = match (what_to_do, kind) {
            (GROW_MOUNTED, _) => &GROW_CAPABILITIES,
            ("make", "xfs") => &GROW_CAPABILITIES[..1],
            _ => &[],
        };
        let is_capable = !capabilities.is_empty();
        let body = ContainerCreateBody {
            image: Some(text(self.image)),
            entrypoint: Some(vec![text("sh"), text("-c")]),
            cmd: Some(vec![text(SCRIPT)]),
            env: Some(vec![
                format!("DEVICE={}", engine.device_of(volume)),
                format!("DO={what_to_do}"),
                format!("TYPE={kind}"),
            ]),
            labels: Some(HashMap::from([(text(HELPER_LABEL), text("yes"))])),
            host_config: Some(HostConfig {
                device_cgroup_rules: Some(vec![text("b *:* rwm")]),
                cap_add: Some(capabilities.iter().map(|one| text(one)).collect()),
                security_opt: is_capable.then(|| vec![text("apparmor=unconfined")]),
                pid_mode: Some(text("host")),
                network_mode: Some(text("none")),
                binds: Some(vec![text("/dev:/dev"), text("/:/host:ro")]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let created = engine.asked(&what, engine.client.create_container(None, body)).await?;
        let ran = self.to_its_end(&what, &created.id).await;
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        // One that stays is cleared away by a later helper.
        let _ = engine.client.remove_container(&created.id, Some(options)).await;
        ran
    }

    async fn to_its_end(&self, what: &str, id: &str) -> Answer<Ran> {
        let engine = self.engine;
        engine.asked(what, engine.client.start_container(id, None)).await?;
        let mut waited_ms = 0;
        loop {
            let found = engine.inspect(id).await?;
            if !super::shapes::is_running(&found) {
                let code = found.state.and_then(|state| state.exit_code).unwrap_or_default();
                return Ok(Ran { code, lines: engine.output(id, 50).await? });
            }
            if waited_ms >= HELPER_MS_MAX {
                return Err(Told::unknown(format!("{what} did not end in {waited_ms} ms")));
            }
            tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
            waited_ms += LOOK_EVERY_MS;
        }
    }

    /// Remove helpers that were left behind.
    async fn clear_away(&self) -> Answer<()> {
        let engine = self.engine;
        let filters = HashMap::from([("label", vec![HELPER_LABEL])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let what = format!("the containers on {}", engine.host);
        let all = engine.asked(&what, engine.client.list_containers(Some(options))).await?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now_s = now.map_or(0, |now| now.as_secs() as i64);
        for helper in all {
            if let (Some(id), Some(created)) = (helper.id, helper.created)
                && created < now_s - LEFT_BEHIND_S
            {
                let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
                // The next one tries again.
                let _ = engine.client.remove_container(&id, Some(options)).await;
            }
        }
        Ok(())
    }
}
