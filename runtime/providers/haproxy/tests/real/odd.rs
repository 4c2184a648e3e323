//! Processes that do not check, or do not end what they say, and files that are somebody else's.

use super::haproxy::{App, is_possible};
use super::liar::{Liar, Lie};
use super::*;

/// What HAProxy said last of a server counts no more when nobody checks it: the floor is kept by
/// those that are checked, and no target gets such a slot.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_checks_are_off_is_not_healthy() {
    if !is_possible() {
        return;
    }
    let set = Set::start(1);
    let _apps = [8001, 8002].map(|port| App::start(&set.address, port, "one"));
    set.put_up(8001).await;
    set.put_up(8002).await;
    let process = &set.processes[0];
    assert_eq!(process.told("disable health web/app1").trim(), "");
    let floor = |port: u16| {
        let (pool, host, container) = ("web".into(), "i-1".into(), None);
        LoadBalancerCall::Drain { pool, host, port, container, floor: 1 }
    };
    let told = set.refused(floor(8002)).await;
    assert!(told.message.contains("checks are off"), "{}", told.message);
    // Of two free slots it is the one that is checked.
    process.told("disable health web/app3");
    let _third = App::start(&set.address, 8003, "three");
    set.put_up(8003).await;
    assert!(process.told("show servers state web").contains(" app4 127."), "it has app4");
    process.told("enable health web/app1");
    set.waited(wait_healthy(8001, HEALTHY_MS)).await.expect("it is checked again");
    set.done(floor(8002)).await;
}

/// A process may end in the middle of what it says.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_is_not_written_down() {
    if !is_possible() {
        return;
    }
    let set = Set::start(1);
    let _app = App::start(&set.address, 8001, "one");
    set.put_up(8001).await;
    let process = &set.processes[0];
    let kept = std::fs::read_to_string(process.state_file()).expect("it is kept");
    // It looks before and after; the third one is what is written.
    let liar = Liar::start(set.dir.path().join("liar.sock"), process.admin(), Lie::HalfAState(3));
    let config = PoolConfig {
        sockets: vec![Endpoint::Unix(liar.at().to_owned())],
        masters: vec![],
        backend: "web".to_owned(),
        saved: Saved::StateFiles(vec![process.state_file()]),
    };
    let lied_to = of(config, &set.address);
    let came = lied_to.perform(&drain(8001).into(), &context()).await;
    assert!(liar.lied() && matches!(came, EffectOutcome::Unknown(_)), "{came:?}");
    assert_eq!(std::fs::read_to_string(process.state_file()).expect("it is kept"), kept);
}

/// A state file is written over: somebody else's is told before.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_state_of_the_backend_is_left_alone() {
    if !is_possible() {
        return;
    }
    let set = Set::start(1);
    let state = set.processes[0].state_file();
    let others = "1\n# be_id be_name srv_id srv_name\n4 other 1 app1\n";
    for there in ["not a state\n", others] {
        std::fs::write(&state, there).expect("it is written");
        let told = set.provider.may(&add(8001).into()).await.expect_err("it is not its own");
        assert!(told.message.contains("is no state of backend `web`"), "{}", told.message);
    }
    std::fs::remove_file(&state).expect("it is there");
    std::os::unix::fs::symlink("elsewhere", &state).expect("a link");
    let told = set.provider.may(&add(8001).into()).await.expect_err("it is no file");
    assert!(told.message.contains("it is no plain file"), "{}", told.message);
    std::fs::remove_file(&state).expect("it is there");
    set.provider.may(&add(8001).into()).await.expect("it can be kept");
}

/// Without its answer nobody would know whether a reload loses what is changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_can_not_be_asked_is_told_before() {
    if !is_possible() {
        return;
    }
    let set = Set::start(1);
    let config = PoolConfig {
        sockets: vec![Endpoint::Unix(set.processes[0].admin())],
        masters: vec![Endpoint::Unix(set.dir.path().join("nobody.sock"))],
        backend: "web".to_owned(),
        saved: Saved::ByReloadHook,
    };
    let told = of(config, &set.address).may(&add(8001).into()).await.expect_err("it is asked");
    assert!(told.message.contains("whether a reload is over can't be known"), "{}", told.message);
}

/// A wait is over in time, however many workers reloads have left, each of which is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_does_not_ask_every_worker_there_ever_was() {
    if !is_possible() {
        return;
    }
    const WORKERS: u32 = 60;
    let set = Set::start(1);
    let _app = App::start(&set.address, 8001, "one");
    set.put_up(8001).await;
    let admin = set.processes[0].admin();
    let master =
        Liar::start(set.dir.path().join("master"), admin.clone(), Lie::OldWorkers(WORKERS));
    let config = PoolConfig {
        sockets: vec![Endpoint::Unix(admin)],
        masters: vec![Endpoint::Unix(master.at().to_owned())],
        backend: "web".to_owned(),
        saved: Saved::ByReloadHook,
    };
    set.done(drain(8001)).await;
    let (pool, host, timeout_ms) = ("web".into(), "i-1".into(), 1_000);
    let on_timeout = OnTimeout::Fail;
    let wait = LoadBalancerCall::WaitDrained { pool, host, port: 8001, timeout_ms, on_timeout };
    let told = of(config, &set.address).wait(&wait.into()).await.expect_err("it is late");
    assert_eq!(told.class, FailureClass::Deadline, "{told}");
    assert!((1..WORKERS).contains(&master.asked()), "{} were asked", master.asked());
}
