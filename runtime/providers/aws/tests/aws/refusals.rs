//! What can keep the AWS provider from its world: credentials, accounts, addresses, throttling,
//! breakage, silence. moto has none of these, so the proxy answers in AWS's place.

use crate::bench::*;
use crate::moto::Moto;
use crate::proxy::{Fault, Proxy, ec2_error, sts_error};
use std::process::{Command, Output};
use stepback_aws::{Aws, AwsConfig};
use stepback_clock::Clock;
use stepback_core::step::EffectOutcome;
use stepback_core::*;
use stepback_provider::Provider;

/// An address of this machine where nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

#[tokio::test]
async fn who_it_is_is_account_and_region() {
    let bench = Bench::of_account(Some("123456789012")).await;
    let identity = bench.aws.identity().await.unwrap();
    assert_eq!(identity["account"], "123456789012");
    assert_eq!(identity["region"], "us-east-1");
    bench.volume().await;
    assert!(bench.aws.request_ms_max() > 0, "a request can take effect after its runner's end");
}

#[tokio::test]
async fn another_account_is_never_changed() {
    let bench = Bench::of_account(Some("999999999999")).await;
    let failure = bench.aws.identity().await.unwrap_err();
    assert_eq!(failure.code.as_deref(), Some("WrongAccount"));
    assert!(failure.message.contains("123456789012"), "{failure}");
    assert_eq!(bench.refused(&create_volume()).await.class, FailureClass::Denied);
    assert_eq!(bench.proxy.seen("CreateVolume").len(), 0);
}

/// The API counts in 32 bits with a sign: what does not fit is refused here, not made another
/// number.
#[tokio::test]
async fn numbers_that_the_api_has_no_place_for_are_never_sent() {
    let bench = Bench::new().await;
    let volume = bench.volume().await;
    let mut create = create_volume();
    let Call::Ebs(EbsCall::CreateVolume { size_gib, .. }) = &mut create else { unreachable!() };
    *size_gib = u32::MAX;
    let grow = Call::Ebs(EbsCall::ModifyVolume { volume, size_gib: u32::MAX });
    for (call, action) in [(create, "CreateVolume"), (grow, "ModifyVolume")] {
        let before = bench.proxy.seen(action).len();
        let failure = bench.refused(&call).await;
        assert_eq!(failure.class, FailureClass::InvalidInput, "{failure}");
        assert_eq!(bench.proxy.seen(action).len(), before, "{action} was sent");
    }
}

#[tokio::test]
async fn an_endpoint_that_can_not_be_reached_changes_nothing() {
    let moto = Moto::shared();
    // It speaks no TLS.
    let not_tls = format!("https://{}", moto.address);
    for endpoint in [NOBODY, "http://ec2.us-nowhere-1.invalid", &not_tls] {
        let aws = aws_at(endpoint, None).await;
        let failure = aws.identity().await.unwrap_err();
        assert_eq!(failure.code.as_deref(), Some("Unreachable"), "{failure}");
        let outcome = aws.perform(&create_volume(), &context()).await;
        let EffectOutcome::Refused(failure) = outcome else { panic!("{outcome:?}") };
        assert_eq!(failure.class, FailureClass::Transient);
        assert!(failure.message.contains("endpoint"), "{failure}");
    }
    let config = AwsConfig { endpoint: Some("ec2.example".into()), ..AwsConfig::default() };
    let failure = Aws::from_sdk(&sdk("us-east-1"), config, Clock::real()).await.err().unwrap();
    assert_eq!(failure.class, FailureClass::InvalidInput);
}

