//! Manifests that are taken: the shipped ones, and where their parts are.

use std::path::Path;
use stepback_core::manifest;

#[test]
fn the_shipped_manifests_have_no_mistakes() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../operations");
    let mut count = 0;
    for entry in std::fs::read_dir(dir).expect("the shipped manifests are there") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        if name == "demo-world.toml" {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a text");
        if let Err(mistakes) = manifest::parse(&name, &text) {
            panic!("{mistakes}");
        }
        count += 1;
    }
    assert!(count >= 6, "only {count} manifests");
}

#[test]
fn outputs_and_locks_have_their_places() {
    let text = "schema = 1\n[operation]\nname = \"m\"\nlocks = [\"a\", \"b\"]\n[[steps]]\n\
                id = \"a\"\nuses = \"p/s\"\n[outputs]\ny = \"yy\"\nx = \"xxx\"\n";
    let manifest = manifest::parse("m.toml", text).expect("it is right");
    let at = |span: &std::ops::Range<usize>| &text[span.clone()];
    let locks: Vec<&str> = manifest.operation.lock_spans.iter().map(at).collect();
    assert_eq!(locks, ["a", "b"]);
    let outputs: Vec<_> =
        manifest.output_spans.iter().map(|(key, span)| (&key[..], at(span))).collect();
    assert_eq!(outputs, [("x", "xxx"), ("y", "yy")]);
}
