//! Whether an effect would be permitted, asked without making it.

use super::Aws;
use super::iam::iam_actions;
use aws_sdk_ec2::types::{
    AttachmentLimitType, EbsInstanceBlockDevice, EphemeralNvmeSupport, InstanceTypeInfo,
};
use stepback_core::calls::EbsCall;
use stepback_core::{Call, Epoch, Failure, FailureClass, OperationId, StoreId, Token};
use stepback_provider::devices::letter_of;
use stepback_provider::{EffectContext, Notes};
use tokio_util::sync::CancellationToken;

impl Aws {
    /// Ask for the effect with *DryRun*: AWS answers *DryRunOperation* where the caller has the
    /// permission and *UnauthorizedOperation* where not. Any other answer is about a world that may
    /// be another one when the effect's turn comes, and speaks against nothing.
    pub(super) async fn would_permit(&self, call: &Call) -> Result<(), Failure> {
        self.may_change(call).await?;
        let context = EffectContext {
            store: StoreId(String::new()),
            operation: OperationId(0),
            token: Token("dry-run".to_owned()),
            epoch: Epoch(0),
            undo: false,
            cancel: CancellationToken::new(),
            looked: stepback_provider::looked::Looked::default(),
            notes: Notes::default(),
        };
        let function = call.function();
        let Err(trouble) = self.send_once(call, &context, Some(true)).await else { return Ok(()) };
        let failure = trouble.failure(function);
        match failure.class {
            FailureClass::Denied if !trouble.has_code(&["DryRunOperation"]) => {
                // The first action of each function is its own; others read before and after it.
                let action = iam_actions(function).first().copied().unwrap_or_default();
                let message = format!("{function} needs {action}: {}", failure.message);
                Err(Failure { message, ..failure })
            }
            _ => self.nothing_is_in_its_way(call).await,
        }
    }

    /// What stays in a call's way, whenever its turn comes.
    async fn nothing_is_in_its_way(&self, call: &Call) -> Result<(), Failure> {
        self.must_have_usable_keys(call).await?;
        match call {
            Call::Ebs(EbsCall::Attach { volume, instance, device }) => {
                self.must_have_room(instance.as_str(), volume.as_str(), device).await
            }
            _ => Ok(()),
        }
    }

    /// Whether an instance can have one more volume, under this name: its type says how many, and
    /// whether network interfaces and the disks of the instance itself count too (Amazon EC2 User
    /// Guide, *Amazon EBS volume limits for Amazon EC2 instances*). Where that can't be read it
    /// speaks against nothing.
    async fn must_have_room(
        &self,
        instance: &str,
        volume: &str,
        device: &str,
    ) -> Result<(), Failure> {
        let described = self.reads.describe_instances().instance_ids(instance).send().await;
        let Ok(described) = described else { return Ok(()) };
        let mut all = described.reservations().iter().flat_map(|one| one.instances());
        let Some(found) = all.next() else { return Ok(()) };
        let attached = found.block_device_mappings();
        let is_it = |ebs: &EbsInstanceBlockDevice| ebs.volume_id() == Some(volume);
        let Some(kind) = found.instance_type() else { return Ok(()) };
        if attached.iter().any(|at| at.ebs().is_some_and(is_it)) {
            return Ok(());
        }
        let asked = self.reads.describe_instance_types().instance_types(kind.clone()).send().await;
        let Ok(types) = asked else { return Ok(()) };
        let Some(limits) = types.instance_types().first() else { return Ok(()) };
        // A name that a volume has is no other disk's.
        let is_a_volumes = attached.iter().any(|at| at.device_name() == Some(device));
        let mut own = own_disks(limits);
        if !is_a_volumes && own.any(|letter| letter_of(device) == Some(&letter)) {
            let message = format!(
                "{device} of {instance} is the name of a disk of its own (instance store of \
                 {kind}): give another one, such as /dev/sdf"
            );
            return Err(refused("InvalidParameterValue", message));
        }
        let Some(ebs) = limits.ebs_info() else { return Ok(()) };
        let most = ebs.maximum_ebs_attachments().and_then(|most| usize::try_from(most).ok());
        let Some(most) = most else { return Ok(()) };
        let is_shared = ebs.attachment_limit_type() == Some(&AttachmentLimitType::Shared);
        let others = match is_shared {
            true => found.network_interfaces().len() + disk_count(limits),
            false => 0,
        };
        if attached.len() + others < most {
            return Ok(());
        }
        let message = format!(
            "instance {instance} ({kind}) has {} volumes, and takes no more: its limit is {most}{}",
            attached.len(),
            if is_shared { ", network interfaces and its own disks among them" } else { "" }
        );
        Err(refused("AttachmentLimitExceeded", message))
    }
}

fn refused(code: &str, message: String) -> Failure {
    Failure::new(FailureClass::Precondition, message).with_code(code)
}

fn disk_count(of: &InstanceTypeInfo) -> usize {
    of.instance_storage_info().map_or(0, |info| {
        info.disks().iter().filter_map(|disk| usize::try_from(disk.count()?).ok()).sum()
    })
}

/// The letters of the names that an instance's own disks have: from `/dev/sdb` on, as many as its
/// type has of them. NVMe disks have names of their own (Amazon EC2 User Guide, *Device names for
/// volumes on Amazon EC2 instances*).
fn own_disks(of: &InstanceTypeInfo) -> impl Iterator<Item = String> {
    let nvme = of.instance_storage_info().and_then(|info| info.nvme_support());
    let are_named = nvme == Some(&EphemeralNvmeSupport::Unsupported);
    ('b'..='y').take(if are_named { disk_count(of) } else { 0 }).map(String::from)
}