#[tokio::test]
async fn bad_credentials_are_denied_with_what_to_do_and_never_quoted() {
    let bench = Bench::new().await;
    let quote = format!("{ACCESS_KEY} {SESSION} {SECRET_KEY}");
    let table = [
        ("ExpiredToken", "expired"),
        ("RequestExpired", "clock"),
        ("AuthFailure", "profile"),
        ("SignatureDoesNotMatch", "profile"),
        ("IncompleteSignature", "profile"),
        ("OptInRequired", "region"),
    ];
    for (code, hint) in table {
        bench.proxy.on("CreateVolume", 1, ec2_error(403, code, &quote));
        bench.proxy.on("DescribeInstances", 1, ec2_error(403, code, &quote));
        bench.proxy.on("GetCallerIdentity", 1, sts_error(403, code, &quote));
        let find = Call::Ec2(Ec2Call::Find { tags: tags(&[]) });
        let failures = [
            bench.refused(&create_volume()).await,
            bench.aws.read(&find).await.unwrap_err(),
            bench.aws.identity().await.unwrap_err(),
        ];
        for failure in failures {
            assert_keeps_secrets(&failure);
            assert_eq!(failure.class, FailureClass::Denied, "{failure}");
            assert_eq!(failure.code.as_deref(), Some(code));
            assert!(failure.message.contains(hint), "{failure}");
        }
    }
}

/// moto itself can check keys against its IAM (moto's documentation, *IAM-like access control*).
#[tokio::test]
async fn keys_that_nobody_has_are_denied() {
    let moto = Moto::start(&[("INITIAL_NO_AUTH_ACTION_COUNT", "0")]);
    let aws = aws_at(&format!("http://{}", moto.address), None).await;
    let outcome = aws.perform(&create_volume(), &context()).await;
    let EffectOutcome::Refused(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.class, FailureClass::Denied, "{failure}");
    assert_keeps_secrets(&failure);
    let failure = aws.identity().await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Denied, "{failure}");
}

#[tokio::test]
async fn throttling_is_tried_again_and_happens_once() {
    let bench = Bench::new().await;
    let throttled = ec2_error(503, "RequestLimitExceeded", "Request limit exceeded.");
    bench.proxy.on("CreateSnapshot", 2, throttled.clone());
    let (call, context) = (snapshot_of(&bench.volume().await), context());
    let outcome = bench.aws.perform(&call, &context).await;
    assert!(matches!(outcome, EffectOutcome::Done(_)), "{outcome:?}");
    assert_eq!(bench.proxy.seen("CreateSnapshot").len(), 3);
    let made = bench.aws.stamped(std::slice::from_ref(&context.token)).await.unwrap();
    assert_eq!(made.found.len(), 1);
    bench.proxy.on("DescribeVolumes", 2, throttled);
    bench.aws.read(&Call::Ebs(EbsCall::Find { tags: tags(&[("own", "none")]) })).await.unwrap();
}

#[tokio::test]
async fn a_cancelled_effect_that_is_throttled_is_refused() {
    let bench = Bench::new().await;
    bench.proxy.on("CreateVolume", 2, ec2_error(503, "RequestLimitExceeded", "no"));
    let context = context();
    context.cancel.cancel();
    let outcome = bench.aws.perform(&create_volume(), &context).await;
    let EffectOutcome::Refused(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.class, FailureClass::Transient);
    assert_eq!(bench.proxy.seen("CreateVolume").len(), 1);
}

/// The SDK's retries are for reads; an effect is sent once.
#[tokio::test]
async fn what_breaks_behind_the_request_is_unknown_and_not_sent_again() {
    let bench = Bench::new().await;
    for code in ["InternalError", "Unavailable", "NeverHeardOf"] {
        let before = bench.proxy.seen("CreateVolume").len();
        bench.proxy.on("CreateVolume", 1, ec2_error(503, code, "an internal error"));
        let outcome = bench.aws.perform(&create_volume(), &context()).await;
        assert!(matches!(outcome, EffectOutcome::Unknown(_)), "{code}: {outcome:?}");
        assert_eq!(bench.proxy.seen("CreateVolume").len(), before + 1, "{code}");
    }
    bench.proxy.on("CreateVolume", 1, Fault::Answer(200, "not XML".into()));
    let outcome = bench.aws.perform(&create_volume(), &context()).await;
    assert!(matches!(outcome, EffectOutcome::Unknown(_)), "{outcome:?}");
    bench.proxy.on("RunInstances", 1, ec2_error(500, "InsufficientInstanceCapacity", "none"));
    let failure = bench.refused(&run_instance()).await;
    assert_eq!(failure.class, FailureClass::Refused);
    bench.proxy.on("DescribeVolumes", 2, ec2_error(500, "InternalError", "an internal error"));
    bench.aws.read(&Call::Ebs(EbsCall::Find { tags: tags(&[("own", "none")]) })).await.unwrap();
}

