//! Where a Docker Engine listens, as configurations say it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// Where an engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket of this machine, by its absolute path.
    Unix(PathBuf),
    /// `host:port`, with TLS where the settings have certificates.
    Tcp(String),
    /// This machine's `ssh` leads there; `docker` at the other end reaches its engine.
    Ssh(Destination),
}

impl Endpoint {
    /// `unix:///path`, `tcp://host:port` or `ssh://user@host`, as in `DOCKER_HOST`.
    ///
    /// # Errors
    /// Why it is none of these, as one sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let login = rest.rsplit_once('@').map(|(login, _)| login).filter(|_| scheme != "unix");
        if login.is_some_and(|login| scheme != "ssh" || login.contains([':', '/', '@', ','])) {
            // Nor is it told: it may be a password.
            return Err(
                "a login has no place in an endpoint, but for `ssh://USER@HOST`; ssh takes \
                        a key, and `tcp://` certificates (`tls`)"
                    .to_owned(),
            );
        }
        // What is asked somewhere may be signed.
        let text = text.split(['?', '#']).next().unwrap_or_default();
        match scheme {
            _ if rest.is_empty() => Err(format!("`{text}` names no place")),
            "unix" if rest.starts_with('/') => Ok(Self::Unix(PathBuf::from(rest))),
            "unix" => Err(format!("`{text}`: the path of a socket starts with `/`")),
            "tcp" => {
                let place = rest.trim_end_matches('/');
                let (host, port) = place.rsplit_once(':').unwrap_or((place, ""));
                // Nor is that told: it may be signed, or have a login in it.
                match (is_host(host), port.parse::<u16>()) {
                    (true, Ok(1..)) => Ok(Self::Tcp(place.to_owned())),
                    (true, _) if port.is_empty() => {
                        Err(format!("`{text}` has no port; 2376 is usual with TLS"))
                    }
                    _ => {
                        Err("an endpoint is a host and a port alone, `tcp://HOST:PORT`".to_owned())
                    }
                }
            }
            "ssh" => Destination::parse(rest.trim_end_matches('/')).map(Self::Ssh),
            _ => Err(format!("`{text}` is not unix:///PATH, tcp://HOST:PORT or ssh://USER@HOST")),
        }
    }
}

/// Whether it is a name or an address, one of IPv6 in brackets.
fn is_host(text: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !text.is_empty() && text.chars().all(is_name),
    }
}

/// Whether `host[:port]` is this very machine: a loopback address, or `localhost` itself (RFC 6761,
/// *6.3*). A name that only begins like one, `127.example.com`, is somewhere else.
pub fn is_loopback(place: &str) -> bool {
    let host = match place.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None if place.matches(':').count() > 1 => place,
        None => place.split(':').next().unwrap_or_default(),
    };
    let is_address = |host: &str| host.parse::<IpAddr>().is_ok_and(|at| at.is_loopback());
    host.eq_ignore_ascii_case("localhost") || is_address(host)
}

impl Endpoint {
    /// Whether whoever is on the network between can read what is said, and say it himself.
    pub fn is_open(&self, has_tls: bool) -> bool {
        match self {
            Self::Tcp(at) => !has_tls && !is_loopback(at),
            Self::Unix(_) | Self::Ssh(_) => false,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(at) => write!(f, "tcp://{at}"),
            Self::Ssh(at) => write!(f, "ssh://{at}"),
        }
    }
}

/// Where `ssh` goes: what of `user@host:port` is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

