//! What can't be a plugin is told apart, and what was compiled is kept.

mod support;

use sha2::Digest;
use std::fs;
use std::path::{Path, PathBuf};
use stepback_wasm::{Mode, PluginError};
use support::{Port, RUN, Text, invocation, runtime};

fn refused(bytes: &[u8]) -> PluginError {
    runtime(None).load("p", bytes).err().expect("it is no plugin")
}

#[test]
fn each_way_of_not_being_a_plugin_has_its_own_error() {
    assert!(matches!(refused(b""), PluginError::NotWasm { .. }));
    assert!(matches!(refused(b"#!/bin/sh"), PluginError::NotWasm { .. }));
    let module = wat::parse_str("(module)").expect("a module");
    assert!(matches!(refused(&module), PluginError::CoreModule { .. }));
    let component = wat::parse_str("(component)").expect("a component");
    assert!(matches!(refused(&component), PluginError::NotAPlugin { .. }));
    let older = r#"(component (instance $i) (export "stepback:step/steps@0.1.0" (instance $i)))"#;
    let told = refused(&wat::parse_str(older).expect("a component")).to_string();
    assert!(told.contains("built for another version of the contract"), "{told}");
    let cut_off = &Text::default().component()[..300];
    assert!(matches!(refused(cut_off), PluginError::Invalid { .. }));
    let text = format!(
        r#"(component
            (import "acme:net/sockets@1.0.0" (instance $i (export "f" (func))))
            (instance $steps)
            (export "{}" (instance $steps)))"#,
        "stepback:step/steps@0.2.0"
    );
    let foreign = wat::parse_str(text).expect("a component");
    let error = refused(&foreign);
    assert!(matches!(error, PluginError::UnknownImport { .. }), "{error}");
}

/// A component that says it exports steps, with a field before.
fn other_world(import: &str) -> Vec<u8> {
    let text = format!(
        r#"(component {import} (instance $steps) (export "{}" (instance $steps)))"#,
        "stepback:step/steps@0.2.0"
    );
    wat::parse_str(text).expect("a component")
}

