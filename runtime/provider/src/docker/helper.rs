//! What needs a tool on the host: a short-lived container that sees its devices, and nothing of
//! its network. Only growing what is mounted, and making xfs, takes capabilities.
//!
//! Each look or change is one container, named at random, removed when it has ended. One that a
//! crash left behind carries the label [`HELPER_LABEL`] and is removed by the next one.

use super::commands::has_run;
use super::connect::Engine;
use super::errors::{Answer, Told};
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;
use stepback_core::{Failure, FailureClass};

/// The label of helper containers.
pub(super) const HELPER_LABEL: &str = "stepback.helper";
/// How long a look may take. What writes is never cut off: a file system would be left half made.
const LOOK_MS_MAX: u64 = 10 * 60_000;
const LOOK_EVERY_MS: u64 = 50;
/// Helpers of other runs may still be at work; older ones were left behind.
const LEFT_BEHIND_S: i64 = 3600;

/// The label that holds the volume that a helper writes to.
const WRITES_LABEL: &str = "stepback.helper.writes";

/// What the script exits with when the device is not there.
const NO_DEVICE: i64 = 44;
/// What the script exits with when the device holds something already.
const NOT_BLANK: i64 = 45;
/// What the script exits with when it must mount the device for that.
const MUST_BE_MOUNTED: i64 = 46;
/// What takes capabilities: to mount, and to resize what is mounted.
const GROW_MOUNTED: &str = "grow-mounted";
const GROW_CAPABILITIES: [&str; 2] = ["SYS_ADMIN", "SYS_RESOURCE"];

/// What its last line begins with; its exit code follows.
const LAST_LINE: &str = "helper: ended with ";

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

