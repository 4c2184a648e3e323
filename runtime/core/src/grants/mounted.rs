//! Of what a Docker volume is: a directory of its engine's own, or an EBS volume's device, mounted
//! in an ordinary way. Whatever else it could be is its host's.

use crate::shown::MASK;
use std::collections::BTreeMap;

/// The file systems that a device may be mounted as.
const FILE_SYSTEMS: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// The mount options that neither name anything else of the host nor can stop it, of any file
/// system (mount(8), *FILESYSTEM-INDEPENDENT MOUNT OPTIONS*), of ext4 (ext4(5)), xfs (xfs(5)) and
/// btrfs (btrfs(5)). One that ends in `=` has a value.
///
/// Whatever is not here is not known: `bind` makes another thing of the device, `journal_path=`,
/// `logdev=` and `device=` name one more device, and `errors=panic` stops the host.
const ORDINARY: &[&str] = &[
    // An empty one says nothing.
    "",
    // Of any file system.
    "defaults",
    "ro",
    "rw",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "async",
    "sync",
    "dirsync",
    // Of more than one.
    "acl",
    "noacl",
    "barrier",
    "barrier=",
    "nobarrier",
    "bsdgroups",
    "commit=",
    "discard",
    "discard=",
    "nodiscard",
    "grpid",
    "nogrpid",
    "grpquota",
    "noquota",
    "norecovery",
    "prjquota",
    "quota",
    "sysvgroups",
    "usrquota",
    // ext4.
    "auto_da_alloc",
    "noauto_da_alloc",
    "block_validity",
    "noblock_validity",
    "data=",
    "data_err=",
    "delalloc",
    "nodelalloc",
    "dioread_lock",
    "dioread_nolock",
    "errors=continue",
    "errors=remount-ro",
    "i_version",
    "init_itable",
    "init_itable=",
    "noinit_itable",
    "inode_readahead_blks=",
    "journal_async_commit",
    "journal_checksum",
    "nojournal_checksum",
    "journal_ioprio=",
    "max_batch_time=",
    "max_dir_size_kb=",
    "min_batch_time=",
    "noload",
    "nombcache",
    "resgid=",
    "resuid=",
    "stripe=",
    "user_xattr",
    "nouser_xattr",
    // xfs.
    "allocsize=",
    "attr2",
    "noattr2",
    "filestreams",
    "gqnoenforce",
    "gquota",
    "ikeep",
    "noikeep",
    "inode32",
    "inode64",
    "largeio",
    "nolargeio",
    "logbsize=",
    "logbufs=",
    "noalign",
    "nouuid",
    "pqnoenforce",
    "pquota",
    "qnoenforce",
    "sunit=",
    "swalloc",
    "swidth=",
    "uqnoenforce",
    "uquota",
    "wsync",
    // btrfs.
    "autodefrag",
    "noautodefrag",
    "compress",
    "compress=",
    "compress-force",
    "compress-force=",
    "flushoncommit",
    "noflushoncommit",
    "space_cache",
    "space_cache=",
    "ssd",
    "nossd",
    "subvol=",
    "subvolid=",
];

/// The device of an EBS volume that a Docker volume mounts; none if it is a plain one.
///
/// # Errors
/// It mounts something else of its host, or nobody knows what.
pub(super) fn mounted_by<'a>(
    driver: &str,
    options: &'a BTreeMap<String, String>,
) -> Result<Option<&'a str>, String> {
    if driver != "local" {
        return Err(format!("is of the driver `{driver}`"));
    }
    if options.is_empty() {
        return Ok(None);
    }
    let Some(device) = options.get("device") else {
        let names: Vec<&str> = options.keys().map(String::as_str).collect();
        return Err(format!("has options of the driver ({})", names.join(", ")));
    };
    if by_id(device).is_none() {
        return Err(format!("is of `{device}`, which is no EBS volume's device by its id"));
    }
    let kind = options.get("type").map_or("", String::as_str);
    if !FILE_SYSTEMS.contains(&kind) {
        return Err(format!("is mounted as `{kind}`"));
    }
    let mut words = options.get("o").map_or("", String::as_str).split(',');
    if let Some(word) = words.find(|word| !is_ordinary_option(word)) {
        return Err(match word {
            MASK => "has a mount option that is not known, and not shown".to_owned(),
            word => format!("has the mount option `{word}`"),
        });
    }
    match options.keys().find(|key| !["device", "type", "o"].contains(&key.as_str())) {
        Some(key) => Err(format!("has the option `{key}`")),
        None => Ok(Some(device)),
    }
}

/// Whether a mount option does nothing to the host but mount a device in an ordinary way. An engine
/// takes each word as it is, with the space that is around it.
pub fn is_ordinary_option(word: &str) -> bool {
    let named = word.split_once('=').map(|(name, _)| format!("{name}="));
    ORDINARY.contains(&word) || named.is_some_and(|named| ORDINARY.contains(&named.as_str()))
}

/// What is behind the name that a Nitro instance gives an EBS volume's device, which begins with
/// its id (Amazon EBS User Guide, *Amazon EBS volumes and NVMe*).
fn by_id(device: &str) -> Option<&str> {
    let rest = whole(device).strip_prefix("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol")?;
    (!rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric())).then_some(rest)
}

