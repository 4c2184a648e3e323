//! A container like another one, on engines: the same, or refused by name before anything stops.

use crate::parts::{TestCluster, are_possible, loops_below};
use crate::place::{Ran, operation};
use std::path::Path;
use std::process::Command;

/// Make one on a host like `model` of `i-a`.
fn like(parts: &TestCluster, host: &str, more: &str) -> Ran {
    write_like(parts, host, more);
    parts.run(&["run", "like.toml"])
}

fn write_like(parts: &TestCluster, host: &str, more: &str) {
    let text = format!(
        "schema = 1\n[operation]\nname = \"like\"\n[[steps]]\nid = \"fits\"\n\
         uses = \"docker/check-ports\"\n\
         with = {{ host = \"{host}\", like = {{ host = \"i-a\", container = \"model\" }} }}\n\
         [[steps]]\nid = \"made\"\nuses = \"docker/create-container\"\nirreversible = \"a test\"\n\
         with = {{ host = \"{host}\", container = \"made\", {more} \
         like = {{ host = \"i-a\", container = \"model\" }} }}\n"
    );
    std::fs::write(parts.path("like.toml"), text).expect("a file");
}

fn model(parts: &TestCluster, options: &[&str], command: &[&str]) {
    let _ = parts.a.try_docker(&["rm", "--force", "--volumes", "model"]);
    let image = if options.iter().any(|one| one.starts_with("--image=")) { "" } else { "helper:1" };
    let image: Vec<&str> = options
        .iter()
        .filter_map(|one| one.strip_prefix("--image="))
        .chain((!image.is_empty()).then_some(image))
        .collect();
    let options: Vec<&str> =
        options.iter().copied().filter(|one| !one.starts_with("--image=")).collect();
    parts.a.docker(&[&["create", "--name", "model"], &options[..], &image, command].concat());
}

#[test]
fn what_can_not_be_had_on_another_host_is_refused_by_name() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let sleep = ["sleep", "60"];
    parts.a.docker(&["network", "create", "lan"]);
    parts.a.docker(&["create", "--name", "other", "--volume", "/made", "helper:1", "sleep", "60"]);
    for (options, why) in [
        (&["--network", "lan"][..], "is on the network `lan`, which i-b does not have"),
        (&["--network", "container:other"], "shares a namespace of another container"),
        (&["--volumes-from", "other"], "takes its volumes from another container (other)"),
        (&["--device", "/dev/loop0"], "asks for a device of its host's drivers (/dev/loop0)"),
        (&["--device-read-bps", "/dev/loop0:1mb"], "limits what it reads and writes of one disk"),
        (&["--publish", "10.9.8.7:80:80"], "publishes a port on one address (10.9.8.7)"),
    ] {
        model(&parts, options, &sleep);
        like(&parts, "i-b", "").exits(2).says(why);
        assert_eq!(parts.b.docker(&["ps", "--all", "--quiet", "--filter", "name=made"]), "");
    }
    // An engine makes an empty directory for a bind; nobody wants that in its place.
    let dir = parts.path("conf").display().to_string();
    std::fs::create_dir(&dir).expect("a directory");
    model(&parts, &["--volume", &format!("{dir}:/conf:ro")], &sleep);
    like(&parts, "i-b", "").exits(0);
    let mount = parts.b.docker(&["inspect", "-f", "{{json .HostConfig.Mounts}}", "made"]);
    assert!(mount.contains(&dir) && mount.contains("\"ReadOnly\":true"), "{mount}");
    parts.b.docker(&["rm", "made"]);
    std::fs::remove_dir(&dir).expect("it is empty");
    like(&parts, "i-b", "").exits(3).says("bind source path does not exist");
    assert!(!std::path::Path::new(&dir).exists(), "nothing was made");
    // With the network there, it is on it by the same names.
    parts.b.docker(&["network", "create", "--subnet", "10.77.0.0/24", "lan"]);
    model(&parts, &["--network", "lan", "--network-alias", "db"], &sleep);
    like(&parts, "i-b", "").exits(0);
    let shown = "{{.HostConfig.NetworkMode}} {{json .NetworkSettings.Networks.lan.Aliases}}";
    let shown = parts.b.docker(&["inspect", "-f", shown, "made"]);
    assert!(shown.starts_with("lan ") && shown.contains("\"db\""), "{shown}");
    parts.b.docker(&["rm", "made"]);
    // An address of its own must be nobody's there.
    for engine in [&parts.a, &parts.b] {
        engine.docker(&["network", "create", "--subnet", "10.78.0.0/24", "fixed"]);
    }
    model(&parts, &["--network", "fixed", "--ip", "10.78.0.5"], &sleep);
    let there = ["run", "--detach", "--name", "there", "--network", "fixed", "--ip", "10.78.0.5"];
    parts.b.docker(&[&there[..], &["helper:1", "sleep", "600"]].concat());
    let why =
        "has the address 10.78.0.5 on the network `fixed`, which container `there` has on i-b";
    like(&parts, "i-b", "").exits(2).says(why);
    parts.b.docker(&["rm", "--force", "there"]);
    like(&parts, "i-b", "").exits(0);
    parts.b.docker(&["rm", "made"]);
    for network in ["lan", "fixed"] {
        parts.b.docker(&["network", "rm", network]);
    }
}

