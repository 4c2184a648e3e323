//! A Docker Engine behind SSH: a server of the test's own, with keys of its own.

use crate::parts::{Part, TestCluster, are_possible, free_port};
use crate::place::operation;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// An SSH server on loopback, and what a user has for it in `~/.ssh`.
struct Ssh {
    dir: PathBuf,
    port: u16,
    _part: Part,
}

impl Ssh {
    /// Whoever comes in reaches the engine at this address with `docker`.
    fn start(parts: &TestCluster, docker_host: &str) -> Self {
        let dir = parts.path("ssh");
        std::fs::create_dir_all(dir.join("bin")).expect("a directory");
        // Where the server puts itself before somebody is in (sshd(8)).
        std::fs::create_dir_all("/run/sshd").expect("a directory");
        for key in ["host", "user", "stranger"] {
            let path = dir.join(key).display().to_string();
            let arguments = ["-q", "-t", "ed25519", "-N", "", "-f", &path];
            assert!(Command::new("ssh-keygen").args(arguments).status().expect("keys").success());
        }
        let port = free_port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host\nPidFile none\nUsePAM no\n\
             AuthorizedKeysFile {0}/user.pub\nStrictModes no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 1:100:1\n\
             SetEnv DOCKER_HOST={docker_host}\n",
            dir.display()
        );
        let path = dir.join("sshd_config");
        std::fs::write(&path, config).expect("a file");
        let arguments = ["-D", "-e", "-f", &path.display().to_string()].map(str::to_owned);
        let mut part = Part::start("sshd", &arguments, dir.join("log"));
        part.until(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
        let ssh = Self { dir, port, _part: part };
        ssh.write_shim();
        ssh.know_the_host();
        ssh.present("user");
        ssh
    }

    /// `ssh` reads `~/.ssh` of the account, wherever `HOME` is, so it is given the test's own.
    fn write_shim(&self) {
        let ssh = self.dir.join("bin/ssh");
        let text = format!(
            "#!/bin/sh\nPATH=/usr/bin:/bin exec ssh -F {}/config \"$@\"\n",
            self.dir.display()
        );
        std::fs::write(&ssh, text).expect("a file");
        std::fs::set_permissions(&ssh, PermissionsExt::from_mode(0o755)).expect("rights");
    }

    fn known_hosts(&self) -> PathBuf {
        self.dir.join("known_hosts")
    }

    fn know_the_host(&self) {
        let key = std::fs::read_to_string(self.dir.join("host.pub")).expect("a key");
        let line = format!("[127.0.0.1]:{} {key}", self.port);
        std::fs::write(self.known_hosts(), line).expect("a file");
    }

    /// Have the user's configuration name this key.
    fn present(&self, key: &str) {
        let text = format!(
            "Host db-b\n  HostName 127.0.0.1\n  Port {}\n  User root\n\
             Host *\n  IdentityFile {}/{key}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  \
             GlobalKnownHostsFile none\n",
            self.port,
            self.dir.display(),
            self.known_hosts().display()
        );
        std::fs::write(self.dir.join("config"), text).expect("a file");
    }

    fn path(&self) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}/bin:{path}", self.dir.display())
    }

    /// Processes of `ssh` that were started for this test.
    fn clients(&self) -> usize {
        let of_us = |process: &Path| {
            let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.starts_with("ssh ") && line.contains(&format!("{}/config", self.dir.display()))
        };
        let all = std::fs::read_dir("/proc").expect("processes");
        all.flatten().filter(|process| of_us(&process.path())).count()
    }

    /// Somebody who stands at the door keeps others out, and goes when that has happened.
    #[track_caller]
    fn while_sent_away(&self, comes: impl FnOnce()) {
        let door = TcpStream::connect(("127.0.0.1", self.port)).expect("a connection");
        let (at_the_door, log) = (Instant::now(), self.dir.join("log"));
        let waits = std::thread::spawn(move || {
            let has_sent_away =
                || std::fs::read_to_string(&log).is_ok_and(|said| said.contains("MaxStartups"));
            while !has_sent_away() && at_the_door.elapsed() < Duration::from_secs(60) {
                std::thread::sleep(Duration::from_millis(20));
            }
            drop(door);
            has_sent_away()
        });
        comes();
        assert!(waits.join().expect("no panic"), "nobody was sent away");
    }

    #[track_caller]
    fn leaves_no_client(&self) {
        let until = Instant::now() + Duration::from_secs(20);
        while self.clients() > 0 {
            assert!(Instant::now() < until, "{} clients are left", self.clients());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn an_engine_behind_ssh_is_used_as_the_users_configuration_says() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    let ssh = Ssh::start(&parts, &parts.b.host());
    parts.set("PATH", &ssh.path());
    parts.provision();
    let (by_name, by_address) =
        ("ssh://db-b".to_owned(), format!("ssh://root@127.0.0.1:{}", ssh.port));
    let refuses = |wanted: &str| {
        parts.redeploy("i-b", &[]).exits(2).says(wanted).says("docker version` must work");
        parts.run(&["env", "check"]).exits(2).says(wanted).says("✗ Docker Engine of i-b");
        assert_eq!(parts.a.redis(&["get", "row"]), "kept");
        assert_eq!(parts.b.docker(&["ps", "--all", "--quiet"]), "");
    };

    println!("a host that nobody knows");
    parts.configure_with(&by_address, "");
    std::fs::write(ssh.known_hosts(), "").expect("a file");
    refuses("Host key verification failed");
    assert_eq!(std::fs::read_to_string(ssh.known_hosts()).expect("a file"), "", "it stays so");
    ssh.know_the_host();

    println!("a key that the host does not take");
    ssh.present("stranger");
    refuses("Permission denied");
    ssh.present("user");

    println!("a host whose engine is down, and no host");
    parts.b.kill();
    parts.redeploy("i-b", &[]).exits(2).says("dial unix");
    parts.b.start_again();
    parts.configure_with(&format!("ssh://root@127.0.0.1:{}", free_port()), "");
    refuses("Connection refused");

    for endpoint in [&by_address, &by_name] {
        parts.configure_with(endpoint, "");
        parts.run(&["env", "check"]).exits(0).says("✓ Docker Engine of i-b: Docker 2");
    }
    ssh.while_sent_away(|| {
        parts.run(&["env", "check"]).exits(0).says("✓ Docker Engine of i-b: Docker 2");
    });
    let (path, mut clients) = (operation("redeploy-database"), 0);
    let failing = ["--inject", "docker.wait-healthy=refuse"];
    let arguments = [&["run", &path, "-i", "to_instance=i-b"][..], &failing].concat();
    let ran = parts.run_watched(&arguments, |line| {
        if line.contains("✓ stop-old") {
            clients = ssh.clients();
        }
    });
    ran.exits(3).says("verdict: restored");
    assert!(clients > 0, "it is used");
    ssh.leaves_no_client();
    let left = parts.redeploy("i-b", &["--inject", "docker.start-container=crash-after"]);
    assert_eq!(left.code, None, "{}", left.said);
    ssh.leaves_no_client();
    parts.run(&["resume", left.id()]).exits(0);
    assert_eq!(parts.b.redis(&["get", "row"]), "kept");
}
