//! The program, run in an environment of real parts.

use crate::leaks;
use crate::parts::TestCluster;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

/// What every database here is given, and nobody must ever read but its container.
const DATABASE_PASSWORD: &str = "kept by nobody/8?";

/// What a run of the program said.
pub struct Ran {
    pub code: Option<i32>,
    /// Both streams.
    pub said: String,
}

impl Ran {
    /// The operation's number, which is the first thing it says.
    pub fn id(&self) -> &str {
        let told = self.said.lines().find_map(|line| line.strip_prefix("operation "));
        told.and_then(|told| told.split([':', ' ']).next()).unwrap_or_default()
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "\n{}", self.said);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.said.contains(text), "`{text}` is not in\n{}", self.said);
        self
    }
}

/// A shipped operation.
pub fn operation(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../operations");
    root.join(format!("{name}.toml")).display().to_string()
}

impl TestCluster {
    /// Write `stepback.toml`, with more in it than the engines.
    pub fn configure(&self, more: &str) {
        self.configure_with(&self.b.host(), more);
    }

    /// The same, with the engine of `i-b` at another endpoint than its socket.
    pub fn configure_with(&self, b: &str, more: &str) {
        let text = format!(
            "[environments.box]\nprovider = \"onebox\"\nroot = \"onebox\"\n\
             [environments.box.instances.i-a]\ndocker = \"{}\"\n\
             [environments.box.instances.i-b]\ndocker = \"{}\"\n\
             [environments.box.docker]\nhelper_image = \"helper:1\"\n{more}",
            self.a.host(),
            b,
        );
        std::fs::write(self.path("stepback.toml"), text).expect("a file");
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stepback"));
        command
            .args(arguments)
            .current_dir(self.path(""))
            .env("STEPBACK_CACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"))
            .env("STEPBACK_ENVIRONMENT", "box")
            .env("AWS_ACCESS_KEY_ID", "testing")
            .env("AWS_SECRET_ACCESS_KEY", "testing")
            .env_remove("STEPBACK_CONFIG")
            .env_remove("STEPBACK_STATE")
            .envs(self.variables())
            .stdin(Stdio::null());
        command
    }

    /// Only its container has the database's password.
    #[track_caller]
    fn search(&self, command: &Command, said: &str) {
        leaks::search_said(command, &[said]);
        for within in [".stepback", "onebox"] {
            leaks::search_below(&self.path(within), &self.path(""));
        }
    }

    /// Run the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        let output = command.output().expect("the program starts");
        self.helpers_end();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = format!("{}{}", text(&output.stderr), text(&output.stdout));
        self.search(&command, &said);
        Ran { code: output.status.code(), said }
    }

    /// Run it, and see each line as it comes.
    pub fn run_watched(&self, arguments: &[&str], mut see: impl FnMut(&str)) -> Ran {
        self.run_watched_by(arguments, |line, _| see(line))
    }

    /// The same for whoever needs its process id.
    pub fn run_watched_by(&self, arguments: &[&str], mut see: impl FnMut(&str, u32)) -> Ran {
        let mut command = self.command(arguments);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let (pid, mut said) = (child.id(), String::new());
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        for line in lines.map_while(Result::ok) {
            see(&line, pid);
            said.push_str(&line);
            said.push('\n');
        }
        let ended = child.wait_with_output().expect("it ends");
        self.helpers_end();
        said.push_str(&String::from_utf8_lossy(&ended.stdout));
        self.search(&command, &said);
        Ran { code: ended.status.code(), said }
    }

    /// Run it in a terminal that is closed when something stands there, and wait for the
    /// operation's end.
    #[track_caller]
    pub fn run_in_a_terminal_that_closes(&self, arguments: &[&str], at: &str) {
        let quoted = |word: &str| format!("'{word}'");
        let words = [env!("CARGO_BIN_EXE_stepback")].into_iter().chain(arguments.iter().copied());
        let line: Vec<String> = words.map(quoted).collect();
        let command = self.command(&[]);
        let mut terminal = Command::new("script");
        terminal.args(["--quiet", "--flush", "--return", "--command", &line.join(" ")]);
        terminal.arg(self.path("terminal")).current_dir(self.path(""));
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => terminal.env(name, value),
                None => terminal.env_remove(name),
            };
        }
        let mut terminal =
            terminal.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("a terminal");
        let (mut shown, mut buffer) = (String::new(), [0; 4096]);
        let mut stdout = terminal.stdout.take().expect("it is piped");
        while !shown.contains(at) {
            let count = stdout.read(&mut buffer).expect("it is shown");
            assert!(count > 0, "`{at}` never stood there:\n{shown}");
            shown.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        terminal.kill().expect("it is closed");
        terminal.wait().expect("it is closed");
        let is_over = || {
            let listed = self.command(&["list", "--json"]).output().expect("it starts").stdout;
            let listed: serde_json::Value = serde_json::from_slice(&listed).expect("a list");
            listed[0]["finished_at"].is_string()
        };
        self.until("the operation goes on without its terminal", is_over);
    }

    /// Have a database on `i-a` with a row in it.
    pub fn provision(&self) {
        self.configure("");
        let image = format!("image={}", self.image());
        let environment = r#"environment={"PASSWORD": {"secret": "pw"}}"#;
        let more =
            ["instance=i-a", "data_dir=/data", "size_gib=1", "database=main", &image, environment];
        let path = operation("provision-database");
        self.set("PW", DATABASE_PASSWORD);
        let mut arguments = vec!["run", &path, "--secret", "pw=env:PW"];
        arguments.extend(more.iter().flat_map(|input| ["-i", input]));
        self.run(&arguments).exits(0);
        let inspected = self.a.docker(&["inspect", "--format", "{{ .Config.Env }}", "main"]);
        assert!(inspected.contains(&format!("PASSWORD={DATABASE_PASSWORD}")), "{inspected}");
        assert_eq!(self.a.redis(&["set", "row", "kept"]), "OK");
    }

    /// Move the database.
    pub fn redeploy(&self, to: &str, more: &[&str]) -> Ran {
        let (path, to) = (operation("redeploy-database"), format!("to_instance={to}"));
        self.run(&[&["run", &path, "-i", &to][..], more].concat())
    }

    /// Take the database down for good.
    pub fn deprovision(&self) {
        let path = operation("deprovision-database");
        self.run(&["run", &path, "-i", "database=main", "-i", "confirm=main"]).exits(0);
    }

    /// Run one step; `more` are lines of its own beside `uses` and `with`.
    pub fn step(&self, uses: &str, with: &str, more: &str) -> Ran {
        let text = format!(
            "schema = 1\n[operation]\nname = \"step\"\n[[steps]]\nid = \"step\"\n\
             uses = \"{uses}\"\n{more}\nwith = {{ {with} }}\n"
        );
        std::fs::write(self.path("step.toml"), text).expect("a file");
        self.run(&["run", "step.toml"])
    }
}