/// What a model has of another container is its own in the new one, so that nothing comes with it
/// that given mounts leave out.
#[test]
fn what_a_model_has_of_another_container_is_as_if_it_were_its_own() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let dir = parts.path("conf").display().to_string();
    std::fs::create_dir(&dir).expect("a directory");
    for volume in ["rows", "extra"] {
        parts.a.docker(&["volume", "create", volume]);
    }
    let (bind, sleep) = (format!("{dir}:/conf:ro"), ["sleep", "60"]);
    let other = ["create", "--name", "other", "--volume", "rows:/rows:ro", "--volume", &bind];
    parts.a.docker(&[&other[..], &["helper:1", "sleep", "60"]].concat());
    model(&parts, &["--volumes-from", "other"], &sleep);
    let mounts = |name: &str| {
        let shown = "{{range .Mounts}}{{.Destination}} {{.RW}} {{end}}{{.HostConfig.VolumesFrom}}";
        let told = parts.a.docker(&["inspect", "-f", shown, name]);
        parts.a.docker(&["rm", name]);
        let mut words: Vec<String> = told.split(" /").map(str::to_owned).collect();
        words.sort();
        words.join(" /")
    };
    like(&parts, "i-a", "").exits(0);
    let all = mounts("made");
    assert!(all.contains("/rows false") && all.contains("/conf false"), "{all}");
    like(&parts, "i-a", "mounts = [{ volume = \"extra\", target = \"/x\" }],").exits(0);
    let all = mounts("made");
    assert!(!all.contains("/rows"), "{all}");
    assert!(all.contains("/x true") && all.contains("/conf false"), "{all}");
}

/// An engine looks at a log driver's target, and a host at its limits, only at the start.
#[test]
fn what_only_a_start_tells_is_tried_before_anything_stops() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("an address");
    let target = format!("syslog-address=tcp://{at}");
    let log = ["--log-driver", "syslog", "--log-opt", &target];
    model(&parts, &log, &["sleep", "60"]);
    like(&parts, "i-b", "").exits(0);
    parts.b.docker(&["rm", "made"]);
    drop(listener);
    let gone = like(&parts, "i-b", "");
    gone.exits(2).says("can't start on i-b").says("connection refused");
    model(&parts, &["--cpuset-cpus", "0", "--ulimit", "nofile=4294967296"], &["sleep", "60"]);
    like(&parts, "i-a", "").exits(2).says("with the options of `model` can't start on i-a");
    for engine in [&parts.a, &parts.b] {
        let tried = engine.docker(&["ps", "--all", "--quiet", "--filter", "name=made"]);
        assert_eq!(tried, "", "nothing was made");
    }
    model(&parts, &["--ulimit", "nofile=1024"], &["sleep", "60"]);
    like(&parts, "i-b", "").exits(0);
    parts.helpers_end();
}

