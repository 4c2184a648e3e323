//! What a container that is like one of another host must find where it goes: its networks and
//! addresses, the same kind of engine, and no other file system that is taken for its own.

use super::Docker;
use super::connect::Engine;
use super::errors::{Answer, RequestError};
use super::like::Model;
use super::networks::OWN_NETWORKS;
use super::shapes::{given_address, name_of};
use bollard::models::{NetworkInspect, SystemInfo};
use std::net::IpAddr;
use stepback_core::FailureClass;

impl Model {
    /// What of it the other host must have, asked of its engine.
    pub(super) async fn must_be_had_on(&self, on: &Engine, to: &Engine) -> Answer<()> {
        if !self.moves {
            return Ok(());
        }
        let name = name_of(&self.found);
        for (network, endpoint) in self.networks() {
            if OWN_NETWORKS.contains(&network.as_str()) {
                continue;
            }
            let what = to.name_of("network", &network);
            let found = to.asked(&what, to.client.inspect_network(&network, None)).await;
            if let (Ok(found), Some(given)) = (&found, given_address(&endpoint)) {
                let addresses = [&given.ipv4_address, &given.ipv6_address];
                for address in addresses.into_iter().flatten().filter(|one| !one.is_empty()) {
                    if !is_of(found, address) {
                        let why = format!(
                            "has the address {address} on the network `{network}`, whose subnets \
                             on {} do not have it",
                            to.host
                        );
                        return Err(self.refuse("no-network", &why));
                    }
                    if let Some(other) = holder(found, address) {
                        let why = format!(
                            "has the address {address} on the network `{network}`, which {other} \
                             has on {}",
                            to.host
                        );
                        return Err(self.refuse("address-in-use", &why));
                    }
                }
            }
            if found.is_err_and(|told| told.is_missing()) {
                let why = format!(
                    "is on the network `{network}`, which {} does not have: make it there first, \
                     like the one of {} (`docker network create`)",
                    to.host, on.host
                );
                return Err(self.refuse("no-network", &why));
            }
        }
        let (there, here) = (info(to).await?, info(on).await?);
        if there.architecture != here.architecture {
            let of = |info: &SystemInfo| info.architecture.clone().unwrap_or_default();
            let message = format!(
                "container `{name}` runs on {} ({}), and {} is {}: what it runs and what it wrote \
                 may be of no use there",
                on.host,
                of(&here),
                to.host,
                of(&there)
            );
            return Err(RequestError::no(FailureClass::Precondition, "architecture", message));
        }
        for kind in ["name=userns", "name=rootless"] {
            let is_so = |info: &SystemInfo| {
                info.security_options.iter().flatten().any(|one| one.starts_with(kind))
            };
            if is_so(&there) != is_so(&here) {
                let message = format!(
                    "the Docker Engines of {} and {} differ in `{kind}` (`docker info`, Security \
                     Options): the files of container `{name}` would belong to nobody there",
                    on.host, to.host
                );
                return Err(RequestError::no(FailureClass::Precondition, "users", message));
            }
        }
        Ok(())
    }

    /// No two xfs file systems of one UUID are mounted on one host, and a volume that was made of
    /// another one's snapshot has its UUID (xfs(5), *nouuid*). Where no helper can look, the start
    /// tells it.
    pub(super) async fn must_have_no_twin(
        &self,
        docker: &Docker,
        on: &Engine,
        to: &Engine,
    ) -> Answer<()> {
        let mounts = self.found.mounts.iter().flatten();
        for volume in mounts.filter_map(|mount| mount.name.as_deref()).filter(|_| self.moves) {
            let Some(found) = on.find_volume(volume).await? else { continue };
            let option = |key: &str| found.options.get(key).map_or("", String::as_str);
            let (options, device) = (option("o"), option("device"));
            if option("type") != "xfs" || options.split(',').any(|one| one == "nouuid") {
                continue;
            }
            let Some((uuid, own)) = docker.xfs_uuids(on, Some(device)).await.pop() else {
                continue;
            };
            // On one machine it may itself be what is mounted.
            let is_one = docker.is_one_kernel(on, to).await;
            let mounted = docker.xfs_uuids(to, None).await;
            if mounted.iter().any(|(other, at)| *other == uuid && !(is_one && *at == own)) {
                let why = format!(
                    "has the xfs file system {uuid} in Docker volume `{volume}`, and another one \
                     of this UUID is mounted on {}, which no host mounts twice: give this one \
                     another (`xfs_admin -U generate`, unmounted), or mount it with `nouuid`",
                    to.host
                );
                return Err(self.refuse("one-uuid", &why));
            }
        }
        Ok(())
    }
}

