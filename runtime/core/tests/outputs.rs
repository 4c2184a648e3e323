//! What expressions may name of a step's output, by the schema of that output.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use stepback_core::manifest;
use stepback_core::plan::{Offers, Plan};
use stepback_core::step::StepInfo;

/// The plan of a step that gives an output, and what uses it.
fn plan(output_schema: &Value, rest: &str) -> Result<Plan, String> {
    let text = format!(
        "schema = 1\n[operation]\nname = \"m\"\n[[steps]]\nid = \"a-b\"\nuses = \"p/give\"\n{rest}"
    );
    let manifest = manifest::parse("m.toml", &text).unwrap_or_else(|wrong| panic!("{wrong}"));
    Plan::new(manifest, &offers(output_schema)).map_err(|mistakes| mistakes.to_string())
}

fn offers(output_schema: &Value) -> Offers {
    let info = |name: &str| StepInfo {
        name: name.to_owned(),
        doc: String::new(),
        input_schema: json!({}),
        output_schema: output_schema.clone(),
        reversible: true,
    };
    BTreeMap::from([("p".to_owned(), vec![info("give"), info("take")].into())])
}

fn is_taken(output_schema: &Value, expression: &str) -> bool {
    let rest = format!(
        "[[steps]]\nid = \"c\"\nuses = \"p/take\"\nwith = {{ x = '''{{{{ {expression} }}}}''' }}\n"
    );
    plan(output_schema, &rest).is_ok()
}

fn table(output_schema: Value, taken: &[&str], refused: &[&str]) {
    for expression in taken {
        assert!(is_taken(&output_schema, expression), "{expression} of {output_schema}");
    }
    for expression in refused {
        assert!(!is_taken(&output_schema, expression), "{expression} of {output_schema}");
    }
}

/// What a plugin derives from a struct.
fn of_struct() -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": { "type": "string" },
            "size": { "type": ["integer", "null"] },
            "tags": { "type": "object", "additionalProperties": { "type": "string" } },
            "labels": { "type": "object", "patternProperties": { "^l-": { "type": "string" } } },
            "list": { "type": "array", "items": {
                "type": "object", "properties": { "y": { "type": "integer" } },
            } },
            "pair": { "type": "array", "prefixItems": [
                { "type": "object", "properties": { "left": true } },
                { "type": "object", "properties": { "right": true } },
            ], "items": false },
            "free": { "type": "object" },
            "any": {},
            "true": true,
            "described": { "description": "anything" },
            "kind": { "enum": ["a", "b"] },
            "one": { "const": { "a": 1 } },
        },
    })
}

#[test]
fn a_struct_has_its_fields_and_no_others() {
    table(
        of_struct(),
        &[
            "steps.a-b",
            "steps.a-b.id",
            "steps.a-b['id']",
            "steps.a_b.id",
            "steps.a-b.id[0]",
            "steps.a-b.id | upper",
            "steps.a-b.size",
            "steps.a-b.tags.whatever",
            "steps.a-b.tags['what-ever']",
            "steps.a-b.labels['l-1']",
            "steps.a-b.list[0].y",
            "steps.a-b.list[-1].y",
            "steps.a-b.list.0.y",
            "steps.a-b.list[0]",
            "steps.a-b.pair[0].left",
            "steps.a-b.pair[1].right",
            "steps.a-b.pair[-1].right",
            "steps.a-b.free.x.y[0].z",
            "steps.a-b.any.x[1].y",
            "steps.a-b.true.x",
            "steps.a-b.described.x",
            "steps.a-b.kind",
            "steps.a-b.kind[0]",
            "steps.a-b.one.a",
            // Only evaluating tells.
            "steps.a-b[operation.name]",
            "steps.a-b.list[operation.id].nope",
            "(steps.a-b | list).nope",
            "steps.a-b.list | map(attribute='nope') | list",
            "steps.a-b | attr('nope')",
            "'steps.a-b.nope'",
        ],
        &[
            "steps.a-b.idd",
            "steps.a-b['idd']",
            "steps.a_b.idd",
            "steps.a-b.idd[1:]",
            "steps.a-b.idd[operation.name]",
            "steps.a-b.idd | default(1)",
            "steps.a-b[0]",
            "steps.a-b.id.x",
            "steps.a-b.size.x",
            "steps.a-b.size[0]",
            "steps.a-b.tags.x.y",
            "steps.a-b.list.y",
            "steps.a-b.list[0].z",
            "steps.a-b.pair[0].right",
            "steps.a-b.pair[2]",
            "steps.a-b.pair[-1].middle",
            "steps.a-b.kind.x",
            "[1, steps.a-b.nope]",
            "{'a': steps.a-b.nope}",
            "1 if steps.a-b.nope else 2",
            "operation.name | replace('m', steps.a-b.nope)",
            "operation.id is eq(steps.a-b.nope)",
            "operation.name[steps.a-b.nope:]",
        ],
    );
}

