//! Whether an effect would be permitted is asked without making it.

use crate::bench::*;
use crate::conformance::each_effect;
use crate::proxy::{Fault, ec2_error};
use serde_json::Value;
use stepback_core::calls::{EbsCall, Ec2Call};
use stepback_core::{Call, FailureClass};
use stepback_provider::Provider;

async fn everything(bench: &Bench) -> Vec<Value> {
    let tags = Tags::new();
    let all = [
        Call::Ec2(Ec2Call::Find { tags: tags.clone() }),
        Call::Ebs(EbsCall::Find { tags: tags.clone() }),
        Call::Ebs(EbsCall::FindSnapshots { tags }),
    ];
    let mut found = vec![];
    for call in &all {
        found.push(bench.aws.read(call).await.expect("an answer"));
    }
    found
}

/// A server that ignored the question would make the effect: none may.
#[tokio::test]
async fn asking_makes_nothing() {
    let bench = Bench::alone().await;
    for (call, action) in each_effect(&bench).await {
        let (before, seen) = (everything(&bench).await, bench.proxy.seen(action).len());
        bench.aws.may(&call).await.unwrap_or_else(|failure| panic!("{action}: {failure}"));
        let asked = bench.proxy.seen(action);
        assert_eq!(asked.len(), seen + 1, "{action} was not asked for");
        let last = asked.last().expect("a request");
        assert!(last.contains("DryRun=true"), "{last}");
        assert_eq!(everything(&bench).await, before, "{action} was made");
        // Where the next one needs this one's effect.
        bench.done(&call).await;
    }
}

#[tokio::test]
async fn only_a_missing_permission_speaks_against_an_effect() {
    let bench = Bench::new().await;
    let (volume, instance) = (bench.volume().await, bench.instance().await);
    let call = attach(&volume, &instance);
    let table = [
        ("UnauthorizedOperation", 403, true),
        ("ExpiredToken", 400, true),
        ("DryRunOperation", 412, false),
        ("VolumeInUse", 400, false),
        ("InvalidVolume.NotFound", 400, false),
        ("RequestLimitExceeded", 503, false),
        ("InternalError", 500, false),
    ];
    for (code, status, is_denied) in table {
        bench.proxy.on("AttachVolume", 1, ec2_error(status, code, "so it is"));
        match (bench.aws.may(&call).await, is_denied) {
            (Ok(()), false) => {}
            (Err(failure), true) => {
                assert_eq!(failure.class, FailureClass::Denied, "{code}");
                assert!(failure.message.contains("needs ec2:AttachVolume"), "{failure}");
                assert_keeps_secrets(&failure);
            }
            (answer, _) => panic!("{code}: {answer:?}"),
        }
    }
}

/// The one type of an instance, as EC2 tells it.
fn type_xml(info: &str) -> Fault {
    let set = format!("<instanceTypeSet><item>{info}</item></instanceTypeSet>");
    let body = format!(
        "<DescribeInstanceTypesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
         {set}</DescribeInstanceTypesResponse>"
    );
    Fault::Answer(200, body)
}

/// Where the type says nothing of it, or nobody may ask, it speaks against nothing.
#[tokio::test]
async fn an_instance_that_takes_no_more_volumes_is_told() {
    let bench = Bench::new().await;
    let (volume, instance) = (bench.volume().await, bench.instance().await);
    let call = attach(&volume, &instance);
    let told = |most: u32, kind: &str| {
        let info = format!(
            "<attachmentLimitType>{kind}</attachmentLimitType>\
             <maximumEbsAttachments>{most}</maximumEbsAttachments>"
        );
        type_xml(&format!("<ebsInfo>{info}</ebsInfo>"))
    };
    // moto's instances have one disk, and one network interface.
    for (answer, is_full) in [
        (told(1, "dedicated"), true),
        (told(2, "dedicated"), false),
        (told(2, "shared"), true),
        (told(3, "shared"), false),
        (ec2_error(403, "UnauthorizedOperation", "so it is"), false),
    ] {
        bench.proxy.on("DescribeInstanceTypes", 1, answer.clone());
        match (bench.aws.may(&call).await, is_full) {
            (Ok(()), false) => {}
            (Err(failure), true) => {
                assert_eq!(failure.code.as_deref(), Some("AttachmentLimitExceeded"), "{failure}");
            }
            (found, _) => panic!("{answer:?}: {found:?}"),
        }
    }
}

/// Only old disks have names that a volume could be given.
#[tokio::test]
async fn a_name_of_one_of_the_instances_own_disks_is_told() {
    let bench = Bench::new().await;
    let (volume, instance) = (bench.volume().await, bench.instance().await);
    let told = |nvme: &str, count: u32| {
        let disks = format!("<disks><item><count>{count}</count></item></disks>");
        let info = format!("<nvmeSupport>{nvme}</nvmeSupport>{disks}");
        type_xml(&format!("<instanceStorageInfo>{info}</instanceStorageInfo>"))
    };
    for (nvme, count, device, is_taken) in [
        ("unsupported", 4, "/dev/sde", true),
        ("unsupported", 4, "/dev/xvdb", true),
        ("unsupported", 4, "/dev/sdf", false),
        ("unsupported", 4, "/dev/xvdba", false),
        ("required", 4, "/dev/sdb", false),
    ] {
        bench.proxy.on("DescribeInstanceTypes", 1, told(nvme, count));
        let (volume, instance) = (volume.clone(), instance.clone());
        let call = Call::Ebs(EbsCall::Attach { volume, instance, device: device.into() });
        match (bench.aws.may(&call).await, is_taken) {
            (Ok(()), false) => {}
            (Err(failure), true) => {
                assert!(failure.message.contains("instance store"), "{failure}")
            }
            (found, _) => panic!("{nvme} {count} {device}: {found:?}"),
        }
    }
}
