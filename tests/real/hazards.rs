//! What could cost somebody their data.

use crate::parts::{TestCluster, are_possible, loops_below};
use crate::place::{Ran, operation};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Run one step on `i-a`, declared irreversible.
fn step(parts: &TestCluster, uses: &str, with: &str) -> Ran {
    parts.step(uses, &format!("host = \"i-a\", {with}"), "irreversible = \"it is a test\"")
}

/// A manifest that makes a volume and attaches it.
pub fn made_and_attached(parts: &TestCluster) -> String {
    let text = "schema = 1\n[operation]\nname = \"disk\"\n[[steps]]\nid = \"made\"\n\
                uses = \"ebs/create-volume\"\n\
                with = { zone = \"onebox\", size_gib = 1, tags = { database = \"other\" } }\n\
                [[steps]]\nid = \"attached\"\nuses = \"ebs/attach-volume\"\n\
                with = { volume = \"{{ steps.made.id }}\", instance = \"i-a\" }\n\
                [outputs]\nvolume = \"{{ steps.made.id }}\"\n";
    std::fs::write(parts.path("disk.toml"), text).expect("a file");
    "disk.toml".to_owned()
}

/// An engine takes the beginning of an id for a name.
#[test]
fn a_name_is_not_the_beginning_of_another_containers_id() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    let id = parts.a.docker(&["inspect", "-f", "{{.Id}}", "main"]);
    let prefix = &id[..4];
    assert_eq!(parts.a.docker(&["inspect", "-f", "{{.Name}}", prefix]), "/main");
    let with = format!("container = \"{prefix}\"");
    for uses in ["docker/stop-container", "docker/remove-container", "docker/start-container"] {
        let ran = step(&parts, uses, &with);
        assert_ne!(ran.code, Some(0), "{uses}: {}", ran.said);
        assert_eq!(parts.a.redis(&["ping"]), "PONG", "{uses}");
    }
    let exec = format!("{with}, command = [\"redis-cli\", \"shutdown\"]");
    assert_ne!(step(&parts, "docker/exec", &exec).code, Some(0));
    assert_eq!(parts.a.redis(&["ping"]), "PONG");
}

#[test]
fn a_disk_with_a_partition_table_is_not_blank() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let made = parts.run(&["run", &made_and_attached(&parts)]).exits(0);
    let volume = made.said.split("volume = \"").nth(1).and_then(|rest| rest.split('"').next());
    let volume = volume.expect("its id");
    // One partition, in the first sector (a DOS partition table).
    let device = loops_below(&parts.path("")).remove(0);
    let script = format!(
        "printf '\\000\\040\\041\\000\\203\\376\\377\\377\\000\\010\\000\\000' | \
         dd of={device} bs=1 seek=446 conv=notrunc && printf '\\000\\370\\037\\000' | \
         dd of={device} bs=1 seek=458 conv=notrunc && printf '\\125\\252' | \
         dd of={device} bs=1 seek=510 conv=notrunc && sync"
    );
    let written = Command::new("sh").args(["-c", &script]).output().expect("sh");
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let with = format!("volume = \"{volume}\"");
    let refused = step(&parts, "docker/make-filesystem", &with);
    assert_ne!(refused.code, Some(0), "{}", refused.said);
    let found = Command::new("blkid").args(["-p", "-o", "value", "-s", "PTTYPE", &device]).output();
    assert_eq!(String::from_utf8_lossy(&found.expect("blkid").stdout).trim(), "dos");
}

/// What an undo gives back is all that was there.
#[test]
fn a_restart_policy_keeps_its_count() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    parts.a.docker(&["update", "--restart", "on-failure:5", "main"]);
    let policy =
        || parts.a.docker(&["inspect", "-f", "{{json .HostConfig.RestartPolicy}}", "main"]);
    let before = policy();
    assert!(before.contains('5'), "{before}");
    let restart = operation("restart-database");
    let failing = ["run", &restart, "--inject", "docker.wait-healthy=refuse"];
    parts.run(&failing).exits(3).says("verdict: restored");
    assert_eq!(policy(), before);
    parts.redeploy("i-b", &[]).exits(0);
    let moved = parts.b.docker(&["inspect", "-f", "{{json .HostConfig.RestartPolicy}}", "main"]);
    assert_eq!(moved, before);
}

