//! A new container with every option of another one: what is copied, and what can't be had the same
//! and is refused before anything stops.
//!
//! `docs/like.md` says it of every field of the Engine API's container configuration (Docker docs,
//! *Docker Engine API*, *ContainerCreate*).

use super::config::has_hosts_cgroups;
use super::connect::Engine;
use super::errors::{Answer, RequestError};
use super::networks::{OWN_NETWORKS, network_mode};
use super::options::{mount, policy};
use super::shapes::{given_address, image_of, name_of, own_name_of, restart_of};
use super::stamps::is_stamp;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, EndpointSettings, HostConfig, ImageConfig,
    Mount as DockerMount, MountBindOptions, MountBindOptionsPropagationEnum, MountType,
    NetworkingConfig, PortMap,
};
use std::collections::HashMap;
use stepback_core::FailureClass;
use stepback_core::calls::{ContainerSpec, Mount};

/// Devices that are the same on every Linux host.
const EVERYWHERE: [&str; 4] = ["/dev/fuse", "/dev/net/tun", "/dev/null", "/dev/zero"];

/// Engines since 28.0 choose MAC addresses at random (Docker docs, *Engine release notes*).
const RANDOM_MAC_SINCE: (usize, usize) = (1, 48);

/// The container that another one is to be like.
pub(super) struct Model {
    pub(super) found: ContainerInspectResponse,
    /// What its image gives every container; nothing if the image is gone.
    image: Option<ImageConfig>,
    /// Whether the new one is to be on another host.
    pub(super) moves: bool,
    /// Whether its engine chooses MAC addresses at random.
    is_random: bool,
    /// Whether it has its host's control groups because its engine gives them to every container.
    has_engines_cgroups: bool,
}

impl Model {
    pub(super) async fn read(on: &Engine, container: &str, to: &Engine) -> Answer<Self> {
        let found = on.inspect(container).await?;
        let image = match &found.image {
            Some(id) => on.find_image(id).await?.and_then(|image| image.config),
            None => None,
        };
        let version = on.client.client_version();
        let is_random = (version.major_version, version.minor_version) >= RANDOM_MAC_SINCE;
        let has_engines_cgroups = has_hosts_cgroups(&found) && !on.shares_cgroups(&found).await?;
        let moves = on.host != to.host;
        Ok(Self { found, image, moves, is_random, has_engines_cgroups })
    }

    pub(super) fn host(&self) -> HostConfig {
        self.found.host_config.clone().unwrap_or_default()
    }

    pub(super) fn networks(&self) -> HashMap<String, EndpointSettings> {
        let settings = self.found.network_settings.clone();
        settings.and_then(|settings| settings.networks).unwrap_or_default()
    }

    pub(super) fn refuse(&self, code: &str, why: &str) -> RequestError {
        let message = format!("container `{}` {why}", name_of(&self.found));
        RequestError::no(FailureClass::Precondition, code, message)
    }

    /// What of it can't be had anywhere, or not on another host.
    pub(super) fn must_be_possible(&self, spec: &ContainerSpec) -> Answer<()> {
        self.must_be_on_one_network()?;
        self.must_have_a_chosen_address()?;
        self.must_tell_where_volumes_are()?;
        if !self.moves {
            return Ok(());
        }
        let host = self.host();
        let ports = host.port_bindings.as_ref().filter(|_| spec.ports.is_empty());
        let is_there = |list: &Option<Vec<String>>| list.iter().flatten().next().cloned();
        let of_another =
            |mode: &Option<String>| mode.clone().filter(|mode| mode.starts_with("container:"));
        let shared = [&host.network_mode, &host.ipc_mode, &host.pid_mode].map(of_another);
        let links = self.networks().into_values().find_map(|endpoint| is_there(&endpoint.links));
        let table = [
            (shared.into_iter().flatten().next(), "shares a namespace of another container"),
            (is_there(&host.volumes_from), "takes its volumes from another container"),
            (is_there(&host.links).or(links), "is linked to another container"),
            (foreign_address(ports), "publishes a port on one address"),
            (gpu(&host), "asks for a device of its host's drivers"),
            (limited_device(&host), "limits what it reads and writes of one disk"),
        ];
        for (found, why) in table {
            if let Some(found) = found {
                let why = format!(
                    "{why} ({found}), which is of its host: on another one it can't be had the \
                     same; make the new one without it first, or by hand"
                );
                return Err(self.refuse("of-its-host", &why));
            }
        }
        Ok(())
    }

