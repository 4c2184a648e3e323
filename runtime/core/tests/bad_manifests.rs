//! Golden files: each `bad/NAME.toml` beside what is said of it, `bad/NAME.err`.
//!
//! `BLESS=1 cargo test -p stepback-core --test bad_manifests` writes the `.err` files anew; read
//! the difference before you keep it.

use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stepback_core::manifest;
use stepback_core::plan::{Offers, Plan};
use stepback_core::step::StepInfo;

/// A plugin with one step of each kind.
fn offers() -> Offers {
    let info = |name: &str, reversible| StepInfo {
        name: name.to_owned(),
        doc: String::new(),
        input_schema: json!({
            "type": "object",
            "properties": {
                "volume": { "type": "string" },
                "size_gib": { "type": "integer", "minimum": 1 },
            },
            "required": ["volume"],
            "additionalProperties": false,
        }),
        output_schema: json!({}),
        reversible,
    };
    let steps = vec![info("attach", true), info("detach", true), info("delete", false)];
    BTreeMap::from([("disk".to_owned(), steps)])
}

fn said_of(name: &str, text: &str) -> String {
    match manifest::parse(name, text).and_then(|manifest| Plan::new(manifest, &offers())) {
        Ok(_) => "no mistakes\n".to_owned(),
        Err(mistakes) => mistakes.to_string(),
    }
}

fn fixtures() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let entries = std::fs::read_dir(dir).expect("the fixtures are there");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    paths.sort();
    paths
}

#[test]
fn every_mistake_is_told_with_its_place_and_what_to_do() {
    let bless = std::env::var_os("BLESS").is_some();
    let fixtures = fixtures();
    assert!(fixtures.len() >= 25, "only {} fixtures", fixtures.len());
    let mut wrong = vec![];
    for path in fixtures {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let text = std::fs::read_to_string(&path).expect("a text");
        let said = said_of(&name, &text);
        assert_ne!(said, "no mistakes\n", "{name} has no mistake");
        let golden = path.with_extension("err");
        if bless {
            std::fs::write(&golden, &said).expect("the fixture can be written");
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if said != expected {
            wrong.push(format!("== {name}\n-- expected\n{expected}-- said\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_manifest_without_mistakes_is_taken() {
    let text = "schema = 1\n[operation]\nname = \"ok\"\n[[steps]]\nid = \"a\"\n\
                uses = \"disk/attach\"\nwith = { volume = \"v\" }\n";
    assert_eq!(said_of("ok.toml", text), "no mistakes\n");
}
