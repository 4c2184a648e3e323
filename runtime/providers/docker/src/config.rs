//! The options of a container that are facts: those that a rollback must bring back, and those by
//! which it reaches its host.

use super::connect::Engine;
use super::errors::Answer;
use super::stamps::is_stamp;
use bollard::models::{ContainerInspectResponse, HostConfig, HostConfigCgroupnsModeEnum};
use serde_json::Value;
use std::collections::BTreeMap;

/// The options of a container that count, but for those that are facts of their own. Links and
/// ulimits are left out: an engine tells them in any order, and with its own defaults among them.
const OPTIONS: &str = "Annotations AutoRemove Binds CapAdd CapDrop CgroupParent CpuPeriod CpuQuota \
    CpuShares CpusetCpus CpusetMems DeviceCgroupRules DeviceRequests Devices Dns DnsOptions \
    DnsSearch Entrypoint ExposedPorts ExtraHosts GroupAdd Healthcheck Init IpcMode Labels \
    LogConfig Memory MemoryReservation MemorySwap Mounts NanoCpus NetworkMode OpenStdin PidMode \
    PidsLimit Privileged ReadonlyRootfs Runtime SecurityOpt Shell ShmSize StopSignal StopTimeout \
    Sysctls Tmpfs Tty UTSMode User UsernsMode VolumesFrom WorkingDir";

/// What every engine hides of its host from a container that is not privileged, and what it lets it
/// only read (opencontainers/runtime-spec, *maskedPaths*, *readonlyPaths*; moby/moby, its default
/// ones): its memory, and its settings. Newer engines hide more.
const HIDDEN: [&str; 1] = ["/proc/kcore"];
const ONLY_READ: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// How an engine says that it gives each container control groups of its own unless it is told
/// otherwise (`docker info`, *Security Options*).
const OWN_CGROUPS: &str = "name=cgroupns";

impl Engine {
    /// Whether a container sees the control groups of its host where a new one would not. One that
    /// was given no mode has the engine's own, which is `host` with control groups of version 1
    /// (Docker docs, *dockerd*, *--default-cgroupns-mode*): that tells nothing of it.
    pub(super) async fn shares_cgroups(&self, found: &ContainerInspectResponse) -> Answer<bool> {
        Ok(has_hosts_cgroups(found) && !self.shares_its_cgroups().await?)
    }

    /// Whether it is so of each new container.
    async fn shares_its_cgroups(&self) -> Answer<bool> {
        let what = format!("the Docker Engine of {}", self.host);
        let info = self.looked(&what, self.client.info()).await?;
        Ok(!info.security_options.iter().flatten().any(|one| one == OWN_CGROUPS))
    }
}

/// Whether it was created with the control groups of its host, and is not privileged, by which it
/// reaches more.
pub(super) fn has_hosts_cgroups(found: &ContainerInspectResponse) -> bool {
    let host = found.host_config.as_ref();
    let is_privileged = host.and_then(|host| host.privileged).unwrap_or_default();
    let mode = host.and_then(|host| host.cgroupns_mode);
    !is_privileged && mode == Some(HostConfigCgroupnsModeEnum::HOST)
}

/// The other options that it was created with and that make a difference, by the engine's own
/// names (Docker docs, *Docker Engine API*, *ContainerInspect*). What an engine works out anew at a
/// start is none, nor what is blank: another version of the engine knows other options. Nor are
/// Stepback's stamps, which tell who made it.
pub(super) fn config_of(
    found: &ContainerInspectResponse,
    shares_cgroups: bool,
) -> BTreeMap<String, Value> {
    let mut config = found.config.clone();
    if let Some(labels) = config.as_mut().and_then(|config| config.labels.as_mut()) {
        labels.retain(|name, _| !is_stamp(name));
    }
    let whole = [serde_json::to_value(&config), serde_json::to_value(&found.host_config)];
    let options = whole.into_iter().flatten().filter_map(|value| match value {
        Value::Object(map) => Some(map),
        _ => None,
    });
    let counts = |name: &str| OPTIONS.split(' ').any(|option| option == name);
    let counted = options.flatten().filter(|(name, _)| counts(name));
    let counted = counted.map(|(name, value)| (name, spoken(value)));
    let shows_more = found.host_config.as_ref().is_some_and(shows_more);
    let unmasked = shows_more.then(|| ("UnmaskedPaths".to_owned(), Value::Bool(true)));
    let cgroups = shares_cgroups.then(|| ("CgroupnsMode".to_owned(), Value::from("host")));
    counted.filter(|(_, value)| !value.is_null()).chain(unmasked).chain(cgroups).collect()
}