/// A target that takes the connection and never says a word holds up a start for good.
#[test]
fn a_start_that_waits_for_somebody_silent_is_told() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = format!("syslog-address=tcp+tls://{}", listener.local_addr().expect("one"));
    model(&parts, &["--log-driver", "syslog", "--log-opt", &target], &["sleep", "60"]);
    write_like(&parts, "i-b", "");
    // Its trial stays as long as the engine is held up.
    let ended = parts.command(&["run", "like.toml"]).output().expect("the program starts");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    let refused = Ran { code: ended.status.code(), said };
    refused.exits(2).says("did not start in 10s").says("can't start on i-b");
    drop(listener);
    parts.helpers_end();
    assert_eq!(parts.b.docker(&["ps", "--all", "--quiet", "--filter", "name=made"]), "");
}

/// A volume that was made of a snapshot has its UUID, and no host mounts two xfs of one.
#[test]
fn a_file_system_whose_twin_is_mounted_there_is_told() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let run = |program: &str, arguments: &[&str]| {
        let done = Command::new(program).args(arguments).output().expect(program);
        assert!(done.status.success(), "{program} {arguments:?}: {done:?}");
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    };
    // A container that begins has every mount of its host for a moment, so that what was
    // unmounted may live on there, and the kernel takes no second xfs of its UUID till then.
    let mount = |arguments: &[&str]| {
        let tried = || Command::new("mount").args(arguments).output().expect("mount");
        let mut done = tried();
        for _ in 0..100 {
            if done.status.success() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            done = tried();
        }
        panic!("mount {arguments:?}: {done:?}");
    };
    let disks = parts.path("disks");
    std::fs::create_dir(&disks).expect("a directory");
    let _ends = Loops(&disks);
    let disk = |name: &str| disks.join(name).display().to_string();
    let (one, twin, at) = (disk("one"), disk("twin"), disk("mounted"));
    // The smallest that there is (mkfs.xfs(8)).
    run("truncate", &["--size", "320M", &one]);
    run("mkfs.xfs", &["-q", &one]);
    run("cp", &["--sparse=always", &one, &twin]);
    let device = run("losetup", &["--find", "--show", &one]);
    std::fs::create_dir(&at).expect("a directory");
    let volume = |options: &[&str]| {
        let _ = parts.a.try_docker(&["rm", "--force", "model"]);
        let _ = parts.a.try_docker(&["volume", "rm", "rows"]);
        let device = format!("device={device}");
        let make = ["volume", "create", "--opt", "type=xfs", "--opt", &device];
        parts.a.docker(&[&make[..], options, &["rows"]].concat());
        model(&parts, &["--volume", "rows:/rows"], &["sleep", "60"]);
    };
    parts.b.docker(&["volume", "create", "rows"]);
    volume(&[]);
    like(&parts, "i-b", "").exits(0);
    parts.b.docker(&["rm", "made"]);
    mount(&["-o", "loop", &twin, &at]);
    like(&parts, "i-b", "").exits(2).says("another one of this UUID is mounted on i-b");
    volume(&["--opt", "o=noatime,nouuid"]);
    like(&parts, "i-b", "").exits(0);
    parts.b.docker(&["rm", "made"]);
    run("umount", &[&at]);
    // On one machine it may itself be what is mounted.
    volume(&[]);
    mount(&[&device, &at]);
    like(&parts, "i-b", "").exits(0);
    parts.b.docker(&["rm", "made"]);
    run("umount", &[&at]);
    // Nor is one that says so itself in the way of another.
    mount(&["-o", "loop,nouuid", &twin, &at]);
    volume(&[]);
    like(&parts, "i-b", "").exits(0);
    run("umount", &[&at]);
}

