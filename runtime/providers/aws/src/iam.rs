//! The IAM actions that each host function needs: policies are generated from this table.

/// What every operation needs that changes anything: a rollback reads the world again, and
/// searches it for the operation's stamps.
pub const IAM_ALWAYS: [&str; 3] =
    ["ec2:DescribeInstances", "ec2:DescribeSnapshots", "ec2:DescribeVolumes"];

/// The actions of one host function, reads before and after it included; none for the functions
/// of other providers (Service Authorization Reference, *Actions, resources, and condition keys
/// for Amazon EC2*; the same *for AWS Key Management Service* and *for AWS Elastic Load Balancing
/// V2*). Where targets are known by their addresses, these are read of the instances.
///
/// Tags given at creation need `ec2:CreateTags` too (Amazon EC2 User Guide, *Grant permission to
/// tag Amazon EC2 resources during creation*). Who the credentials are of needs no permission
/// (AWS STS API Reference, *GetCallerIdentity*).
///
/// ```
/// use stepback_aws::iam_actions;
/// assert_eq!(iam_actions("ec2.describe"), ["ec2:DescribeInstances"]);
/// ```
pub fn iam_actions(function: &str) -> &'static [&'static str] {
    match function {
        "ec2.describe" | "ec2.find" | "ec2.wait-state" => &["ec2:DescribeInstances"],
        "ec2.run-instance" => &["ec2:RunInstances", "ec2:CreateTags", "ec2:DescribeInstances"],
        "ec2.start" => &[
            "ec2:StartInstances",
            "ec2:DescribeInstances",
            "ec2:DescribeVolumes",
            "kms:DescribeKey",
        ],
        "ec2.stop" => &[
            "ec2:StopInstances",
            "ec2:DescribeInstances",
            "ec2:DescribeVolumes",
            "kms:DescribeKey",
        ],
        "ec2.terminate" => &["ec2:TerminateInstances", "ec2:DescribeInstances"],
        "ec2.set-instance-type" => &["ec2:ModifyInstanceAttribute", "ec2:DescribeInstances"],
        "ec2.tag" => &["ec2:CreateTags", "ec2:DescribeInstances"],
        "ec2.untag" => &["ec2:DeleteTags", "ec2:DescribeInstances"],
        "ebs.describe" | "ebs.find" | "ebs.wait-volume" => &["ec2:DescribeVolumes"],
        "ebs.create-volume" => &[
            "ec2:CreateVolume",
            "ec2:CreateTags",
            "ec2:DescribeSnapshots",
            "ec2:DescribeVolumes",
            "ec2:GetEbsDefaultKmsKeyId",
            "kms:DescribeKey",
        ],
        "ebs.delete-volume" => &["ec2:DeleteVolume", "ec2:DescribeVolumes"],
        "ebs.attach" => &[
            "ec2:AttachVolume",
            "ec2:DescribeVolumes",
            "ec2:DescribeInstances",
            "ec2:DescribeInstanceTypes",
            "kms:DescribeKey",
        ],
        "ebs.detach" => {
            &["ec2:DetachVolume", "ec2:DescribeVolumes", "ec2:DescribeInstances", "kms:DescribeKey"]
        }
        "ebs.modify-volume" => {
            &["ec2:ModifyVolume", "ec2:DescribeVolumesModifications", "ec2:DescribeVolumes"]
        }
        "ebs.create-snapshot" => &[
            "ec2:CreateSnapshot",
            "ec2:CreateTags",
            "ec2:DescribeSnapshots",
            "ec2:DescribeVolumes",
            "kms:DescribeKey",
        ],
        "ebs.describe-snapshot" | "ebs.find-snapshots" | "ebs.wait-snapshot" => {
            &["ec2:DescribeSnapshots"]
        }
        "ebs.delete-snapshot" => &["ec2:DeleteSnapshot", "ec2:DescribeSnapshots"],
        "ebs.tag" => &["ec2:CreateTags", "ec2:DescribeVolumes"],
        "ebs.untag" => &["ec2:DeleteTags", "ec2:DescribeVolumes"],
        _ => of_target_groups(function),
    }
}

/// Those of the functions of pools, where these are target groups.
fn of_target_groups(function: &str) -> &'static [&'static str] {
    match function {
        "load-balancer.describe-pool" | "load-balancer.wait-drained" => &[
            "elasticloadbalancing:DescribeTargetHealth",
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:DescribeTargetGroupAttributes",
            "ec2:DescribeInstances",
        ],
        "load-balancer.wait-healthy" => &[
            "elasticloadbalancing:DescribeTargetHealth",
            "elasticloadbalancing:DescribeTargetGroups",
            "ec2:DescribeInstances",
        ],
        "load-balancer.add" | "load-balancer.enable" => &[
            "elasticloadbalancing:RegisterTargets",
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:DescribeTargetHealth",
            "ec2:DescribeInstances",
        ],
        "load-balancer.drain" | "load-balancer.remove" => &[
            "elasticloadbalancing:DeregisterTargets",
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:DescribeTargetHealth",
            "ec2:DescribeInstances",
        ],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepback_core::Call;

    /// Whose actions a function needs, by its interface; none where AWS does not serve it.
    fn services(function: &str) -> &'static [&'static str] {
        match function.split_once('.').map(|(interface, _)| interface) {
            Some("ec2" | "ebs") => &["ec2:", "kms:DescribeKey"],
            Some("load-balancer") => &["elasticloadbalancing:", "ec2:DescribeInstances"],
            _ => &[],
        }
    }

    #[test]
    fn every_function_that_aws_serves_has_its_actions_and_no_other() {
        for function in Call::functions() {
            let (actions, known) = (iam_actions(function), services(function));
            assert_eq!(actions.is_empty(), known.is_empty(), "{function}");
            let is_known = |action: &&str| known.iter().any(|begin| action.starts_with(begin));
            assert!(actions.iter().all(is_known), "{function}: {actions:?}");
        }
    }
}