#[test]
fn a_schema_of_several_forms_has_the_names_of_all() {
    let schema = json!({
        "oneOf": [
            { "type": "object", "properties": { "kind": { "const": "a" }, "left": {} } },
            { "$ref": "#/$defs/Right" },
            { "type": "null" },
        ],
        "$defs": {
            "Right": { "allOf": [
                { "type": "object", "properties": { "right": { "$ref": "#/definitions/Deep" } } },
                { "properties": { "other": { "anyOf": [{ "type": "string" }, { "$ref": "#" }] } } },
            ] },
        },
        "definitions": { "Deep": { "type": "object", "properties": { "deep~/er": {}, "x": {} } } },
    });
    table(
        schema,
        &[
            "steps.a-b.left",
            "steps.a-b.kind",
            "steps.a-b.right.x",
            "steps.a-b.right['deep~/er']",
            "steps.a-b.other.other.left",
        ],
        &["steps.a-b.middle", "steps.a-b.right.y", "steps.a-b.kind.x", "steps.a-b.other.other.up"],
    );
    // A flattened enum: its fields are beside the struct's own.
    let flat = json!({
        "type": "object",
        "properties": { "own": {} },
        "oneOf": [
            { "type": "object", "properties": { "a": {} } },
            { "type": "object", "properties": { "b": {} } },
        ],
    });
    table(flat, &["steps.a-b.own", "steps.a-b.a", "steps.a-b.b"], &["steps.a-b.c"]);
    let tagged = json!({ "type": "object", "oneOf": [{ "properties": { "a": {} } }] });
    table(tagged, &["steps.a-b.a"], &["steps.a-b.b"]);
    let open = json!({ "type": "object", "properties": { "a": {} }, "additionalProperties": true });
    table(open, &["steps.a-b.a", "steps.a-b.b.c"], &[]);
    let rest = json!({ "properties": { "a": {} }, "additionalProperties": { "type": "integer" } });
    table(rest, &["steps.a-b.a.x", "steps.a-b.b"], &["steps.a-b.b.c"]);
    let sometimes = json!({
        "type": "object",
        "properties": { "a": {} },
        "if": {},
        "then": { "properties": { "b": {} } },
        "dependentSchemas": { "a": { "properties": { "c": {} } } },
    });
    table(sometimes, &["steps.a-b.a", "steps.a-b.b", "steps.a-b.c"], &["steps.a-b.d"]);
    let listed = json!({ "type": "array", "items": [{ "type": "string" }] });
    table(listed, &["steps.a-b[0]", "steps.a-b[1].x"], &["steps.a-b.x"]);
}

#[test]
fn what_a_schema_does_not_say_is_not_refused() {
    for schema in [json!({}), json!(true), json!({ "title": "x" }), json!({ "type": "object" })] {
        table(schema, &["steps.a-b.x.y[0].z"], &[]);
    }
    for schema in [json!(null), json!("x"), json!({ "$ref": "https://example.com/x.json" })] {
        table(schema, &["steps.a-b.x.y"], &[]);
    }
    for schema in [json!({ "$ref": "#/$defs/None" }), json!({ "$dynamicRef": "#node" })] {
        table(schema, &["steps.a-b.x.y"], &[]);
    }
    // References that go in circles end.
    let circle = json!({ "$ref": "#/$defs/A", "$defs": { "A": { "$ref": "#/$defs/A" } } });
    table(circle, &["steps.a-b.x"], &[]);
    let wide = json!({ "anyOf": [{ "$ref": "#" }, { "$ref": "#" }, { "type": "null" }] });
    table(wide, &["steps.a-b.x"], &[]);
    table(json!(false), &["steps.a-b"], &["steps.a-b.x"]);
    table(json!({ "type": "null" }), &["steps.a-b"], &["steps.a-b.x", "steps.a-b[0]"]);
    table(json!({ "type": "string" }), &["steps.a-b", "steps.a-b[0]"], &["steps.a-b.x"]);
}

