//! Pools that are target groups of moto's Elastic Load Balancing, with one of HAProxy's beside
//! them: no engine is needed, so that it runs wherever moto does.

use crate::aws::{ask, home_of_moto};
use crate::parts::{Part, free_port};
use crate::place::Ran;
use std::collections::BTreeSet;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use stepback_aws::{IAM_ALWAYS, iam_actions};
use tempfile::TempDir;

/// One target takes the place of another.
const RELEASE: &str = r#"
schema = 1
[operation]
name = "release"
[inputs]
pool = { type = "string", default = "web" }
from = { type = "string" }
to = { type = "string" }
timeout = { type = "string", default = "10s" }
[[steps]]
id = "add"
uses = "load-balancer/add-target"
with = { pool = "{{ inputs.pool }}", host = "{{ inputs.to }}", port = 8080, timeout = "10s" }
[[steps]]
id = "enable"
uses = "load-balancer/enable-target"
needs = ["add"]
with = { pool = "{{ inputs.pool }}", host = "{{ inputs.to }}", port = 8080 }
[[steps]]
id = "drain"
uses = "load-balancer/drain-target"
needs = ["enable"]
[steps.with]
pool = "{{ inputs.pool }}"
host = "{{ inputs.from }}"
port = 8080
timeout = "{{ inputs.timeout }}"
[[steps]]
id = "remove"
uses = "load-balancer/remove-target"
needs = ["drain"]
with = { pool = "{{ inputs.pool }}", host = "{{ inputs.from }}", port = 8080 }
"#;

/// moto's server with two instances, of which the first is a target of the group `web-blue`.
struct Set {
    dir: TempDir,
    endpoint: String,
    a: String,
    b: String,
    _server: Part,
}

