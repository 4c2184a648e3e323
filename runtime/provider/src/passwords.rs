//! What an engine tells that may be a password of somebody else, who declared no secret: it is
//! masked before anybody is told.
//!
//! Options of volumes have them by a name (mount.cifs(8), mount.ceph(8)) or in an address.

/// What stands for it.
pub const MASK: &str = "***";
/// What the name of an option has in it whose value is nobody's to read.
const NAMES: [&str; 7] = ["pass", "pwd", "secret", "key", "token", "cred", "auth"];

/// Whether what is called so is nobody's to read.
pub fn is_password(name: &str) -> bool {
    let name = name.to_lowercase();
    NAMES.iter().any(|one| name.contains(one))
}

/// A volume's option as it may be shown.
pub fn shown_option(key: &str, value: &str) -> String {
    if is_password(key) {
        return MASK.to_owned();
    }
    if key != "o" {
        return shown_address(value);
    }
    let shown = value.split(',').map(|one| match one.split_once('=') {
        Some((name, _)) if is_password(name) => format!("{name}={MASK}"),
        Some((name, value)) => format!("{name}={}", shown_address(value)),
        None => one.to_owned(),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// An address without who logs in there, if that has a password: `//***@host/path`. A password may
/// have a slash in it.
pub fn without_login(address: &str) -> String {
    let (scheme, rest) = match address.split_once("//") {
        Some((scheme, rest)) => (format!("{scheme}//"), rest),
        None => (String::new(), address),
    };
    match rest.split_once('@') {
        Some((login, host)) if login.contains(':') => format!("{scheme}{MASK}@{host}"),
        _ => address.to_owned(),
    }
}

/// The same without what is asked there, which may be signed: `https://host/path?***`.
fn shown_address(address: &str) -> String {
    match address.split_once('?') {
        Some((address, _)) => format!("{}?{MASK}", without_login(address)),
        None => without_login(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_share_is_not_shown() {
        for (key, value, wanted) in [
            (
                "o",
                "addr=nas,username=u,password=a,vers=3.0",
                "addr=nas,username=u,password=***,vers=3.0",
            ),
            ("o", "name=admin,secret=AQDkey==", "name=admin,secret=***"),
            ("o", "PASSWORD=a,unc=//ann:b@h/x", "PASSWORD=***,unc=//***@h/x"),
            ("o", "bind", "bind"),
            ("device", "//nas/password=x", "//nas/password=x"),
            ("device", "https://ann:b@h:443/x@y", "https://***@h:443/x@y"),
            ("device", "ann:b@h:/x", "***@h:/x"),
            ("device", "//ann:pa/b@nas/x", "//***@nas/x"),
            ("device", "https://s3/x?sig=b", "https://s3/x?***"),
            ("device", "/dev/disk/by-id/a", "/dev/disk/by-id/a"),
            ("s3_access_key", "b", "***"),
            ("type", "ceph", "ceph"),
        ] {
            assert_eq!(shown_option(key, value), wanted);
        }
    }
}
