//! HAProxy itself: slots that are used again, reloads, processes that end.

#[allow(dead_code, reason = "it is the program's tests' own, who use more of it")]
#[path = "../../../../tests/real/haproxy.rs"]
mod haproxy;
#[allow(dead_code, reason = "it is the program's tests' own, who use more of it")]
#[path = "../../../../tests/real/liar.rs"]
mod liar;
#[path = "real/odd.rs"]
mod odd;
#[allow(dead_code, reason = "they are the program's tests' own, who use more of them")]
#[path = "../../../../tests/real/parts.rs"]
mod parts;
#[path = "../../../../tests/real/turn.rs"]
mod turn;

use async_trait::async_trait;
use haproxy::{App, HaProxy as Process, get};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stepback_clock::Clock;
use stepback_core::calls::{LoadBalancerCall, OnTimeout};
use stepback_core::step::EffectOutcome;
use stepback_core::*;
use stepback_haproxy::{HaProxy, PoolConfig, Saved};
use stepback_provider::addresses::Addresses;
use stepback_provider::endpoint::Endpoint;
use stepback_provider::{EffectContext, Notes, Provider, Settled};
use tempfile::TempDir;

/// Whatever is healthy is so by then.
const HEALTHY_MS: u64 = 20_000;

struct At(IpAddr);

#[async_trait]
impl Addresses for At {
    async fn all(&self) -> Result<BTreeMap<InstanceId, IpAddr>, Failure> {
        Ok(BTreeMap::from([("i-1".into(), self.0)]))
    }
}

/// A pool on processes of its own, and the address of its targets.
struct Set {
    provider: HaProxy,
    processes: Vec<Process>,
    address: String,
    /// Where the first process listens.
    front: String,
    dir: TempDir,
}

impl Set {
    fn start(count: usize) -> Self {
        Self::start_with(count, |_| String::new())
    }

    /// With servers beside the slots.
    fn start_with(count: usize, servers: impl Fn(&str) -> String) -> Self {
        let dir = TempDir::with_prefix_in("sb-", "/tmp").expect("a directory");
        let address = haproxy::address();
        let front = |number: usize| format!("{address}:{}", 9000 + number);
        let of = |number: usize| {
            Process::start(&dir.path().join(number.to_string()), &front(number), &servers(&address))
        };
        let processes: Vec<Process> = (0..count).map(of).collect();
        let provider = provider(&processes, &address);
        Self { provider, processes, front: front(0), address, dir }
    }

    async fn done(&self, call: LoadBalancerCall) -> serde_json::Value {
        match self.provider.perform(&call.clone().into(), &context()).await {
            EffectOutcome::Done(answer) => answer,
            other => panic!("{call:?}: {other:?}"),
        }
    }

    async fn refused(&self, call: LoadBalancerCall) -> Failure {
        match self.provider.perform(&call.clone().into(), &context()).await {
            EffectOutcome::Refused(failure) => failure,
            other => panic!("{call:?}: {other:?}"),
        }
    }

    async fn waited(&self, call: LoadBalancerCall) -> Result<serde_json::Value, Failure> {
        self.provider.wait(&call.into()).await
    }

    /// One more that gets traffic.
    async fn put_up(&self, port: u16) {
        self.done(add(port)).await;
        self.waited(wait_healthy(port, HEALTHY_MS)).await.expect("it is up");
        self.done(enable(port)).await;
    }

    async fn facts(&self, port: u16) -> Result<Facts, Failure> {
        let (pool, host) = ("web".to_owned(), "i-1".to_owned());
        self.provider.observe(&Resource::PoolTarget { pool, host, port }).await
    }
}

fn provider(processes: &[Process], address: &str) -> HaProxy {
    let config = PoolConfig {
        sockets: processes.iter().map(|one| Endpoint::Unix(one.admin())).collect(),
        masters: processes.iter().map(|one| Endpoint::Unix(one.master())).collect(),
        backend: "web".to_owned(),
        saved: Saved::StateFiles(processes.iter().map(|one| one.state_file()).collect()),
    };
    of(config, address)
}

fn of(config: PoolConfig, address: &str) -> HaProxy {
    let at = Arc::new(At(address.parse().expect("an address")));
    HaProxy::new(BTreeMap::from([("web".to_owned(), config)]), at, Clock::real())
}

fn context() -> EffectContext {
    EffectContext {
        store: StoreId("store".to_owned()),
        operation: OperationId(1),
        token: Token("token".to_owned()),
        epoch: Epoch(1),
        undo: false,
        looked: Default::default(),
        cancel: Default::default(),
        notes: Notes::default(),
    }
}