/// Whether it sees or writes what every engine hides from a container by itself, and tells which.
/// Where it tells none there are its own.
fn shows_more(host: &HostConfig) -> bool {
    let lacks = |given: &Option<Vec<String>>, wanted: &[&str]| {
        let lacks =
            |given: &Vec<String>| wanted.iter().any(|path| !given.iter().any(|p| p == path));
        given.as_ref().is_some_and(lacks)
    };
    !host.privileged.unwrap_or_default()
        && (lacks(&host.masked_paths, &HIDDEN) || lacks(&host.readonly_paths, &ONLY_READ))
}

/// A value without what says nothing; null if nothing is left.
fn spoken(value: Value) -> Value {
    match value {
        Value::Bool(false) => Value::Null,
        Value::String(text) if text.is_empty() => Value::Null,
        Value::Number(number) if number.as_f64() == Some(0.0) => Value::Null,
        Value::Array(list) if list.is_empty() => Value::Null,
        Value::Object(map) => {
            let kept = map.into_iter().map(|(name, value)| (name, spoken(value)));
            let kept: serde_json::Map<_, _> = kept.filter(|(_, value)| !value.is_null()).collect();
            if kept.is_empty() { Value::Null } else { Value::Object(kept) }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;
    use stepback_core::Facts;
    use stepback_core::grants::{options_with_powers, powers};

    fn created(host: Value) -> ContainerInspectResponse {
        serde_json::from_value(json!({ "Config": {}, "HostConfig": host })).expect("a container")
    }

    fn told(host: Value) -> (BTreeMap<String, Value>, Vec<String>) {
        let found = created(host);
        // Of an engine that gives each container control groups of its own.
        let config = config_of(&found, has_hosts_cgroups(&found));
        let powers = powers(&Facts::from_json(json!({ "config": config })));
        (config, powers)
    }

    /// By these a grant without root is held.
    #[test]
    fn no_way_to_the_host_is_left_out_of_the_facts() {
        let ways = json!({
            "Privileged": true,
            "CapAdd": ["SYS_ADMIN"],
            "Devices": [{ "PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda" }],
            "DeviceRequests": [{ "Count": -1 }],
            "DeviceCgroupRules": ["b 8:* rwm"],
            "VolumesFrom": ["other"],
            "SecurityOpt": ["seccomp=unconfined"],
            "CgroupParent": "/",
            "Annotations": { "a": "b" },
            "Runtime": "nvidia",
            "NetworkMode": "host",
            "PidMode": "host",
            "IpcMode": "container:abc",
            "UTSMode": "host",
            "UsernsMode": "host",
            "CgroupnsMode": "host",
            "Binds": ["/:/host"],
            "Mounts": [{ "Type": "bind", "Source": "/etc", "Target": "/e" }],
        });
        let ways = ways.as_object().expect("a table");
        for (name, value) in ways {
            let (config, powers) = told(json!({ (name): value }));
            assert!(config.contains_key(name), "{name} is not among {config:?}");
            assert_eq!(powers.len(), 1, "{name}: {powers:?}");
        }
        // That one is told by two others.
        let tried = ways.keys().map(String::as_str).chain(["UnmaskedPaths"]);
        assert_eq!(tried.collect::<BTreeSet<_>>(), options_with_powers().collect());
    }

    #[test]
    fn what_an_engine_hides_is_hidden_or_it_is_told() {
        let masked = json!(["/proc/acpi", "/proc/kcore", "/sys/firmware"]);
        let read = json!(ONLY_READ);
        for (masked, read, wanted) in [
            (masked.clone(), read.clone(), false),
            (Value::Null, Value::Null, false),
            (json!([]), json!([]), true),
            // The memory of the host can be read.
            (json!([]), read.clone(), true),
            (json!(["/proc/acpi"]), read.clone(), true),
            (json!([]), Value::Null, true),
            // Its settings can be written.
            (masked.clone(), json!([]), true),
            (masked.clone(), json!(["/proc/bus", "/proc/fs"]), true),
        ] {
            let host = json!({ "MaskedPaths": masked, "ReadonlyPaths": read });
            let (config, powers) = told(host.clone());
            assert_eq!(config.contains_key("UnmaskedPaths"), wanted, "{host}");
            assert_eq!(!powers.is_empty(), wanted, "{host}");
        }
        // Of a privileged one an engine hides nothing, and that is told already.
        let (config, _) = told(json!({ "Privileged": true, "MaskedPaths": [] }));
        assert!(!config.contains_key("UnmaskedPaths"));
    }

    #[test]
    fn an_ordinary_container_reaches_nothing() {
        let host = json!({
            "NetworkMode": "bridge", "IpcMode": "private", "CgroupnsMode": "private",
            "Privileged": false, "PidMode": "", "CapAdd": null, "Devices": [], "Memory": 1024,
        });
        let (config, powers) = told(host);
        assert_eq!(powers, Vec::<String>::new());
        assert!(!config.contains_key("CgroupnsMode"), "older journals do not have it: {config:?}");
    }
}