    /// An engine puts a new container on one network (Docker docs, *Engine API*,
    /// *ContainerCreate*).
    fn must_be_on_one_network(&self) -> Answer<()> {
        let networks = self.networks();
        let mut names: Vec<&str> = networks.keys().map(String::as_str).collect();
        if names.len() < 2 {
            return Ok(());
        }
        names.sort_unstable();
        let why = format!(
            "is on {} networks ({}), and a new one like it would be on one: take it off all but \
             one, or create the new one otherwise",
            names.len(),
            names.join(", ")
        );
        Err(self.refuse("networks", &why))
    }

    /// A volume that was asked for with options of its own (a part of it alone, no copy of what the
    /// image has there) is found again where it is mounted.
    fn must_tell_where_volumes_are(&self) -> Answer<()> {
        let asked = self.host().mounts.unwrap_or_default();
        let is_there = |wanted: &DockerMount| {
            let mut all = self.found.mounts.iter().flatten();
            let target = wanted.target.as_deref();
            all.any(|at| is_same_place(target, at.destination.as_deref().unwrap_or_default()))
        };
        let lost = asked.into_iter().find(|wanted| {
            wanted.typ == Some(MountType::VOLUME)
                && wanted.volume_options.is_some()
                && !is_there(wanted)
        });
        let Some(lost) = lost else { return Ok(()) };
        let why = format!(
            "has a volume with options of its own at {}, and its engine does not tell what is \
             mounted there",
            lost.target.unwrap_or_default()
        );
        Err(self.refuse("volume-options", &why))
    }

    /// Engines before 28.0, which speaks API 1.48, make a MAC address of the IPv4 one; any other
    /// was given, and is not copied. Later ones choose at random, and tell nobody which it was.
    fn must_have_a_chosen_address(&self) -> Answer<()> {
        if self.is_random {
            return Ok(());
        }
        for endpoint in self.networks().into_values() {
            let (Some(mac), Some(ip)) = (endpoint.mac_address, endpoint.ip_address) else {
                continue;
            };
            let Ok(ip) = ip.parse::<std::net::Ipv4Addr>() else { continue };
            let of_ip = ip.octets().map(|byte| format!("{byte:02x}")).join(":");
            if !mac.is_empty() && mac != format!("02:42:{of_ip}") {
                let why = format!("was given the MAC address {mac}, which is not copied");
                return Err(self.refuse("mac-address", &why));
            }
        }
        Ok(())
    }

    /// The new container, but for its stamp. `is_same_image` says whether it runs the very image of
    /// the old one: another one's own options come with it.
    pub(super) fn body(self, is_same_image: bool) -> ContainerCreateBody {
        let (image, restart) = (image_of(&self.found), restart_of(&self.found));
        let own_name = own_name_of(&self.found);
        let networks = self.networks();
        let mut host = self.host();
        self.set_mounts(&mut host);
        host.restart_policy = policy(&restart).ok();
        host.network_mode = network_mode(host.network_mode, &networks);
        // The engine's own mode, and its own lists, are told as if they had been given.
        host.cgroupns_mode = host.cgroupns_mode.filter(|_| !self.has_engines_cgroups);
        host.masked_paths = host.masked_paths.filter(Vec::is_empty);
        host.readonly_paths = host.readonly_paths.filter(Vec::is_empty);
        let config = self.found.config.clone().unwrap_or_default();
        let mut labels = config.labels.unwrap_or_default();
        labels.retain(|key, _| !is_stamp(key));
        let mode = host.network_mode.clone().unwrap_or_default();
        // With these the name is the host's, or the other container's.
        let has_own_name = mode != "host"
            && !mode.starts_with("container:")
            && host.uts_mode.as_deref() != Some("host");
        let body = ContainerCreateBody {
            // By default it is the beginning of the old one's id: what it keeps may go by it.
            hostname: config.hostname.filter(|_| has_own_name),
            domainname: config.domainname.filter(|_| has_own_name),
            user: config.user,
            exposed_ports: config.exposed_ports.filter(|_| !mode.starts_with("container:")),
            tty: config.tty,
            open_stdin: config.open_stdin,
            stdin_once: config.stdin_once,
            env: config.env,
            cmd: config.cmd,
            healthcheck: config.healthcheck,
            image: Some(image),
            working_dir: config.working_dir,
            entrypoint: config.entrypoint,
            network_disabled: config.network_disabled,
            labels: Some(labels),
            stop_signal: config.stop_signal,
            stop_timeout: config.stop_timeout,
            shell: config.shell,
            networking_config: named(networks, own_name.as_deref(), self.moves),
            host_config: Some(host),
            ..Default::default()
        };
        own_of(body, self.image.unwrap_or_default(), is_same_image)
    }