fn add(port: u16) -> LoadBalancerCall {
    let (pool, host, container) = ("web".into(), "i-1".into(), None);
    LoadBalancerCall::Add { pool, host, port, container, weight: None, floor: 0 }
}

fn enable(port: u16) -> LoadBalancerCall {
    let (pool, host, container) = ("web".into(), "i-1".into(), None);
    LoadBalancerCall::Enable { pool, host, port, container, floor: 0 }
}

fn drain(port: u16) -> LoadBalancerCall {
    let (pool, host, container) = ("web".into(), "i-1".into(), None);
    LoadBalancerCall::Drain { pool, host, port, container, floor: 0 }
}

fn remove(port: u16) -> LoadBalancerCall {
    let (pool, host, container) = ("web".into(), "i-1".into(), None);
    LoadBalancerCall::Remove { pool, host, port, container, floor: 0 }
}

fn wait_healthy(port: u16, timeout_ms: u64) -> LoadBalancerCall {
    let (pool, host) = ("web".into(), "i-1".into());
    let on_timeout = OnTimeout::Fail;
    LoadBalancerCall::WaitHealthy { pool, host, port, timeout_ms, on_timeout }
}

fn wait_drained(port: u16, timeout_ms: u64) -> LoadBalancerCall {
    let (pool, host) = ("web".into(), "i-1".into());
    let on_timeout = OnTimeout::GoOn;
    LoadBalancerCall::WaitDrained { pool, host, port, timeout_ms, on_timeout }
}

/// Who had a slot before was healthy, and nobody answers at the place that it has now.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_used_again_has_no_old_verdict() {
    if !haproxy::is_possible() {
        return;
    }
    let set = Set::start(1);
    let _one = App::start(&set.address, 8001, "one");
    set.put_up(8001).await;
    assert_eq!(get(&set.front, "/").as_deref(), Some("one"));
    set.done(drain(8001)).await;
    set.done(remove(8001)).await;
    let added = set.done(add(8002)).await;
    assert_eq!(added["health"], "checking", "{added}");
    let told = set.waited(wait_healthy(8002, 1_500)).await.expect_err("nobody answers");
    assert_eq!(told.class, FailureClass::Deadline);
    assert!(told.message.contains("Connection refused"), "{told}");
    // What is behind it now is no more what was healthy a moment ago.
    let two = App::start(&set.address, 8002, "two");
    set.waited(wait_healthy(8002, HEALTHY_MS)).await.expect("it is up");
    drop(two);
    let told = set.waited(wait_healthy(8002, 1_500)).await.expect_err("it was stopped");
    assert_eq!(told.class, FailureClass::Deadline);
    assert_eq!(get(&set.front, "/"), None, "it never got traffic");
}

/// What is changed at runtime outlives a reload, and whom the worker before still serves counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_forgets_nothing_and_nobody() {
    if !haproxy::is_possible() {
        return;
    }
    let set = Set::start(1);
    let (_one, _two) =
        (App::start(&set.address, 8001, "one"), App::start(&set.address, 8002, "two"));
    set.put_up(8001).await;
    let front = set.front.clone();
    let request = std::thread::spawn(move || get(&front, "/slow"));
    until(|| set.processes[0].told("show stat web 4 -1").contains("web,app1,0,0,1,"));
    set.put_up(8002).await;
    set.done(drain(8001)).await;
    set.processes[0].reload();
    let shown = |facts: Facts| (facts.get("present").cloned(), facts.get("enabled").cloned());
    let (one, two) = (set.facts(8001).await.unwrap(), set.facts(8002).await.unwrap());
    assert_eq!(shown(one), (Some(true.into()), Some(false.into())));
    assert_eq!(shown(two), (Some(true.into()), Some(true.into())));
    let drained = set.waited(wait_drained(8001, 100)).await.expect("it goes on");
    assert_eq!(drained["sessions"], 1, "the worker before serves one: {drained}");
    let drained = set.waited(wait_drained(8001, HEALTHY_MS)).await.expect("it is over");
    assert_eq!(drained["sessions"], 0);
    assert_eq!(request.join().expect("a request").as_deref(), Some("one"));
    assert_eq!(get(&set.front, "/").as_deref(), Some("two"));
}

