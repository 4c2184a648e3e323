//! Style is a test: the rooms' walls, the length of files, functions and lines, unused fixtures.
//!
//! Each rule is a function over a text, so that it can be shown to fail (see the last tests).

mod circles;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;
use syn::visit::Visit;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 100;

/// What each room must not depend on; a crate's name or the beginning of one.
const WALLS: [(&str, &[&str]); 11] = [
    ("runtime/clock", &["stepback-j", "stepback-p", "stepback-w", "stepback-e", "jiff"]),
    ("runtime/core", &["tokio", "wasmtime", "rusqlite", "jiff", "getrandom", "rand", "stepback-"]),
    ("runtime/journal", &["wasmtime", "stepback-wasm", "stepback-provider", "stepback-engine"]),
    (
        "runtime/provider",
        &["wasmtime", "rusqlite", "bollard", "aws-", "stepback-j", "stepback-w", "stepback-e"],
    ),
    ("runtime/providers/simulated", &["bollard", "aws-", "stepback-docker", "stepback-aws"]),
    ("runtime/providers/docker", &["aws-", "stepback-aws", "stepback-onebox", "stepback-sim"]),
    ("runtime/providers/aws", &["stepback-onebox", "stepback-sim", "stepback-j", "stepback-e"]),
    ("runtime/providers/onebox", &["aws-", "stepback-aws", "stepback-j", "stepback-e"]),
    ("runtime/wasm", &["rusqlite", "stepback-provider", "stepback-journal", "stepback-engine"]),
    ("runtime/rehearse", &["wasmtime", "rusqlite", "bollard", "aws-", "clap", "stepback-docker"]),
    ("runtime/engine", &["wasmtime", "rusqlite", "bollard", "aws-", "clap", "stepback-simulated"]),
];

/// What `runtime/core` must not reach for in the standard library.
const CORE_NEVER: [&str; 6] =
    ["std::fs", "std::net", "std::time::", "std::thread", "std::process", "std::env"];

/// Every way to tell the time or to wait for it but the one clock (R15), which is `runtime/clock`.
const CLOCKS: [&str; 7] = [
    "Instant::now",
    "SystemTime",
    "tokio::time",
    "thread::sleep",
    "clock_gettime",
    "Timestamp::now",
    "Zoned::now",
];

/// A database's words, which the rest of the journal must not know.
const SQLITE: &str = "rusqlite";

/// Ways to show a text beside the one type that what others wrote must pass, each with the files
/// of the program that may have it.
const SHOWN_BESIDE: [(&str, &[&str]); 14] = [
    ("println!", &[]),
    ("print!", &[]),
    ("eprintln!", &[]),
    ("eprint!", &[]),
    ("dbg!", &[]),
    ("stdout()", &["output.rs"]),
    ("stderr()", &["output.rs", "log.rs"]),
    ("Shown::of(", &["shown.rs"]),
    ("Shown::of_cells(", &["output.rs"]),
    ("Inside(", &["shown.rs"]),
    ("draw(", &["output.rs", "error.rs"]),
    ("print_file(", &["output.rs", "commands/schema.rs", "commands/completions.rs"]),
    // What the engine says, with its own commands: each such sentence is looked at in review.
    (
        "Shown::advice(",
        &["shown.rs", "error.rs", "report.rs", "commands/plan.rs", "commands/ending.rs"],
    ),
    (".painted(", &["shown.rs", "output.rs"]),
];

/// The only concrete stores and providers, which the engine must not name.
const ENGINE_NEVER: [&str; 3] = ["Sqlite", "Simulated", "println!"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn collect(dir: &Path, extension: &str, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a directory of the repository") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect(&path, extension, files);
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
}

fn files(dirs: &[&str], extension: &str) -> Vec<(String, String)> {
    let mut found = vec![];
    for dir in dirs {
        collect(&root().join(dir), extension, &mut found);
    }
    assert!(!found.is_empty(), "nothing to look at");
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a text");
        (path.display().to_string(), text)
    };
    found.into_iter().map(read).collect()
}

fn sources() -> Vec<(String, String)> {
    files(&["runtime", "plugins", "tests"], "rs")
}

fn long_files(name: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > FILE_LINES_MAX).then(|| format!("{name} has {lines} lines"))
}

fn wide_lines(name: &str, text: &str) -> Vec<String> {
    let wide = |(_, line): &(usize, &str)| line.chars().count() > LINE_COLUMNS_MAX;
    let lines = text.lines().enumerate().filter(wide);
    lines.map(|(index, _)| format!("{name}:{} is too wide", index + 1)).collect()
}

struct Functions<'a> {
    file: &'a str,
    long: Vec<String>,
}