/// A file system is a little smaller than its device, whose size is in whole GiB.
fn gib(bytes: &str) -> u64 {
    bytes.parse::<u64>().unwrap_or_default().div_ceil(1 << 30)
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

    /// Whether it can run on this host at all, with its tools in it.
    pub(super) async fn check(&self) -> Answer<()> {
        let can_not = |why: &str| {
            let (image, host) = (self.image, &self.engine.host);
            let message = format!("the helper image {image} can't run on {host}: {why}");
            Told::no(FailureClass::Precondition, "helper", message)
        };
        match self.run("", "check", "").await {
            Ok(ran) if ran.code == 0 => Ok(()),
            Ok(ran) => Err(can_not(&ran.lines.join("; "))),
            // An engine that does not answer now may do so later.
            Err(told) if told.is_unknown() || told.failure.is_retryable() => Err(told),
            Err(told) => Err(can_not(&told.failure.message)),
        }
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
        Ok(json!({ "type": kind, "size_gib": gib(bytes) }))
    }

    /// Whether the file system is as large as its device.
    pub(super) async fn is_grown(&self, volume: &str) -> Answer<bool> {
        let ran = self.run(volume, "facts", "").await?;
        let lines = self.ended_well(volume, ran)?;
        let [_, bytes, device_bytes, ..] = &lines[..] else { return Ok(false) };
        Ok(gib(bytes) == gib(device_bytes))
    }

    pub(super) async fn make(&self, volume: &str, kind: &str) -> Answer<Value> {
        self.until_idle(volume).await?;
        let ran = self.run(volume, "make", kind).await?;
        self.ended_well(volume, ran)?;
        Ok(Value::Null)
    }

    pub(super) async fn grow(&self, volume: &str) -> Answer<Value> {
        self.until_idle(volume).await?;
        let mut ran = self.run(volume, "grow", "").await?;
        if ran.code == MUST_BE_MOUNTED {
            ran = self.run(volume, GROW_MOUNTED, "").await?;
        }
        self.ended_well(volume, ran)?;
        Ok(Value::Null)
    }

    /// Where the host has the volume mounted; one whose device can't be seen may be mounted.
    pub(super) async fn mounts(&self, volume: &str) -> Answer<Vec<String>> {
        let ran = self.run(volume, "mounts", "").await?;
        self.ended_well(volume, ran)
    }

    /// Wait until no helper writes to a volume: one whose runner was killed goes on without it.
    pub(super) async fn until_idle(&self, volume: &str) -> Answer<()> {
        let engine = self.engine;
        let what = format!("the containers on {}", engine.host);
        let label = format!("{WRITES_LABEL}={volume}");
        let filters = HashMap::from([("label", vec![label.as_str()]), ("status", vec!["running"])]);
        loop {
            let options = ListContainersOptionsBuilder::new().filters(&filters).build();
            let writing = engine.asked(&what, engine.client.list_containers(Some(options))).await?;
            if writing.is_empty() {
                return Ok(());
            }
            engine.clock.sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
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
        let writes = ["make", "grow", GROW_MOUNTED].contains(&what_to_do);
        let mut labels = HashMap::from([(text(HELPER_LABEL), text("yes"))]);
        if writes {
            labels.insert(text(WRITES_LABEL), text(volume));
        }
        let body = ContainerCreateBody {
            image: Some(text(self.image)),
            entrypoint: Some(vec![text("sh"), text("-c")]),
            cmd: Some(vec![text(SCRIPT)]),
            env: Some(vec![
                format!("DEVICE={}", engine.device_of(volume)),
                format!("DO={what_to_do}"),
                format!("TYPE={kind}"),
            ]),
            labels: Some(labels),
            host_config: Some(HostConfig {
                device_cgroup_rules: Some(vec![text("b *:* rwm")]),
                cap_add: Some(capabilities.iter().map(|one| text(one)).collect()),
                security_opt: is_capable.then(|| vec![text("apparmor=unconfined")]),
                pid_mode: Some(text("host")),
                network_mode: Some(text("none")),
                // Whatever the engine logs by: what it says must be heard.
                log_config: Some(HostConfigLogConfig {
                    typ: Some(text("json-file")),
                    config: Some(HashMap::new()),
                }),
                binds: Some(vec![text("/dev:/dev"), text("/:/host:ro")]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let created = engine.asked(&what, engine.client.create_container(None, body)).await?;
        let ran = self.to_its_end(&what, &created.id, writes).await;
        // What writes is removed by force only when it has ended.
        let options =
            RemoveContainerOptionsBuilder::new().force(!writes || ran.is_ok()).v(true).build();
        // One that stays is cleared away by a later helper.
        let _ = engine.client.remove_container(&created.id, Some(options)).await;
        ran
    }

    async fn to_its_end(&self, what: &str, id: &str, writes: bool) -> Answer<Ran> {
        let engine = self.engine;
        let started = engine.asked(what, engine.client.start_container(id, None)).await;
        if let Err(told) = started
            && !(writes && told.is_unknown() && self.has_started(id).await)
        {
            return Err(told);
        }
        let mut waited_ms = 0;
        loop {
            match engine.inspect(id).await {
                Ok(found) if !super::shapes::is_running(&found) => {
                    let code = found.state.and_then(|state| state.exit_code).unwrap_or_default();
                    return match self.heard(what, id, code).await {
                        // How it ended says all that counts of what it wrote.
                        Err(_) if writes && code == 0 => Ok(Ran { code, lines: vec![] }),
                        Err(told) if writes => Err(told.after_accepted()),
                        lines => Ok(Ran { code, lines: lines? }),
                    };
                }
                Ok(_) => {}
                // An engine that is restarted tells later.
                Err(told) if writes && (told.is_unknown() || told.failure.is_retryable()) => {}
                Err(told) if writes => return Err(told.after_accepted()),
                Err(told) => return Err(told),
            }
            if !writes && waited_ms >= LOOK_MS_MAX {
                return Err(Told::unknown(format!("{what} did not end in {waited_ms} ms")));
            }
            engine.clock.sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
            waited_ms = waited_ms.saturating_add(LOOK_EVERY_MS);
        }
    }

    /// All that a helper said: nothing is taken for an answer that was not heard to its end.
    async fn heard(&self, what: &str, id: &str, code: i64) -> Answer<Vec<String>> {
        let mut lines = self.engine.output(id, 50).await?;
        match lines.pop() {
            Some(last) if last == format!("{LAST_LINE}{code}") => Ok(lines),
            said => {
                lines.extend(said);
                let said = lines.join("; ");
                let message =
                    format!("{what} ended with {code}, and not all it said is heard: {said}");
                Err(Told::no(FailureClass::Refused, "unheard", message))
            }
        }
    }

    /// Whether a helper runs or ran, whose start nobody answered.
    async fn has_started(&self, id: &str) -> bool {
        let found = self.engine.inspect(id).await;
        found.is_ok_and(|found| super::shapes::is_running(&found) || has_run(&found))
    }

    /// Remove helpers that were left behind.
    async fn clear_away(&self) -> Answer<()> {
        let engine = self.engine;
        let filters = HashMap::from([("label", vec![HELPER_LABEL])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let what = format!("the containers on {}", engine.host);
        let all = engine.asked(&what, engine.client.list_containers(Some(options))).await?;
        let now_s = i64::try_from(engine.clock.unix().0 / 1000).unwrap_or(i64::MAX);
        for helper in all {
            let runs = helper.state.is_some_and(|state| state.to_string() == "running");
            let writes = helper.labels.is_some_and(|labels| labels.contains_key(WRITES_LABEL));
            if let (Some(id), Some(created)) = (helper.id, helper.created)
                && created < now_s.saturating_sub(LEFT_BEHIND_S)
                && !(runs && writes)
            {
                let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
                // The next one tries again.
                let _ = engine.client.remove_container(&id, Some(options)).await;
            }
        }
        Ok(())
    }
}
