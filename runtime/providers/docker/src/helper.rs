//! What needs a tool on the host: a container that sees its devices, and nothing of its network or
//! its files. Only growing what is mounted, and making xfs, takes capabilities.
//!
//! Looks are asked of one that stays ([`Resident`]). Each change is one container, named at random,
//! removed when it has ended, so that what it wrote can be told whoever made it is killed. What a
//! crash left behind carries the label [`HELPER_LABEL`] and is removed by the next one.

use super::DockerSettings;
use super::connect::Engine;
use super::connect::Resident;
use super::errors::{Answer, RequestError};
use super::leftovers::HelperGuard;
use super::resident::Ran;
use super::script::{HELPER_LABEL, SCRIPT, WRITES_LABEL, is_helper};
use super::sockets::Sockets;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::ListContainersOptionsBuilder;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;
use stepback_core::{Failure, FailureClass};
use stepback_provider::EffectContext;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY_MS: u64 = 50;
/// So long a new helper waits for those that were lost to be removed.
const LOST_MS_MAX: u64 = 1_000;
/// What the script exits with when the device is not there.
const NO_DEVICE: i64 = 44;
/// What the script exits with when the device holds something already.
const NOT_BLANK: i64 = 45;
/// What the script exits with when it had begun to write, and could not go on.
const HALF_DONE: i64 = 47;
/// What the script exits with when it must mount the device for that.
const MUST_BE_MOUNTED: i64 = 46;
const IS_MOUNTED: i64 = 48;
/// What takes capabilities: to mount, and to resize what is mounted.
const GROW_MOUNTED: &str = "grow-mounted";
const MOUNT: &str = "SYS_ADMIN";
/// What only ext4 asks for to grow while it is mounted (Linux, *fs/ext4/resize.c*): not every
/// engine has it to give.
const RESIZE_EXT4: &str = "SYS_RESOURCE";
/// So often a file system is looked at again that is mounted: a process that is just starting, or
/// has not ended yet, may have it so for a moment.
const MOUNTED_LOOKS: u32 = 5;

/// What its last line begins with; its exit code follows.
const LAST_LINE: &str = "helper: ended with ";

/// A helper for one host.
pub(super) struct Helper<'a> {
    pub(super) engine: &'a Engine,
    image: &'a str,
    run_by: &'a str,
}

/// A file system is a little smaller than its device, whose size is in whole GiB.
fn gib(bytes: &str) -> u64 {
    bytes.parse::<u64>().unwrap_or_default().div_ceil(1 << 30)
}

impl<'a> Helper<'a> {
    pub(super) fn on(engine: &'a Engine, settings: &'a DockerSettings) -> Result<Self, Failure> {
        let Some(image) = settings.helper_image.as_deref() else {
            let message = format!(
                "what is on a volume can't be looked at on {}: name an image with e2fsprogs and \
                 util-linux as `helper_image` in the environment's `docker` table",
                engine.host
            );
            return Err(Failure::new(FailureClass::Precondition, message).with_code("no-helper"));
        };
        Ok(Self { engine, image, run_by: &settings.run_by })
    }

