//! What can't be a plugin is told apart, and what was compiled is kept.

mod support;

use std::fs;
use stepback_wasm::{Mode, PluginError};
use support::{Port, Text, invocation, runtime};

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
    let cut_off = &Text::default().component()[..300];
    assert!(matches!(refused(cut_off), PluginError::Invalid { .. }));
    let text = format!(
        r#"(component
            (import "acme:net/sockets@1.0.0" (instance $i (export "f" (func))))
            (instance $steps)
            (export "{}" (instance $steps)))"#,
        "stepback:step/steps@0.1.0"
    );
    let foreign = wat::parse_str(text).expect("a component");
    let error = refused(&foreign);
    assert!(matches!(error, PluginError::UnknownImport { .. }), "{error}");
}

#[tokio::test]
async fn what_was_compiled_is_kept_and_a_damaged_file_is_made_anew() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let cache = dir.path().join("cache");
    let bytes = Text::default().component();
    runtime(Some(cache.clone())).load("p", &bytes).expect("it loads");
    let files = || -> Vec<_> {
        let entries = fs::read_dir(&cache).expect("the cache is there");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    let [file] = &files()[..] else { panic!("one file, not {:?}", files()) };
    let kept = fs::read(file).expect("a file");

    // A second runtime takes it as it is: it writes nothing.
    let modified = || fs::metadata(file).and_then(|meta| meta.modified()).expect("a time");
    let before = modified();
    let plugin = runtime(Some(cache.clone())).load("p", &bytes).expect("it loads");
    assert_eq!(modified(), before);
    plugin.check(invocation(Mode::Check), Port::new()).await.expect("it runs");

    let mut flipped = kept.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for damaged in [b"not machine code".to_vec(), kept[..100].to_vec(), flipped] {
        fs::write(file, damaged).expect("it can be damaged");
        let plugin = runtime(Some(cache.clone())).load("p", &bytes).expect("it loads anew");
        plugin.check(invocation(Mode::Check), Port::new()).await.expect("it runs");
        assert_eq!(fs::read(file).expect("a file"), kept, "the cache is whole again");
    }
}

#[cfg(unix)]
#[test]
fn a_cache_that_others_may_write_to_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::TempDir::new().expect("a directory");
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(dir.path(), open).expect("its mode can be set");
    let bytes = Text::default().component();
    runtime(Some(dir.path().to_owned())).load("p", &bytes).expect("it loads all the same");
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0);
}
