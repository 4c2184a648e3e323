//! Expressions: what they come to, what they refer to and what of them is told without evaluating.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use stepback_core::expr::{self, Scope};

fn scope() -> Scope {
    Scope {
        inputs: BTreeMap::from([
            ("name".to_owned(), json!("main")),
            ("size".to_owned(), json!(20)),
            ("tags".to_owned(), json!({ "a": 1 })),
        ]),
        steps: BTreeMap::from([
            ("a-b".into(), json!({ "x": 7, "list": [{ "y": "z" }], "tags": { "k-1": "v" } })),
            ("a".into(), json!({ "x": 10 })),
            ("disk-0b".into(), json!({ "x": 1 })),
            ("disk-1e".into(), json!({ "x": 2 })),
            ("end-".into(), json!({ "x": 3 })),
            ("one-number".into(), json!(5)),
        ]),
        each: None,
        operation: json!({ "id": 7, "name": "m" }),
        environment: json!({ "name": "local" }),
    }
}

fn evaluate(template: &str) -> Value {
    match expr::evaluate_value(&json!(template), &scope()) {
        Ok(value) => value,
        Err(error) => panic!("{template}: {error}"),
    }
}

#[test]
fn a_steps_id_may_have_dashes_wherever_it_stands() {
    let table = [
        (r"{{ 'it\'s ' ~ steps.a-b.x }}", json!("it's 7")),
        (r#"{{ "a \" b" ~ steps.a-b.x }}"#, json!("a \" b7")),
        ("{{- steps.a-b.x -}}", json!(7)),
        ("{{+ steps.a-b.x +}}", json!(7)),
        ("{{-steps.a-b.x-}}", json!(7)),
        ("{{-steps.one-number-}}", json!(5)),
        ("{%-if steps.one-number-%} x {%-endif-%}", json!("x")),
        ("  {{ steps.a-b.x }}\n", json!(7)),
        ("x {{- steps.a-b.x -}} y", json!("x7y")),
        ("{{ steps . a-b . x }}", json!(7)),
        ("{{ steps['a-b'].x }}", json!(7)),
        ("{{ steps[ \"a-b\" ]['x'] }}", json!(7)),
        ("{{ steps.a_b.x }}", json!(7)),
        ("{{ steps['a_b'].x }}", json!(7)),
        ("{{ steps.a-b.list[0].y }}", json!("z")),
        ("{{ steps.a-b.list.0.y }}", json!("z")),
        ("{{ steps.a-b.tags['k-1'] }}", json!("v")),
        ("{{ [steps.a-b.x, {'k': steps.a-b.x}] }}", json!([7, { "k": 7 }])),
        ("{{ {'a': {'b': steps.a-b.x}} }}", json!({ "a": { "b": 7 } })),
        // No sequence of Jinja's tokens: `0b` and `1e` begin numbers.
        ("{{ steps.disk-0b.x }}", json!(1)),
        ("{{ steps.disk-1e.x }}", json!(2)),
        ("{{ steps.end-.x }}", json!(3)),
        ("{{ steps.a-b.x + steps.disk-0b.x }}", json!(8)),
        // A subtraction.
        ("{{ steps.a.x - steps.a-b.x }}", json!(3)),
        ("{{ steps.a.x - 1 }}", json!(9)),
        ("{{ steps.a.x-1 }}", json!(9)),
        ("{{ inputs.size-5 }}", json!(15)),
        // Text that only looks like it.
        ("{{ 'steps.a-b.x' }}", json!("steps.a-b.x")),
        ("steps.a-b.x {{ 1 }}", json!("steps.a-b.x 1")),
        ("{# it's steps.a-b.x #}{{ steps.a-b.x }}", json!("7")),
        ("{# {{ #}{{ steps.a-b.x }}", json!("7")),
        ("{% raw %}{{ steps.a-b.x }}{% endraw %}", json!("{{ steps.a-b.x }}")),
        ("{%- raw -%} {{ a-b }} {%- endraw -%}{{ steps.a-b.x }}", json!("{{ a-b }}7")),
        ("{% if steps.a-b.x == 7 %}yes{% endif %}", json!("yes")),
        ("{%- for y in steps.a-b.list -%}{{ y.y }}{%- endfor -%}", json!("z")),
        ("{{ {'steps': {'a': 3}}.steps.a-1 }}", json!(2)),
        ("{{ '}}' }}", json!("}}")),
        ("{{ '}}' }}{{ 1 }}", json!("}}1")),
    ];
    for (template, expected) in table {
        assert_eq!(evaluate(template), expected, "{template}");
    }
    assert_eq!(expr::evaluate_bool("steps.a-b.x == 7 and 'it\\'s' != ''", &scope()), Ok(true));
    assert_eq!(expr::evaluate_bool("{{- steps.a-b.x == 7 -}}", &scope()), Ok(true));
    let each = expr::evaluate_each("steps.a-b.tags", &scope()).expect("a map");
    assert_eq!(each[0].0, "k-1".into());
    let spaced = expr::evaluate_value(&json!("{{ steps.a - b }}"), &scope());
    let why = spaced.expect_err("it is a subtraction").to_string();
    assert!(why.contains("`steps.a - b`"), "{why}");
}

fn references(template: &str) -> BTreeSet<String> {
    let paths = expr::references(&json!(template)).expect("it compiles");
    paths.into_iter().map(|path| path.join(".")).collect()
}

#[test]
fn what_an_expression_refers_to_is_all_that_it_looks_at() {
    let table: &[(&str, &[&str])] = &[
        ("{{ steps.a-b.x ~ inputs.name }}", &["steps.a-b.x", "inputs.name"]),
        ("{{ steps['a-b']['x'] }}", &["steps.a-b.x"]),
        ("{{ steps.a_b.x }}", &["steps.a-b.x"]),
        ("{{ steps.a-b.list[0].y }}", &["steps.a-b.list"]),
        ("{{ steps.a-b.list[1:] }}", &["steps.a-b.list"]),
        ("{{ inputs.name[steps.a.x:inputs.size] }}", &["inputs.name", "steps.a.x", "inputs.size"]),
        ("{{ steps.a-b.tags[inputs.name].z }}", &["steps.a-b.tags", "inputs.name"]),
        ("{{ steps[inputs.name] }}", &["steps", "inputs.name"]),
        ("{{ (steps.a-b.list | first).y }}", &["steps.a-b.list"]),
        ("{{ steps.a-b.tags.items() }}", &["steps.a-b.tags"]),
        ("{{ range(inputs.size) }}", &["inputs.size"]),
        ("{{ inputs['size'] }}", &["inputs.size"]),
        ("{{ 'steps.a.x' }} steps.a.x {# {{ steps.a.x }} #}", &[]),
        ("{% for y in steps.a-b.list %}{{ y.z }}{{ loop.index }}{% endfor %}", &["steps.a-b.list"]),
        ("{% set y = inputs.size %}{{ y }}", &["inputs.size"]),
        ("{% set inputs = inputs.tags %}{{ inputs.a }}", &["inputs.tags"]),
        ("{% with y = inputs.size, z = y %}{{ z }}{% endwith %}{{ y }}", &["inputs.size", "y"]),
        (
            "{% filter replace(inputs.name, steps.a.x) %}x{% endfilter %}",
            &["inputs.name", "steps.a.x"],
        ),
        (
            "{% set y | replace(inputs.name, '') %}{{ inputs.size }}{% endset %}{{ y }}",
            &["inputs.name", "inputs.size"],
        ),
        (
            "{% if inputs.size is divisibleby(steps.a.x) %}{% else %}{{ each.key }}{% endif %}",
            &["inputs.size", "steps.a.x", "each.key"],
        ),
    ];
    for (template, expected) in table {
        let expected = expected.iter().map(|path| path.to_string()).collect();
        assert_eq!(references(template), expected, "{template}");
    }
}

#[test]
fn only_what_walks_its_data_once_is_simple() {
    let simple = [
        "",
        "text",
        "{{ inputs.name }}",
        "{{- inputs.name -}} text {{ steps.a-b.list[0].y }}",
        "{{ steps['a-b']['list'][-1] }}",
        "{{ 'a' ~ inputs.name ~ steps.a-b.x ~ 5 }}",
        "{% raw %}{{ x | y }}{% endraw %}",
        "{# {{ 1 + 1 }} #}{{ inputs.name }}",
        "{{ 'inputs.size | upper' }}",
        "{{ true }}",
        "{{ -1 }}",
    ];
    for text in simple {
        assert!(expr::is_simple(&json!({ "a": [text, 1, null] })), "{text}");
    }
    let costly = [
        "{{ inputs.name | upper }}",
        "{{ inputs.name is defined }}",
        "{{ inputs.size + 1 }}",
        "{{ -inputs.size }}",
        "{{ not inputs.size }}",
        "{{ inputs.size == 1 }}",
        "{{ 1 < inputs.size < 3 }}",
        "{{ inputs.size in [1] }}",
        "{{ range(3) }}",
        "{{ inputs.tags.items() }}",
        "{{ [inputs.size] }}",
        "{{ (1, 2) }}",
        "{{ {'a': 1} }}",
        "{{ 'a' if inputs.size }}",
        "{{ inputs.name[1:] }}",
        "{{ inputs.tags[inputs.name] }}",
        "{{ inputs.tags[inputs.name].x.y }}",
        "{{ (inputs.tags | list)[0].x }}",
        "{{ inputs.tags['a' ~ 'b'] }}",
        "{% if true %}x{% endif %}",
        "{% set x = 1 %}",
        "{% for x in inputs.tags %}{% endfor %}",
        "{{ inputs. }}",
    ];
    for text in costly {
        assert!(!expr::is_simple(&json!({ "a": [text] })), "{text}");
    }
    assert!(expr::is_simple(&json!(1)) && expr::is_simple(&Value::Null));
    for text in ["inputs.flag", "{{ steps.a-b.x }}", "steps['a-b'].x", "true"] {
        assert!(expr::is_simple_expression(text), "{text}");
    }
    for text in ["inputs.size > 1", "{{ inputs.size > 1 }}", "range(3)", "1 +", "[1]"] {
        assert!(!expr::is_simple_expression(text), "{text}");
    }
}

#[test]
fn the_longest_template_is_read_without_taking_the_stack() {
    let long = |begin: &str, again: &str, end: &str| {
        let times = (4 << 10) - 6 - begin.len() - end.len();
        format!("{{{{ {begin}{}{end} }}}}", again.repeat(times / again.len()))
    };
    let all = [
        long("", "not ", "inputs.size"),
        long("1", "+1", ""),
        long("inputs.name", "~inputs.name", ""),
        long("inputs", ".a", ""),
        long("inputs.tags", "[each]", ""),
        long("inputs", "[1:]", ""),
        long("inputs.name", "|e", ""),
        long("inputs.a", "()", ""),
        long("1", " is in 1", ""),
        long("1", " if 1", ""),
    ];
    for text in all {
        assert!(expr::references(&json!(text)).is_ok(), "{}…", &text[..40]);
        expr::is_simple(&json!(text));
    }
}

/// What a manifest is refused for must be what would have failed: see `bad/`.
#[test]
fn what_is_refused_would_have_failed() {
    for template in [
        "{{ inputs.name | uper }}",
        "{{ [1] | map('uper') | list }}",
        "{{ [1] | select('od') | list }}",
        "{{ [{}] | selectattr('a', 'od') | list }}",
        "{{ inputs.name is defind }}",
        "{{ rnage(3) }}",
        "{{ length(inputs.name) }}",
        "{{ range(1, 2, 3, 4) }}",
        "{{ inputs.tags.items() }}",
        "{{ inputs.tags.get('a') }}",
        "{{ inputs.name.upper() }}",
        "{{ steps.a-b.tags.items() }}",
        "{{ inputs['name']() }}",
        "{% include 'x' %}",
        "{% extends 'x' %}",
        "{% import 'x' as y %}",
        "{% from 'x' import y %}",
        "{% macro x() %}{% endmacro %}",
        "{{ loop.index }}",
        "{{ self.x() }}",
        "{{ super() }}",
        "{{ inputs.name.id }}",
        "{{ inputs.size[0] }}",
        "{{ inputs.tags.0 }}",
        "{{ operation.nmae }}",
        "{{ environment.region }}",
        "{{ steps.a-b.list.y }}",
    ] {
        let answer = expr::evaluate_value(&json!(template), &scope());
        assert!(answer.is_err(), "{template} gave {answer:?}");
    }
}