    pub(super) fn image(&self) -> &'a str {
        self.image
    }

    /// Whether it can run on this host at all, with its tools in it.
    pub(super) async fn check(&self) -> Answer<()> {
        let can_not = |why: &str| {
            let (image, host) = (self.image, &self.engine.host);
            let message = format!("the helper image {image} can't run on {host}: {why}");
            RequestError::no(FailureClass::Precondition, "helper", message)
        };
        match self.ask("check", "").await {
            Ok(ran) if ran.code == 0 => Ok(()),
            Ok(ran) => Err(can_not(&ran.lines.join("; "))),
            // An engine that does not answer now may do so later.
            Err(told) if told.is_unknown() || told.failure.is_retryable() => Err(told),
            Err(told) => Err(can_not(&told.failure.message)),
        }
    }

    /// Whether it has what makes and grows this kind of file system.
    pub(super) async fn check_tools(&self, kind: &str) -> Answer<()> {
        let ran = self.ask("tools", kind).await?;
        if ran.code == 0 {
            return Ok(());
        }
        let (image, host, why) = (self.image, &self.engine.host, ran.lines.join("; "));
        let message = format!("the helper image {image} on {host} can't write {kind}: {why}");
        Err(RequestError::no(FailureClass::Precondition, "helper", message))
    }

    /// What of the host's network is in use.
    pub(super) async fn sockets(&self) -> Answer<Sockets> {
        let ran = self.ask("sockets", "").await?;
        Ok(Sockets::read(&ran.lines))
    }

    /// `UUID DEVICE` of the file system on a device of the host; without one, of all xfs that are
    /// mounted there.
    pub(super) async fn xfs_uuids(&self, device: Option<&str>) -> Answer<Vec<String>> {
        let device = match device {
            None => String::new(),
            Some(device) if device.starts_with("/dev/") => device.to_owned(),
            // A onebox's links only this machine can follow; others nobody can.
            Some(device) => match std::fs::canonicalize(device) {
                Ok(device) if device.starts_with("/dev") => device.display().to_string(),
                Ok(_) | Err(_) => return Ok(vec![]),
            },
        };
        let ran = self.ask("xfs-uuids", &device).await?;
        Ok(if ran.code == 0 { ran.lines } else { vec![] })
    }

    /// The file system on a volume, `none` if it is blank.
    pub(super) async fn kind(&self, volume: &str) -> Answer<String> {
        let ran = self.look(volume, "kind").await?;
        let ran = self.ended_well(volume, ran)?;
        Ok(ran.into_iter().next().unwrap_or_else(|| "none".to_owned()))
    }

    /// Its kind and size; nothing if the volume is blank or not on this host.
    pub(super) async fn facts(&self, volume: &str) -> Answer<Value> {
        let ran = self.look(volume, "facts").await?;
        if ran.code == NO_DEVICE {
            return Ok(Value::Null);
        }
        let lines = self.ended_well(volume, ran)?;
        let [kind, bytes, ..] = &lines[..] else { return Ok(Value::Null) };
        Ok(json!({ "type": kind, "size_gib": gib(bytes) }))
    }

    /// Whether the file system is as large as its device.
    pub(super) async fn is_grown(&self, volume: &str) -> Answer<bool> {
        let ran = self.look(volume, "facts").await?;
        let lines = self.ended_well(volume, ran)?;
        let [_, bytes, device_bytes, ..] = &lines[..] else { return Ok(false) };
        Ok(gib(bytes) == gib(device_bytes))
    }

    pub(super) async fn make(
        &self,
        volume: &str,
        kind: &str,
        context: &EffectContext,
    ) -> Answer<Value> {
        self.until_idle(volume, &context.cancel).await?;
        let ran = self.run(volume, "make", kind).await?;
        self.ended_well(volume, ran)?;
        Ok(Value::Null)
    }

    pub(super) async fn grow(&self, volume: &str, context: &EffectContext) -> Answer<Value> {
        self.until_idle(volume, &context.cancel).await?;
        let mut ran = self.run(volume, "grow", "").await?;
        let mut looked = 1;
        while ran.code == IS_MOUNTED && looked < MOUNTED_LOOKS {
            self.engine.clock.sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
            ran = self.run(volume, "grow", "").await?;
            looked += 1;
        }
        let kind = match ran.code {
            IS_MOUNTED => "ext4",
            MUST_BE_MOUNTED => "",
            _ => return self.ended_well(volume, ran).map(|_| Value::Null),
        };
        let grown = self.run(volume, GROW_MOUNTED, kind).await.map_err(|told| {
            let by = ran.lines.join("; ");
            told.saying(|message| match by.is_empty() {
                true => message.to_owned(),
                false => format!("{message} (the file system of `{volume}` is mounted: {by})"),
            })
        })?;
        self.ended_well(volume, grown)?;
        Ok(Value::Null)
    }

    /// Where the host has the volume mounted, in any mount namespace, or what holds it; one whose
    /// device can't be seen may be mounted.
    pub(super) async fn mounts(&self, volume: &str) -> Answer<Vec<String>> {
        let ran = self.look(volume, "mounts").await?;
        let lines = self.ended_well(volume, ran)?;
        mounts_of(&lines).map_err(|odd| {
            let host = &self.engine.host;
            let message = format!("where `{volume}` is mounted on {host} can't be read: {odd}");
            RequestError::no(FailureClass::Precondition, "unreadable", message)
        })
    }

    /// Wait until no helper writes to a volume: one whose runner was killed goes on without it.
    pub(super) async fn until_idle(&self, volume: &str, cancel: &CancellationToken) -> Answer<()> {
        let engine = self.engine;
        let what = format!("the containers on {}", engine.host);
        let label = format!("{WRITES_LABEL}={volume}");
        let filters = HashMap::from([("label", vec![label.as_str()]), ("status", vec!["running"])]);
        loop {
            let options = ListContainersOptionsBuilder::new().filters(&filters).build();
            let mut writing =
                engine.asked(&what, engine.client.list_containers(Some(options))).await?;
            // What an image labels so itself is not waited for.
            writing.retain(|one| is_helper(one) && one.image.as_deref() == Some(self.image));
            let Some(one) = writing.first() else { return Ok(()) };
            if cancel.is_cancelled() {
                let id = one.id.as_deref().unwrap_or_default();
                let message = format!("a helper still writes to `{volume}` (container {id:.12})");
                return Err(RequestError::no(FailureClass::Cancelled, "writing", message));
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
            code => {
                let said = ran.lines.join("; ");
                let message = format!("volume `{volume}` on {host}: exit {code}: {said}");
                let told = RequestError::no(FailureClass::Refused, "500", message);
                return Err(if code == HALF_DONE { told.after_accepted() } else { told });
            }
        };
        Err(RequestError::no(class, code, message))
    }

    async fn look(&self, volume: &str, what_to_do: &str) -> Answer<Ran> {
        match self.engine.device_on_host(volume) {
            Some(device) => self.ask(what_to_do, &device).await,
            None => {
                let what = format!("the Docker Engine of {}", self.engine.host);
                self.engine.asked(&what, self.engine.client.ping()).await?;
                Ok(Ran { code: NO_DEVICE, lines: vec![] })
            }
        }
    }

    /// Ask the one that stays; one whose connection broke is made anew, once.
    async fn ask(&self, what_to_do: &str, of: &str) -> Answer<Ran> {
        let engine = self.engine;
        let mut place = engine.resident.lock().await;
        // Out of its place while it is asked: a question that nobody waits for ends it.
        if let Some(mut known) = place.take()
            && let Ok(ran) = known.look(engine, what_to_do, of).await
        {
            *place = Some(known);
            return Ok(ran);
        }
        self.clear_away().await?;
        // An engine that hangs over a removal keeps nobody waiting; the next helper tries again.
        let limit = Duration::from_millis(LOST_MS_MAX);
        let removed = engine.clock.timeout(limit, engine.remove_leftovers());
        let (started, _) = tokio::join!(Resident::start(engine, self.body()), removed);
        let mut made = started?;
        match made.look(engine, what_to_do, of).await {
            Ok(ran) => {
                *place = Some(made);
                Ok(ran)
            }
            // Where the engine answers, it is the helper that can't.
            Err(told) if made.has_ended() && engine.client.ping().await.is_ok() => {
                Err(RequestError::no(FailureClass::Precondition, "helper", told.failure.message))
            }
            Err(told) => Err(told),
        }
    }

    /// Run one to its end, to change something.
    async fn run(&self, volume: &str, what_to_do: &str, kind: &str) -> Answer<Ran> {
        self.clear_away().await?;
        let engine = self.engine;
        let what = format!("the helper {} on {}", self.image, engine.host);
        let text = |text: &str| text.to_owned();
        let Some(device) = engine.device_on_host(volume) else {
            return Ok(Ran { code: NO_DEVICE, lines: vec![] });
        };
        // mkfs.xfs sets the device's block size, which takes SYS_ADMIN (ioctl BLKBSZSET).
        let capabilities: &[&str] = match (what_to_do, kind) {
            (GROW_MOUNTED, "ext4") => &[MOUNT, RESIZE_EXT4],
            (GROW_MOUNTED, _) | ("make", "xfs") => &[MOUNT],
            _ => &[],
        };
        let is_capable = !capabilities.is_empty();
        let mut made = self.body();
        made.labels.get_or_insert_default().insert(text(WRITES_LABEL), text(volume));
        made.env = Some(vec![
            format!("DEVICE={device}"),
            format!("DO={what_to_do}"),
            format!("TYPE={kind}"),
        ]);
        made.host_config = Some(HostConfig {
            cap_add: Some(capabilities.iter().map(|one| text(one)).collect()),
            security_opt: is_capable.then(|| vec![text("apparmor=unconfined")]),
            // Whatever the engine logs by: what it says must be heard.
            log_config: Some(HostConfigLogConfig {
                typ: Some(text("json-file")),
                config: Some(HashMap::new()),
            }),
            ..made.host_config.unwrap_or_default()
        });
        let mut name = HelperGuard::new(&engine.leftovers, false)?;
        let created = engine.client.create_container(name.options(), made);
        let ran = match engine.asked(&what, created).await {
            Ok(created) => self.to_its_end(&what, &created.id).await,
            Err(told) => Err(told),
        };
        // What an engine does not have itself it gives to nobody (capabilities(7)).
        let ran = ran.map_err(|told| {
            told.saying(|message| match message.contains("apply caps") {
                true => format!("{message}; it takes {}", capabilities.join(" and ")),
                false => message.to_owned(),
            })
        });
        if ran.is_ok() {
            name.has_ended();
        }
        drop(name);
        engine.remove_leftovers().await;
        ran
    }

    async fn to_its_end(&self, what: &str, id: &str) -> Answer<Ran> {
        let engine = self.engine;
        let started = engine.asked(what, engine.client.start_container(id, None)).await;
        if let Err(told) = started
            && !((told.is_unknown() || told.is_ended()) && engine.has_started(id).await)
        {
            return Err(told);
        }
        loop {
            match engine.inspect(id).await {
                Ok(found) if !super::shapes::is_running(&found) => {
                    let code = found.state.and_then(|state| state.exit_code).unwrap_or_default();
                    return match self.heard(what, id, code).await {
                        // How it ended says all that counts of what it wrote.
                        Err(_) if code == 0 => Ok(Ran { code, lines: vec![] }),
                        Err(told) => Err(told.after_accepted()),
                        Ok(lines) => Ok(Ran { code, lines }),
                    };
                }
                Ok(_) => {}
                // An engine that is restarted tells later.
                Err(told) if told.is_unknown() || told.failure.is_retryable() => {}
                Err(told) => return Err(told.after_accepted()),
            }
            engine.clock.sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
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
                Err(RequestError::no(FailureClass::Refused, "unheard", message))
            }
        }
    }

    /// What every helper is: it sees the host's devices and processes, and nothing else of it. A
    /// view of the host's files would hold what is mounted there, and keep it from being let go.
    pub(super) fn body(&self) -> ContainerCreateBody {
        let text = |text: &str| text.to_owned();
        ContainerCreateBody {
            image: Some(text(self.image)),
            entrypoint: Some(vec![text("sh"), text("-c")]),
            cmd: Some(vec![text(SCRIPT)]),
            labels: Some(HashMap::from([(text(HELPER_LABEL), text(self.run_by))])),
            host_config: Some(HostConfig {
                device_cgroup_rules: Some(vec![text("b *:* rwm")]),
                pid_mode: Some(text("host")),
                network_mode: Some(text("none")),
                binds: Some(vec![text("/dev:/dev")]),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

/// Where a device is mounted, of lines `number MAJOR:MINOR` and `/proc/PID/mountinfo:…`
/// (proc_pid_mountinfo(5)), and what holds it; or a line that tells that something could not be
/// read. A mount's source may read like a number, and is none.
fn mounts_of(lines: &[String]) -> Result<Vec<String>, &String> {
    let mut mounts: Vec<String> = vec![];
    let mut numbers: Vec<&str> = vec![];
    for line in lines {
        if let Some(number) = line.strip_prefix("number ") {
            numbers.push(number);
            continue;
        }
        if line.starts_with("/dev/") {
            mounts.push(line.clone());
            continue;
        }
        let found = line.strip_prefix("/proc/").and_then(|rest| rest.split_once("/mountinfo:"));
        let Some((process, mount)) = found else {
            // A process may end while it is looked at.
            let of_process = line.starts_with("grep: /proc/") && line.contains("/mountinfo: ");
            let gone = ["No such file", "No such process", "Invalid argument"];
            match of_process && gone.iter().any(|gone| line.contains(gone)) {
                true => continue,
                false => return Err(line),
            }
        };
        if !mount.split(' ').nth(2).is_some_and(|number| numbers.contains(&number)) {
            continue;
        }
        let at = mount.split(' ').nth(4).ok_or(line)?;
        let is_told = |told: &String| told == at || told.starts_with(&format!("{at} of process"));
        if !mounts.iter().any(is_told) {
            mounts.push(match process {
                "1" => at.to_owned(),
                process => format!("{at} of process {process}"),
            });
        }
    }
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_anywhere_is_mounted_and_what_can_not_be_read_may_be() {
        let of = |lines: &[&str]| {
            let all = ["number 7:0", "number 259:1"].iter().chain(lines);
            let lines: Vec<String> = all.map(|line| (*line).to_owned()).collect();
            mounts_of(&lines).map_err(String::clone)
        };
        let on =
            |pid: u32, at: &str| format!("/proc/{pid}/mountinfo:36 35 7:0 / {at} rw - ext4 x rw");
        let gone = "grep: /proc/77/mountinfo: No such file or directory";
        let denied = "grep: /proc/77/mountinfo: Permission denied";
        assert_eq!(of(&[]), Ok(vec![]));
        assert_eq!(of(&[gone, "grep: /proc/9/mountinfo: Invalid argument"]), Ok(vec![]));
        let (one, other) = (on(1, "/var/data"), on(9, "/var/data"));
        assert_eq!(of(&[&one, &other, gone]), Ok(vec!["/var/data".to_owned()]));
        assert_eq!(of(&[&on(9, "/x")]), Ok(vec!["/x of process 9".to_owned()]));
        let named_so = "/proc/9/mountinfo:36 35 0:43 / /mnt rw - tmpfs 7:0 rw";
        assert_eq!(of(&[named_so]), Ok(vec![]));
        assert_eq!(of(&["/dev/dm-0"]), Ok(vec!["/dev/dm-0".to_owned()]));
        assert_eq!(of(&[denied]), Err(denied.to_owned()));
        let broken = "grep: error while loading libpcre2-8.so.0: No such file or directory";
        assert_eq!(of(&[broken]), Err(broken.to_owned()));
        assert_eq!(of(&["sh: grep: not found"]), Err("sh: grep: not found".to_owned()));
    }
}