/// The loop devices of files below a directory, for one test.
struct Loops<'a>(&'a Path);

impl Drop for Loops<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy"]).arg(self.0.join("mounted")).status();
        for device in loops_below(self.0) {
            let _ = Command::new("losetup").args(["--detach", &device]).status();
        }
    }
}

/// What a database keeps may go by the name of its host that nobody gave, too.
#[track_caller]
fn goes_by_the_same_name(parts: &TestCluster) {
    model(parts, &[], &["sleep", "60"]);
    like(parts, "i-a", "").exits(0);
    let name = |of: &str| parts.a.docker(&["inspect", "-f", "{{.Config.Hostname}}", of]);
    assert_eq!(name("made"), name("model"));
    parts.a.docker(&["rm", "made"]);
}

#[test]
fn all_that_was_given_is_copied_and_what_the_image_gives_is_not() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let tar = parts.path("helper.tar").display().to_string();
    let defaults = ["-c", "ENV OF_IMAGE=1", "-c", "LABEL of=1", "-c", "WORKDIR /tmp"];
    parts.a.docker(
        &[&["import"], &defaults[..], &["-c", "ENTRYPOINT [\"sh\"]", &tar, "old:1"]].concat(),
    );
    parts.a.docker(&[&["import"], &defaults[..4], &["-c", "ENV NEW=1", &tar, "new:1"]].concat());
    parts.a.docker(&["volume", "create", "plain"]);
    parts.a.docker(&["volume", "create", "other"]);
    let given = [
        "--image=old:1",
        "--entrypoint",
        "",
        "--env",
        "GIVEN=2",
        "--label",
        "given=2",
        "--volume",
        "/tmp:/conf:ro",
        "--tmpfs",
        "/scratch",
        "--mount",
        "type=tmpfs,target=/more",
        "--mount",
        "type=volume,source=plain,target=/data",
        "--hostname",
        "named",
        "--network",
        "none",
    ];
    goes_by_the_same_name(&parts);
    model(&parts, &given, &["sleep", "60"]);
    let field = |of: &str, field: &str| parts.a.docker(&["inspect", "-f", field, of]);
    // The very image: all of it, its reset entrypoint too.
    like(&parts, "i-a", "").exits(0);
    for shown in [
        "{{json .Config.Env}}",
        "{{json .Config.Cmd}} {{json .Config.Entrypoint}} {{.Path}}",
        "{{json .HostConfig.Binds}} {{json .HostConfig.Tmpfs}} {{.Config.Hostname}}",
        "{{.Config.WorkingDir}} {{.HostConfig.NetworkMode}} {{.Config.NetworkDisabled}}",
    ] {
        assert_eq!(field("made", shown), field("model", shown), "{shown}");
    }
    parts.a.docker(&["rm", "made"]);
    // Another image's own options come with it; given volumes replace volumes, and nothing else.
    let more = "image = \"new:1\", mounts = [{ volume = \"other\", target = \"/data\" }],";
    like(&parts, "i-a", more).exits(0);
    let env = field("made", "{{json .Config.Env}}");
    assert!(env.contains("GIVEN=2") && env.contains("NEW=1"), "{env}");
    assert_eq!(field("made", "{{.Config.WorkingDir}}"), "", "that was the old image's");
    let mounts = field("made", "{{json .HostConfig.Mounts}} {{json .HostConfig.Binds}}");
    for kept in ["/more", "\"other\"", "/tmp:/conf:ro"] {
        assert!(mounts.contains(kept), "{kept} is not in {mounts}");
    }
    assert!(!mounts.contains("\"plain\""), "{mounts}");
    parts.a.docker(&["rm", "made"]);
    // A host's name is not a container's.
    model(&parts, &["--network", "host"], &["sleep", "60"]);
    like(&parts, "i-a", "").exits(0);
    parts.a.docker(&["rm", "made"]);
}

