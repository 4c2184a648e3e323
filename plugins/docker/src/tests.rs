//! The steps against a scripted world, on the host.

use super::*;
use serde_json::{Value, json};
use stepback_sdk::docker::{self, ContainerState};
use stepback_sdk::testing::{World, input};
use stepback_sdk::{Check, FailureClass, failure};

fn container(running: bool, restart: &str) -> Value {
    let restart: docker::RestartPolicy = restart.parse().expect("a restart policy");
    let state = if running { ContainerState::Running } else { ContainerState::Exited };
    let found = docker::Container {
        name: "db".to_owned(),
        image: "postgres:16".to_owned(),
        digest: "sha256:16".to_owned(),
        state,
        health: docker::Health::Healthy,
        ended: None,
        restart_count: 0,
        restart,
        mounts: vec![],
        ports: vec![],
        labels: vec![],
    };
    serde_json::to_value(found).expect("JSON")
}

#[test]
fn a_stopped_container_stays_down() {
    World::reset();
    World::answer("docker.inspect-container", container(true, "always"));
    World::answer("docker.update-container", ());
    World::answer("docker.stop-container", container(false, "no"));
    let with = json!({ "host": "i-1", "container": "db", "grace": "5s" });
    StopContainer::run(input::<StopContainer>(with)).map(drop).expect("it stops");
    let calls = World::calls();
    let functions: Vec<&str> = calls.iter().map(|made| made.function.as_str()).collect();
    let expected = ["docker.inspect-container", "docker.update-container", "docker.stop-container"];
    assert_eq!(functions, expected);
    assert_eq!(calls[1].arguments["restart"], "no");
    assert_eq!(calls[2].arguments["grace_ms"], 5000);
}

/// udev has several names for one device.
#[test]
fn the_device_of_a_volume_goes_by_one_name() {
    let devices = |device: &str| {
        World::reset();
        let mut found = container(true, "no");
        found["mounts"] = json!([{ "volume": "data", "target": "/data", "read_only": false }]);
        World::answer("docker.inspect-container", found);
        let options = json!([["device", device], ["type", "ext4"]]);
        let volume = json!({ "name": "data", "driver": "local", "options": options });
        World::answer("docker.inspect-volume", volume);
        let with = json!({ "host": "i-1", "container": "db" });
        InspectContainer::run(input::<InspectContainer>(with)).expect("it is there").devices
    };
    let ebs = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0a1";
    for name in ["", "_1", "-ns-1"] {
        assert_eq!(devices(&format!("{ebs}{name}")), [ebs]);
    }
    for other in [&format!("{ebs}-part1"), &format!("{ebs}_1-part1"), "/dev/disk/by-id/wwn_1"] {
        assert_eq!(devices(other), [other]);
    }
}

#[test]
fn an_engine_is_waited_for_that_may_still_come_up() {
    let with = json!({ "host": "i-1" });
    World::reset();
    World::answer("docker.wait-engine", ());
    WaitEngine::run(input::<WaitEngine>(with.clone())).expect("it answers");
    assert_eq!(World::calls()[0].arguments, json!({ "host": "i-1", "timeout_ms": 300_000 }));
    let checked = |class| {
        World::reset();
        World::fail("docker.list-containers", failure(class, "why"));
        WaitEngine::check(&input::<WaitEngine>(with.clone())).map_err(|why| why.message)
    };
    assert_eq!(checked(FailureClass::Transient), Ok(Check::Ok));
    assert_eq!(checked(FailureClass::Precondition), Err("why".to_owned()));
}

#[test]
fn creating_waits_for_its_image() {
    World::reset();
    World::answer("docker.inspect-container", Value::Null);
    World::answer("docker.inspect-image", Value::Null);
    let with = json!({ "host": "i-1", "container": "db", "image": "postgres:16" });
    let answer = CreateContainer::check(&input::<CreateContainer>(with)).expect("it answers");
    assert_eq!(answer, Check::NotYet("image postgres:16 is not on i-1".to_owned()));
}

#[test]
fn what_looks_into_volumes_needs_the_hosts_helper() {
    let with = json!({ "host": "i-1", "volume": "vol-0a1" });
    let checked = || {
        let checks = [
            WaitDevice::check(&input::<WaitDevice>(with.clone())),
            WaitUnmounted::check(&input::<WaitUnmounted>(with.clone())),
            MakeFilesystem::check(&input::<MakeFilesystem>(with.clone())),
            GrowFilesystem::check(&input::<GrowFilesystem>(with.clone())),
            CheckHelper::check(&input::<CheckHelper>(json!({ "host": "i-1" }))),
        ];
        checks.map(|check| check.map_err(|why| why.message))
    };
    World::reset();
    World::answer("docker.check-helper", ());
    assert_eq!(checked(), [(); 5].map(|()| Ok(Check::Ok)));
    World::reset();
    World::fail("docker.check-helper", failure(FailureClass::Transient, "it is down"));
    assert_eq!(checked(), [(); 5].map(|()| Ok(Check::NotYet("it is down".to_owned()))));
    World::reset();
    World::fail("docker.check-helper", failure(FailureClass::Precondition, "there is none"));
    assert_eq!(checked(), [(); 5].map(|()| Err("there is none".to_owned())));
}