/// Whether what is mounted is another machine's or memory, and so no device's, whatever else is
/// said (nfs(5), mount.cifs(8), tmpfs(5)).
pub(super) fn is_of_no_device(options: &BTreeMap<String, String>) -> bool {
    const KINDS: [&str; 5] = ["cifs", "nfs", "nfs4", "smb3", "tmpfs"];
    let is_bind = |word: &str| matches!(word.trim(), "bind" | "rbind" | "move" | "remount");
    let kind = options.get("type").is_some_and(|kind| KINDS.contains(&kind.as_str()));
    let words = options.get("o").map_or("", String::as_str);
    kind && words != MASK && !words.split(',').any(|word| word == MASK || is_bind(word))
}

/// Whether it is the name of an EBS volume's device by its id.
pub(super) fn is_by_id(device: &str) -> bool {
    by_id(device).is_some()
}

/// The name of a device without its namespace, of which there is one.
pub fn whole(device: &str) -> &str {
    device.strip_suffix("_1").or_else(|| device.strip_suffix("-ns-1")).unwrap_or(device)
}

/// The id that a device's name is of.
pub(super) fn id_of(device: &str) -> String {
    format!("vol-{}", by_id(device).unwrap_or_default())
}

/// The name of the device that an EBS volume has on a Nitro instance: its id without a dash.
pub fn device_of(volume: &str) -> String {
    format!("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{}", volume.replace('-', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_docker_volume_is_plain_or_of_an_ebs_volumes_device() {
        let device = &device_of("vol-0a1");
        let of = |device: &str| options(&[("type", "ext4"), ("device", device)]);
        assert_eq!(mounted_by("local", &options(&[])), Ok(None));
        for name in [device.clone(), format!("{device}_1"), format!("{device}-ns-1")] {
            assert_eq!(mounted_by("local", &of(&name)), Ok(Some(name.as_str())));
        }
        for bad in [
            of("/"),
            of("/dev/sda"),
            of(&format!("{device}/../../../sda")),
            of(&format!("{device}-part1")),
            of("/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol"),
            options(&[("type", "none"), ("o", "bind"), ("device", "/")]),
            options(&[("type", "none"), ("o", "bind"), ("device", device)]),
            options(&[("type", "nfs"), ("o", "addr=10.0.0.1"), ("device", ":/")]),
            options(&[("o", "bind")]),
            options(&[("device", device)]),
            options(&[("device", device), ("type", "ext4"), ("size", "1g")]),
        ] {
            assert!(mounted_by("local", &bad).is_err(), "{bad:?}");
        }
        assert!(mounted_by("rclone", &options(&[])).is_err());
    }

    #[test]
    fn a_device_is_mounted_in_an_ordinary_way_or_it_reaches_further() {
        let device = device_of("vol-0a1");
        let mounted = |kind: &str, words: &str| {
            let options = options(&[("type", kind), ("device", &device), ("o", words)]);
            mounted_by("local", &options).map(|_| ())
        };
        for (kind, words) in [
            ("ext4", ""),
            ("ext4", "defaults"),
            ("ext4", "rw,relatime,errors=remount-ro,data=ordered,barrier=1,commit=30"),
            ("xfs", "noatime,nouuid,inode64,largeio,swalloc,logbufs=8,logbsize=256k"),
            ("xfs", "ro,norecovery,nodev,nosuid,noexec,discard"),
            ("btrfs", "noatime,compress=zstd:1,subvol=/data"),
        ] {
            assert_eq!(mounted(kind, words), Ok(()), "{kind} {words}");
        }
        for (kind, words, named) in [
            ("ext4", "noatime,bind", "bind"),
            ("ext4", "rbind", "rbind"),
            ("ext4", "loop", "loop"),
            ("ext4", "remount", "remount"),
            ("ext4", "shared", "shared"),
            ("ext4", "runbindable", "runbindable"),
            // Each of these names one more device of the host.
            ("ext4", "journal_path=/dev/nvme0n1p1", "journal_path=/dev/nvme0n1p1"),
            ("ext4", "noatime,journal_dev=66305", "journal_dev=66305"),
            ("xfs", "logdev=/dev/nvme0n1p1", "logdev=/dev/nvme0n1p1"),
            ("xfs", "rtdev=/dev/nvme0n1p1", "rtdev=/dev/nvme0n1p1"),
            ("btrfs", "device=/dev/nvme0n1p1", "device=/dev/nvme0n1p1"),
            // This stops the host, and nobody knows what these do.
            ("ext4", "errors=panic", "errors=panic"),
            ("ext4", "noatime, ro", " ro"),
            ("ext4", "ro=", "ro="),
            ("ext4", "commit", "commit"),
            ("ext4", "x-new", "x-new"),
        ] {
            assert_eq!(
                mounted(kind, words),
                Err(format!("has the mount option `{named}`")),
                "{kind} {words}"
            );
        }
        let why = "has a mount option that is not known, and not shown";
        assert_eq!(mounted("ext4", "ro,***"), Err(why.to_owned()));
    }
}
