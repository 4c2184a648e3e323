//! Names of devices, of which one device has several.

/// What tells a disk of an EC2 instance from its others: `b` of `/dev/sdb`, `/dev/xvdb`, `sdb` and
/// `/dev/sdb1` (Amazon EC2 User Guide, *Device names for volumes on Amazon EC2 instances*).
pub fn letter_of(device: &str) -> Option<&str> {
    let name = device.strip_prefix("/dev/").unwrap_or(device);
    let rest = ["sd", "xvd", "hd"].iter().find_map(|kind| name.strip_prefix(kind))?;
    Some(rest.trim_end_matches(|c: char| c.is_ascii_digit()))
}

/// The name of an EBS volume's device without its namespace, of which there is one: udev has it as
/// `…_1`, and Amazon Linux as `…-ns-1` too (Amazon EBS User Guide, *Map Amazon EBS volumes to NVMe
/// device names*).
pub fn whole(device: &str) -> &str {
    let whole = device.strip_suffix("_1").or_else(|| device.strip_suffix("-ns-1"));
    let is_ebs = device.contains("/nvme-Amazon_Elastic_Block_Store_vol");
    whole.filter(|_| is_ebs).unwrap_or(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_device_has_several_names() {
        for name in ["/dev/sdb", "/dev/xvdb", "sdb", "/dev/sdb1", "/dev/hdb"] {
            assert_eq!(letter_of(name), Some("b"), "{name}");
        }
        assert_eq!(letter_of("/dev/xvdba"), Some("ba"));
        assert_eq!(letter_of("/dev/nvme1n1"), None);
        let ebs = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0a1";
        for name in ["", "_1", "-ns-1"] {
            assert_eq!(whole(&format!("{ebs}{name}")), ebs);
        }
        assert_eq!(whole("/dev/disk/by-id/wwn_1"), "/dev/disk/by-id/wwn_1");
    }
}
