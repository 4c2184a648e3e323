//! The command line.

mod plugin_test;
mod rehearse;

pub use plugin_test::PluginTest;
pub use rehearse::{FailOn, FaultsArg, Rehearse};

use clap::{ArgAction, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;

/// Run operations on infrastructure, and put everything back when one fails.
///
/// Exit codes: 0 succeeded; 1 internal error; 2 refused before anything changed; 3 rolled back,
/// restored; 4 rolled back, restored except what was declared irreversible; 5 rollback
/// incomplete; 6 left unfinished (resume it); 7 a rehearsal found something wrong.
#[derive(Debug, Parser)]
#[command(name = "stepback", version, max_term_width = 100)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, ClapArgs)]
pub struct Global {
    /// Where operations are kept
    #[arg(long, global = true, value_name = "DIR", env = "STEPBACK_STATE")]
    pub state: Option<PathBuf>,
    /// The configuration, instead of the `stepback.toml` found upwards from here
    #[arg(long, global = true, value_name = "FILE", env = "STEPBACK_CONFIG")]
    pub config: Option<PathBuf>,
    /// How what `STEPBACK_LOG` asks for is told
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// The file that it goes to, instead of stderr
    #[arg(long, global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    /// One event a line
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a manifest as a new operation
    Run(Run),
    /// Show what would happen: steps, checks run live, undo, downtime, point of no return
    Plan(Plan),
    /// Try every failure at every call in a copy of the world, and see what becomes of it
    Rehearse(Rehearse),
    /// Check manifests offline; every mistake with its place
    Validate(Validate),
    /// Ask whoever runs an operation to roll it back; where nobody does, roll it back
    Cancel(Cancel),
    /// Go on with what was left unfinished
    Resume(Resume),
    /// Take an operation back that nobody runs: unfinished, or its rollback incomplete
    Rollback(Rollback),
    /// Give an operation up where it stands, and release its locks; nothing is put back
    Unlock(Unlock),
    /// List the locks that are held
    Locks(Locks),
    /// List operations
    List(List),
    /// Show one operation
    Show(Show),
    /// Tell an operation's story, as it was told while it ran
    Logs(Logs),
    /// Report on operations as a table, CSV or JSON
    Activity(Activity),
    /// List environments, and check that what they name can be reached
    #[command(subcommand)]
    Env(Env),
    /// Begin a plugin, build it, and look at what plugins offer
    Plugin(Plugin),
    /// Print a JSON Schema
    Schema(Schema),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Write the manual pages into a directory
    #[command(hide = true)]
    Manual(Manual),
}

/// The argument that makes this program a compiler (`stepback_wasm::Compiler`), before the number
/// of the process that starts it: no command of anybody's, but what it starts itself with.
pub const COMPILE_PLUGIN: &str = "compile-plugin";

impl Verb {
    /// Whether the exit code tells how an operation ended, whatever became of what was printed.
    pub fn ends_an_operation(&self) -> bool {
        match self {
            Verb::Run(_)
            | Verb::Cancel(_)
            | Verb::Resume(_)
            | Verb::Rollback(_)
            | Verb::Unlock(_) => true,
            Verb::Plan(_)
            | Verb::Rehearse(_)
            | Verb::Validate(_)
            | Verb::Locks(_)
            | Verb::List(_)
            | Verb::Show(_)
            | Verb::Logs(_)
            | Verb::Activity(_)
            | Verb::Env(_)
            | Verb::Plugin(_)
            | Verb::Schema(_)
            | Verb::Completions(_)
            | Verb::Manual(_) => false,
        }
    }
}

/// What a manifest is run with.
#[derive(Debug, ClapArgs)]
pub struct Operation {
    /// The manifest (TOML)
    #[arg(required_unless_present = "like")]
    pub manifest: Option<PathBuf>,
    /// The manifest, inputs and environment of an earlier operation, by its number; what is given
    /// beside it is another one
    #[arg(long, value_name = "ID", conflicts_with = "manifest")]
    pub like: Option<u64>,
    /// The environment of `stepback.toml`; else `STEPBACK_ENVIRONMENT` names it, but with `--like`
    #[arg(short, long, value_name = "ENV")]
    pub environment: Option<String>,
    /// An input; a secret as `env:NAME`, `file:PATH` or `secret:NAME` of `stepback.toml`
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    pub inputs: Vec<String>,
    /// Inputs from a TOML or JSON file
    #[arg(long = "inputs", value_name = "FILE")]
    pub inputs_file: Option<PathBuf>,
    /// A secret that a map input asks for by name: `db=env:NAME` or `db=file:PATH`
    #[arg(long = "secret", value_name = "NAME=REFERENCE")]
    pub secrets: Vec<String>,
    /// Grant interfaces to a plugin of the manifest: `./my.wasm=ebs,docker`
    #[arg(long = "grant", value_name = "PLUGIN=INTERFACES")]
    pub grants: Vec<String>,
    /// Make a call fail in a simulated environment: `[undo:]CALL[#N]=FAULT`
    #[arg(long, value_name = "CALL=FAULT")]
    pub inject: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub struct Run {
    #[command(flatten)]
    pub operation: Operation,
    /// Refuse at once when a lock is held, instead of waiting in line
    #[arg(long)]
    pub no_wait: bool,
    /// One event a line on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Plan {
    #[command(flatten)]
    pub operation: Operation,
    /// The plan as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Validate {
    #[arg(required = true)]
    pub manifests: Vec<PathBuf>,
    /// Grant interfaces to a plugin of the manifests: `./my.wasm=ebs,docker`
    #[arg(long = "grant", value_name = "PLUGIN=INTERFACES")]
    pub grants: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub struct Resume {
    /// The operation's number
    #[arg(required_unless_present = "all", value_parser = number)]
    pub id: Option<u64>,
    /// Every unfinished operation that nobody runs
    #[arg(long, conflicts_with = "id")]
    pub all: bool,
    /// Where a secret is found from here on: `NAME=env:NAME` or `NAME=file:PATH`
    #[arg(long = "secret", value_name = "NAME=REFERENCE", conflicts_with = "all")]
    pub secrets: Vec<String>,
    /// Make a call fail in a simulated environment
    #[arg(long, value_name = "CALL=FAULT")]
    pub inject: Vec<String>,
    /// One event a line on stdout
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Env {
    /// The environments of `stepback.toml`
    List {
        #[arg(long)]
        json: bool,
    },
    /// Reach everything that an operation would need, and say what is missing
    Check {
        /// The environment of `stepback.toml`
        #[arg(env = "STEPBACK_ENVIRONMENT")]
        environment: Option<String>,
        #[arg(long)]
        json: bool,
    },
    /// Write a living environment as a world file for the simulator; nothing is changed
    Snapshot {
        /// The environment of `stepback.toml`
        #[arg(short, long, value_name = "ENV", env = "STEPBACK_ENVIRONMENT")]
        environment: Option<String>,
        /// The file to write; without it, the world goes to stdout
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Write over a file that is there
        #[arg(long, requires = "output")]
        force: bool,
    },
}

#[derive(Debug, ClapArgs)]
pub struct Cancel {
    /// The operation's number
    #[arg(value_parser = number)]
    pub id: u64,
    /// Why, for whoever reads the journal later
    #[arg(long)]
    pub reason: Option<String>,
    /// Make a call fail in a simulated environment, where this rolls it back
    #[arg(long, value_name = "CALL=FAULT")]
    pub inject: Vec<String>,
    /// One event a line on stdout, where this rolls it back
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Rollback {
    /// The operation's number
    #[arg(value_parser = number)]
    pub id: u64,
    /// Take the world as an incomplete rollback left it, for this reason, and release the locks
    #[arg(long, value_name = "REASON", conflicts_with_all = ["inject", "reason"])]
    pub accept: Option<String>,
    /// Why, for whoever reads the journal later
    #[arg(long)]
    pub reason: Option<String>,
    /// Where a secret is found from here on: `NAME=env:NAME` or `NAME=file:PATH`
    #[arg(long = "secret", value_name = "NAME=REFERENCE", conflicts_with = "accept")]
    pub secrets: Vec<String>,
    /// Make a call fail in a simulated environment
    #[arg(long, value_name = "CALL=FAULT")]
    pub inject: Vec<String>,
    /// One event a line on stdout; with `--accept` the operation
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Unlock {
    /// The operation to give up; with `-e` the name of a lock that its world holds
    #[arg(value_name = "ID | LOCK")]
    pub what: String,
    /// Free a lock that this environment's world holds, for a state directory that is gone
    #[arg(short, long, value_name = "ENV")]
    pub environment: Option<String>,
    /// Why nothing else can end it, for whoever reads the journal later
    #[arg(long)]
    pub reason: String,
    /// The operation as it is then, or the lock that was freed, as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Locks {
    /// The locks that this environment's world holds, whatever state directory they are of
    #[arg(short, long, value_name = "ENV")]
    pub environment: Option<String>,
    #[arg(long)]
    pub json: bool,
}

/// What an operation is changed by: `latest` may be another one by the time that it is looked up.
fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| {
        "give the operation's number, as `stepback list` has it: what changes an operation takes \
         no other name"
            .to_owned()
    })
}

/// Which operations are told of.
#[derive(Debug, ClapArgs)]
pub struct Filter {
    /// Only operations in this environment
    #[arg(short, long, value_name = "ENV")]
    pub environment: Option<String>,
    /// Only operations of this name, as their manifest has it
    #[arg(long, value_name = "NAME")]
    pub operation: Option<String>,
    /// Only operations with this status
    #[arg(long)]
    pub status: Option<String>,
    /// Only operations that began within this time: `90m`, `24h`, `7d`
    #[arg(long, value_name = "DURATION")]
    pub since: Option<String>,
    /// At most so many, the newest
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

#[derive(Debug, ClapArgs)]
pub struct List {
    #[command(flatten)]
    pub filter: Filter,
    #[arg(long)]
    pub json: bool,
}

/// An operation by its number, or the one that began last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Latest,
    Id(u64),
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "latest" => Ok(Self::Latest),
            number => number.parse().map(Self::Id).map_err(|_| {
                "give an operation's number, as `stepback list` has it, or `latest`".to_owned()
            }),
        }
    }
}

#[derive(Debug, ClapArgs)]
pub struct Show {
    /// The operation's number, or `latest`
    pub id: Which,
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, ClapArgs)]
pub struct Logs {
    /// The operation's number, or `latest`
    pub id: Which,
    /// Go on until the operation ends
    #[arg(short, long)]
    pub follow: bool,
    /// Only what is of this step
    #[arg(long, value_name = "STEP")]
    pub step: Option<String>,
    /// One event a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Csv,
    Json,
}

#[derive(Debug, ClapArgs)]
pub struct Activity {
    #[command(flatten)]
    pub filter: Filter,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Debug, ClapArgs)]