#[test]
fn what_does_not_fit_the_contract_is_told_with_the_piece_that_does_not() {
    let told = |import: &str| match refused(&other_world(import)) {
        PluginError::WrongInterface { why, .. } => why,
        other => panic!("{other}"),
    };
    let why = told("");
    assert!(why.contains("describe"), "{why}");
    let why = told(r#"(import "wasi:io/poll@0.2.0" (instance (export "wait" (func))))"#);
    assert!(why.contains("wait"), "{why}");
    let why = told(r#"(import "stepback:ebs/volumes@0.2.0" (instance (export "format" (func))))"#);
    assert!(why.contains("format"), "{why}");
    for unknown in ["stepback:ebs/volumes@0.3.0", "wasi:http/types@0.2.0", "wasi:io/poll@0.3.0"] {
        let error = refused(&other_world(&format!(
            r#"(import "{unknown}" (instance (export "f" (func))))"#
        )));
        let told = matches!(&error, PluginError::UnknownImport { import, .. } if import == unknown);
        assert!(told, "{error}");
    }
    for (unknown, said) in [
        ("stepback:ebs/volumes@0.3.0", "`stepback plugin update`"),
        ("wasi:http/types@0.2.0", "that makes requests"),
        ("wasi:io/poll@0.3.0", "build it for WASI 0.2"),
        ("env", "an `extern` block"),
    ] {
        let import = format!(r#"(import "{unknown}" (instance (export "f" (func))))"#);
        let told = refused(&other_world(&import)).to_string();
        assert!(told.contains(said), "{unknown}: {told}");
    }
}

#[test]
fn threads_and_memories_of_64_bits_are_not_offered() {
    for memory in ["(memory 1 1 shared)", "(memory i64 131072)"] {
        let text = format!("(component (core module {memory}))");
        let bytes = wat::parse_str(text).expect("a component");
        let error = refused(&bytes);
        assert!(matches!(error, PluginError::Invalid { .. }), "{error}");
    }
}

/// What the cache holds of one plugin, by the ending of the file's name.
fn kept(cache: &Path, ending: &str) -> PathBuf {
    let entries = fs::read_dir(cache).expect("the cache is there");
    let paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    let mut found = paths.iter().filter(|path| path.extension().is_some_and(|end| end == ending));
    match (found.next(), found.next()) {
        (Some(only), None) => only.clone(),
        _ => panic!("one .{ending}, not {paths:?}"),
    }
}

/// Each way a file can be damaged.
fn damaged(whole: &[u8]) -> [Vec<u8>; 4] {
    let mut flipped = whole.to_vec();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    [
        vec![],
        b"not machine code, and long enough for a seal".to_vec(),
        whole[..100].to_vec(),
        flipped,
    ]
}

#[tokio::test]
async fn what_was_compiled_is_kept_and_a_damaged_file_is_made_anew() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let cache = dir.path().join("cache");
    let bytes = Text::default().component();
    let first = runtime(Some(cache.clone()));
    first.load("p", &bytes).expect("it loads");
    first.load("p", &bytes).expect("it is loaded");
    assert_eq!(first.compilations(), 1);
    let file = kept(&cache, "cwasm");
    let whole = fs::read(&file).expect("a file");

    let second = runtime(Some(cache.clone()));
    let plugin = second.load("p", &bytes).expect("it loads");
    assert_eq!(second.compilations(), 0);
    plugin.check(invocation(Mode::Check), Port::new()).await.expect("it runs");

    for damaged in damaged(&whole) {
        fs::write(&file, damaged).expect("it can be damaged");
        let runtime = runtime(Some(cache.clone()));
        let plugin = runtime.load("p", &bytes).expect("it loads anew");
        assert_eq!(runtime.compilations(), 1);
        plugin.check(invocation(Mode::Check), Port::new()).await.expect("it runs");
        assert_eq!(fs::read(&file).expect("a file"), whole, "the cache is whole again");
    }
}

#[tokio::test]
async fn one_plugins_code_is_not_taken_for_anothers() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let cache = dir.path().join("cache");
    let runtime = runtime(Some(cache.clone()));
    runtime.load("p", &Text::default().component()).expect("it loads");
    let other = Text::run("unreachable").component();
    let plugin = runtime.load("p", &other).expect("it loads");
    assert_eq!(runtime.compilations(), 2);
    plugin.run(invocation(RUN), Port::new()).await.expect_err("it is the other one");
}

/// A plugin of one step, whose every text is `null`.
fn describing() -> Text {
    let mut describe = "(i32.store (i32.const 700) (i32.const 1024)) \
                        (i32.store (i32.const 704) (i32.const 1))"
        .to_owned();
    for at in [1024, 1032, 1040, 1048] {
        describe += &format!(
            "(i32.store (i32.const {at}) (i32.const 256)) \
             (i32.store offset=4 (i32.const {at}) (i32.const 4))"
        );
    }
    Text { describe: describe + "(i32.const 700)", ..Text::default() }
}

/// Schemas take a multiple of their text in memory: so much is not read at all.
#[tokio::test]
async fn a_plugin_that_says_too_much_of_its_steps_is_refused() {
    let text = describing();
    // The text of the first schema, 600 KiB long; it is no JSON, and that is not found out.
    let long = "(i32.store (i32.const 1044) (i32.const 614400)) (i32.const 700)";
    let describe = text.describe.strip_suffix("(i32.const 700)").expect("it ends so");
    let memory = r#"(memory (export "memory") 20)"#.to_owned();
    let text = Text { describe: format!("{describe} {long}"), memory, ..text };
    let plugin = runtime(None).load("p", &text.component()).expect("it loads");
    let told = plugin.describe().await.expect_err("too much").to_string();
    assert!(told.contains("makes more than 524288 bytes"), "{told}");
}

#[tokio::test]
async fn what_a_plugin_said_of_its_steps_is_kept_and_asked_anew_when_damaged() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let cache = dir.path().join("cache");
    let bytes = describing().component();
    let describe = async || {
        let plugin = runtime(Some(cache.clone())).load("p", &bytes).expect("it loads");
        plugin.describe().await.expect("it describes its step")
    };
    let steps = describe().await;
    assert_eq!(steps.len(), 1);
    assert_eq!((steps[0].name.as_str(), steps[0].reversible), ("null", false));

    let file = kept(&cache, "steps");
    let whole = fs::read(&file).expect("a file");
    for damaged in damaged(&whole) {
        fs::write(&file, damaged).expect("it can be damaged");
        assert_eq!(describe().await, steps);
        assert_eq!(fs::read(&file).expect("a file"), whole, "the cache is whole again");
    }
    // Whoever can write the file can hash it, too, and is not believed for that.
    let mut forged = <[u8; 32]>::from(sha2::Sha256::digest("[]")).to_vec();
    forged.extend_from_slice(b"[]");
    fs::write(&file, forged).expect("it can be written");
    assert_eq!(describe().await, steps);
    assert_eq!(fs::read(&file).expect("a file"), whole, "the cache is whole again");
}
