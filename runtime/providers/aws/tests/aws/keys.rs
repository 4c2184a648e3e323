//! A volume whose KMS key can't be used goes on until it is detached: that is told before.

use crate::bench::*;
use crate::proxy::Fault;
use aws_sdk_kms::config::retry::RetryConfig;
use stepback_core::calls::{EbsCall, Ec2Call};
use stepback_core::{Call, InstanceId, VolumeId};
use stepback_provider::Provider;

/// A key of moto's KMS, and a client of the account that may do all with it.
struct Key {
    kms: aws_sdk_kms::Client,
    ec2: aws_sdk_ec2::Client,
    id: String,
    arn: String,
}

impl Key {
    async fn of(bench: &Bench) -> Self {
        let endpoint = format!("http://{}", bench.proxy.address);
        let never = RetryConfig::disabled;
        let kms = aws_sdk_kms::config::Builder::from(&sdk("us-east-1")).retry_config(never());
        let ec2 = aws_sdk_ec2::config::Builder::from(&sdk("us-east-1")).retry_config(never());
        let http = || aws_smithy_http_client::Builder::new().build_http();
        let kms = kms.endpoint_url(&endpoint).http_client(http()).build();
        let ec2 = ec2.endpoint_url(&endpoint).http_client(http()).build();
        let (kms, ec2) = (aws_sdk_kms::Client::from_conf(kms), aws_sdk_ec2::Client::from_conf(ec2));
        let made = kms.create_key().send().await.expect("a key");
        let made = made.key_metadata.expect("a key");
        Self { kms, ec2, arn: made.arn.expect("its name"), id: made.key_id }
    }

    /// A volume that is encrypted with it.
    async fn volume(&self) -> VolumeId {
        let asked = self.ec2.create_volume().availability_zone(ZONE).size(4).encrypted(true);
        let made = asked.kms_key_id(&self.arn).send().await.expect("a volume");
        VolumeId(made.volume_id.expect("its id"))
    }

    async fn disable(&self) {
        self.kms.disable_key().key_id(&self.id).send().await.expect("it is done");
    }

    async fn enable(&self) {
        self.kms.enable_key().key_id(&self.id).send().await.expect("it is done");
    }
}

/// Every call that takes the key when its turn comes, or on the way back from it.
fn calls(volume: &VolumeId, instance: &InstanceId) -> Vec<Call> {
    vec![
        detach(volume, instance),
        snapshot_of(volume),
        Call::Ec2(Ec2Call::Stop { instance: instance.clone() }),
    ]
}

#[tokio::test]
async fn a_key_that_can_not_be_used_is_told_while_the_volume_is_still_attached() {
    let bench = Bench::new().await;
    let key = Key::of(&bench).await;
    let (volume, instance) = (key.volume().await, bench.instance().await);
    bench.aws.may(&attach(&volume, &instance)).await.expect("the key is enabled");
    bench.done(&attach(&volume, &instance)).await;
    key.disable().await;
    for call in calls(&volume, &instance) {
        let failure = bench.aws.may(&call).await.expect_err(call.function());
        assert_eq!(failure.code.as_deref(), Some("CustomerKeyHasBeenRevoked"), "{failure}");
        assert!(failure.message.contains("is Disabled"), "{failure}");
        assert!(failure.message.contains(&key.arn), "{failure}");
        assert_keeps_secrets(&failure);
    }
    let start = Call::Ec2(Ec2Call::Start { instance: instance.clone() });
    bench.aws.may(&start).await.expect("it runs already");
    key.enable().await;
    for call in calls(&volume, &instance) {
        bench.aws.may(&call).await.unwrap_or_else(|failure| panic!("{failure}"));
    }
    bench.done(&Call::Ec2(Ec2Call::Stop { instance: instance.clone() })).await;
    key.disable().await;
    let failure = bench.aws.may(&start).await.expect_err("a disabled key");
    assert!(failure.message.contains("is Disabled"), "{failure}");
    bench.aws.may(&Call::Ec2(Ec2Call::Stop { instance })).await.expect("it is stopped already");
}

/// moto's snapshots have no key, and its account has no other than AWS's.
#[tokio::test]
async fn a_new_volume_is_asked_for_too() {
    let bench = Bench::new().await;
    let key = Key::of(&bench).await;
    key.disable().await;
    let mut call = create_volume();
    let Call::Ebs(EbsCall::CreateVolume { snapshot, encrypted, .. }) = &mut call else {
        panic!("{call:?}")
    };
    (*snapshot, *encrypted) = (None, true);
    let answer = |default: &str| {
        let body = format!("<kmsKeyId>{default}</kmsKeyId>");
        let name = "GetEbsDefaultKmsKeyIdResponse";
        Fault::Answer(200, format!("<{name}>{body}</{name}>"))
    };
    bench.proxy.on("GetEbsDefaultKmsKeyId", 1, answer("alias/aws/ebs"));
    bench.aws.may(&call).await.expect("AWS's own key");
    bench.proxy.on("GetEbsDefaultKmsKeyId", 1, answer(&key.arn));
    let failure = bench.aws.may(&call).await.expect_err("a disabled key");
    assert!(failure.message.starts_with("the new volume is encrypted with"), "{failure}");
    let Call::Ebs(EbsCall::CreateVolume { snapshot, .. }) = &mut call else { panic!("{call:?}") };
    *snapshot = Some("snap-1".into());
    let item = format!(
        "<item><snapshotId>snap-1</snapshotId><status>completed</status>\
         <encrypted>true</encrypted><kmsKeyId>{}</kmsKeyId></item>",
        key.arn
    );
    let set = format!("<snapshotSet>{item}</snapshotSet>");
    let body = format!("<DescribeSnapshotsResponse>{set}</DescribeSnapshotsResponse>");
    bench.proxy.on("DescribeSnapshots", 1, Fault::Answer(200, body));
    let failure = bench.aws.may(&call).await.expect_err("a disabled key");
    assert!(failure.message.starts_with("snapshot snap-1 is encrypted with"), "{failure}");
}

/// Nobody may ask, KMS can't be reached, or it is a state that a key can be used in.
#[tokio::test]
async fn where_kms_does_not_tell_it_speaks_against_nothing() {
    let bench = Bench::new().await;
    let key = Key::of(&bench).await;
    let (volume, instance) = (key.volume().await, bench.instance().await);
    bench.done(&attach(&volume, &instance)).await;
    let call = detach(&volume, &instance);
    let error = |code: &str| format!("{{\"__type\":\"{code}\",\"message\":\"so it is\"}}");
    let state =
        |state: &str| format!("{{\"KeyMetadata\":{{\"KeyId\":\"k\",\"KeyState\":\"{state}\"}}}}");
    for (status, answer, is_told) in [
        (400, error("AccessDeniedException"), false),
        (400, error("NotFoundException"), true),
        (400, error("ThrottlingException"), false),
        (500, error("KMSInternalException"), false),
        (200, state("Enabled"), false),
        (200, state("Updating"), false),
        (200, state("PendingDeletion"), true),
        (200, state("PendingImport"), true),
    ] {
        bench.proxy.on("DescribeKey", 1, Fault::Answer(status, answer.clone()));
        assert_eq!(bench.aws.may(&call).await.is_err(), is_told, "{answer}");
    }
    // One that does not answer is not asked again.
    bench.proxy.on("DescribeKey", 1, Fault::LoseRequest);
    bench.aws.may(&call).await.expect("nobody said no");
    let asked = bench.proxy.seen("DescribeKey").len();
    bench.aws.may(&call).await.expect("nobody said no");
    assert_eq!(bench.proxy.seen("DescribeKey").len(), asked);
}