impl Functions<'_> {
    fn look(&mut self, name: &syn::Ident, block: proc_macro2::Span) {
        let lines = block.end().line - block.start().line + 1;
        if lines > FUNCTION_LINES_MAX {
            self.long.push(format!("{}: `{name}` has {lines} lines", self.file));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.look(&function.sig.ident, function.block.span());
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.look(&function.sig.ident, function.block.span());
        syn::visit::visit_impl_item_fn(self, function);
    }
}

fn long_functions(name: &str, text: &str) -> Vec<String> {
    let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut functions = Functions { file: name, long: vec![] };
    functions.visit_file(&parsed);
    functions.long
}

/// The dependencies a room must not have.
fn breaches(room: &str, manifest: &str, never: &[&str]) -> Vec<String> {
    let manifest: toml::Table = toml::from_str(manifest).expect("a Cargo.toml");
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    let names = dependencies.into_iter().flat_map(|table| table.keys());
    let bad = |name: &&String| never.iter().any(|wall| name.starts_with(wall));
    names.filter(bad).map(|name| format!("{room} must not depend on {name}")).collect()
}

/// Where a text reads a clock of its own.
fn clocks(name: &str, text: &str) -> Vec<String> {
    let reads = |(_, line): &(usize, &str)| CLOCKS.iter().any(|clock| line.contains(clock));
    let lines = text.lines().enumerate().filter(reads);
    lines.map(|(index, _)| format!("{name}:{} reads another clock", index + 1)).collect()
}

/// The rules that a text cites by their numbers (`R4`), which are not among those written down.
fn unwritten_rules(name: &str, text: &str, rules: &BTreeSet<&str>) -> Vec<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_word(c));
    let is_rule = |word: &&str| {
        let number = word.strip_prefix('R').unwrap_or_default();
        !number.is_empty() && number.len() < 3 && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let unwritten = words.filter(is_rule).filter(|rule| !rules.contains(rule));
    unwritten
        .map(|rule| format!("{name} cites {rule}, which docs/rules.md does not have"))
        .collect()
}