/// A command that has begun has begun, whatever becomes of the engine; it is not run again.
#[test]
fn a_command_whose_engine_dies_is_not_run_twice() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    parts.a.docker(&["pull", &parts.image()]);
    parts.a.docker(&["volume", "create", "log"]);
    let text = format!(
        "schema = 1\n[operation]\nname = \"once\"\n[[steps]]\nid = \"once\"\n\
         uses = \"docker/run-once\"\nirreversible = \"it ran\"\n\
         retry = {{ attempts = 3, backoff = \"1s..1s\" }}\n[steps.with]\nhost = \"i-a\"\n\
         image = \"{}\"\nmounts = [{{ volume = \"log\", target = \"/data\" }}]\n\
         command = [\"sh\", \"-c\", \"echo ran >> /data/log; echo begun; sleep 30\"]\n",
        parts.image()
    );
    std::fs::write(parts.path("once.toml"), text).expect("a file");
    let ran = parts.run_watched(&["run", "once.toml"], |line| {
        if line.contains("info: begun") {
            parts.a.kill();
            parts.a.start_again();
        }
    });
    assert!(matches!(ran.code, Some(0 | 4)), "{}", ran.said);
    let mount = ["run", "--rm", "--volume", "log:/data", "--entrypoint", "cat"];
    let log = parts.a.docker(&[&mount[..], &[&parts.image(), "/data/log"]].concat());
    assert_eq!(log, "ran", "{}", ran.said);
    assert_eq!(parts.a.docker(&["ps", "--all", "--quiet"]), "", "it is left");
}

/// The helper's containers are elsewhere than the program: a relative path means nothing to them.
#[test]
fn relative_paths_are_those_of_the_configuration() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    let (path, to) = (operation("redeploy-database"), "to_instance=i-b");
    parts.run(&["--config", "stepback.toml", "run", &path, "-i", to]).exits(0);
    assert_eq!(parts.b.redis(&["get", "row"]), "kept");
}

/// A file system of so many MiB, for one test.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(at: &'a Path, mib: u32) -> Self {
        std::fs::create_dir_all(at).expect("a directory");
        let size = format!("size={mib}m,mode=0700");
        let mount = ["-t", "tmpfs", "-o", &size, "tmpfs", &at.display().to_string()];
        assert!(Command::new("mount").args(mount).status().expect("mount").success());
        Self(at)
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        for device in loops_below(self.0) {
            let _ = Command::new("losetup").args(["--detach", &device]).status();
        }
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

/// What has been done can be written down, even then.
#[test]
fn on_a_full_disk_what_was_done_is_still_told() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let root = parts.path("onebox");
    let _small = Small::mount(&root, 32);
    let made = parts.run(&["run", &made_and_attached(&parts)]).exits(0);
    let volume = made.said.split("volume = \"").nth(1).and_then(|rest| rest.split('"').next());
    let volume = volume.expect("its id").to_owned();
    let mut rest = std::fs::File::create(root.join("rest")).expect("a file");
    while std::io::Write::write_all(&mut rest, &[b'x'; 4096]).is_ok() {}
    let text = format!(
        "schema = 1\n[operation]\nname = \"detach\"\n[[steps]]\nid = \"detached\"\n\
         uses = \"ebs/detach-volume\"\nwith = {{ volume = \"{volume}\", instance = \"i-a\" }}\n"
    );
    std::fs::write(parts.path("detach.toml"), text).expect("a file");
    parts.run(&["run", "detach.toml"]).exits(0);
    assert_eq!(loops_below(&root), Vec::<String>::new());
    // While it is open its blocks are not free.
    drop(rest);
    std::fs::remove_file(root.join("rest")).expect("it can be removed");
    parts.run(&["env", "check"]).exits(0);
    assert!(root.join("ballast").exists(), "there is room for the next time");
}