/// Accepted is accepted: what goes wrong while it is looked for is no refusal.
#[tokio::test]
async fn an_accepted_effect_is_never_refused() {
    let bench = Bench::new().await;
    bench.proxy.on("DescribeVolumes", 1, ec2_error(403, "UnauthorizedOperation", "no"));
    let context = context();
    let outcome = bench.aws.perform(&create_volume(), &context).await;
    assert!(matches!(outcome, EffectOutcome::Unknown(_)), "{outcome:?}");
    let settled = bench.aws.settle(&create_volume(), &context).await;
    assert!(matches!(settled, stepback_provider::Settled::Done(_)), "{settled:?}");
}

#[tokio::test]
async fn a_request_that_nobody_answers_ends_and_is_unknown() {
    let bench = Bench::new().await;
    bench.proxy.on("CreateVolume", 1, Fault::Hang);
    let outcome = bench.aws.perform(&create_volume(), &context()).await;
    assert!(matches!(outcome, EffectOutcome::Unknown(_)), "{outcome:?}");
    assert_eq!(bench.proxy.seen("CreateVolume").len(), 1);
}

/// A variable of the environment and its value.
type Setting<'a> = (&'a str, &'a str);

/// Run one of the tests below in a process whose environment is only this.
fn in_environment(test: &str, environment: &[Setting]) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("refusals::{test}"), "--ignored", "--nocapture"])
        .env_clear()
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", "/nonexistent")
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// The settings come from this process's environment: it is started by the test that follows.
#[tokio::test]
#[ignore = "part of `the_standard_chain_is_followed`"]
async fn connects() {
    let setting = |name: &str| std::env::var(name).ok();
    let config = AwsConfig {
        region: setting("TEST_REGION"),
        profile: setting("TEST_PROFILE"),
        endpoint: setting("TEST_ENDPOINT"),
        account: None,
    };
    match Aws::connect(config, Clock::real()).await {
        Ok(aws) => println!("ANSWER {:?}", aws.identity().await),
        Err(failure) => println!("ANSWER {failure:?}"),
    }
}

#[test]
fn the_standard_chain_is_followed() {
    let moto = Moto::shared();
    let proxy = Proxy::to(moto.address);
    let endpoint = format!("http://{}", proxy.address);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    let profile = format!(
        "[profile work]\nregion = eu-west-1\naws_access_key_id = {ACCESS_KEY}\n\
         aws_secret_access_key = {SECRET_KEY}\n"
    );
    std::fs::write(&file, profile).unwrap();
    let config = ("AWS_CONFIG_FILE", file.to_str().unwrap());
    let keys = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
    let (at, region) = (("TEST_ENDPOINT", endpoint.as_str()), ("TEST_REGION", "us-west-2"));
    let table: [(&[Setting], &[&str]); 7] = [
        (&[at, region, keys[0], keys[1]], &["us-west-2", "123456789012"]),
        (&[at, ("AWS_REGION", "us-east-2"), keys[0], keys[1]], &["us-east-2"]),
        (&[at, config, ("TEST_PROFILE", "work")], &["eu-west-1", "123456789012"]),
        (&[at, config, ("TEST_PROFILE", "work"), region], &["us-west-2"]),
        (&[at, region], &["NoCredentials", "Denied", "AWS_PROFILE"]),
        (&[at, keys[0], keys[1]], &["InvalidInput", "AWS_REGION"]),
        (&[at, config, region, ("TEST_PROFILE", "play")], &["NoCredentials", "Denied"]),
    ];
    for (environment, wanted) in table {
        let output = in_environment("connects", environment);
        let text = String::from_utf8_lossy(&output.stdout);
        let answer = text.lines().find(|line| line.contains("ANSWER ")).unwrap_or_default();
        for word in wanted {
            assert!(answer.contains(word), "{environment:?}: no {word} in {text}");
        }
        assert!(!text.contains(SECRET_KEY), "{text}");
    }
}
