//! Ports that containers publish on their host (Docker docs, *Port publishing and mapping*).
//!
//! [`Port::parse`] is the one judge of how a port is written: the simulated world and the provider
//! for Docker both take what it takes, and an engine is sent what it made of the text.

use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use stepback_core::{Failure, FailureClass};

/// How a port is written that is chosen when the container is made.
const AUTO: &str = "auto";
/// Ports for those: below the ones that the kernel gives to outgoing connections (Linux,
/// *ip_local_port_range*, from 32768), above those that services are known by.
pub const KEPT_PORTS: RangeInclusive<u16> = 20_000..=29_999;

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// A port to publish: `[address:][host-port]:container-port[/protocol]`, or `auto` for the host's.
///
/// All of it is what `docker run --publish` takes (Docker docs, *docker container run*). Docker
/// takes more, which is refused here: a container's port alone, a range of a container's ports,
/// port 0 of a container or in a range, and an empty protocol. An address that is none is refused,
/// because an engine that is asked without `docker` publishes on all addresses then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Without one it is on all.
    pub address: Option<IpAddr>,
    /// Which port of the host it is.
    pub on_host: OnHost,
    /// The container's port, never 0.
    pub in_container: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
}

/// The port of the host (Docker docs, *Engine API*, *ContainerCreate*, `PortBindings`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnHost {
    /// One that is free, which the engine chooses: nothing is written, or 0.
    Any,
    /// This one, never 0.
    One(u16),
    /// The first of these that is free.
    OneOf(u16, u16),
    /// `auto`: one that is free when the container is made, and that it keeps: another one at each
    /// start would be where nobody looks for it.
    Kept,
}

impl Port {
    /// Read one.
    ///
    /// # Errors
    /// `invalid-input`, with the code and the sense that an engine's own answer has.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        Self::read(text).map_err(|why| {
            let message = format!("the port `{text}` is not HOST-PORT:CONTAINER-PORT: {why}");
            Failure::new(FailureClass::InvalidInput, message).with_code("400")
        })
    }

    fn read(text: &str) -> Result<Self, String> {
        let (outside, inside) = text.rsplit_once(':').ok_or_else(|| match text.is_empty() {
            true => "it is empty".to_owned(),
            false => format!("write `:{text}` for a port of the host that is free"),
        })?;
        let (in_container, protocol) = inside.split_once('/').unwrap_or((inside, "tcp"));
        let (address, on_host) = outside.rsplit_once(':').unwrap_or(("", outside));
        let address_of = |written: &str| {
            let address = without_brackets(written).and_then(|bare| bare.parse().ok());
            address.ok_or_else(|| format!("`{written}` is no IP address"))
        };
        let is_one = |name: &&str| name.eq_ignore_ascii_case(protocol);
        Ok(Self {
            address: match address {
                "" => None,
                written => Some(address_of(written)?),
            },
            on_host: OnHost::parse(on_host).ok_or_else(|| {
                format!("`{on_host}` is no port of a host, such as `8080` or `8000-8010`")
            })?,
            in_container: number(in_container).filter(|port| *port > 0).ok_or_else(|| {
                match in_container.contains('-') {
                    true => format!("`{in_container}` is a range: give each port its own entry"),
                    false => format!("`{in_container}` is no port of a container, 1 to 65535"),
                }
            })?,
            protocol: PROTOCOLS.into_iter().find(is_one).ok_or_else(|| {
                format!("`{protocol}` is no protocol: {} are", PROTOCOLS.join(", "))
            })?,
        })
    }

    /// The container's side as an engine names it, `5432/tcp`.
    pub fn inside(&self) -> String {
        format!("{}/{}", self.in_container, self.protocol)
    }
}

/// As it is written, tcp left out.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            None => {}
        }
        write!(f, "{}:{}", self.on_host, self.in_container)?;
        match self.protocol {
            "tcp" => Ok(()),
            other => write!(f, "/{other}"),
        }
    }
}

impl OnHost {
    fn parse(text: &str) -> Option<Self> {
        let some = |text: &str| number(text).filter(|port| *port > 0);
        match text.split_once('-') {
            None if text == AUTO => Some(Self::Kept),
            Some((from, to)) => {
                let (from, to) = (some(from)?, some(to)?);
                match from.cmp(&to) {
                    Ordering::Less => Some(Self::OneOf(from, to)),
                    Ordering::Equal => Some(Self::One(from)),
                    Ordering::Greater => None,
                }
            }
            None if text.is_empty() => Some(Self::Any),
            None => Some(match number(text)? {
                0 => Self::Any,
                port => Self::One(port),
            }),
        }
    }
}

