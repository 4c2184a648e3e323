//! Real parts, started for one test and stopped by their own pids: two Docker Engines, a
//! registry, images made from this machine's programs.

use crate::turn::Turn;
use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A part that is not up by then never will be.
const UP_MS_MAX: u64 = 60_000;

/// What the tests need of this machine, with the package it comes in.
const PROGRAMS: [(&str, &str); 10] = [
    ("dockerd", "docker.io"),
    ("docker", "docker.io"),
    ("docker-registry", "docker-registry"),
    ("redis-server", "redis-server"),
    ("mkfs.ext4", "e2fsprogs"),
    ("losetup", "mount"),
    ("busybox", "busybox-static"),
    ("openssl", "openssl"),
    ("ssh", "openssh-client"),
    ("sshd", "openssh-server"),
];

/// Whether parts can be started here; says why not.
///
/// A machine that can't is named in the output; with `STEPBACK_REAL=require` it is a failure.
pub fn are_possible() -> bool {
    static LOOKED: OnceLock<Result<(), String>> = OnceLock::new();
    let Err(why) = LOOKED.get_or_init(look) else { return true };
    assert!(std::env::var_os("STEPBACK_REAL").is_none_or(|v| v != "require"), "{why}");
    println!("SKIPPED: no real parts here: {why}");
    false
}

/// Whether a program that not every test needs is here; as above where it is not.
pub fn has(program: &str, package: &str) -> bool {
    let is_here = find(program).is_some();
    let why = format!("there is no {program}; `tests/parts.sh` installs {package}");
    let is_required = std::env::var_os("STEPBACK_REAL").is_some_and(|v| v == "require");
    assert!(is_here || !is_required, "{why}");
    if !is_here {
        println!("SKIPPED: no real parts here: {why}");
    }
    is_here
}

