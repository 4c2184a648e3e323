//! What keeps the program from AWS: no credentials, expired ones, another account, no region.
//!
//! moto checks none of that, so a proxy answers in AWS's place.

use crate::aws::Cloud;
use crate::parts::{TestCluster, are_possible};
use crate::place::{Ran, operation};
use proxy::{Proxy, ec2_error, sts_error};

#[allow(dead_code, reason = "it is the provider's tests' own, who use more of it")]
#[path = "../../runtime/providers/aws/tests/aws/proxy.rs"]
mod proxy;

const SECRET_KEY: &str = "very-secret-key";
const SESSION: &str = "very-secret-session";

/// What AWS calls, when the credentials have expired, of everything that is asked of it.
const ACTIONS: [&str; 7] = [
    "GetCallerIdentity",
    "DescribeInstances",
    "DescribeVolumes",
    "AttachVolume",
    "DetachVolume",
    "CreateVolume",
    "DeleteVolume",
];

/// From now on nothing is answered any more; AWS quotes what it was given, and nobody may pass
/// that on.
fn expire(proxy: &Proxy) {
    let quote = format!("Credential={SECRET_KEY} {SESSION}");
    for action in ACTIONS {
        let answer = match action {
            "GetCallerIdentity" => sts_error(403, "ExpiredToken", &quote),
            _ => ec2_error(403, "RequestExpired", &quote),
        };
        proxy.on(action, usize::MAX, answer);
    }
}

fn proxy_to(cloud: &Cloud) -> Proxy {
    let address = cloud.endpoint.trim_start_matches("http://");
    Proxy::to(address.parse::<std::net::SocketAddr>().expect("an address"))
}

fn at(proxy: &Proxy) -> String {
    format!("endpoint = \"http://{}\"\n", proxy.address)
}

fn sign_in(parts: &TestCluster) {
    parts.set("AWS_ACCESS_KEY_ID", "testing");
    parts.set("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    parts.set("AWS_SESSION_TOKEN", SESSION);
    parts.set("AWS_EC2_METADATA_DISABLED", "true");
    parts.set("HOME", &parts.path("").display().to_string());
}

fn provision_inputs(parts: &TestCluster, instance: &str) -> Vec<String> {
    let mut arguments = vec!["run".to_owned(), operation("provision-database")];
    let (image, instance) = (format!("image={}", parts.image()), format!("instance={instance}"));
    for input in [&instance, "data_dir=/data", "size_gib=1", "database=main", &image] {
        arguments.extend(["-i".to_owned(), input.to_owned()]);
    }
    arguments
}

fn provision(parts: &TestCluster, instance: &str) -> Ran {
    let arguments = provision_inputs(parts, instance);
    parts.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Nobody wrote a credential down.
#[track_caller]
fn assert_kept(parts: &TestCluster, said: &str) {
    let mut found = vec![];
    let secrets = [SECRET_KEY, SESSION];
    crate::credentials::holding(&parts.path(".stepback"), &secrets, &mut found);
    assert_eq!(found, Vec::<String>::new());
    assert!(secrets.iter().all(|secret| !said.contains(secret)), "{said}");
}

#[test]
fn what_keeps_it_from_aws_is_told_before_anything_is_changed() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    let cloud = Cloud::start(&parts);
    sign_in(&parts);
    let nothing = cloud.state();
    let mut said = String::new();
    let mut refuses = |wanted: &str| {
        for ran in [provision(&parts, &cloud.a), parts.run(&["env", "check"])] {
            let ran = ran.exits(2).says(wanted);
            said.push_str(&ran.said);
        }
        assert_eq!(cloud.state(), nothing, "{wanted}");
    };

    let proxy = proxy_to(&cloud);
    cloud.configure_with(&parts, "us-east-1", &at(&proxy));
    expire(&proxy);
    refuses("the AWS credentials have expired; sign in again");

    println!("the keys are known to STS, and no good for EC2");
    let proxy = proxy_to(&cloud);
    cloud.configure_with(&parts, "us-east-1", &at(&proxy));
    proxy.on("DescribeInstances", usize::MAX, ec2_error(401, "AuthFailure", SECRET_KEY));
    let ran = provision(&parts, &cloud.a).exits(2).says("AWS does not accept the credentials");
    assert_kept(&parts, &ran.said);
    assert_eq!(cloud.state(), nothing);

    println!("another account, another region, none");
    let account = format!("{}account = \"999999999999\"\n", at(&proxy));
    cloud.configure_with(&parts, "us-east-1", &account);
    refuses("use credentials of 999999999999, or correct `account`");
    cloud.configure_with(&parts, "us-east-1a", &at(&proxy));
    refuses("its region is `us-east-1`");
    cloud.configure_with(&parts, "us east", &at(&proxy));
    refuses("is not the name of an AWS region");
    // A name that never resolves (RFC 2606).
    let nowhere = "endpoint = \"http://ec2.us-nowhere-1.invalid\"\n";
    cloud.configure_with(&parts, "us-nowhere-1", nowhere);
    refuses("AWS can't be reached: no connection was made. Check the network, the region's name");

    println!("no credentials");
    cloud.configure(&parts);
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        parts.set(name, "");
    }
    refuses("there are no AWS credentials: set AWS_PROFILE");
    assert_kept(&parts, &said);
}

#[test]
fn credentials_that_expire_on_the_way_end_it_truthfully() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    let cloud = Cloud::start(&parts);
    sign_in(&parts);
    let nothing = cloud.state();
    let mut said = String::new();
    let mut run_until = |line_of: &str, arguments: &[&str]| {
        let proxy = proxy_to(&cloud);
        cloud.configure_with(&parts, "us-east-1", &at(&proxy));
        let ran = parts.run_watched(arguments, |line| {
            if line.contains(line_of) {
                expire(&proxy);
            }
        });
        cloud.configure(&parts);
        said.push_str(&ran.said);
        ran
    };

    println!("with a volume made and attached, on a way that fails: what is left is told");
    let inputs = provision_inputs(&parts, &cloud.a);
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let failing = [&inputs[..], &["--inject", "docker.wait-healthy=refuse"]].concat();
    let left = run_until("✓ attach", &failing).exits(5).says("verdict: incomplete");
    let state = cloud.state();
    let made: Vec<&String> = state["volumes"].as_object().expect("volumes").keys().collect();
    let [volume] = made[..] else { panic!("{state}") };
    let left = left.says(&format!("ebs:volume/{volume}")).says("the request has expired");
    assert_eq!(parts.a.docker(&["ps", "--all", "--quiet"]), "", "the rest is undone");

    println!("with credentials again it is taken up, and is as it was");
    parts.run(&["rollback", left.id()]).exits(3).says("verdict: restored");
    assert_eq!(cloud.state(), nothing);

    println!("before anything is stopped: the old database serves on");
    parts.run(&inputs).exits(0);
    assert_eq!(parts.a.redis(&["set", "row", "kept"]), "OK");
    let before = cloud.state();
    let (path, to) = (operation("redeploy-database"), format!("to_instance={}", cloud.b));
    let ran = run_until("✓ create-new", &["run", &path, "-i", &to]).exits(3);
    let ran = ran.says("a check said no before the downtime").says("verdict: restored");
    assert!(!ran.said.contains("stop-old"), "nothing was stopped: {}", ran.said);
    assert_eq!(parts.a.redis(&["get", "row"]), "kept");
    assert_eq!(cloud.state(), before);
    assert_eq!(parts.b.docker(&["ps", "--all", "--quiet"]), "");
    assert_kept(&parts, &said);
}