/// As an engine takes it.
impl fmt::Display for OnHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::One(port) => write!(f, "{port}"),
            Self::OneOf(from, to) => write!(f, "{from}-{to}"),
            Self::Kept => f.write_str(AUTO),
        }
    }
}

/// The ports of a container with one of the host's own chosen for each `auto`: the first from a
/// place on that no container has, whether it runs or not.
///
/// # Errors
/// All of them are taken.
pub fn with_kept(
    ports: &[String],
    taken: &BTreeSet<u16>,
    from: u64,
) -> Result<Vec<String>, Failure> {
    let mut taken = taken.clone();
    let span = u64::from(KEPT_PORTS.end() - KEPT_PORTS.start()) + 1;
    let mut chosen = |text: &String| {
        let Ok(port @ Port { on_host: OnHost::Kept, .. }) = Port::parse(text) else {
            return Ok(text.clone());
        };
        let at = |step: u64| {
            let offset = (from % span + step) % span;
            u16::try_from(offset).ok().map(|offset| KEPT_PORTS.start() + offset)
        };
        let free = (0..span).filter_map(at).find(|port| !taken.contains(port));
        let free = free.ok_or_else(|| {
            let (first, last) = (KEPT_PORTS.start(), KEPT_PORTS.end());
            let message = format!("all ports from {first} to {last} are containers' by now");
            Failure::new(FailureClass::Precondition, message).with_code("no-port")
        })?;
        taken.insert(free);
        Ok(Port { on_host: OnHost::One(free), ..port }.to_string())
    };
    ports.iter().map(&mut chosen).collect()
}

/// Whether one of them is to be chosen.
pub fn are_kept(ports: &[String]) -> bool {
    ports.iter().any(|text| Port::parse(text).is_ok_and(|port| port.on_host == OnHost::Kept))
}

/// The ports of the host that containers have by what they were made of.
pub fn of_host<'a>(ports: impl Iterator<Item = &'a String>) -> BTreeSet<u16> {
    let mut all = BTreeSet::new();
    for port in ports.filter_map(|text| Port::parse(text).ok()) {
        match port.on_host {
            OnHost::One(port) => drop(all.insert(port)),
            OnHost::OneOf(from, to) => all.extend(from..=to),
            OnHost::Any | OnHost::Kept => {}
        }
    }
    all
}