/// Where a text of the program is shown in another way than it may be.
fn shown_beside(name: &str, text: &str) -> Vec<String> {
    let is_here = |file: &&str| name.ends_with(&format!("cli/src/{file}"));
    let found = |(_, line): &(usize, &str)| {
        let line = line.trim_start();
        let is_said = |(way, files): &&(&str, &[&str])| {
            let is_it = |(at, _): (usize, &str)| {
                !line[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            };
            !files.iter().any(is_here) && line.match_indices(way).any(is_it)
        };
        !line.starts_with("//") && SHOWN_BESIDE.iter().any(|one| is_said(&one))
    };
    let lines = text.lines().enumerate().filter(found);
    lines.map(|(index, _)| format!("{name}:{} shows a text by itself", index + 1)).collect()
}

fn undocumented(name: &str, text: &str) -> Option<String> {
    (!text.starts_with("//!")).then(|| format!("{name} does not say what it is for"))
}

#[test]
fn files_functions_and_lines_are_short() {
    let mut found = vec![];
    for (name, text) in sources() {
        found.extend(long_files(&name, &text));
        found.extend(wide_lines(&name, &text));
        found.extend(long_functions(&name, &text));
        found.extend(undocumented(&name, &text));
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn no_room_imports_what_it_must_not() {
    let mut found = vec![];
    for (room, never) in WALLS {
        let manifest = std::fs::read_to_string(root().join(room).join("Cargo.toml"));
        found.extend(breaches(room, &manifest.expect("a room has a Cargo.toml"), never));
    }
    for (room, never) in [("runtime/core", &CORE_NEVER[..]), ("runtime/engine", &ENGINE_NEVER)] {
        for (name, text) in files(&[&format!("{room}/src")], "rs") {
            for word in never.iter().filter(|word| text.contains(**word)) {
                found.push(format!("{name} must not use {word}"));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn sqlites_words_stay_in_its_room() {
    let files = files(&["runtime/journal/src"], "rs").into_iter();
    let (room, others): (Vec<_>, Vec<_>) =
        files.partition(|(name, _)| name.contains("/src/sqlite/"));
    assert!(room.iter().any(|(_, text)| text.contains(SQLITE)), "nothing to look at");
    let named = others.iter().filter(|(_, text)| text.contains(SQLITE));
    let named: Vec<&str> = named.map(|(name, _)| name.as_str()).collect();
    assert!(named.is_empty(), "these must not use {SQLITE}:\n{}", named.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut found = vec![];
    let mut rooms = vec![];
    for dir in ["runtime", "runtime/providers"] {
        let all = std::fs::read_dir(root().join(dir)).expect("the rooms").flatten();
        rooms.extend(all.map(|room| room.path().join("src")).filter(|src| src.is_dir()));
    }
    assert!(rooms.len() > 8, "nothing to look at");
    for src in rooms {
        let mut paths = vec![];
        collect(&src, "rs", &mut paths);
        let read = |path: &PathBuf| {
            let within = path.strip_prefix(&src).expect("it is below");
            (within.display().to_string(), std::fs::read_to_string(path).expect("a text"))
        };
        let files: Vec<(String, String)> = paths.iter().map(read).collect();
        let circles = circles::circles(&circles::imports(&files));
        found.extend(circles.into_iter().map(|name| format!("{}: {name}", src.display())));
    }
    assert!(found.is_empty(), "these import each other:\n{}", found.join("\n"));
}

#[test]
fn there_is_one_clock() {
    let rooms = files(&["runtime"], "rs").into_iter();
    let rooms =
        rooms.filter(|(name, _)| name.contains("/src/") && !name.contains("runtime/clock/"));
    let found: Vec<String> = rooms.flat_map(|(name, text)| clocks(&name, &text)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// `Shown` is the only text that the program's sinks take, so what is raw can't come to them; this
/// finds who would write beside them, or make one up.
#[test]
fn what_others_wrote_is_shown_by_one_type() {
    let found: Vec<String> = files(&["runtime/cli/src"], "rs")
        .into_iter()
        .flat_map(|(name, text)| shown_beside(&name, &text))
        .collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_rule_that_is_cited_is_written_down() {
    let docs = std::fs::read_to_string(root().join("docs/rules.md")).expect("the rules");
    let titles = docs.lines().filter_map(|line| line.strip_prefix("## ")?.split(':').next());
    let rules: BTreeSet<&str> = titles.collect();
    let (mut texts, mut found) = (sources(), vec![]);
    texts.extend(files(&["docs", "wit"], "md"));
    texts.extend(files(&["wit"], "wit"));
    for (name, text) in texts {
        // The last test here cites one that is not there.
        if !name.ends_with("tidy/main.rs") {
            found.extend(unwritten_rules(&name, &text, &rules));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    let cited: String = sources().into_iter().map(|(_, text)| text).collect();
    for rule in rules {
        assert!(cited.contains(&format!("{rule})")), "nothing cites {rule}");
    }
}

#[test]
fn every_fixture_is_used() {
    let tests: String = files(&["tests/cli"], "rs").into_iter().map(|(_, text)| text).collect();
    for (name, _) in files(&["operations"], "toml") {
        let stem = Path::new(&name).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        assert!(stem == "demo-world" || tests.contains(stem), "no test runs {name}");
    }
}

#[test]
fn each_rule_can_fail() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let circle = [
        file("lib.rs", "mod a; mod b; mod c;"),
        file("a.rs", "use super::b::{self, B}; use crate::c;"),
        file("b.rs", "fn f() -> crate::a::A { crate::a::A }"),
        file("c.rs", "#[cfg(test)] mod tests { use crate::a; }"),
    ];
    assert_eq!(circles::circles(&circles::imports(&circle)), ["a", "b"]);

    assert!(long_files("x", &"a\n".repeat(FILE_LINES_MAX + 1)).is_some());
    assert!(!wide_lines("x", &"a".repeat(LINE_COLUMNS_MAX + 1)).is_empty());
    let body = "let _ = 1;\n".repeat(FUNCTION_LINES_MAX);
    assert!(!long_functions("x", &format!("fn f() {{\n{body}}}")).is_empty());
    assert!(long_functions("x", "fn f() {\n}\n").is_empty());
    let manifest = "[dependencies]\ntokio = \"1\"\n";
    assert!(!breaches("runtime/core", manifest, WALLS[1].1).is_empty());
    assert!(undocumented("x.rs", "fn f() {}").is_some());
    let rules = BTreeSet::from(["R1", "R4"]);
    assert_eq!(unwritten_rules("x", "(R1), R4; R77 and R128, PAR2", &rules).len(), 1);
    for shows in [
        "println!(\"{x}\")",
        "print!(\"{x}\")",
        "eprintln!(\"{x}\")",
        "eprint!(\"{x}\")",
        "std::eprint![\"{x}\"]",
        "dbg!(x)",
        "io::stdout().write(b)",
        "Shown::of(format_args!(\"{x}\"))",
    ] {
        assert_eq!(shown_beside("cli/src/commands/x.rs", shows).len(), 1, "{shows}");
    }
    assert!(shown_beside("cli/src/output.rs", "io::stderr(); tell!(\"a\"); is_drawn()").is_empty());
    assert_eq!(clocks("x", "let now = std::time::Instant::now();\nclock.now();").len(), 1);
}