pub struct Plugin {
    #[command(subcommand)]
    pub verb: PluginVerb,
}

#[derive(Debug, Subcommand)]
pub enum PluginVerb {
    /// Begin a plugin in Rust: a crate with one step, its test, and an operation that runs it
    ///
    /// The crate builds by itself, wherever it is. The SDK (`sdk/`) and the contract (`wit/`) are
    /// in it, as this program has them; `stepback plugin update` brings newer ones. Its README.md
    /// has the commands that build, test and run it.
    New {
        /// The plugin's name, in small letters, digits and `-`; the crate's and the component's too
        name: String,
        /// The directory to make, or one that is empty; by default NAME, here
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// List the plugins that need no path, with their steps
    List {
        #[arg(long)]
        json: bool,
    },
    /// Show a plugin's imports and steps; a step with its schemas as `PLUGIN#STEP`
    Inspect {
        /// A built-in plugin's name or a path to a `.wasm`
        plugin: String,
        #[arg(long)]
        json: bool,
    },
    /// Let the grants of a plugin in `stepback.toml` be for its file as it is now
    ///
    /// `stepback.lock` keeps which bytes each plugin's grants are for. Another file at the same
    /// path is refused until this is said.
    Trust {
        /// The plugin's name in `stepback.toml`, or its path
        plugin: String,
    },
    /// Rehearse each step of a plugin alone, with every failure at every call, in a small world
    ///
    /// It ends with exit code 7 if something is wrong with a step, and with 2 if one could not be
    /// tested.
    Test(PluginTest),
    /// Build the plugins of a crate or workspace as components
    ///
    /// It needs a Rust toolchain with the target `wasm32-unknown-unknown`, and asks rustup for the
    /// target where that is missing. Where rustup can't get it, Debian's rustc-web, rust-web-src
    /// and lld-19 do. Cargo compiles into `target/`, or where CARGO_TARGET_DIR says.
    Build {
        /// Where its `Cargo.toml` is
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Where the components go; by default the crate's own directory
        #[arg(short, long, value_name = "DIR", action = ArgAction::Set)]
        output: Option<PathBuf>,
        /// Build nothing where `Cargo.lock` does not fit `Cargo.toml`
        #[arg(long)]
        locked: bool,
    },
    /// Bring the SDK and the contract of a plugin to those of this program
    ///
    /// Only `sdk/` and `wit/` are written. Where a file in them was changed by hand, nothing is.
    Update {
        /// Where the plugin's `Cargo.toml` is
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Write over files that were changed by hand, and over newer ones
        #[arg(long)]
        force: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// The operation manifest
    Manifest,
    /// What `show --json` prints
    Operation,
}

#[derive(Debug, ClapArgs)]
pub struct Schema {
    #[arg(value_enum)]
    pub what: What,
}

#[derive(Debug, ClapArgs)]
pub struct Completions {
    pub shell: clap_complete::Shell,
}

#[derive(Debug, ClapArgs)]
pub struct Manual {
    pub dir: PathBuf,
}

impl Operation {
    /// The environment that was asked for. One that is like an earlier operation is in that one's:
    /// a variable that is set for a whole shell is not said of it.
    pub fn chosen_environment(&self) -> Option<String> {
        let set = || std::env::var("STEPBACK_ENVIRONMENT").ok().filter(|name| !name.is_empty());
        let given = self.environment.clone();
        if self.like.is_some() { given } else { given.or_else(set) }
    }
}
