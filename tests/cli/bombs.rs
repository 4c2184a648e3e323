//! Plugins that are made to keep the program busy: refused, or ended, and signals are heard.

use crate::broken_plugins::plugin;
use crate::harness::{Place, Running};
use serde_json::json;
use std::fmt::Write;
use std::fs;
use std::ops::RangeInclusive;
use std::process::Command;
use std::time::Duration;

const MANIFEST: &str = "schema = 1\n[operation]\nname = \"m\"\n[[steps]]\nid = \"s\"\n\
                        uses = \"./p.wasm#x\"\nwith = { a = { a = { a = 1 } } }\n";

/// A plugin with one step `x`, whose inputs have this schema.
fn with_schema(schema: &serde_json::Value) -> Vec<u8> {
    let schema = schema.to_string();
    let words = |words: &[u32]| {
        words.iter().flat_map(|word| word.to_le_bytes()).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "\\{byte:02x}");
            text
        })
    };
    let length = u32::try_from(schema.len()).expect("a short schema");
    // A list of one record: its name, what it does, its schemas, and that it is reversible.
    let list = words(&[1032, 1, 2048, 1, 2048, 1, 4096, length, 2050, 2, 1]);
    let schema = schema.escape_default();
    plugin(
        &format!(
            "(data (i32.const 1024) \"{list}\") (data (i32.const 2048) \"x.{{}}\")
             (data (i32.const 4096) \"{schema}\")"
        ),
        "(i32.const 1024)",
    )
}

fn place_with(plugin: &[u8]) -> (Place, String) {
    let place = Place::new();
    place.write("p.wasm", plugin);
    let manifest = place.write("m.toml", MANIFEST);
    (place, manifest)
}

#[test]
fn a_schema_that_no_machine_can_check_is_refused() {
    let mut defs = serde_json::Map::new();
    for at in 0..40 {
        let next = json!({ "$ref": format!("#/$defs/d{}", at + 1) });
        defs.insert(format!("d{at}"), json!({ "allOf": [next, next] }));
    }
    defs.insert("d40".to_owned(), json!({}));
    let doubling = json!({ "$ref": "#/$defs/d0", "$defs": defs });
    let endless = json!({ "anyOf": [{ "$ref": "#" }, { "type": "object" }] });
    let again = vec![json!({ "$ref": "#" }); 400];
    let deep = json!({ "properties": { "a": { "allOf": again } } });
    for (schema, wanted) in [
        (doubling, "comes to 4398046511102 schemas"),
        (endless, "refers to itself without end"),
        (deep, "10000000 are the most"),
    ] {
        let (place, manifest) = place_with(&with_schema(&schema));
        for command in ["validate", "plan", "run"] {
            place.run(&[command, &manifest]).exits(2).says(wanted).says("m.toml:");
        }
    }
    // A tree is none.
    let tree = json!({ "properties": { "a": { "$ref": "#" }, "b": { "$ref": "#" } } });
    let (place, manifest) = place_with(&with_schema(&tree));
    place.run(&["validate", &manifest]).exits(0);
}

/// A text that takes minutes to hold against a pattern is known only when the operation runs.
#[test]
fn a_value_that_takes_too_long_to_check_ends_the_step_and_nothing_else() {
    let pattern = |end: u32| json!({ "not": { "pattern": format!("[ab]*a[ab]{{4000}}c{end}") } });
    let patterns: Vec<_> = (0..3).map(pattern).collect();
    let schema = json!({ "properties": { "a": { "allOf": patterns } } });
    let (place, _) = place_with(&with_schema(&schema));
    let long = "ab".repeat(250_000);
    let manifest = place.write(
        "late.toml",
        "schema = 1\n[operation]\nname = \"late\"\n[inputs]\nlong = { type = \"string\" }\n\
         [[steps]]\nid = \"tag\"\nuses = \"ebs/tag-volume\"\n\
         with = { volume = \"vol-db-main\", key = \"k\", value = \"v\" }\n\
         [[steps]]\nid = \"find\"\nuses = \"ebs/find-volume\"\n\
         with = { tags = { database = \"main\" } }\n\
         [[steps]]\nid = \"late\"\nuses = \"./p.wasm#x\"\n\
         with = { a = \"{{ inputs.long ~ steps.find.id }}\" }\n",
    );
    place.write("long.json", json!({ "long": long }).to_string());
    let ran = place.run(&["run", &manifest, "--inputs", "long.json"]);
    let ran = ran.exits(3).says("holding it against the plugin's schema takes over 5s");
    ran.says("verdict: restored");
}