impl Docker {
    /// UUID and device of the xfs on a device, or of all that the host has mounted; none where
    /// there is no helper that can tell.
    async fn xfs_uuids(&self, engine: &Engine, device: Option<&str>) -> Vec<(String, String)> {
        let seen = async {
            self.check_helper(engine).await.ok()?;
            self.helper(engine).ok()?.xfs_uuids(device).await.ok()
        };
        let pair = |line: String| {
            let (uuid, device) = line.split_once(' ')?;
            (!uuid.is_empty()).then(|| (uuid.to_owned(), device.to_owned()))
        };
        seen.await.unwrap_or_default().into_iter().filter_map(pair).collect()
    }
}

/// Who has an address of a network (Docker docs, *Engine API*, *NetworkInspect*).
fn holder(network: &NetworkInspect, address: &str) -> Option<String> {
    let address: IpAddr = address.parse().ok()?;
    let is_it = |text: &str| {
        let text = text.split('/').next().unwrap_or_default();
        text.parse::<IpAddr>().is_ok_and(|one| one == address)
    };
    for config in network.ipam.iter().flat_map(|ipam| ipam.config.iter().flatten()) {
        if config.gateway.as_deref().is_some_and(is_it) {
            return Some("the network's gateway".to_owned());
        }
        let others = config.auxiliary_addresses.iter().flatten();
        if let Some((name, _)) = others.into_iter().find(|(_, one)| is_it(one)) {
            return Some(format!("`{name}`, an auxiliary address"));
        }
    }
    let mut all = network.containers.iter().flat_map(|all| all.values());
    let has = all.find(|one| {
        let theirs = [&one.ipv4_address, &one.ipv6_address].into_iter().flatten();
        theirs.map(String::as_str).any(is_it)
    })?;
    Some(format!("container `{}`", has.name.as_deref().unwrap_or_default()))
}

/// Whether an address is of one of a network's subnets.
fn is_of(network: &NetworkInspect, address: &str) -> bool {
    let subnets = network.ipam.iter().flat_map(|ipam| ipam.config.iter().flatten());
    let mut subnets = subnets.filter_map(|config| config.subnet.as_deref());
    subnets.any(|subnet| is_in(address, subnet).unwrap_or(true))
}

/// Whether an address is in a subnet, `10.0.0.0/24`; nothing if they can't be read.
fn is_in(address: &str, subnet: &str) -> Option<bool> {
    let (base, bits) = subnet.split_once('/')?;
    let bits: u32 = bits.parse().ok()?;
    match (address.parse().ok()?, base.parse().ok()?) {
        (IpAddr::V4(one), IpAddr::V4(base)) => {
            let mask = u32::MAX.checked_shl(32_u32.checked_sub(bits)?).unwrap_or(0);
            Some(u32::from(one) & mask == u32::from(base) & mask)
        }
        (IpAddr::V6(one), IpAddr::V6(base)) => {
            let mask = u128::MAX.checked_shl(128_u32.checked_sub(bits)?).unwrap_or(0);
            Some(u128::from(one) & mask == u128::from(base) & mask)
        }
        _ => Some(false),
    }
}

async fn info(engine: &Engine) -> Answer<SystemInfo> {
    let what = format!("the Docker Engine of {}", engine.host);
    engine.asked(&what, engine.client.info()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::EndpointResource;
    use std::collections::HashMap;

    #[test]
    fn an_address_is_somebodys_or_nobodys() {
        let endpoint = EndpointResource {
            name: Some("cache".to_owned()),
            ipv4_address: Some("10.77.0.5/24".to_owned()),
            ipv6_address: Some("fd00::5/64".to_owned()),
            ..EndpointResource::default()
        };
        let containers = HashMap::from([("id".to_owned(), endpoint)]);
        let network = NetworkInspect { containers: Some(containers), ..NetworkInspect::default() };
        for (address, wanted) in [
            ("10.77.0.5", Some("container `cache`")),
            ("fd00:0::5", Some("container `cache`")),
            ("10.77.0.50", None),
            ("odd", None),
        ] {
            assert_eq!(holder(&network, address).as_deref(), wanted, "{address}");
        }
    }

    #[test]
    fn an_address_is_in_a_subnet_or_not() {
        for (address, subnet, wanted) in [
            ("10.77.0.5", "10.77.0.0/24", Some(true)),
            ("10.77.1.5", "10.77.0.0/24", Some(false)),
            ("10.77.1.5", "0.0.0.0/0", Some(true)),
            ("fd00::5", "fd00::/64", Some(true)),
            ("fd01::5", "fd00::/64", Some(false)),
            ("fd00::5", "10.77.0.0/24", Some(false)),
            ("10.77.0.5", "odd", None),
            ("10.77.0.5", "10.77.0.0/99", None),
        ] {
            assert_eq!(is_in(address, subnet), wanted, "{address} {subnet}");
        }
    }
}
