//! Manifests that are taken: the shipped ones, secrets put in whole, and what was accepted once.

use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use stepback_core::manifest::{self, Manifest};
use stepback_core::plan::{Offers, Plan};
use stepback_core::step::StepInfo;

fn parse(rest: &str) -> Result<Manifest, String> {
    let text = format!("schema = 1\n[operation]\nname = \"m\"\n{rest}");
    manifest::parse("m.toml", &text).map_err(|mistakes| mistakes.to_string())
}

fn with(value: &str) -> String {
    format!(
        "[inputs]\npassword = {{ type = \"secret\" }}\nother = {{ type = \"secret\" }}\n\
         name = {{ type = \"string\" }}\nnames = {{ type = \"list\" }}\n\
         [[steps]]\nid = \"a-b\"\nuses = \"p/s\"\n\
         [[steps]]\nid = \"b\"\nuses = \"p/s\"\nwith = {{ x = '''{value}''' }}\n"
    )
}

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
fn a_secret_that_is_put_in_whole_is_taken() {
    for value in [
        "{{ inputs.password }}",
        "{{inputs.password}}",
        "{{- inputs.password -}}",
        "{{ inputs['password'] }}",
        "{{ inputs . password }}",
        "PASSWORD={{ inputs.password }} run",
        "{{ inputs.name | upper }}:{{ inputs.password }}",
        "{{ inputs.password }}{% if inputs.name %}x{% endif %}",
        "{{ inputs.name ~ ':' }}{{ inputs.password }}@{{ steps.a-b.host[0].name }}",
        "text {{ inputs.password -}} text {{ inputs.other }}",
        "{# {{ inputs.password | upper }} #}{{ inputs.password }}",
        "{% raw %}{{ inputs.password | upper }}{% endraw %}",
        "{{ 'inputs.password | upper' }}",
        // A variable of the block's own.
        "{% for inputs in [1] %}{{ inputs.password | upper }}{% endfor %}",
    ] {
        if let Err(mistakes) = parse(&with(value)) {
            panic!("{mistakes}");
        }
    }
    for value in [
        "{{ inputs.name ~ inputs.password }}",
        "{{ 'x' ~ (inputs.password ~ inputs.other) ~ 5 }}",
        "text {{ '=' ~ inputs.password -}} text",
        "{{ inputs.password ~ [1] }}",
        "{{ inputs.password ~ inputs.names[inputs.name] }}",
        "{{ (inputs.password) | e }}",
        "{{ not inputs.password }}",
        "{{ -inputs.password }}",
        "{{ inputs.password if true }}",
        "{{ (inputs.password, 1) }}",
        "{{ inputs.names | select('eq', inputs.password) }}",
        "{{ dict(a=inputs.password) }}",
        "{{ inputs.password.upper() }}",
        "{{ inputs.password() }}",
        "{{ inputs.get('password') }}",
        "{{ inputs | items }}",
        "{{ inputs }}",
        "{{ inputs[1:] }}",
        "{{ debug() }}",
        "{% do debug(inputs.password) %}",
        "{% autoescape 'html' %}{{ inputs.password }}{% endautoescape %}",
    ] {
        let mistakes = parse(&with(value)).expect_err(value);
        assert!(mistakes.contains("secret"), "{value}:\n{mistakes}");
        assert!(mistakes.contains("`password`"), "{value}:\n{mistakes}");
    }
    // Where nothing is secret, the inputs are there as a whole.
    parse("[[steps]]\nid = \"a\"\nuses = \"p/s\"\nwith = { x = \"{{ inputs }}{{ debug() }}\" }\n")
        .expect("nothing is secret");
}