    /// Volumes are told as mounts only, because only these have options; and directories of the
    /// host too, where it is another host: an engine refuses a mount of one that is not there, and
    /// makes an empty one for a bind. What it has of another container becomes its own, so that
    /// given mounts take its place, too.
    fn set_mounts(&self, host: &mut HostConfig) {
        let takes_over = host.volumes_from.take().is_some_and(|from| !from.is_empty());
        let binds = host.binds.take().unwrap_or_default();
        let mut mounts: Vec<DockerMount> = host.mounts.take().unwrap_or_default();
        let given: Vec<DockerMount> = mounts.clone();
        mounts.retain(|mount| mount.typ != Some(MountType::VOLUME));
        if self.moves {
            for mount in &mut mounts {
                if let Some(options) = &mut mount.bind_options {
                    options.create_mountpoint = None;
                }
            }
        }
        let mut kept = vec![];
        for bind in binds.into_iter().filter(|bind| is_of_host(bind)) {
            match self.moves.then(|| as_mount(&bind)).flatten() {
                Some(mount) => mounts.push(mount),
                None => kept.push(bind),
            }
        }
        if takes_over {
            let is_own = |target: &str| {
                let of_bind = |bind: &String| is_same_place(bind.split(':').nth(1), target);
                let of_mount = |mount: &DockerMount| is_same_place(mount.target.as_deref(), target);
                kept.iter().any(of_bind) || mounts.iter().any(of_mount)
            };
            let inherited: Vec<DockerMount> = self.directories(&is_own).collect();
            mounts.extend(inherited);
        }
        host.binds = (!kept.is_empty()).then_some(kept);
        for at in self.found.mounts.iter().flatten() {
            if at.typ.as_deref() != Some("volume") {
                continue;
            }
            let target = at.destination.clone().unwrap_or_default();
            let at_target = |one: &&DockerMount| is_same_place(one.target.as_deref(), &target);
            let options = given.iter().find(at_target);
            let mut made = mount(&Mount {
                volume: at.name.clone().unwrap_or_default(),
                target,
                read_only: !at.rw.unwrap_or(true),
            });
            if let Some(options) = options.and_then(|one| one.volume_options.clone()) {
                made.volume_options = Some(options);
            }
            mounts.push(made);
        }
        host.mounts = Some(mounts);
    }

    /// The directories of its host that it has and that its own options do not name.
    fn directories(&self, is_own: &dyn Fn(&str) -> bool) -> impl Iterator<Item = DockerMount> {
        let all = self.found.mounts.iter().flatten();
        let of_host = all.filter(|at| at.typ.as_deref() == Some("bind"));
        let not_own = of_host.filter(|at| !is_own(at.destination.as_deref().unwrap_or_default()));
        not_own.map(|at| DockerMount {
            typ: Some(MountType::BIND),
            source: at.source.clone(),
            target: at.destination.clone(),
            read_only: at.rw.map(|may_write| !may_write),
            bind_options: at.propagation.as_ref().and_then(|one| one.parse().ok()).map(
                |propagation| MountBindOptions {
                    propagation: Some(propagation),
                    ..Default::default()
                },
            ),
            ..Default::default()
        })
    }
}

/// Whether two paths in a container are one: an engine tells where something is mounted by its
/// plain path, and what was asked for as somebody wrote it.
pub(super) fn is_same_place(one: Option<&str>, other: &str) -> bool {
    one.is_some_and(|one| plain(one) == plain(other))
}