#[test]
fn the_outputs_of_a_step_for_each_are_a_map_by_key() {
    let schema = json!({ "type": "object", "properties": { "id": { "type": "string" } } });
    let each = |expression: &str| {
        let rest = format!(
            "for_each = \"[1, 2]\"\n[[steps]]\nid = \"c\"\nuses = \"p/take\"\n\
             with = {{ x = \"{{{{ {expression} }}}}\" }}\n"
        );
        plan(&schema, &rest)
    };
    for taken in [
        "steps.a-b",
        "steps.a-b.k",
        "steps.a-b.k.id",
        "steps.a-b['1'].id",
        "steps.a-b[operation.name].nope",
    ] {
        assert!(each(taken).is_ok(), "{taken}");
    }
    for refused in
        ["steps.a-b.k.nope", "steps.a-b['1'].nope", "steps.a-b[0].id", "steps.a-b.k.id.x"]
    {
        assert!(each(refused).is_err(), "{refused}");
    }
}

#[test]
fn outputs_are_looked_at_wherever_they_are_named() {
    let schema = json!({ "type": "object", "properties": { "id": { "type": "string" } } });
    let step = "[[steps]]\nid = \"c\"\nuses = \"p/take\"\n";
    for (rest, line) in [
        (format!("{step}when = \"steps.a-b.nope == 1\"\n"), 10),
        (format!("{step}for_each = \"{{{{ steps.a-b.nope }}}}\"\n"), 10),
        (format!("{step}[steps.with.deep]\nlist = [\n1,\n\"x{{{{ steps.a-b.nope }}}}\",\n]\n"), 13),
        ("[outputs]\nfine = \"{{ steps.a-b.id }}\"\nx = \"{{ steps.a-b.nope }}\"\n".into(), 9),
    ] {
        let wrong = plan(&schema, &rest).expect_err("there is no such output");
        assert!(wrong.starts_with(&format!("m.toml:{line}:")), "not in line {line}:\n{wrong}");
        assert!(wrong.contains("`steps.a-b` has no `nope`"), "{wrong}");
        assert!(wrong.contains("help: there are: id"), "{wrong}");
    }
}

/// A field alone keeps its kind, and another step may not take that.
#[test]
fn a_field_of_another_kind_than_is_taken_is_told_at_its_place() {
    let output = json!({ "type": "object", "properties": {
        "size": { "type": "integer" }, "name": { "type": ["string", "null"] }, "any": {},
    }});
    let input = json!({ "type": "object", "properties": {
        "text": { "$ref": "#/$defs/Text" },
        "flag": { "type": "boolean" },
        "ratio": { "type": "number" },
    }, "$defs": { "Text": { "type": "string" } } });
    let mut offers = offers(&output);
    offers.get_mut("p").expect("a plugin")[1].input_schema = input;
    let mistakes = |field: &str, expression: &str| {
        let text = format!(
            "schema = 1\n[operation]\nname = \"m\"\n[[steps]]\nid = \"a-b\"\nuses = \"p/give\"\n\
             [[steps]]\nid = \"c\"\nuses = \"p/take\"\nwith = {{ {field} = \"{expression}\" }}\n"
        );
        let manifest = manifest::parse("m.toml", &text).unwrap_or_else(|wrong| panic!("{wrong}"));
        Plan::new(manifest, &offers).map(drop).map_err(|mistakes| mistakes.to_string())
    };
    for (field, expression) in [
        ("text", "{{ steps.a-b.name }}"),
        ("text", "{{ steps.a-b.any }}"),
        ("text", "{{ steps.a-b.size | string }}"),
        ("text", "size {{ steps.a-b.size }}"),
        ("ratio", "{{ steps.a-b.size }}"),
        ("flag", "{{ steps.a-b.size > 3 }}"),
    ] {
        assert_eq!(mistakes(field, expression), Ok(()), "{field} = {expression}");
    }
    for (field, expression, said) in [
        ("text", "{{ steps.a-b.size }}", "is to be string, and `steps.a-b.size` is integer"),
        ("flag", "{{ steps.a-b.size }}", "is to be boolean, and `steps.a-b.size` is integer"),
        ("ratio", "{{ steps.a-b.name }}", "is to be number, and `steps.a-b.name` is string"),
    ] {
        let told = mistakes(field, expression).expect_err(said);
        assert!(told.contains(said), "{told}");
        assert!(told.contains("m.toml:10:"), "at its place: {told}");
    }
}