impl Set {
    fn start() -> Self {
        let dir = TempDir::with_prefix_in("sb-", "/tmp").expect("a directory");
        let port = free_port();
        let arguments = ["-H", "127.0.0.1", "-p", &port.to_string()].map(str::to_owned);
        let server = home_of_moto().join("moto_server").display().to_string();
        let mut server = Part::start(&server, &arguments, dir.path().join("moto.log"));
        server.until(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
        let endpoint = format!("http://127.0.0.1:{port}");
        let made = ask(&endpoint, &["instances", "2"]);
        let [a, b] = made.lines().collect::<Vec<_>>()[..] else { panic!("{made}") };
        ask(&endpoint, &["group", "web-blue", "instance", "used", a, "8080"]);
        let idle = ask(&endpoint, &["group", "idle", "ip"]);
        let config = format!(
            "[environments.prod]\nprovider = \"aws\"\nregion = \"us-east-1\"\n\
             endpoint = \"{endpoint}\"\n\
             [environments.prod.pools.web]\ntarget_group = \"web-blue\"\nlinger = \"200ms\"\n\
             [environments.prod.pools.idle]\ntarget_group = \"{}\"\n\
             [environments.prod.pools.ha]\nprovider = \"haproxy\"\nbackend = \"web\"\n\
             sockets = [\"unix:///nobody.sock\"]\nsaved_by = \"reload-hook\"\n",
            idle.trim()
        );
        std::fs::write(dir.path().join("stepback.toml"), config).expect("a file");
        std::fs::write(dir.path().join("release.toml"), RELEASE).expect("a file");
        let (a, b) = (a.to_owned(), b.to_owned());
        Self { dir, endpoint, a, b, _server: server }
    }

    fn run_as(&self, keys: (&str, &str), arguments: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stepback"));
        let output = command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("STEPBACK_ENVIRONMENT", "prod")
            .env("AWS_ACCESS_KEY_ID", keys.0)
            .env("AWS_SECRET_ACCESS_KEY", keys.1)
            .env_remove("STEPBACK_CONFIG")
            .env_remove("STEPBACK_STATE")
            .stdin(Stdio::null())
            .output()
            .expect("the program starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = format!("{}{}", text(&output.stderr), text(&output.stdout));
        Ran { code: output.status.code(), said }
    }

    fn release(&self, keys: (&str, &str), from: &str, to: &str, more: &[&str]) -> Ran {
        let (from, to) = (format!("from={from}"), format!("to={to}"));
        let all = ["run", "release.toml", "-i", &from, "-i", &to];
        self.run_as(keys, &[&all[..], more].concat())
    }

    /// Who gets the traffic, asked by somebody who may.
    fn targets(&self, asked_at: &str) -> String {
        ask(asked_at, &["targets", "web-blue"]).trim().to_owned()
    }
}

const ANYBODY: (&str, &str) = ("testing", "testing");

#[test]
fn a_release_goes_to_another_target_and_back() {
    let set = Set::start();
    let (a, b) = (format!("{}:8080", set.a), format!("{}:8080", set.b));
    let checked = set.run_as(ANYBODY, &["env", "check"]).exits(2);
    let checked = checked.says("\u{2713} pool `web`: target group `web-blue` of instances");
    checked.says("\u{2717} pool `idle`: no listener uses").says("\u{2717} pool `ha`: HAProxy at");

    println!(
        "each pool is asked of the one that has it, and what is in the way is told at the start"
    );
    let refused = |more: &[&str]| set.release(ANYBODY, &set.a, &set.b, more).exits(2);
    refused(&["-i", "pool=idle"]).says("no listener uses target group `idle`");
    refused(&["-i", "pool=ha"]).says("HAProxy at");
    refused(&["-i", "pool=wbe"]).says("it has idle, web, ha");
    refused(&["-i", "timeout=1s"]).says("give it 1s700ms or more");
    assert_eq!(set.targets(&set.endpoint), a);

    let failing = ["--inject", "load-balancer.remove=refuse"];
    set.release(ANYBODY, &set.a, &set.b, &failing).exits(3).says("verdict: restored");
    assert_eq!(set.targets(&set.endpoint), a);
    set.release(ANYBODY, &set.a, &set.b, &[]).exits(0);
    assert_eq!(set.targets(&set.endpoint), b);
}

/// The actions of the functions that a release calls are enough for it, and each is needed.
#[test]
fn a_release_needs_the_actions_of_its_functions() {
    let set = Set::start();
    let (a, b) = (format!("{}:8080", set.a), format!("{}:8080", set.b));
    let called = ["add", "wait-healthy", "enable", "drain", "wait-drained", "remove"];
    let mut actions: BTreeSet<&str> = IAM_ALWAYS.into();
    for name in called {
        actions.extend(iam_actions(&format!("load-balancer.{name}")));
    }
    let admin = ask(&set.endpoint, &["user", "admin", "*"]);
    let asked_at = admin.split_whitespace().last().expect("an endpoint").to_owned();
    ask(&asked_at, &["guard"]);
    let user = |name: &str, actions: &[&str]| {
        let said = ask(&asked_at, &[&["user", name], actions].concat());
        let mut words = said.split_whitespace().map(str::to_owned);
        (words.next().expect("a key"), words.next().expect("its secret"))
    };
    // Whether what changes a group is permitted can't be asked: it is told when its turn comes, and
    // what may not be taken out stays.
    for (missing, code, left) in [
        ("DescribeTargetGroups", 2, a.clone()),
        ("DescribeTargetHealth", 2, a.clone()),
        ("DescribeTargetGroupAttributes", 2, a.clone()),
        ("RegisterTargets", 3, a.clone()),
        ("DeregisterTargets", 5, format!("{a}\n{b}")),
    ] {
        println!("without {missing}");
        let missing = format!("elasticloadbalancing:{missing}");
        assert!(actions.contains(&*missing), "{missing} is not listed");
        let rest: Vec<&str> = actions.iter().copied().filter(|one| *one != missing).collect();
        let (key, secret) = user(&missing.replace(':', "-"), &rest);
        set.release((&key, &secret), &set.a, &set.b, &[]).exits(code).says("AWS does not");
        assert_eq!(set.targets(&asked_at), left);
    }
    let all: Vec<&str> = actions.iter().copied().collect();
    let (key, secret) = user("release", &all);
    set.release((&key, &secret), &set.a, &set.b, &[]).exits(0);
    assert_eq!(set.targets(&asked_at), b);
}