/// A component that compiles for minutes: one function of many values that are all alive.
fn slow_to_compile() -> Vec<u8> {
    const VALUES: usize = 3_000;
    const ROUNDS: usize = 60;
    let mut fields = "(global $g (mut i32) (i32.const 1)) (func $slow".to_owned();
    for value in 0..VALUES {
        let _ = write!(fields, "(local $v{value} i32)");
    }
    for round in 0..ROUNDS {
        fields.push_str("(block (br_if 0 (global.get $g))");
        for value in 0..VALUES {
            let other = (value * 7 + round * 13 + 1) % VALUES;
            let _ = write!(
                fields,
                "(local.set $v{value} (i32.add (i32.mul (local.get $v{value}) (local.get \
                 $v{other})) (global.get $g)))"
            );
        }
        fields.push(')');
    }
    for value in 0..VALUES {
        let _ = write!(fields, "(global.set $g (local.get $v{value}))");
    }
    fields.push(')');
    plugin(&fields, "(call $slow) unreachable")
}

/// The compiler that a program has started, once it has.
#[track_caller]
fn compiler_of(program: &Running) -> u32 {
    // Bounded by what nothing takes that comes at all; no assertion rests on the time.
    for _ in 0..12_000 {
        for process in fs::read_dir("/proc").expect("processes").flatten() {
            let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let read = |file: &str| fs::read_to_string(process.path().join(file));
            let is_compiler = read("cmdline").is_ok_and(|line| line.contains("compile-plugin"));
            let parent = read("stat").ok().and_then(|stat| {
                stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
            });
            if is_compiler && parent == Some(program.pid()) {
                return pid;
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("no compiler was started");
}

/// The processor time that a process has had, in hundredths of a second (proc(5), *stat*); `None`
/// of one that is gone, or that nobody has waited for yet.
fn worked(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    (fields.first() != Some(&"Z")).then_some(ticks(11)? + ticks(12)?)
}

/// A compiler whose starter is gone works no more, however long it takes to go.
#[track_caller]
fn is_ended(pid: u32) {
    const TICKS_MAX: u64 = 200;
    let Some(before) = worked(pid) else { return };
    // Bounded by what nothing takes that comes at all; no assertion rests on the time.
    for _ in 0..12_000 {
        match worked(pid) {
            None => return,
            Some(ticks) if ticks > before + TICKS_MAX => break,
            Some(_) => std::thread::sleep(Duration::from_millis(25)),
        }
    }
    let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    panic!("the compiler goes on");
}

#[test]
fn signals_are_heard_while_a_plugin_is_compiled() {
    let (place, manifest) = place_with(&slow_to_compile());
    let before = place.untouched();
    for (signal, command, code) in [
        ("INT", "run", Some(2)),
        ("TERM", "run", Some(2)),
        // Where SIGINT is ignored, as behind a shell's `&`, these leave it so.
        ("TERM", "validate", None),
        ("TERM", "plan", None),
        ("KILL", "run", None),
    ] {
        let running = place.start(&[command, &manifest]);
        let compiler = compiler_of(&running);
        is_bound(compiler, "Max file size", 0..=0);
        running.signal(signal);
        let ended = running.ends();
        assert_eq!(ended.code, code, "{command}: {}", ended.stderr);
        is_ended(compiler);
        if code.is_some() {
            ended.says("nothing was changed");
        }
    }
    assert_eq!(place.facts(), before);
    place.run(&["list"]).exits(0).lacks("running");
}

/// Wait until a compiler has a bound, soft and hard, by the name that the kernel has for it
/// (proc(5), *limits*).
#[track_caller]
fn is_bound(compiler: u32, name: &str, most: RangeInclusive<u64>) {
    let is_it = |found: &[String]| match found {
        [soft, hard] => soft == hard && soft.parse().is_ok_and(|bound| most.contains(&bound)),
        _ => false,
    };
    let found = || -> Vec<String> {
        let limits = fs::read_to_string(format!("/proc/{compiler}/limits"));
        let limits = limits.expect("it compiles for minutes");
        let bound = limits.lines().find_map(|line| line.strip_prefix(name));
        bound.into_iter().flat_map(str::split_whitespace).take(2).map(str::to_owned).collect()
    };
    // It sets them itself, before it reads anything. Bounded by what nothing takes that comes at
    // all; no assertion rests on the time.
    for _ in 0..12_000 {
        if is_it(&found()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{name}: {:?}", found());
}

#[test]
fn a_compiler_has_bounds_of_its_own() {
    let (place, manifest) = place_with(&slow_to_compile());
    let mut running = place.start(&["plan", &manifest]);
    let compiler = compiler_of(&running);
    // Beside what the process has when it begins.
    is_bound(compiler, "Max data size", (4 << 30) + 1..=(4 << 30) + (2 << 30));
    is_bound(compiler, "Max cpu time", 600..=600);
    is_bound(compiler, "Max core file size", 0..=0);
    is_bound(compiler, "Max file size", 0..=0);
    running.wait_for("compiling `./p.wasm` (");
}
