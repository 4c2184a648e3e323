//! Runs the program in a state directory of its own, and reads the simulated world behind it.

use crate::leaks;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use stepback_simulated::world::World;
use tempfile::TempDir;

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A shipped operation.
pub fn operation(name: &str) -> String {
    root().join("operations").join(format!("{name}.toml")).display().to_string()
}

/// Every shipped operation.
pub const SHIPPED: [&str; 8] = [
    "backup-database",
    "deploy-app",
    "deprovision-database",
    "provision-database",
    "redeploy-database",
    "resize-database-volume",
    "restart-app",
    "restart-database",
];

/// What a shipped operation must be given: what destroys has no defaults.
pub fn given(name: &str) -> &'static [&'static str] {
    match name {
        "deprovision-database" => &["-i", "database=main", "-i", "confirm=main"],
        _ => &[],
    }
}

/// A component that the build made, by its plugin's name.
pub fn component(name: &str) -> PathBuf {
    root().join("plugins/target").join(format!("{name}.component.wasm"))
}

/// What a run of the program said.
#[derive(Clone, Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Run a program to its end.
    #[track_caller]
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().expect("the program starts");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        leaks::search_said(command, &[&stdout, &stderr]);
        Self { code: output.status.code(), stdout, stderr }
    }

    /// Assert the exit code, and show everything if it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Assert that it said this, on either stream.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(said, "`{text}` is not in\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Assert that it did not say this, on either stream.
    #[track_caller]
    pub fn lacks(self, text: &str) -> Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(!said, "`{text}` is in\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in\n{}\n{}", self.stdout, self.stderr))
    }

    /// Stdout as one JSON value a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line);
        self.stdout.lines().map(|line| parse(line).expect("each line is JSON")).collect()
    }
}

/// A state directory, and files beside it.
pub struct Place {
    dir: TempDir,
}

/// What the program wrote there has no secret in it.
impl Drop for Place {
    fn drop(&mut self) {
        leaks::search_files(self.dir.path());
    }
}

impl Place {
    pub fn new() -> Self {
        Self { dir: TempDir::new().expect("a temporary directory") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Write a file in the place; gives its path.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a file in a temporary directory");
        path.display().to_string()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stepback"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env("STEPBACK_STATE", self.path("state"))
            // One for all tests, so that each plugin is compiled once.
            .env("STEPBACK_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"))
            .env_remove("STEPBACK_CONFIG")
            .env_remove("STEPBACK_ENVIRONMENT")
            .stdin(Stdio::null());
        command
    }

    /// Run the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Run a shipped operation with what it must be given, and with these arguments.
    pub fn run_shipped(&self, name: &str, arguments: &[&str]) -> Ran {
        self.run(&[&["run", &operation(name)], given(name), arguments].concat())
    }

    /// Start the program; it says what it says into files of the place.
    pub fn start(&self, arguments: &[&str]) -> Running {
        self.start_as("first", arguments)
    }

    /// The same, where several run at once: each has a name for its files.
    pub fn start_as(&self, name: &str, arguments: &[&str]) -> Running {
        let (out, err) = (format!("{name}.stdout"), format!("{name}.stderr"));
        let file = |name: &str| std::fs::File::create(self.path(name)).expect("a file");
        let mut command = self.command(arguments);
        leaks::search_said(&command, &[]);
        let child = command.stdout(file(&out)).stderr(file(&err)).spawn();
        let child = child.expect("the program starts");
        Running { child, stdout: self.path(&out), stderr: self.path(&err) }
    }

    /// The simulated world of `local`.
    #[track_caller]
    pub fn world(&self) -> World {
        self.world_of("local")
    }

    /// The same of an environment of the place's own.
    pub fn world_of(&self, environment: &str) -> World {
        let path = self.path(&format!("state/worlds/{environment}/world.json"));
        let text = std::fs::read_to_string(path).expect("there is a world");
        serde_json::from_str(&text).expect("the world is a world")
    }

    /// The facts of the world that a rollback must bring back.
    #[track_caller]
    pub fn facts(&self) -> String {
        self.world().restorable()
    }

    /// Make the world without changing anything, and give its facts.
    #[track_caller]
    pub fn untouched(&self) -> String {
        let looks = "schema = 1\n[operation]\nname = \"look\"\n[[steps]]\nid = \"look\"\n\
                     uses = \"ebs/find-volume\"\nwith = { tags = { database = \"main\" } }\n";
        self.run(&["plan", &self.write("look.toml", looks)]).exits(0);
        self.facts()
    }

    /// `show ID --json`.
    #[track_caller]
    pub fn show(&self, id: u64) -> Value {
        self.run(&["show", &id.to_string(), "--json"]).exits(0).json()
    }
}

/// A program that runs.
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// A test that fails leaves nothing behind.
impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended can't be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Wait until it has said this on stderr.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        // Bounded by what a person would wait; no assertion rests on the time.
        for _ in 0..600 {
            let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_default();
            let said = read(&self.stderr) + &read(&self.stdout);
            if said.contains(text) {
                return;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("it ended ({status}) before it said `{text}`:\n{said}");
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("it never said `{text}`");
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Send it a signal, `INT` or `TERM`.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(status.expect("kill can be run").success(), "the signal was not sent");
    }

    /// Wait for its end.
    #[track_caller]
    pub fn ends(mut self) -> Ran {
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        // Bounded by what nothing takes that ends at all; no assertion rests on the time.
        for _ in 0..12_000 {
            if let Some(status) = self.child.try_wait().expect("it can be asked") {
                let (stdout, stderr) = (read(&self.stdout), read(&self.stderr));
                return Ran { code: status.code(), stdout, stderr };
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        panic!("it does not end:\n{}", read(&self.stderr));
    }
}
