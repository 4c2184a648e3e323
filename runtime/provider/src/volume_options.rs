//! How a Docker volume's options may be shown: what is known to be harmless, and nothing else.
//!
//! Options hold passwords of somebody else, who declared no secret: by a name (mount.cifs(8),
//! mount.ceph(8)), within a user's name (`user=ann%…`), in an address, or in whatever a driver of
//! its own has them in (`-p …`). No list names them all, so that the other list is kept.

use crate::passwords::{MASK, NAMES_OF_SECRETS, is_password, marked, without_login};
use stepback_core::expr::MARK_EDGE;
use stepback_core::grants::is_ordinary_option;

/// The names of mount options that hold a password, and that are told: what follows is not.
const PASSWORDS: &[&str] = &[
    "cred",
    "credentials",
    "key",
    "keyfile",
    "pass",
    "pass2",
    "passwd",
    "password",
    "password2",
    "pwd",
    "secret",
    "secretfile",
    "token",
];

/// The mount options besides those of a disk's file systems that are no secret: of any mount
/// (mount(8)), of NFS (nfs(5)), CIFS (mount.cifs(8)), Ceph (mount.ceph(8)), of a file system in
/// memory and of layers (mount(8), *tmpfs*, *overlay*). One that ends in `=` has a value.
const HARMLESS: &[&str] = &[
    // Of any mount.
    "bind",
    "loop",
    "private",
    "rbind",
    "remount",
    "rprivate",
    "rshared",
    "rslave",
    "runbindable",
    "shared",
    "slave",
    "unbindable",
    "uid=",
    "gid=",
    "umask=",
    "fmask=",
    "dmask=",
    "journal_path=",
    "journal_dev=",
    "logdev=",
    "rtdev=",
    "device=",
    "errors=",
    // Of NFS.
    "ac",
    "noac",
    "acdirmax=",
    "acdirmin=",
    "acregmax=",
    "acregmin=",
    "actimeo=",
    "addr=",
    "bg",
    "fg",
    "bsize=",
    "clientaddr=",
    "cto",
    "nocto",
    "fsc",
    "nofsc",
    "hard",
    "soft",
    "softerr",
    "softreval",
    "nosoftreval",
    "intr",
    "nointr",
    "local_lock=",
    "lock",
    "nolock",
    "lookupcache=",
    "max_connect=",
    "migration",
    "nomigration",
    "minorversion=",
    "mountaddr=",
    "mounthost=",
    "mountport=",
    "mountproto=",
    "mountvers=",
    "namlen=",
    "nconnect=",
    "nfsvers=",
    "port=",
    "proto=",
    "rdirplus",
    "nordirplus",
    "resvport",
    "noresvport",
    "retrans=",
    "retry=",
    "rsize=",
    "wsize=",
    "sec=",
    "sharecache",
    "nosharecache",
    "tcp",
    "udp",
    "rdma",
    "timeo=",
    "vers=",
    // Of CIFS.
    "cache=",
    "cifsacl",
    "dir_mode=",
    "file_mode=",
    "dom=",
    "domain=",
    "workgroup=",
    "user=",
    "username=",
    "forcegid",
    "forceuid",
    "guest",
    "handletimeout=",
    "idsfromsid",
    "iocharset=",
    "ip=",
    "mapchars",
    "mapposix",
    "mfsymlinks",
    "multichannel",
    "multiuser",
    "netbiosname=",
    "nobrl",
    "nohandlecache",
    "noperm",
    "noposix",
    "noposixpaths",
    "nostrictsync",
    "nounix",
    "persistenthandles",
    "prefixpath=",
    "seal",
    "serverino",
    "noserverino",
    "setuids",
    "sfu",
    "sign",
    "snapshot=",
    "unc=",
    "unix",
    // Of Ceph.
    "fs=",
    "mds_namespace=",
    "mon_addr=",
    "name=",
    "noshare",
    "rbytes",
    "norbytes",
    // In memory, and of layers.
    "huge=",
    "mode=",
    "mpol=",
    "nr_blocks=",
    "nr_inodes=",
    "size=",
    "lowerdir=",
    "upperdir=",
    "workdir=",
];

