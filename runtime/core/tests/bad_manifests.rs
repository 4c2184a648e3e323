//! Golden files: each `bad/NAME.toml` beside what is said of it, `bad/NAME.err`.
//!
//! `BLESS=1 cargo test -p stepback-core --test bad_manifests` writes the `.err` files anew; read
//! the difference before you keep it.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stepback_core::manifest;
use stepback_core::plan::{Offers, Plan};
use stepback_core::step::StepInfo;

fn struct_of(properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// What looking at a volume gives, as a plugin's derived schema has it.
fn described() -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": { "type": "string" },
            "state": { "type": "string", "enum": ["available", "in-use"] },
            "size_gib": { "type": "integer" },
            "tags": { "type": "object", "additionalProperties": { "type": "string" } },
            "mounts": { "type": "array", "items": { "$ref": "#/$defs/Mount" } },
            "owner": { "anyOf": [{ "$ref": "#/$defs/Owner" }, { "type": "null" }] },
            "source": {
                "oneOf": [
                    { "type": "object", "properties": { "snapshot": { "type": "string" } } },
                    { "type": "object", "properties": { "size_gib": { "type": "integer" } } },
                ],
            },
        },
        "$defs": {
            "Owner": { "type": "object", "properties": { "name": { "type": "string" } } },
            "Mount": {
                "type": "object",
                "properties": { "volume": { "type": "string" }, "path": { "type": "string" } },
            },
        },
    })
}

/// A plugin with one step of each kind.
fn offers() -> Offers {
    let info = |name: &str, input_schema, output_schema| StepInfo {
        name: name.to_owned(),
        doc: String::new(),
        input_schema,
        output_schema,
        reversible: name != "delete",
    };
    let volume = || json!({ "type": "string" });
    let sized = || {
        let size = json!({ "type": "integer", "minimum": 1 });
        struct_of(json!({ "volume": volume(), "size_gib": size }), &["volume"])
    };
    let tags = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let tagged = struct_of(json!({ "volume": volume(), "tags": tags }), &["volume"]);
    let mount = struct_of(json!({ "volume": volume(), "target": volume() }), &[]);
    let mounts = struct_of(json!({ "mounts": { "type": "array", "items": mount } }), &[]);
    let steps = vec![
        info("attach", sized(), json!({})),
        info("detach", sized(), json!({})),
        info("delete", sized(), json!({})),
        info("describe", struct_of(json!({ "volume": volume() }), &["volume"]), described()),
        info("tag", tagged, json!({ "type": "null" })),
        info("mount", mounts, json!({ "type": "null" })),
    ];
    BTreeMap::from([("disk".to_owned(), steps.into())])
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