/// The worker that takes over has read what was kept some time before: with many names to look up
/// (after the state is read) for a second, in which the one before still takes commands.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_in_the_middle_of_a_reload_is_not_lost() {
    if !haproxy::is_possible() {
        return;
    }
    let more = |number: usize| {
        format!(
            "backend b{number}\n  server-template s 1-5 localhost:1 disabled init-addr libc,none\n"
        )
    };
    let more: String = (0..3_000).map(more).collect();
    let set = Set::start_with(1, |_| more.clone());
    let _apps = [8001, 8002].map(|port| App::start(&set.address, port, "one"));
    set.put_up(8001).await;
    set.put_up(8002).await;
    let weighed = |port: u16, weight: u32| {
        let (pool, host, container) = ("web".into(), "i-1".into(), None);
        let weight = Some(weight);
        LoadBalancerCall::Add { pool, host, port, container, weight, floor: 0 }
    };
    let (before, mut weight) = (set.processes[0].begin_a_reload(), 1);
    while !set.processes[0].is_reloaded(&before) {
        weight = weight % 200 + 1;
        // The last of them may be told the worker that has taken over, and not both.
        for port in [8001, 8002] {
            let done = set.done(weighed(port, weight)).await;
            assert_eq!(done["weight"], weight, "{done}");
        }
    }
    for port in [8001, 8002] {
        let facts = set.facts(port).await.expect("it is seen");
        assert_eq!(facts.get("weight"), Some(&weight.into()), "a reload lost it, of {port}");
    }
}

#[track_caller]
fn until(is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "it never is");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Of one that does not answer nobody says that it is done, nor that nothing was.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_gone_has_nothing_done() {
    if !haproxy::is_possible() {
        return;
    }
    let mut set = Set::start(2);
    let _one = App::start(&set.address, 8001, "one");
    set.done(add(8001)).await;
    // Only one of them has it: the other is told what it was not.
    set.processes[1].told("set server web/app1 addr 127.0.0.1 port 1");
    let facts = set.facts(8001).await.unwrap();
    assert_eq!(facts.get("present"), Some(&"in 1 of 2 processes".into()));
    set.refused(enable(8001)).await;
    let settled = set.provider.settle(&add(8001).into(), &context()).await;
    assert!(matches!(settled, Settled::Done(_)), "{settled:?}");
    assert_eq!(set.facts(8001).await.unwrap().get("present"), Some(&true.into()));

    set.processes[1].kill();
    let told = set.refused(enable(8001)).await;
    assert_eq!(told.class, FailureClass::Transient, "{told}");
    set.facts(8001).await.expect_err("nobody knows");
    let settled = set.provider.settle(&enable(8001).into(), &context()).await;
    assert!(matches!(settled, Settled::CantKnow(_)), "{settled:?}");
    let told = set.waited(wait_healthy(8001, 300)).await.expect_err("one does not answer");
    assert!(told.message.contains("can't be asked"), "{told}");
    let checked = set.provider.check().await;
    assert!(checked[0].found.is_err(), "{checked:?}");
}

/// Two programs that add at once take two slots.
#[tokio::test(flavor = "multi_thread")]
async fn targets_that_are_added_at_once_have_a_slot_each() {
    if !haproxy::is_possible() {
        return;
    }
    let set = Set::start(2);
    let other = provider(&set.processes, &set.address);
    let (one, two) = (context(), context());
    let (first, second): (Call, Call) = (add(8001).into(), add(8002).into());
    let both = tokio::join!(set.provider.perform(&first, &one), other.perform(&second, &two));
    for outcome in [both.0, both.1] {
        assert!(matches!(outcome, EffectOutcome::Done(_)), "{outcome:?}");
    }
    for port in [8001, 8002] {
        assert_eq!(set.facts(port).await.unwrap().get("present"), Some(&true.into()));
    }
    for port in [8003, 8004] {
        set.done(add(port)).await;
    }
    let told = set.refused(add(8005)).await;
    assert_eq!(told.code.as_deref(), Some("no-slot"), "{told}");
    assert!(told.message.contains("4 of 4 are in use"), "{told}");
    // One that is given back is taken again.
    set.done(remove(8002)).await;
    set.done(add(8005)).await;
}