#[test]
fn a_device_volume_names_the_nitro_device() {
    World::reset();
    let made = json!({ "name": "vol-0a1", "driver": "local", "options": [] });
    World::answer("docker.create-volume", made);
    let with = json!({ "host": "i-1", "volume": "vol-0a1", "filesystem": "ext4" });
    CreateVolume::run(input::<CreateVolume>(with)).map(drop).expect("it is made");
    let options = World::calls()[0].arguments["options"].clone();
    let device = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0a1";
    assert_eq!(options[0], json!({ "key": "device", "value": device }));
    assert_eq!(options[1], json!({ "key": "type", "value": "ext4" }));
}

#[test]
fn an_unhealthy_container_shows_its_log_and_a_cancel_does_not() {
    let with = json!({ "host": "i-1", "container": "db" });
    World::reset();
    World::fail("docker.wait-healthy", failure(FailureClass::Deadline, "unhealthy"));
    World::answer("docker.logs", json!(["FATAL: bad data directory"]));
    WaitHealthy::run(input::<WaitHealthy>(with.clone())).map(drop).expect_err("it is unhealthy");
    assert_eq!(World::log(), ["Level::Warn: db: FATAL: bad data directory"]);

    World::reset();
    World::fail("docker.wait-healthy", failure(FailureClass::Cancelled, "cancelled"));
    WaitHealthy::run(input::<WaitHealthy>(with)).map(drop).expect_err("it is cancelled");
    assert_eq!(World::functions(), ["docker.wait-healthy"]);
}

#[test]
fn a_command_that_fails_fails_its_step() {
    let with = json!({ "host": "i-1", "container": "db", "command": ["pg_isready"] });
    for (exit_code, ends_well) in [(0, true), (2, false), (124, false)] {
        World::reset();
        World::answer("docker.exec", json!({ "exit_code": exit_code, "output": "no response" }));
        let ran = Exec::run(input::<Exec>(with.clone()));
        assert_eq!(ran.is_ok(), ends_well, "{exit_code}");
        assert_eq!(World::calls()[0].arguments["command"], json!(["pg_isready"]));
    }
    for (running, wanted) in [(true, true), (false, false)] {
        World::reset();
        World::answer("docker.inspect-container", container(running, "no"));
        let check = Exec::check(&input::<Exec>(with.clone())).expect("it answers");
        assert_eq!(check == Check::Ok, wanted);
    }
}

#[test]
fn a_command_that_did_not_end_by_itself_is_told_apart() {
    let with = json!({ "host": "i-1", "container": "db", "command": ["pg_isready"] });
    let (ended, timeout) = ("no response\nstopped: its step is being ended", "1m30s");
    let with_timeout = json!({ "host": "i-1", "image": "tools:1", "timeout": timeout });
    let ran = |exit_code: i32, output: &str| {
        World::reset();
        let answer = json!({ "exit_code": exit_code, "output": output });
        World::answer("docker.run-once", answer.clone());
        World::answer("docker.exec", answer);
        let mut exec = with.clone();
        exec["timeout"] = json!(timeout);
        let once = RunOnce::run(input::<RunOnce>(with_timeout.clone())).map(drop);
        let exec = Exec::run(input::<Exec>(exec)).map(drop);
        assert_eq!(once, exec);
        let why = once.expect_err("it failed");
        (why.class, why.message)
    };
    let late = "no response\nstopped: it took longer than its 90000 ms";
    let (class, why) = ran(124, late);
    assert_eq!(class, FailureClass::Deadline, "a manifest's retry covers it");
    assert_eq!(why, format!("the command took longer than its timeout, 1m30s: {late}"));
    let (class, why) = ran(124, "no response");
    assert_eq!(class, FailureClass::Precondition, "the command itself may have a timeout(1) in it");
    assert_eq!(why, "the command exited with 124: no response");
    let (class, why) = ran(130, "no response");
    assert_eq!(class, FailureClass::Precondition);
    assert_eq!(why, "the command exited with 130: no response");
    let (_, why) = ran(130, ended);
    assert!(!why.contains("130") && why.contains("it was stopped with its step"), "{why}");
}
