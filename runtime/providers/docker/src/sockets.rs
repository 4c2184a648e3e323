//! The ports of a host that somebody has who is no container with a network of its own.
//!
//! The engine does not tell them; a helper reads them from `/proc/PID/net` (proc_pid_net(5)) of its
//! own parent, which is in the engine's network. Whether an address can be bound nobody can tell: a
//! host may bind what is not its own (ip(7), *ip_nonlocal_bind*).

use super::errors::{Answer, RequestError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use stepback_provider::ports::{self, Published};

/// A host's sockets, as a helper saw them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sockets {
    /// One for all engines of one kernel.
    pub(super) boot: String,
    listening: Vec<Listening>,
}

/// A socket that listens; its number tells it from every other of its kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listening {
    on: Published,
    inode: u64,
}

impl Sockets {
    /// Of lines `boot ID` and `tcp ADDRESS:PORT INODE`, `udp6 …`, with hexadecimal addresses as the
    /// kernel writes them; others say nothing.
    pub(super) fn read(lines: &[String]) -> Self {
        let mut seen = Self::default();
        for (kind, what) in lines.iter().filter_map(|line| line.split_once(' ')) {
            match kind {
                "boot" => what.clone_into(&mut seen.boot),
                "tcp" | "tcp6" | "udp" | "udp6" => seen.listening.extend(socket(kind, what)),
                _ => {}
            }
        }
        seen
    }

    /// Whether a new container can have these ports; `theirs` go with one that makes way for it,
    /// whose engine's host has these sockets.
    ///
    /// # Errors
    /// The first that somebody has.
    pub(super) fn must_leave(
        &self,
        host: &str,
        wanted: &[Published],
        theirs: &[Published],
        on: &Sockets,
    ) -> Answer<()> {
        let goes = |socket: &&Listening| {
            let is_the_same = on.boot == self.boot
                && on.listening.iter().any(|other| other.inode == socket.inode);
            is_the_same && theirs.iter().any(|one| one.clashes(&socket.on))
        };
        let stays = self.listening.iter().filter(|socket| !goes(socket));
        let listening: Vec<Published> = stays.map(|socket| socket.on.clone()).collect();
        ports::must_not_be_held(host, wanted, &listening).map_err(RequestError::from)
    }
}

/// An address is written as words of 32 bits, each as the machine holds it; this is for those that
/// hold the low byte first, as all do that engines are run on but s390x.
fn socket(kind: &str, text: &str) -> Option<Listening> {
    let (at, inode) = text.split_once(' ')?;
    let (address, port) = at.split_once(':')?;
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
    let address = address.to_string();
    // One socket may be for both kinds of addresses, and does not tell.
    let address = Some(address.as_str()).filter(|address| *address != "::");
    let on = Published::new(address, port, kind.trim_end_matches('6'));
    Some(Listening { on, inode: inode.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        let lines = [
            "boot 0f9e",
            "tcp 00000000:1538 7",
            "tcp 0100007F:0016 8",
            "tcp6 00000000000000000000000001000000:1F90 9",
            "tcp6 0000000000000000FFFF00000A00000A:0050 10",
            "udp6 00000000000000000000000000000000:0035 11",
            "tcp nonsense",
            "something else",
        ];
        let seen = Sockets::read(&lines.map(str::to_owned));
        let listening = [
            (Published::new(Some("0.0.0.0"), 5432, "tcp"), 7),
            (Published::new(Some("127.0.0.1"), 22, "tcp"), 8),
            (Published::new(Some("::1"), 8080, "tcp"), 9),
            (Published::new(Some("10.0.0.10"), 80, "tcp"), 10),
            (Published::new(None, 53, "udp"), 11),
        ];
        assert_eq!(seen.boot, "0f9e");
        assert_eq!(seen.listening, listening.map(|(on, inode)| Listening { on, inode }));
    }

    /// Engines of one machine may have a network each.
    #[test]
    fn what_makes_way_takes_its_own_socket_with_it_and_no_other() {
        let of = |boot: &str, inode: u64| {
            let on = Published::new(Some("0.0.0.0"), 5432, "tcp");
            Sockets { boot: boot.to_owned(), listening: vec![Listening { on, inode }] }
        };
        let port = [Published::new(None, 5432, "tcp")];
        let leaves = |theirs: &[Published], on: &Sockets| {
            of("one", 7).must_leave("i-1", &port, theirs, on).is_ok()
        };
        assert!(leaves(&port, &of("one", 7)));
        assert!(!leaves(&port, &of("one", 8)), "another network of the machine");
        assert!(!leaves(&port, &of("other", 7)), "another machine");
        assert!(!leaves(&[], &of("one", 7)), "it does not have that port");
    }
}