/// The tools that freeze a file system are in the terminal's reach, too, and must thaw it.
#[test]
fn a_ctrl_c_at_the_terminal_leaves_no_file_system_frozen() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    let fill = ["exec", "main", "busybox", "dd", "if=/dev/urandom", "of=/data/rest", "bs=1M"];
    parts.a.docker(&[&fill[..], &["count=400"]].concat());
    let backup = operation("backup-database");
    for signal in ["INT", "KILL"] {
        let mut command = parts.command(&["run", &backup]);
        let mut child = command.stderr(Stdio::piped()).process_group(0).spawn().expect("it starts");
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let begun = |line: &str| line.contains("ebs.create-snapshot");
        assert!(lines.map_while(Result::ok).any(|line| begun(&line)), "it takes a snapshot");
        std::thread::sleep(std::time::Duration::from_millis(200));
        // To all in the terminal's foreground, as Ctrl-C is.
        let group = format!("-{}", child.id());
        let _ = Command::new("kill").args(["-s", signal, "--", &group]).status();
        child.wait().expect("it ends");
        let said = parts.run(&["resume", "--all"]);
        assert!(matches!(said.code, Some(0 | 3)), "{}", said.said);
        let host = parts.a.host();
        let mut writes = Command::new("timeout");
        writes.args(["20", "docker", "--host", &host, "exec", "main", "redis-cli", "incr", "n"]);
        assert!(writes.output().expect("docker").status.success(), "it is frozen after {signal}");
    }
}

/// Whatever an engine shows at one look: a container that its policy starts again and again.
#[test]
fn a_container_that_keeps_dying_is_not_healthy() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    // It dies at once, or before the time that counts as healthy is over.
    for command in ["exit 1", "sleep 2; exit 1"] {
        let mut text = String::from("schema = 1\n[operation]\nname = \"dies\"\n");
        let create = format!(", image = \"helper:1\", command = [\"sh\", \"-c\", \"{command}\"]");
        let steps = [("create-container", create.as_str()), ("start-container", "")];
        for (step, more) in [&steps[..], &[("wait-healthy", "")]].concat() {
            text.push_str(&format!(
                "[[steps]]\nid = \"{step}\"\nuses = \"docker/{step}\"\n\
                 with = {{ host = \"i-a\", container = \"dies\"{more} }}\n"
            ));
        }
        std::fs::write(parts.path("dies.toml"), text).expect("a file");
        parts.run(&["run", "dies.toml"]).exits(3).says("restarts").says("verdict: restored");
    }
}