/// Digits alone: no sign and no space, which engines do not take either.
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// An IPv6 address has brackets around it, and may go without.
fn without_brackets(address: &str) -> Option<&str> {
    match address.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']'),
        None => Some(address),
    }
}

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
        match text.trim_matches(['[', ']']).parse() {
            Ok(address) => At::of(Some(address)),
            Err(_) => At::Odd,
        }
    }

    fn of(address: Option<IpAddr>) -> Self {
        match address.map(|address| address.to_canonical()) {
            None => At::All,
            Some(IpAddr::V4(address)) if address.is_unspecified() => At::AllV4,
            Some(IpAddr::V6(address)) if address.is_unspecified() => At::AllV6,
            Some(address) => At::One(address),
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

    /// Where a [`Port`] is; nothing of one that the engine chooses.
    pub fn parse(text: &str) -> Option<Self> {
        let wanted = Port::parse(text).ok()?;
        let OnHost::One(port) = wanted.on_host else { return None };
        Some(Self { at: At::of(wanted.address), port, protocol: wanted.protocol.to_owned() })
    }

    /// `[address:]port/protocol`, of what listens there.
    pub fn listening(text: &str) -> Option<Self> {
        let (outside, protocol) = text.split_once('/')?;
        let (address, port) = match outside.rsplit_once(':') {
            Some((address, port)) => (Some(address), port),
            None => (None, outside),
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

/// Whether nobody has one of these ports, and none is wanted twice: an engine makes such a
/// container, and does not start it (Docker 20.10 was asked).
///
/// # Errors
/// The first that is wanted twice, or that somebody has, and who.
pub fn must_be_free(
    host: &str,
    wanted: &[Published],
    others: &[(String, Vec<Published>)],
) -> Result<(), Failure> {
    let mut before = wanted.iter().enumerate().map(|(at, one)| (one, &wanted[..at]));
    if let Some((twice, _)) = before.find(|(one, all)| all.iter().any(|other| one.clashes(other))) {
        let message = format!(
            "port {twice} of {host} is asked for twice by the same container: give it once in \
             `ports`"
        );
        let failure = Failure::new(FailureClass::Precondition, message);
        return Err(failure.with_code("port-in-use"));
    }
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

/// Why a container that is paused is not stopped: it would come back without that.
pub fn is_paused(host: &str, name: &str) -> Failure {
    let message = format!(
        "container `{name}` on {host} is paused, and would not be when it is started again: \
         unpause it first, and pause it again afterwards"
    );
    Failure::new(FailureClass::Precondition, message).with_code("paused")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is taken is what Docker makes of each (`docker create --publish` and `docker inspect`
    /// of 20.10 were asked), but for one way to write an IPv6 address, and 0 for a free port.
    #[test]
    fn a_port_is_what_an_engine_takes() {
        let taken = [
            ("5432:5432", "5432:5432"),
            ("80:8080/tcp", "80:8080"),
            ("80:8080/UDP", "80:8080/udp"),
            ("65535:65535/sctp", "65535:65535/sctp"),
            ("080:80", "80:80"),
            ("0:80", ":80"),
            (":80", ":80"),
            ("127.0.0.1::80", "127.0.0.1::80"),
            ("127.0.0.1:0:80", "127.0.0.1::80"),
            (":80:8080", "80:8080"),
            ("0.0.0.0:80:8080", "0.0.0.0:80:8080"),
            ("8000-8010:80", "8000-8010:80"),
            ("8000-8000:80", "8000:80"),
            ("127.0.0.1:8000-8010:80/udp", "127.0.0.1:8000-8010:80/udp"),
            ("[::1]:80:80", "[::1]:80:80"),
            ("[::1]::80", "[::1]::80"),
            ("::1:80:80", "[::1]:80:80"),
            ("[0:0:0:0:0:0:0:1]:80:80", "[::1]:80:80"),
            ("[127.0.0.1]:80:80", "127.0.0.1:80:80"),
        ];
        for (text, wanted) in taken {
            let port = Port::parse(text).unwrap_or_else(|failure| panic!("{failure}"));
            assert_eq!(port.to_string(), wanted, "{text}");
            assert_eq!(Port::parse(wanted), Ok(port), "{text}: what it is shown as");
        }
        let refused = "80 80/tcp 80: : :: x:y a:b:c:d 1:2:3:4 80:0 80:65536 65536:80 99999:80 \
            +80:80 80:+80 -80:80 80:-80 0x50:80 8o:80 80.0:80 80:80/ 80:80/icmp 80:80/tcp/udp \
            80/tcp:80 80:80-90 80-90:80-90 8010-8000:80 0-10:80 0-0:80 -10:80 10-:80 8000-x:80 \
            1-2-3:80 localhost:80:80 127.0.0:80:80 256.0.0.1:80:80 [::1:80:80 ::1]:80:80 []:80:80 \
            [localhost]:80:80 [fe80::1%eth0]:80:80 [::1]:80 ::1:80";
        let spaces = ["", " ", "80 :80", "80: 80", " 80:80", "80:80 ", "80:80 /tcp", "80:80/ tcp"];
        let more = ["127.0.0.1 :80:80", "80\n:80", "８０:80"];
        for text in refused.split_whitespace().chain(spaces).chain(more) {
            let failure = Port::parse(text).expect_err(text);
            let told = (failure.class, failure.code.as_deref());
            assert_eq!(told, (FailureClass::InvalidInput, Some("400")), "{text}");
            assert_eq!(Published::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_told_with_what_to_write() {
        for (text, wanted) in [
            ("80", "write `:80`"),
            ("8090-8092:80-82", "give each port its own entry"),
            ("8080:80/", "tcp, udp, sctp are"),
            ("80:80/icmp", "`icmp` is no protocol"),
            ("80:0", "1 to 65535"),
            ("localhost:80:80", "`localhost` is no IP address"),
            ("x:80", "`x` is no port of a host"),
        ] {
            let told = Port::parse(text).expect_err(text).message;
            assert!(told.contains(wanted), "{text}: {told}");
        }
    }

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
            let found = must_be_free("i-1", std::slice::from_ref(&wanted), &others);
            assert_eq!(found.is_err(), clash, "{one} and {other}");
            // Nor does one container have it twice.
            let both = [wanted, others[0].1[0].clone()];
            let twice = must_be_free("i-1", &both, &[]);
            assert_eq!(twice.is_err(), clash, "{one} and {other} of one container");
        }
        for chosen in ["0:5432", ":5432", "127.0.0.1::5432", "5432-5433:5432"] {
            assert_eq!(Published::parse(chosen), None, "{chosen}");
        }
    }
}
