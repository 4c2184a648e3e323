//! What of a host's network somebody has already who is no container: ports that processes listen
//! on, and the addresses that there are.
//!
//! The engine does not tell either; a helper reads them from `/proc/1/net` (proc_pid_net(5)).

use super::connect::Engine;
use super::errors::{Answer, Told};
use crate::ports::{self, Published};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use stepback_core::FailureClass;

/// A host's sockets and addresses, as a helper saw them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sockets {
    /// One for all engines of one kernel.
    pub(super) boot: String,
    listening: Vec<Published>,
    /// None at all where they could not be read.
    addresses: Vec<IpAddr>,
}

impl Sockets {
    /// Of lines `boot ID`, `tcp ADDRESS:PORT`, `udp6 ADDRESS:PORT`, `4 ADDRESS`, `6 ADDRESS`, with
    /// hexadecimal numbers as the kernel writes them; others say nothing.
    pub(super) fn read(lines: &[String]) -> Self {
        let mut seen = Self::default();
        for (kind, what) in lines.iter().filter_map(|line| line.split_once(' ')) {
            match kind {
                "boot" => what.clone_into(&mut seen.boot),
                "tcp" | "tcp6" | "udp" | "udp6" => seen.listening.extend(socket(kind, what)),
                "4" => seen.addresses.extend(what.parse::<IpAddr>()),
                "6" => {
                    let bits = u128::from_str_radix(what, 16);
                    seen.addresses.extend(bits.map(|bits| IpAddr::from(Ipv6Addr::from(bits))));
                }
                _ => {}
            }
        }
        seen
    }

    /// Whether a new container can have these ports; `theirs` go with one that makes way for it.
    ///
    /// # Errors
    /// The first that a process has, or whose address is none of the host's.
    pub(super) fn must_leave(
        &self,
        engine: &Engine,
        wanted: &[Published],
        theirs: &[Published],
    ) -> Answer<()> {
        let host = &engine.host;
        let goes = |other: &&Published| !theirs.iter().any(|one| one.clashes(other));
        let listening: Vec<Published> = self.listening.iter().filter(goes).cloned().collect();
        ports::must_not_be_held(host, wanted, &listening).map_err(Told::from)?;
        for one in wanted {
            let address = one.address().and_then(|address| address.parse::<IpAddr>().ok());
            if let Some(address) = address
                && !address.is_loopback()
                && !self.addresses.is_empty()
                && !self.addresses.contains(&address)
            {
                let message = format!("{host} has no address {address}: give other `ports`");
                return Err(Told::no(FailureClass::Precondition, "no-such-address", message));
            }
        }
        Ok(())
    }
}

/// An address is written as words of 32 bits, each as the machine holds it; this is for those that
/// hold the low byte first, as all do that engines are run on but s390x.
fn socket(kind: &str, text: &str) -> Option<Published> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = vec![];
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_le_bytes());
    }
    let address = match (<[u8; 4]>::try_from(&bytes[..]), <[u8; 16]>::try_from(&bytes[..])) {
        (Ok(v4), _) => IpAddr::from(Ipv4Addr::from(v4)),
        (_, Ok(v6)) => IpAddr::from(Ipv6Addr::from(v6)).to_canonical(),
        _ => return None,
    };
    Some(Published::new(Some(&address.to_string()), port, kind.trim_end_matches('6')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        let lines = [
            "boot 0f9e",
            "tcp 00000000:1538",
            "tcp 0100007F:0016",
            "tcp6 00000000000000000000000001000000:1F90",
            "tcp6 0000000000000000FFFF00000A00000A:0050",
            "udp6 00000000000000000000000000000000:0035",
            "tcp nonsense",
            "4 10.0.0.10",
            "6 fe800000000000000000000000000001",
            "something else",
        ];
        let seen = Sockets::read(&lines.map(str::to_owned));
        let listening = [
            Published::new(None, 5432, "tcp"),
            Published::new(Some("127.0.0.1"), 22, "tcp"),
            Published::new(Some("::1"), 8080, "tcp"),
            Published::new(Some("10.0.0.10"), 80, "tcp"),
            Published::new(None, 53, "udp"),
        ];
        let addresses = ["10.0.0.10", "fe80::1"].map(|at| at.parse::<IpAddr>().unwrap());
        assert_eq!(seen.boot, "0f9e");
        assert_eq!(seen.listening, listening);
        assert_eq!(seen.addresses, addresses);
    }
}