/// The first answer of a health check that comes too late is told before the old one stops.
#[test]
fn a_health_check_that_is_asked_too_late_is_told_before_the_stop() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let model = |interval: &str| {
        let _ = parts.a.try_docker(&["rm", "--force", "main", "made"]);
        let health = ["--health-cmd", "true", "--health-interval", interval];
        let run = ["run", "--detach", "--name", "main"];
        parts.a.docker(&[&run[..], &health, &["helper:1", "sleep", "600"]].concat());
    };
    model("10m");
    // Of one that does not run; one that does has had its first answer, or soon has.
    parts.a.docker(&["stop", "--time", "0", "main"]);
    let wait = "container = \"main\", timeout = \"2m\"";
    let at_once = step(&parts, "docker/wait-healthy", wait);
    at_once.exits(2).says("made for the first time 10m after the start, and it is waited for 2m");
    parts.a.docker(&["start", "main"]);
    // One that is like it is there only when the operation has begun.
    let text = "schema = 1\n[operation]\nname = \"anew\"\n[downtime]\nbudget = \"5m\"\n\
                [[steps]]\nid = \"made\"\nuses = \"docker/create-container\"\n\
                with = { host = \"i-a\", container = \"made\", like = { host = \"i-a\", \
                container = \"main\" } }\n\
                [[steps]]\nid = \"stop\"\nuses = \"docker/stop-container\"\n\
                phase = \"downtime\"\n\
                with = { host = \"i-a\", container = \"main\", grace = \"1s\" }\n\
                [[steps]]\nid = \"start\"\nuses = \"docker/start-container\"\n\
                phase = \"downtime\"\nwith = { host = \"i-a\", container = \"made\" }\n\
                [[steps]]\nid = \"healthy\"\nuses = \"docker/wait-healthy\"\n\
                phase = \"downtime\"\n\
                with = { host = \"i-a\", container = \"made\", timeout = \"2m\" }\n";
    std::fs::write(parts.path("anew.toml"), text).expect("a file");
    let started = || parts.a.docker(&["inspect", "-f", "{{.State.StartedAt}}", "main"]);
    let before = started();
    let late = parts.run(&["run", "anew.toml"]);
    late.exits(3).says("made for the first time").says("verdict: restored");
    assert_eq!(started(), before, "it never stopped");
    model("1s");
    parts.run(&["run", "anew.toml"]).exits(0);
}

/// With `docker run --rm` a container is gone, options and all, when it stops.
#[test]
fn a_container_that_removes_itself_is_told_before_it_is_stopped() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    parts.a.docker(&["run", "-d", "--rm", "--name", "main", "helper:1", "sleep", "600"]);
    let refused = step(&parts, "docker/stop-container", "container = \"main\"");
    refused.exits(2).says("removes itself when it stops");
    assert_eq!(parts.a.docker(&["inspect", "-f", "{{.State.Running}}", "main"]), "true");
}

/// A disk whose data nobody knows the kind of is not blank, and what a helper says is heard
/// whatever the engine logs by.
#[test]
fn a_disk_with_unknown_data_is_not_blank_whatever_the_engine_logs_by() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.a.restart_with(&["--log-driver=none".to_owned()]);
    parts.configure("");
    let made = parts.run(&["run", &made_and_attached(&parts)]).exits(0);
    let volume = made.said.split("volume = \"").nth(1).and_then(|rest| rest.split('"').next());
    let with = format!("volume = \"{}\"", volume.expect("its id"));
    let device = loops_below(&parts.path("")).remove(0);
    let write = |seek: &str, from: &str| {
        let (from, to) = (format!("if={from}"), format!("of={device}"));
        let place = format!("seek={seek}");
        let arguments = [&from, &to, "bs=1M", "count=1", &place, "conv=notrunc,fsync"];
        assert!(Command::new("dd").args(arguments).output().expect("dd").status.success());
    };
    // At its beginning, in its middle, at its end.
    for seek in ["0", "512", "1023"] {
        write(seek, "/dev/urandom");
        let refused = step(&parts, "docker/make-filesystem", &with);
        assert_ne!(refused.code, Some(0), "{seek}: {}", refused.said);
        write(seek, "/dev/zero");
    }
    step(&parts, "docker/make-filesystem", &with).exits(0);
    let again = step(&parts, "docker/make-filesystem", &with);
    assert_ne!(again.code, Some(0), "{}", again.said);
}

/// A helper image that is there and can't run is told before anything stops.
#[test]
fn a_helper_that_can_not_run_is_told_before_the_database_stops() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.provision();
    std::fs::create_dir(parts.path("nothing")).expect("a directory");
    let (from, tar) = (parts.path("nothing").display().to_string(), parts.path("nothing.tar"));
    let tar = tar.display().to_string();
    let packed = Command::new("tar").args(["-C", &from, "-cf", &tar, "."]).status();
    assert!(packed.expect("tar").success());
    parts.a.docker(&["import", &tar, "helper:1"]);
    parts.redeploy("i-b", &[]).exits(2).says("the helper image helper:1 can't run on i-a");
    assert_eq!(parts.a.redis(&["ping"]), "PONG");
}