/// A volume's option as it may be shown. Of the engine's own driver these are `type`, `device`,
/// `o` and `size` (Docker docs, *docker volume create*, *Driver-specific options*); another
/// driver's may be anything.
///
/// What is not masked is as it is: whoever declared a secret finds it in that. A mask that would
/// cut one in two has all of it.
pub fn shown_option(key: &str, value: &str) -> String {
    let shown = |value: &str| match key {
        "type" | "size" | "device" => shown_value(value),
        "o" => shown_mount_options(value),
        _ => MASK.to_owned(),
    };
    if shown(value) == value {
        return value.to_owned();
    }
    let marked = shown(&marked(value));
    let parts = marked.split(MARK_EDGE).enumerate();
    parts.map(|(at, part)| if at % 2 == 0 { part } else { MASK }).collect()
}

/// Where a volume is mounted from, as it may be shown.
pub fn shown_device(device: &str) -> String {
    shown_value(device)
}

/// Mount options as they may be shown.
pub fn shown_mount_options(text: &str) -> String {
    options(text).into_iter().map(shown_mount_option).collect::<Vec<_>>().join(",")
}

fn shown_mount_option(word: &str) -> String {
    let Some((name, value)) = word.split_once('=') else {
        let is_shown = is_ordinary_option(word) || HARMLESS.contains(&word);
        return if is_shown { word } else { MASK }.to_owned();
    };
    let is_shown = is_ordinary_option(word) || HARMLESS.contains(&format!("{name}=").as_str());
    match is_shown && !is_password(name) {
        true => format!("{name}={}", shown_value(value)),
        false if PASSWORDS.contains(&name.to_lowercase().as_str()) => format!("{name}={MASK}"),
        false => MASK.to_owned(),
    }
}

/// A value as it may be shown: a word, a path or an address. Not at all where it has anything else
/// in it, which may be a password: `ann%…`, `-p …`, JSON.
fn shown_value(value: &str) -> String {
    let shown = shown_address(value);
    // Where a declared secret was is told already.
    let unmarked: String = shown.split(MARK_EDGE).step_by(2).collect();
    let is_plain = |c: char| c.is_alphanumeric() || "/\\.:_-+@[],#?~$* ".contains(c);
    let is_argument = unmarked.split(' ').any(|word| word.starts_with('-'));
    match unmarked.chars().all(is_plain) && !is_argument && !names_password(&unmarked) {
        true => shown,
        false => MASK.to_owned(),
    }
}

/// What the commas divide, but for those that a value has, which are doubled (mount.cifs(8)).
fn options(text: &str) -> Vec<&str> {
    let (mut all, mut begins, mut at) = (vec![], 0, 0);
    while let Some(comma) = text[at..].find(',').map(|found| at + found) {
        match text[comma + 1..].starts_with(',') {
            true => at = comma + 2,
            false => {
                all.push(&text[begins..comma]);
                (begins, at) = (comma + 1, comma + 1);
            }
        }
    }
    all.push(&text[begins..]);
    all
}

/// Whether a text gives a name of a password, and something after it: as an option
/// (`AccountKey=…`), as an argument (`--password …`) or as JSON.
fn names_password(text: &str) -> bool {
    let text = text.to_lowercase();
    let is_given = |name: &str, at: usize| {
        let of_name = |c: char| c.is_ascii_alphanumeric() || ['_', '-', '.'].contains(&c);
        let behind = text[at + name.len()..].trim_start_matches(of_name);
        let value = behind.trim_start_matches(['"', '\'', '\\', '=', ':', ' ', '\t']);
        value.len() < behind.len() && !value.is_empty()
    };
    NAMES_OF_SECRETS.iter().any(|name| text.match_indices(name).any(|(at, _)| is_given(name, at)))
}