/// Each is told before anything is changed.
#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_a_place_is_told_before() {
    if !haproxy::is_possible() {
        return;
    }
    let dir = TempDir::with_prefix_in("sb-", "/tmp").expect("a directory");
    let address = haproxy::address();
    let may = async |servers: &str, change: &dyn Fn(&mut PoolConfig)| {
        static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let bind = format!("{address}:{}", 9100 + next);
        let process = Process::start_with(&dir.path().join(next.to_string()), &bind, servers);
        let mut config = PoolConfig {
            sockets: vec![Endpoint::Unix(process.admin())],
            masters: vec![],
            backend: "web".to_owned(),
            saved: Saved::ByReloadHook,
        };
        change(&mut config);
        let provider = of(config, &address);
        let told = provider.may(&add(8001).into()).await;
        let checked = provider.check().await.remove(0).found;
        assert_eq!(told.is_ok(), checked.is_ok(), "{told:?} {checked:?}");
        told.map_err(|failure| failure.message).map(|()| checked.expect("a word"))
    };
    let slots = "  server-template app 1-4 localhost:1 check disabled init-addr last,libc,none\n";
    let numbers = "  server-template app 1-4 127.0.0.1:1 check disabled\n";
    let unchecked = "  server-template app 1-4 localhost:1 disabled init-addr last,libc,none\n";
    let told = may(slots, &|_| {}).await.expect("it may be added");
    assert!(told.contains("4 of 4 slots are free"), "{told}");
    assert!(told.contains("`master` names its socket"), "{told}");
    for (servers, backend, wanted) in [
        (numbers, "web", "loses what it is given at a reload"),
        (unchecked, "web", "is not checked"),
        (slots, "wbe", "HAProxy has no backend `wbe`"),
    ] {
        let told = may(servers, &|config| config.backend = backend.to_owned()).await;
        let told = told.expect_err("it can't be");
        assert!(told.contains(wanted), "{told}");
    }
    let told = may(slots, &|config| config.sockets = vec![nobody(dir.path())]).await;
    assert!(told.expect_err("nobody is there").contains("can't be asked"));
}

fn nobody(dir: &Path) -> Endpoint {
    Endpoint::Unix(dir.join("nobody.sock"))
}

/// Each server's name, address, state, weight and port: what no check changes.
fn places(process: &Process) -> Vec<Vec<String>> {
    let told = process.told("show servers state web");
    let of = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        [3, 4, 6, 7, 18].iter().filter_map(|at| words.get(*at)).map(|one| (*one).into()).collect()
    };
    told.lines().filter(|line| line.contains(" web ")).map(of).collect()
}

/// Each would be an untrue word, or a place that is lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_call_did_not_make_is_not_taken_away() {
    if !haproxy::is_possible() {
        return;
    }
    let set = Set::start_with(1, |address| format!("  server first {address}:8001 check\n"));
    let _one = App::start(&set.address, 8001, "one");
    set.waited(wait_healthy(8001, HEALTHY_MS)).await.expect("it is up");
    set.done(drain(8001)).await;
    // With a number for its address it could not be put back.
    let told = set.refused(remove(8001)).await;
    assert_eq!(told.code.as_deref(), Some("not-kept"), "{told}");
    let told = set.provider.may(&remove(8001).into()).await.expect_err("it is told before");
    assert_eq!(told.code.as_deref(), Some("not-kept"));
    set.done(enable(8001)).await;
    // Somebody keeps a target out of the pool.
    set.done(add(8002)).await;
    set.processes[0].told("set server web/app1 state maint");
    let told = set.refused(add(8002)).await;
    assert_eq!(told.code.as_deref(), Some("in-maintenance"), "{told}");
    set.provider.may(&add(8002).into()).await.expect_err("it is told before");
    set.done(add(8003)).await;
    // A weight that is none changes nothing.
    let heavy = LoadBalancerCall::Add {
        pool: "web".into(),
        host: "i-1".into(),
        port: 8004,
        container: None,
        weight: Some(257),
        floor: 0,
    };
    let before = places(&set.processes[0]);
    assert_eq!(set.refused(heavy).await.class, FailureClass::InvalidInput);
    assert_eq!(places(&set.processes[0]), before);
}

/// A state that can't be written down makes nothing done, and what could not be is as soon as it
/// can.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_reload_would_lose_is_told() {
    if !haproxy::is_possible() {
        return;
    }
    let set = Set::start(1);
    set.done(add(8001)).await;
    let file = set.processes[0].state_file();
    std::fs::remove_file(&file).expect("it was written");
    // Nobody writes into a directory's place.
    std::fs::create_dir(&file).expect("a directory");
    let outcome = set.provider.perform(&enable(8001).into(), &context()).await;
    assert!(matches!(outcome, EffectOutcome::Unknown(_)), "{outcome:?}");
    assert!(set.facts(8001).await.unwrap().get("saved").is_some());
    std::fs::remove_dir(&file).expect("it is empty");
    std::fs::write(&file, "1\n").expect("a file");
    assert!(set.facts(8001).await.unwrap().get("saved").is_none());
    let kept = std::fs::read_to_string(&file).expect("a state");
    assert!(kept.contains(" 8001 "), "{kept}");
    let gone = file.parent().expect("a directory");
    std::fs::remove_file(&file).expect("it is there");
    std::fs::remove_dir(gone).expect("it is empty");
    let told = set.provider.may(&enable(8001).into()).await.expect_err("it is told before");
    assert_eq!(told.code.as_deref(), Some("state-file"));
}