/// Somebody else gave it to the container, months ago: whoever restarts it now knows no secret.
#[test]
fn what_a_container_prints_of_its_own_password_is_in_no_log() {
    const VALUE: &str = "Zq9/p@ss-Secret77";
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    std::fs::write(parts.path("pw"), VALUE).expect("a file");
    let script = "echo FATAL: postgres://app:$DB_PASSWORD@db; sleep 1; exit 3";
    let made = format!(
        "image = \"helper:1\"\nrestart = \"no\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\n\
         env = {{ DB_PASSWORD = \"{{{{ inputs.pw }}}}\" }}\n"
    );
    let step = |id: &str, uses: &str, more: &str| {
        format!(
            "[[steps]]\nid = \"{id}\"\nuses = \"docker/{uses}\"\n[steps.with]\n\
             host = \"i-a\"\ncontainer = \"printing\"\n{more}"
        )
    };
    let first = format!(
        "schema = 1\n[operation]\nname = \"made\"\n[inputs]\npw = {{ type = \"secret\" }}\n{}",
        step("made", "create-container", &made),
    );
    std::fs::write(parts.path("made.toml"), first).expect("a file");
    parts.run(&["run", "made.toml", "-i", "pw=file:pw"]).exits(0);
    let second = format!(
        "schema = 1\n[operation]\nname = \"start\"\n{}{}",
        step("start", "start-container", ""),
        step("healthy", "wait-healthy", "timeout = \"20s\"\n"),
    );
    std::fs::write(parts.path("start.toml"), second).expect("a file");
    let ran = parts.run(&["run", "start.toml"]).exits(3);
    assert!(ran.said.contains("warn: printing: FATAL: postgres://app:***@db"), "{}", ran.said);
    assert!(!ran.said.contains("Secret77"), "{}", ran.said);
}

/// An engine breaks a long line into records, of which the last ones may begin in its middle: what
/// is left of a secret there is none of it.
#[test]
fn the_end_of_a_line_that_an_engine_cut_tells_no_secret() {
    const VALUE: &str = "S3cret-Value-4711-of-the-database";
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    std::fs::write(parts.path("pw"), VALUE).expect("a file");
    // One more than a record has, less one byte: the record that is told begins with the second.
    let script = "{ head -c 16383 /dev/zero | tr '\\\\0' x; echo \\\"$PW\\\"; seq 19; } > /tmp/o; \
                  cat /tmp/o; sleep 1; exit 3";
    let text = format!(
        "schema = 1\n[operation]\nname = \"cut\"\n[inputs]\npw = {{ type = \"secret\" }}\n\
         [[steps]]\nid = \"made\"\nuses = \"docker/create-container\"\n[steps.with]\n\
         host = \"i-a\"\ncontainer = \"cut\"\nimage = \"helper:1\"\nrestart = \"no\"\n\
         command = [\"sh\", \"-c\", \"{script}\"]\nenv = {{ PW = \"{{{{ inputs.pw }}}}\" }}\n\
         [[steps]]\nid = \"start\"\nuses = \"docker/start-container\"\n\
         with = {{ host = \"i-a\", container = \"cut\" }}\n\
         [[steps]]\nid = \"healthy\"\nuses = \"docker/wait-healthy\"\n\
         with = {{ host = \"i-a\", container = \"cut\", timeout = \"20s\" }}\n"
    );
    std::fs::write(parts.path("cut.toml"), text).expect("a file");
    let ran = parts.run(&["run", "cut.toml", "-i", "pw=file:pw"]).exits(3);
    assert!(ran.said.contains("warn: cut: …<secret pw>"), "{}", ran.said);
    assert!(!ran.said.contains("of-the-database"), "{}", ran.said);
}