/// The parts of a path from the root, without those that lead nowhere or back.
fn plain(path: &str) -> Vec<&str> {
    let mut parts = vec![];
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
}

/// Whether a bind is of a directory of the host, not of a volume.
fn is_of_host(bind: &str) -> bool {
    bind.starts_with('/') && bind.contains(':')
}

/// A bind as a mount; not one that relabels what it binds, which no mount can.
fn as_mount(bind: &str) -> Option<DockerMount> {
    let (source, rest) = bind.split_once(':')?;
    let (target, options) = rest.split_once(':').unwrap_or((rest, ""));
    let mut made = DockerMount {
        typ: Some(MountType::BIND),
        source: Some(source.to_owned()),
        target: Some(target.to_owned()),
        ..Default::default()
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "rw" | "nocopy" | "cached" | "delegated" | "consistent" => {}
            "ro" => made.read_only = Some(true),
            other => {
                let propagation: MountBindOptionsPropagationEnum = other.parse().ok()?;
                made.bind_options =
                    Some(MountBindOptions { propagation: Some(propagation), ..Default::default() });
            }
        }
    }
    Some(made)
}

/// The address of a published port that is neither every address nor the host's own loopback.
fn foreign_address(ports: Option<&PortMap>) -> Option<String> {
    let bindings = ports?.values().flatten().flatten();
    let mut addresses = bindings.filter_map(|binding| binding.host_ip.clone());
    addresses.find(|ip| {
        let parsed = ip.parse::<std::net::IpAddr>();
        parsed.is_ok_and(|ip| !ip.is_unspecified() && !ip.is_loopback())
    })
}

fn gpu(host: &HostConfig) -> Option<String> {
    let requests = host.device_requests.iter().flatten();
    let name = |driver: Option<String>| driver.filter(|driver| !driver.is_empty());
    let asked = requests.map(|one| name(one.driver.clone()).unwrap_or_else(|| "gpus".to_owned()));
    let devices = host.devices.iter().flatten().filter_map(|one| one.path_on_host.clone());
    let devices = devices.filter(|path| !EVERYWHERE.contains(&path.as_str()));
    asked.chain(devices).next()
}

fn limited_device(host: &HostConfig) -> Option<String> {
    let rates = [
        &host.blkio_device_read_bps,
        &host.blkio_device_write_bps,
        &host.blkio_device_read_iops,
        &host.blkio_device_write_iops,
    ];
    let rates = rates.into_iter().flatten().flatten().filter_map(|one| one.path.clone());
    let weights = host.blkio_weight_device.iter().flatten().filter_map(|one| one.path.clone());
    rates.chain(weights).next()
}

/// The names and addresses that a container was given on the network that people made for it; the
/// engine's own networks know none. An address that the engine chose is none of the options.
fn named(
    networks: HashMap<String, EndpointSettings>,
    own_name: Option<&str>,
    moves: bool,
) -> Option<NetworkingConfig> {
    let is_own = |name: &str| OWN_NETWORKS.contains(&name);
    let kept = networks.into_iter().filter(|(name, endpoint)| {
        // Of the engine's own there are only drivers' options to keep.
        !is_own(name) || endpoint.driver_opts.as_ref().is_some_and(|all| !all.is_empty())
    });
    let kept = kept.map(|(name, endpoint)| {
        let driver_opts = endpoint.driver_opts.clone();
        if is_own(&name) {
            return (name, EndpointSettings { driver_opts, ..Default::default() });
        }
        let ipam_config = given_address(&endpoint).cloned();
        let mut aliases = endpoint.aliases.unwrap_or_default();
        // An engine adds the container's own id, which the new one has not.
        aliases.retain(|alias| Some(alias.as_str()) != own_name);
        let (aliases, links) = (Some(aliases), endpoint.links.filter(|_| !moves));
        let kept =
            EndpointSettings { aliases, ipam_config, driver_opts, links, ..Default::default() };
        (name, kept)
    });
    let kept: HashMap<_, _> = kept.collect();
    (!kept.is_empty()).then_some(NetworkingConfig { endpoints_config: Some(kept) })
}