/// With control groups of version 1 an engine gives its host's to every container, and tells it of
/// each as if it had been asked for.
#[test]
fn control_groups_of_the_host_are_told_where_somebody_asked_for_them() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    let private = ["--default-cgroupns-mode=private".to_owned()];
    parts.configure("");
    let mode = |engine: &crate::parts::Engine| {
        engine.docker(&["inspect", "-f", "{{.HostConfig.CgroupnsMode}}", "made"])
    };
    let plan = |options: &[&str]| {
        model(&parts, options, &["sleep", "60"]);
        write_like(&parts, "i-a", "");
        parts.run(&["plan", "like.toml"]).exits(0).said
    };
    let told = "has the control groups of `host`";
    let said = plan(&[]);
    assert!(!said.contains(told), "{said}");
    // The new engine has a mode of its own.
    parts.b.restart_with(&private);
    like(&parts, "i-b", "").exits(0);
    assert_eq!(mode(&parts.b), "private");
    parts.a.restart_with(&private);
    let said = plan(&[]);
    assert!(!said.contains(told), "{said}");
    let said = plan(&["--cgroupns", "host"]);
    assert!(said.contains(told), "{said}");
    like(&parts, "i-a", "").exits(0);
    assert_eq!(mode(&parts.a), "host");
}

/// What an engine made for a container that is taken back goes with it.
#[test]
fn an_anonymous_volume_of_what_is_taken_back_is_taken_back() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let tar = parts.path("helper.tar").display().to_string();
    parts.a.docker(&["import", "-c", "VOLUME /anonymous", &tar, "volume:1"]);
    let of = "host = \"i-a\", image = \"volume:1\", command = [\"sh\", \"-c\",";
    let text = format!(
        "schema = 1\n[operation]\nname = \"once\"\n[[steps]]\nid = \"made\"\n\
         uses = \"docker/create-container\"\nwith = {{ container = \"made\", {of} \"exit 0\"] }}\n\
         [[steps]]\nid = \"ran\"\nuses = \"docker/run-once\"\nirreversible = \"it ran\"\n\
         with = {{ {of} \"exit 0\"] }}\n\
         [[steps]]\nid = \"no\"\nuses = \"docker/run-once\"\nirreversible = \"it ran\"\n\
         with = {{ {of} \"exit 1\"] }}\n"
    );
    std::fs::write(parts.path("once.toml"), text).expect("a file");
    parts.run(&["run", "once.toml"]).exits(4);
    assert_eq!(
        parts.a.docker(&["ps", "--all", "--quiet", "--filter", "label=stepback.operation"]),
        ""
    );
    assert_eq!(parts.a.docker(&["volume", "ls", "--quiet"]), "");
}

/// The images of some databases keep their data elsewhere since their last version.
#[test]
fn a_database_whose_image_keeps_its_data_elsewhere_is_not_started() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    parts.configure("");
    let (tar, image) =
        (parts.path("helper.tar").display().to_string(), parts.registry.image("db:18"));
    let options = ["import", "-c", "VOLUME /var/lib/db", "-c", "CMD [\"sleep\",\"60\"]"];
    parts.a.docker(&[&options[..], &[&tar, &image]].concat());
    parts.a.docker(&["push", &image]);
    let (path, image) = (operation("provision-database"), format!("image={image}"));
    let more = ["instance=i-a", "data_dir=/var/lib/db/data", "size_gib=1", "database=main", &image];
    let inputs = more.iter().flat_map(|input| ["-i", input]);
    let arguments: Vec<&str> = ["run", &path].into_iter().chain(inputs).collect();
    let refused = parts.run(&arguments).exits(3).says("declares volumes at other places");
    refused.says("verdict: restored");
    assert_eq!(parts.a.docker(&["volume", "ls", "--quiet"]), "", "its own volume went with it");
}