impl Destination {
    /// `[user@]host[:port]`, an IPv6 address in brackets.
    ///
    /// # Errors
    /// Why it is none, as one sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) => (Some(user.to_owned()), place),
            None => (None, text),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (place, None),
        };
        let port = port.map(|port| {
            port.parse().map_err(|_| {
                "what is behind the host of `ssh://USER@HOST:PORT` is not a port".to_owned()
            })
        });
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if user.as_ref().is_some_and(|user| user.contains(':')) {
            return Err("a password has no place in an endpoint; ssh takes a key".to_owned());
        }
        if text.contains('/') {
            return Err(format!(
                "`ssh://{text}`: a path has no place here; what `docker` there talks to counts"
            ));
        }
        if host.is_empty() || user.as_ref().is_some_and(String::is_empty) {
            return Err(format!("`ssh://{text}` is not ssh://USER@HOST[:PORT]"));
        }
        Ok(Self { user, host: host.to_owned(), port: port.transpose()? })
    }

    /// The command that a person would type to see what is wrong.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![];
        if let Some(user) = &self.user {
            arguments.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(port) = self.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        // What follows is no option, whatever it looks like.
        arguments.extend(["--".to_owned(), self.host.clone()]);
        arguments
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.host.contains(':') {
            true => write!(f, "[{}]", self.host)?,
            false => write!(f, "{}", self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_of_this_machine_is_loopback() {
        for here in ["127.0.0.1:5000", "127.1.2.3", "localhost", "LOCALHOST:80", "[::1]:80", "::1"]
        {
            assert!(is_loopback(here), "{here}");
        }
        for there in [
            "127.evil.example:5000",
            "127.0.0.1.evil.example",
            "localhost.evil.example:5000",
            "localhost-evil",
            "10.0.0.1:2375",
            "[fd00::1]:2375",
            "",
        ] {
            assert!(!is_loopback(there), "{there}");
            assert!(Endpoint::Tcp(there.to_owned()).is_open(false));
            assert!(!Endpoint::Tcp(there.to_owned()).is_open(true));
        }
    }

    #[test]
    fn endpoints_are_read_as_docker_host_is() {
        let ssh = |text| Endpoint::Ssh(Destination::parse(text).unwrap());
        let table = [
            ("unix:///run/docker.sock", Ok(Endpoint::Unix("/run/docker.sock".into()))),
            ("tcp://10.0.1.11:2376", Ok(Endpoint::Tcp("10.0.1.11:2376".into()))),
            ("ssh://admin@10.0.1.11", Ok(ssh("admin@10.0.1.11"))),
            ("ssh://db-1:2222", Ok(ssh("db-1:2222"))),
            ("ssh://admin@[fd00::1]:22", Ok(ssh("admin@[fd00::1]:22"))),
            ("tcp://10.0.1.11", Err("has no port")),
            ("unix://run/docker.sock", Err("starts with `/`")),
            ("10.0.1.11", Err("is not unix:///PATH")),
            ("ssh://", Err("names no place")),
            ("ssh://admin@", Err("is not ssh://USER@HOST")),
            ("ssh://admin:secret@db-1", Err("a login has no place")),
            ("ssh://admin:se/cret@db-1", Err("a login has no place")),
            ("ssh://db-1:1,ssh://admin:secret@db-1", Err("a login has no place")),
            ("ssh:admin:secret@db-1", Err("a login has no place")),
            ("tcp://admin:secret@db-1:2376", Err("a login has no place")),
            ("tcp://db-1:2376/?token=secret", Err("a host and a port alone")),
            ("tcp://db-1:2376;password=secret", Err("a host and a port alone")),
            ("tcp://db-1:secret", Err("a host and a port alone")),
            ("tcp://db-1:99999", Err("a host and a port alone")),
            ("tcp://db-1:2376&secret", Err("a host and a port alone")),
            ("tcp://[::1]secret:2375", Err("a host and a port alone")),
            ("tcp://secret%40db-1:2376", Err("a host and a port alone")),
            ("https://db-1?token=secret", Err("`https://db-1` is not unix:///PATH")),
            ("ssh://db-1:many", Err("is not a port")),
            ("ssh://db-1/run/docker.sock", Err("a path has no place here")),
        ];
        for (text, wanted) in table {
            match (Endpoint::parse(text), wanted) {
                (Ok(found), Ok(wanted)) => {
                    assert_eq!(found, wanted);
                    assert_eq!(found.to_string(), text);
                }
                (Err(why), Err(wanted)) => {
                    assert!(why.contains(wanted), "{text}: {why}");
                    assert!(!why.contains("cret"), "{why}");
                }
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
    }
}