/// Without what the old image gave it, where it is to run another one.
fn own_of(
    mut body: ContainerCreateBody,
    image: ImageConfig,
    is_same_image: bool,
) -> ContainerCreateBody {
    let has_entrypoint = image.entrypoint.as_ref().is_some_and(|all| !all.is_empty());
    // An engine tells one that was reset as none, and takes one empty word for a reset.
    let is_reset = has_entrypoint && body.entrypoint.as_ref().is_none_or(Vec::is_empty);
    if is_reset {
        body.entrypoint = Some(vec![String::new()]);
    }
    if is_same_image {
        return body;
    }
    fn own<T: PartialEq>(has: Option<T>, gives: Option<T>) -> Option<T> {
        if has == gives { None } else { has }
    }
    let given = image.env.unwrap_or_default();
    body.env = body.env.map(|env| env.into_iter().filter(|one| !given.contains(one)).collect());
    let given = image.labels.unwrap_or_default();
    if let Some(labels) = &mut body.labels {
        labels.retain(|key, value| given.get(key) != Some(value));
    }
    let given = image.exposed_ports.unwrap_or_default();
    body.exposed_ports =
        body.exposed_ports.map(|all| all.into_iter().filter(|one| !given.contains(one)).collect());
    // A command without the entrypoint it was for would be another one's argument.
    if body.entrypoint == image.entrypoint {
        body.entrypoint = None;
        body.cmd = own(body.cmd, image.cmd);
    }
    body.user = own(body.user, image.user);
    body.working_dir = own(body.working_dir, image.working_dir);
    body.healthcheck = own(body.healthcheck, image.healthcheck);
    body.stop_signal = own(body.stop_signal, image.stop_signal);
    body.shell = own(body.shell, image.shell);
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_place_is_one_however_it_is_written() {
        for written in ["/v", "/v/", "//v", "/v/.", "/./v", "/v/../v", "/a/../v//"] {
            assert!(is_same_place(Some(written), "/v"), "{written}");
        }
        for other in ["/", "/w", "/v/w", "/v/..", ""] {
            assert!(!is_same_place(Some(other), "/v"), "{other}");
        }
        assert!(!is_same_place(None, "/v"));
    }

    /// What an engine does not tell the place of would be mounted without what was asked for.
    #[test]
    fn a_volume_with_options_that_is_nowhere_is_refused() {
        let model = |place: &str| {
            let host = json!({ "Mounts": [{ "Type": "volume", "Target": "/v/./", "Source": "data",
                "VolumeOptions": { "NoCopy": true } }] });
            let mounts = json!([{ "Type": "volume", "Name": "data", "Destination": place }]);
            let found = json!({ "Name": "/m", "HostConfig": host, "Mounts": mounts });
            Model {
                found: serde_json::from_value(found).expect("a container"),
                image: None,
                moves: false,
                is_random: false,
                has_engines_cgroups: false,
            }
        };
        let told = model("/w").must_be_possible(&ContainerSpec::default());
        let told = told.expect_err("it is nowhere").failure.message;
        assert!(told.contains("options of its own at /v/./"), "{told}");
        assert!(model("/v").must_be_possible(&ContainerSpec::default()).is_ok());
        let mut host = model("/v").host();
        model("/v").set_mounts(&mut host);
        let options = host.mounts.expect("mounts").remove(0).volume_options.expect("options");
        assert_eq!(options.no_copy, Some(true));
    }

    #[test]
    fn a_bind_becomes_a_mount_where_a_mount_can_be_the_same() {
        let made = as_mount("/srv/conf:/etc/conf:ro,rslave").unwrap();
        assert_eq!(made.source.as_deref(), Some("/srv/conf"));
        assert_eq!((made.target.as_deref(), made.read_only), (Some("/etc/conf"), Some(true)));
        let propagation = made.bind_options.and_then(|options| options.propagation);
        assert_eq!(propagation, Some(MountBindOptionsPropagationEnum::RSLAVE));
        assert!(as_mount("/srv:/srv:z").is_none(), "no mount relabels");
        assert!(is_of_host("/srv:/srv") && !is_of_host("data:/srv") && !is_of_host("/data"));
    }
}