fn look() -> Result<(), String> {
    for (program, package) in PROGRAMS {
        if find(program).is_none() {
            return Err(format!("there is no {program}; `tests/parts.sh` installs {package}"));
        }
    }
    let said = Command::new("losetup").arg("--find").output().map_err(|e| e.to_string())?;
    if !said.status.success() {
        return Err(format!("no loop device: {}", String::from_utf8_lossy(&said.stderr).trim()));
    }
    let mount = Command::new("unshare").args(["--mount", "true"]).status();
    if !mount.is_ok_and(|status| status.success()) {
        return Err("this user may not mount".into());
    }
    // Whether an engine starts at all depends on more of the machine than can be looked at.
    let dir = TempDir::with_prefix_in("sb-", "/tmp").map_err(|error| error.to_string())?;
    Engine::try_start(dir.path().to_owned()).map(|_| ())
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    dirs.extend(["/usr/sbin".into(), "/sbin".into()]);
    dirs.into_iter().map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// A process that ends with its test.
pub struct Part {
    child: Child,
    log: PathBuf,
}

impl Part {
    /// Start a program of this machine, by its name or its path.
    pub fn start(program: &str, arguments: &[String], log: PathBuf) -> Self {
        let file = std::fs::File::create(&log).expect("a log");
        let program = find(program).unwrap_or_else(|| program.into());
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(file.try_clone().expect("a log")).stderr(file);
        // What it starts itself is killed with it.
        command.process_group(0);
        Self { child: command.spawn().expect("it starts"), log }
    }

    /// End it as a crash would.
    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.kill();
    }

    /// Wait until it is up.
    #[track_caller]
    pub fn until(&mut self, is_up: impl Fn() -> bool) {
        self.try_until(is_up).unwrap_or_else(|why| panic!("{why}"));
    }

    fn try_until(&mut self, is_up: impl Fn() -> bool) -> Result<(), String> {
        let until = Instant::now() + Duration::from_millis(UP_MS_MAX);
        while !is_up() {
            let ended = self.child.try_wait().expect("it can be asked");
            if ended.is_some() || Instant::now() >= until {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                return Err(format!("{} does not come up: {ended:?}\n{log}", self.log.display()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A Docker Engine of its own.
pub struct Engine {
    dir: PathBuf,
    /// What it is started with beside what every engine is.
    more: Mutex<Vec<String>>,
    part: Mutex<Option<Part>>,
    /// Whether it was killed, so that what was to end with a connection may be left.
    pub was_killed: AtomicBool,
}

impl Engine {
    fn start(dir: PathBuf) -> Self {
        Self::try_start(dir).unwrap_or_else(|why| panic!("{why}"))
    }

    fn try_start(dir: PathBuf) -> Result<Self, String> {
        std::fs::create_dir_all(&dir).expect("a directory");
        let (more, part, was_killed) = Default::default();
        let engine = Self { dir, more, part, was_killed };
        engine.try_start_again()?;
        Ok(engine)
    }

    /// Start it, where it was stopped or killed.
    pub fn start_again(&self) {
        self.try_start_again().unwrap_or_else(|why| panic!("{why}"));
    }

    /// Stop it, and start it as it was.
    pub fn restart(&self) {
        self.part.lock().expect("no panic").take();
        self.start_again();
    }

    /// Stop it, and start it with these further arguments.
    pub fn restart_with(&self, more: &[String]) {
        self.part.lock().expect("no panic").take();
        *self.more.lock().expect("no panic") = more.to_owned();
        self.start_again();
    }

    fn try_start_again(&self) -> Result<(), String> {
        let (dir, socket) = (self.dir.display(), self.host());
        let _ = std::fs::remove_file(self.dir.join("pid"));
        let arguments = [
            format!("--data-root={dir}/data"),
            format!("--exec-root={dir}/exec"),
            format!("--pidfile={dir}/pid"),
            format!("--host={socket}"),
            "--bridge=none".to_owned(),
            "--iptables=false".to_owned(),
            "--insecure-registry=127.0.0.0/8".to_owned(),
        ];
        let more = self.more.lock().expect("no panic").clone();
        let arguments = [&arguments[..], &more].concat();
        let mut part = Part::start("dockerd", &arguments, self.dir.join("log"));
        part.try_until(|| self.try_docker(&["version"]).is_ok())?;
        *self.part.lock().expect("no panic") = Some(part);
        Ok(())
    }

    /// `unix://…`
    pub fn host(&self) -> String {
        format!("unix://{}/sock", self.dir.display())
    }

    /// End it, and the containerd that it started, as a crash would.
    pub fn kill(&self) {
        self.was_killed.store(true, Ordering::SeqCst);
        if let Some(part) = &mut *self.part.lock().expect("no panic") {
            part.kill();
        }
        let pid = self.dir.join("exec/containerd/containerd.pid");
        let Ok(text) = std::fs::read_to_string(&pid) else { return };
        let _ = Command::new("kill").args(["-KILL", text.trim()]).stderr(Stdio::null()).status();
        let stat = Path::new("/proc").join(text.trim()).join("stat");
        // What is only still to be reaped is gone as well.
        let lives = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        while lives() {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::fs::remove_file(pid).expect("it can be removed");
    }

    /// The processes of its containers, and those that hold them: they outlive an engine that is
    /// killed.
    pub fn processes(&self) -> Vec<u32> {
        let running = self.docker(&["ps", "--quiet"]);
        let mut all = vec![];
        for container in running.lines() {
            let pid = self.docker(&["inspect", "-f", "{{.State.Pid}}", container]);
            let pid: u32 = pid.parse().expect("a number");
            // One may end while it is asked for.
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            let Ok(stat) = stat else { continue };
            let (_, rest) = stat.rsplit_once(") ").expect("its name ends so");
            let parent = rest.split(' ').nth(1).and_then(|ppid| ppid.parse().ok());
            all.extend([parent.expect("it has a parent"), pid]);
        }
        all
    }

    /// Remove what a reboot removes of its files: what is in `/run` elsewhere.
    pub fn forget_run(&self) {
        std::fs::remove_dir_all(self.dir.join("exec")).expect("it can be removed");
    }

    pub fn try_docker(&self, arguments: &[&str]) -> Result<String, String> {
        let said = Command::new("docker").args(["--host", &self.host()]).args(arguments).output();
        let said = said.map_err(|error| error.to_string())?;
        let out = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        match said.status.success() {
            true => Ok(out),
            false => Err(format!("{out}{}", String::from_utf8_lossy(&said.stderr))),
        }
    }

    /// Containers outlive an engine that is killed.
    fn remove_all(&self) {
        if let Ok(all) = self.try_docker(&["ps", "--quiet", "--all"]) {
            for container in all.lines() {
                let _ = self.try_docker(&["rm", "--force", container]);
            }
        }
    }

    /// Docker's own client; what it printed.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> String {
        self.try_docker(arguments).unwrap_or_else(|why| panic!("docker {arguments:?}: {why}"))
    }

    /// Wait until a container is healthy that the engine starts by itself.
    #[track_caller]
    pub fn until_healthy(&self, container: &str) {
        let until = Instant::now() + Duration::from_millis(UP_MS_MAX);
        while self.docker(&["inspect", "-f", "{{.State.Health.Status}}", container]) != "healthy" {
            assert!(Instant::now() < until, "{}", self.docker(&["ps", "--all"]));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the database answers, asked by its own client.
    #[track_caller]
    pub fn redis(&self, arguments: &[&str]) -> String {
        self.docker(&[&["exec", "main", "redis-cli"], arguments].concat())
    }
}

/// A registry of its own.
pub struct Registry {
    pub port: u16,
    _part: Part,
}

impl Registry {
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, "")
    }

    /// Start it with a line more in its configuration.
    pub fn start_with(dir: &Path, more: &str) -> Self {
        std::fs::create_dir_all(dir).expect("a directory");
        let port = free_port();
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {0}/images}}, delete: \
             {{enabled: true}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n{more}\n",
            dir.display()
        );
        let path = dir.join("config.yml");
        std::fs::write(&path, config).expect("a file");
        let arguments = ["serve".to_owned(), path.display().to_string()];
        let mut part = Part::start("docker-registry", &arguments, dir.join("log"));
        part.until(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, _part: part }
    }

    pub fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }
}

/// Two engines, a registry, and a database's image in it.
pub struct TestCluster {
    pub a: Engine,
    pub b: Engine,
    pub registry: Registry,
    dir: TempDir,
    /// What the program's environment has beside the usual.
    variables: Mutex<BTreeMap<String, String>>,
    given: AtomicU32,
    _turn: Turn,
}

impl TestCluster {
    pub fn start() -> Self {
        let turn = Turn::take();
        // A socket's path has 108 bytes at most (unix(7)).
        let dir = TempDir::with_prefix_in("sb-", "/tmp").expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let (a, b) = (Engine::start(path("a")), Engine::start(path("b")));
        let registry = Registry::start(&path("registry"));
        let (variables, given) = (Mutex::default(), AtomicU32::default());
        let parts = Self { a, b, registry, dir, variables, given, _turn: turn };
        parts.make_images();
        parts
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Set a variable for the runs of the program that follow.
    pub fn set(&self, name: &str, value: &str) {
        let mut variables = self.variables.lock().expect("no panic");
        variables.insert(name.to_owned(), value.to_owned());
    }

    /// A number that was not given before.
    pub fn fresh(&self) -> u32 {
        self.given.fetch_add(1, Ordering::SeqCst)
    }

    pub fn variables(&self) -> BTreeMap<String, String> {
        self.variables.lock().expect("no panic").clone()
    }

    /// The database's image.
    pub fn image(&self) -> String {
        self.registry.image("redis:7")
    }

    /// Wait for what comes by itself.
    #[track_caller]
    pub fn until(&self, or: &str, is_so: impl Fn() -> bool) {
        self.until_or(|| or.to_owned(), is_so);
    }

    #[track_caller]
    pub fn until_or(&self, or: impl Fn() -> String, is_so: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_millis(UP_MS_MAX);
        while !is_so() {
            assert!(Instant::now() < until, "{}", or());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What is mounted below the parts, the deepest first.
    pub fn mounts(&self) -> Vec<String> {
        let table = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let dir = self.path("").display().to_string();
        let at = |line: &str| line.split(' ').nth(4).map(str::to_owned);
        let mut below: Vec<String> =
            table.lines().filter_map(at).filter(|at| at.starts_with(&dir)).collect();
        below.sort_by_key(|at| std::cmp::Reverse(at.len()));
        below
    }

    fn make_images(&self) {
        const TOOLS: [&str; 7] =
            ["blkid", "mkfs.ext4", "e2fsck", "resize2fs", "dumpe2fs", "debugfs", "busybox"];
        let helper = self.root_of("helper", &TOOLS);
        for engine in [&self.a, &self.b] {
            engine.docker(&["import", &helper, "helper:1"]);
        }
        let redis = self.root_of("redis", &["redis-server", "redis-cli", "busybox"]);
        let command = "CMD [\"redis-server\",\"--dir\",\"/data\",\"--appendonly\",\"yes\",\
                       \"--appendfsync\",\"always\",\"--bind\",\"127.0.0.1\"]";
        let healthy = "HEALTHCHECK --interval=1s --retries=5 CMD redis-cli ping";
        let image = self.image();
        self.a.docker(&["import", "-c", command, "-c", healthy, &redis, &image]);
        self.a.docker(&["push", &image]);
        // A new instance has to pull it.
        self.a.docker(&["rmi", &image]);
    }

    /// A root file system with these programs and their libraries, as a tar file.
    fn root_of(&self, name: &str, programs: &[&str]) -> String {
        self.packed(&self.root(name, programs))
    }

    /// The same as a directory.
    pub fn root(&self, name: &str, programs: &[&str]) -> PathBuf {
        let root = self.path(&format!("{name}.root"));
        for dir in ["bin", "tmp", "proc", "sys", "dev", "etc", "data", "host"] {
            std::fs::create_dir_all(root.join(dir)).expect("a directory");
        }
        for program in programs {
            let path = find(program).unwrap_or_else(|| panic!("there is no {program}"));
            std::fs::copy(&path, root.join("bin").join(program)).expect("a copy");
            copy_libraries(&path, &root);
        }
        for applet in ["sh", "cat", "awk", "readlink", "mktemp", "mount", "umount", "sleep"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("a link");
        }
        root
    }

    pub fn packed(&self, root: &Path) -> String {
        let tar = root.with_extension("tar").display().to_string();
        let arguments = ["-C", &root.display().to_string(), "-cf", &tar, "."];
        assert!(Command::new("tar").args(arguments).status().expect("tar").success());
        tar
    }
}

/// What a program is linked with, at the same places below a root.
pub fn copy_libraries(program: &Path, root: &Path) {
    let said = Command::new("ldd").arg(program).output().expect("ldd");
    for library in String::from_utf8_lossy(&said.stdout).split_whitespace() {
        if let Some(below) = library.strip_prefix('/') {
            let to = root.join(below);
            std::fs::create_dir_all(to.parent().expect("a parent")).expect("a directory");
            std::fs::copy(library, to).expect("a copy");
        }
    }
}

impl Drop for TestCluster {
    /// Loop devices outlive whoever made them, and so do the mounts of an engine that was killed.
    fn drop(&mut self) {
        for engine in [&self.a, &self.b] {
            engine.remove_all();
            engine.part.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        for mount in self.mounts() {
            let _ = Command::new("umount").args(["--lazy", &mount]).status();
        }
        for device in loops_below(self.dir.path()) {
            let _ = Command::new("losetup").args(["--detach", &device]).status();
        }
    }
}

/// The loop devices whose files are in a directory.
pub fn loops_below(dir: &Path) -> Vec<String> {
    let said = Command::new("losetup").args(["-l", "-n", "-O", "NAME,BACK-FILE"]).output();
    let said = said.expect("losetup").stdout;
    let text = String::from_utf8_lossy(&said).into_owned();
    let below = |line: &str| {
        let (name, file) = line.split_once(char::is_whitespace)?;
        Path::new(file.trim()).starts_with(dir).then(|| name.to_owned())
    };
    text.lines().filter_map(below).collect()
}
