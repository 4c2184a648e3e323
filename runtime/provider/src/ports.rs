//! Ports that containers publish on their host (Docker docs, *Port publishing and mapping*).

use serde_json::{Value, json};
use std::fmt;
use std::net::IpAddr;
use stepback_core::{Failure, FailureClass};

/// Published ports as the contract shows them, of what was asked for as
/// `[address:]host-port:container-port[/protocol]`.
pub fn all_shown(ports: &[String]) -> Value {
    ports.iter().filter_map(|port| shown(port, None)).collect()
}

/// One of them; a host port that the engine chooses is told beside it, where one is chosen.
pub fn shown(port: &str, chosen: Option<u16>) -> Option<Value> {
    let (outside, inside) = port.rsplit_once(':').unwrap_or(("", port));
    let (container_port, protocol) = inside.split_once('/').unwrap_or((inside, "tcp"));
    let (address, host_port) = outside.rsplit_once(':').unwrap_or(("", outside));
    let address = address.trim_matches(['[', ']']);
    Some(json!({
        "host_ip": (!matches!(address, "" | "0.0.0.0" | "::")).then_some(address),
        "host_port": host_port.parse::<u16>().ok().filter(|port| *port > 0).or(chosen),
        "container_port": container_port.parse::<u16>().ok()?, "protocol": protocol,
    }))
}

/// Where on its host a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Every address, of both kinds.
    All,
    AllV4,
    AllV6,
    One(IpAddr),
    /// Something else than an address.
    Odd,
}

impl At {
    fn parse(text: Option<&str>) -> Self {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return At::All };
        match text.trim_matches(['[', ']']).parse::<IpAddr>().map(|address| address.to_canonical())
        {
            Ok(IpAddr::V4(address)) if address.is_unspecified() => At::AllV4,
            Ok(IpAddr::V6(address)) if address.is_unspecified() => At::AllV6,
            Ok(address) => At::One(address),
            Err(_) => At::Odd,
        }
    }

    fn meets(self, other: Self) -> bool {
        match (self, other) {
            (At::Odd, _) | (_, At::Odd) => false,
            (At::All, _) | (_, At::All) => true,
            (At::One(one), At::One(other)) => one == other,
            (At::One(one), all) | (all, At::One(one)) => one.is_ipv4() == (all == At::AllV4),
            (one, other) => one == other,
        }
    }
}

/// One published port, or one that somebody listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    at: At,
    port: u16,
    protocol: String,
}

impl Published {
    /// Without an address it is on all.
    pub fn new(address: Option<&str>, port: u16, protocol: &str) -> Self {
        Self { at: At::parse(address), port, protocol: protocol.to_owned() }
    }

    /// `[address:]host-port:container-port[/protocol]`; nothing of a port that the engine chooses.
    pub fn parse(text: &str) -> Option<Self> {
        let (outside, inside) = text.rsplit_once(':')?;
        let protocol = inside.split_once('/').map_or("tcp", |(_, protocol)| protocol);
        Self::outside(outside, protocol).filter(|published| published.port > 0)
    }

    /// `[address:]port/protocol`, of what listens there.
    pub fn listening(text: &str) -> Option<Self> {
        let (outside, protocol) = text.split_once('/')?;
        Self::outside(outside, protocol)
    }

    fn outside(text: &str, protocol: &str) -> Option<Self> {
        let (address, port) = match text.rsplit_once(':') {
            Some((address, port)) => (Some(address), port),
            None => (None, text),
        };
        Some(Self::new(address, port.parse().ok()?, protocol))
    }

    /// Whether two of one host can't both have theirs.
    pub fn clashes(&self, other: &Self) -> bool {
        self.at.meets(other.at) && self.port == other.port && self.protocol == other.protocol
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

/// Whether nobody has one of these ports.
///
/// # Errors
/// The first that somebody has, and who.
pub fn must_be_free(
    host: &str,
    wanted: &[Published],
    others: &[(String, Vec<Published>)],
) -> Result<(), Failure> {
    for (name, theirs) in others {
        let taken = wanted.iter().find(|one| theirs.iter().any(|other| one.clashes(other)));
        if let Some(taken) = taken {
            let message = format!(
                "port {taken} of {host} is published by container `{name}`: stop that one, or give \
                 other `ports`"
            );
            let failure = Failure::new(FailureClass::Precondition, message);
            return Err(failure.with_code("port-in-use"));
        }
    }
    Ok(())
}

/// Whether no process of the host itself listens on one of these ports.
///
/// # Errors
/// The first that one listens on.
pub fn must_not_be_held(
    host: &str,
    wanted: &[Published],
    listening: &[Published],
) -> Result<(), Failure> {
    let is_held = |one: &&Published| listening.iter().any(|other| one.clashes(other));
    let Some(held) = wanted.iter().find(is_held) else { return Ok(()) };
    let message = format!(
        "port {held} of {host} is in use by a process of the host, or by a container that has the \
         host's network (`ss -lntup` there tells which): stop it, or give other `ports`"
    );
    Err(Failure::new(FailureClass::Precondition, message).with_code("port-in-use"))
}

/// Why a container is not stopped by an operation that may have to start it again.
pub fn removes_itself(host: &str, name: &str) -> Failure {
    let message = format!(
        "container `{name}` on {host} removes itself when it stops (`docker run --rm`), with all \
         its options: make it anew without --rm first"
    );
    Failure::new(FailureClass::Precondition, message).with_code("auto-remove")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_containers_do_not_have_one_port() {
        let table = [
            ("5432:5432", "5432:8080", true),
            ("5432:5432", "5433:5432", false),
            ("5432:5432/udp", "5432:5432", false),
            ("10.0.0.1:5432:5432", "10.0.0.2:5432:5432", false),
            ("10.0.0.1:5432:5432", "0.0.0.0:5432:5432", true),
            ("[::1]:5432:5432", "[::]:5432:5432/tcp", true),
            ("[::1]:5432:5432", "10.0.0.1:5432:5432", false),
            ("0.0.0.0:5432:5432", "[::1]:5432:5432", false),
            ("0.0.0.0:5432:5432", "[::]:5432:5432", false),
            ("5432:5432", "[::1]:5432:5432", true),
            ("[0:0:0:0:0:0:0:1]:5432:5432", "[::1]:5432:5432", true),
            ("[::ffff:10.0.0.1]:5432:5432", "10.0.0.1:5432:5432", true),
        ];
        for (one, other, clash) in table {
            let (wanted, theirs) = (Published::parse(one), Published::parse(other));
            let (wanted, theirs) = (wanted.expect("a port"), theirs.expect("a port"));
            let others = [("other".to_owned(), vec![theirs])];
            let found = must_be_free("i-1", &[wanted], &others);
            assert_eq!(found.is_err(), clash, "{one} and {other}");
        }
        assert_eq!(Published::parse("0:5432"), None);
        assert_eq!(Published::parse(":5432"), None);
    }
}