/// An address without who logs in there, nor what is asked, which may be signed:
/// `https://host/path?***`.
fn shown_address(address: &str) -> String {
    match address.find(['?', '#']) {
        Some(at) => format!("{}{}{MASK}", without_login(&address[..at]), &address[at..=at]),
        None => without_login(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passwords::{Declared, Text, marking};
    use std::ops::Range;
    use std::sync::Arc;

    struct Address;

    impl Declared for Address {
        fn marked(&self, text: &str) -> String {
            text.replace("https://s3/LEAK?sig=x", "\u{1}<secret:pw>\u{1}")
        }

        fn places(&self, _: &str, _: Text) -> Vec<Range<usize>> {
            panic!("no command prints it")
        }
    }

    /// What a mask would cut in two goes with it, and what none is near is left as it is.
    #[tokio::test]
    async fn a_declared_secret_in_an_option_is_never_cut() {
        let told = async { shown_option("device", "https://s3/LEAK?sig=x") };
        assert_eq!(marking(Arc::new(Address), told).await, MASK);
        let plain = async { shown_option("o", "addr=10.0.9.9,rw") };
        assert_eq!(marking(Arc::new(Address), plain).await, "addr=10.0.9.9,rw");
    }

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
            ("device", "//nas/password=x", "***"),
            ("device", "//nas/passwords/x", "//nas/passwords/x"),
            ("cifsopts", "vers=3.0,username=u,password=b", "***"),
            ("o", "rw;password=b", "***"),
            ("o", "name=a,secret:b", "name=a,***"),
            ("config", r#"{"user":"u","password":"b"}"#, "***"),
            ("args", "--user u --password b", "***"),
            ("connection", "AccountName=a;AccountKey=b;Suffix=core", "***"),
            ("device", "nas/x&sig=b", "***"),
            ("device", "ann:pw//rest@h:/x", "***@h:/x"),
            ("urls", "https://a/x,https://ann:pw@b/x", "***"),
            ("device", "https://ann:b@h:443/x@y", "https://***@y"),
            ("device", "//ann:pa@b@nas/x", "//***@nas/x"),
            ("device", "https://token@git/x", "https://***@git/x"),
            ("device", "https://h/x#access_token=b", "https://h/x#***"),
            ("o", "password=a,,b,vers=3.0", "password=***,vers=3.0"),
            ("o", "//ann:b@h/x,ro", "***,ro"),
            ("device", "ann:b@h:/x", "***@h:/x"),
            ("device", "//ann:pa/b@nas/x", "//***@nas/x"),
            ("device", "https://s3/x?sig=b", "https://s3/x?***"),
            ("device", "/dev/disk/by-id/a", "/dev/disk/by-id/a"),
            ("s3_access_key", "b", "***"),
            ("type", "ceph", "ceph"),
            // No name tells these.
            ("o", "user=ann%b,pw=b,b,AQDkey==", "user=***,***,***,***"),
            (
                "o",
                "username=DOM\\ann,uid=1000,file_mode=0600",
                "username=DOM\\ann,uid=1000,file_mode=0600",
            ),
            (
                "o",
                "addr=10.0.0.1,nfsvers=4.1,soft,timeo=30",
                "addr=10.0.0.1,nfsvers=4.1,soft,timeo=30",
            ),
            ("o", "rw,errors=remount-ro,data=ordered", "rw,errors=remount-ro,data=ordered"),
            ("device", ":/exports/my data", ":/exports/my data"),
            ("device", "//nas/x -p b", "***"),
            ("device", "user=ann%b", "***"),
            ("args", "-u ann -p b", "***"),
            ("passcode", "b", "***"),
            ("size", "10G", "10G"),
        ] {
            assert_eq!(shown_option(key, value), wanted);
        }
    }
}