#[test]
fn what_works_is_taken() {
    for value in [
        "{% for x in inputs.names %}{{ loop.cycle('a', x) }}{{ loop.index }}{% endfor %}",
        "{% for x in inputs.names %}{% set all = loop %}{{ all.changed(x) }}{% endfor %}",
        "{% for x in inputs.names recursive %}{{ loop(x) }}{% else %}x{% endfor %}",
        "{% with x = 1 %}{% do debug(x) %}{% endwith %}{% filter upper %}x{% endfilter %}",
        "{{ inputs.names | map(attribute='x') | select('==', 1) | first | default(none) }}",
        "{{ range(3) | list ~ range(0, 3, 1) | list ~ dict(a=1) }}",
        "{{ product(*inputs.names) }}{{ inputs.names[0] }}{{ inputs.name[0] }}",
        "{{ environment.name }}{{ operation.name }}{{ operation['id'] }}",
        "{{ steps.a-b }}{{ steps['a-b'].x[inputs.name].y }}",
        "{{ 'a' if inputs.name is not none and inputs.name in inputs.names else 'b' }}",
        "docker ps --format '{% raw %}{{.Names}}{% endraw %}'",
        "echo ${#list[@]} {",
    ] {
        if let Err(mistakes) = parse(&with(value)) {
            panic!("{mistakes}");
        }
    }
    // A cleanup step comes after everything else, and sees all of it.
    let cleanup = "[[steps]]\nid = \"z\"\nuses = \"p/s\"\nphase = \"cleanup\"\nneeds = []\n\
                   with = { x = \"{{ steps.a-b }}\" }\n[outputs]\nx = \"{{ steps.z }}\"\n";
    parse(&(with("x") + cleanup)).expect("it comes after them");
}

fn offers() -> Offers {
    let info = StepInfo {
        name: "s".into(),
        doc: String::new(),
        input_schema: json!({
            "type": "object",
            "properties": { "x": { "type": "integer" } },
            "additionalProperties": false,
        }),
        output_schema: json!({ "type": "null" }),
        reversible: false,
    };
    BTreeMap::from([("p".to_owned(), vec![info].into())])
}

/// What a version without these checks took, and what is done with it now.
const TAKEN_ONCE: &str = r#"
locks = ["{{ inputs.password }}", "{{ operation.id }}"]
[inputs]
password = { type = "secret" }
size = { type = "integer", pattern = "x" }
[[steps]]
id = "a-b"
uses = "p/s"
with = { x = "{{ inputs.password | uper }}", y = "{{ now() }}", "{{ z }}" = 1 }
when = "inputs.size"
for_each = "{{ inputs }}"
[[steps]]
id = "b"
uses = "p/s"
with = { x = "not a number", y = "{{ steps.a-b.nope }}{% include 'x' %}" }
[outputs]
x = "{{ steps.b.nope }}"
y = "{{ inputs.nope ~ unknown }}"
"#;

#[test]
fn what_was_accepted_once_is_taken_for_a_resume() {
    let text = format!("schema = 1\n[operation]\nname = \"m\"{TAKEN_ONCE}");
    assert!(manifest::parse("m.toml", &text).is_err());
    let manifest = match manifest::parse_pinned("m.toml", &text) {
        Ok(manifest) => manifest,
        Err(mistakes) => panic!("{mistakes}"),
    };
    assert!(Plan::new(manifest.clone(), &offers()).is_err());
    let plan = match Plan::pinned(manifest.clone(), &offers()) {
        Ok(plan) => plan,
        Err(mistakes) => panic!("{mistakes}"),
    };
    // A `with` is still held against its schema when it is evaluated.
    assert!(plan.check_with(&"b".into(), &json!({ "x": 1 })).is_ok());
    assert!(plan.check_with(&"b".into(), &json!({ "x": "text" })).is_err());
    assert!(Plan::pinned(manifest, &Offers::new()).is_err(), "without its plugin there is no plan");
}

#[test]
fn a_pinned_manifest_is_still_a_manifest() {
    let step = |id: &str, needs: &str| {
        format!("[[steps]]\nid = \"{id}\"\nuses = \"p/s\"\nneeds = [{needs}]\n")
    };
    for (rest, said) in [
        (step("a", "") + &step("a", ""), "called `a` already"),
        (step("a", "\"b\""), "there is no step `b`"),
        (step("a", "\"b\"") + &step("b", "\"a\""), "in a circle"),
        ("steps = 1\n".to_owned(), "`steps` must be"),
    ] {
        let text = format!("schema = 1\n[operation]\nname = \"m\"\n{rest}");
        let text = if rest.starts_with("steps") { rest.clone() + "schema = 1\n" } else { text };
        let mistakes = manifest::parse_pinned("m.toml", &text).expect_err("it is none").to_string();
        assert!(mistakes.contains(said), "{mistakes}");
    }
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
