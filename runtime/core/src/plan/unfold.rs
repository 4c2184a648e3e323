//! How much a plugin's schema asks of whoever holds a value against it.
//!
//! A schema of a few lines can ask for more than any machine does: of forty definitions, each of
//! which refers to the next one twice, a validator makes 2⁴⁰. So what a schema comes to, with each
//! reference in its place, is counted before a validator is made of it.

use super::extent::{bytes_of, extent};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// So many schemas one may come to. The largest of the built-in steps comes to about a hundred.
const SCHEMAS_MAX: u64 = 50_000;
/// So many looks at parts of a value one check may take: about a second.
const LOOKS_MAX: u64 = 10_000_000;
/// So many take no time that anybody notices.
const AT_ONCE: u64 = 1_000_000;
/// Holding one byte of a text against one pattern may take as long as so many looks.
const LOOKS_A_BYTE: u64 = 200;
/// Each pattern takes up to [`PATTERN_BYTES_MAX`] once it is compiled.
const PATTERNS_MAX: u64 = 64;
/// What a pattern may take, compiled: one of some thousand letters does not.
pub(super) const PATTERN_BYTES_MAX: usize = 1 << 20;
/// A pattern's own text.
const PATTERN_TEXT_BYTES_MAX: usize = 2_000;
/// References in references, each of which takes a part of the stack.
const DEEP_MAX: usize = 100;

/// Keywords whose schemas see the same value (JSON Schema 2020-12, *Core*, 10.2).
const SAME_LIST: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const SAME_ONE: [&str; 4] = ["not", "if", "then", "else"];
const SAME_MAP: [&str; 2] = ["dependentSchemas", "dependencies"];
/// Keywords whose schemas see what is within the value (10.3 and 11 there, and those of older
/// drafts).
const WITHIN_MAP: [&str; 2] = ["properties", "patternProperties"];
const WITHIN: [&str; 9] = [
    "additionalProperties",
    "items",
    "prefixItems",
    "additionalItems",
    "contains",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
];
/// Those that see what their siblings have not, so that a validator looks at these once more.
const AGAIN: [&str; 2] = ["unevaluatedItems", "unevaluatedProperties"];
/// Those that hold a value, or its names, against what is in them, part by part.
const COMPARED: [&str; 5] = ["enum", "const", "required", "dependentRequired", "dependencies"];
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];
const IDS: [&str; 2] = ["$id", "id"];
const NAMES: [&str; 4] = ["$id", "id", "$anchor", "$dynamicAnchor"];

/// What a schema comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfolded {
    schemas: u64,
    /// References that lead back to a schema that they are a part of.
    back: u64,
    /// Patterns that texts, or names of properties, are held against.
    patterns: u64,
    /// Parts of what values, or their names, are compared with.
    compared: u64,
}

/// Count what a schema comes to.
///
/// # Errors
/// More than anybody should check, as the end of a sentence that begins with the schema.
pub(super) fn unfold(schema: &Value) -> Result<Unfolded, String> {
    let mut names = HashMap::new();
    note_names(schema, &mut names);
    let mut count = Count { root: schema, names, open: vec![], known: HashMap::new() };
    count.must_end()?;
    let unfolded = count.of(schema)?;
    match unfolded.schemas {
        all if all > SCHEMAS_MAX => Err(format!(
            "comes to {all} schemas, with each reference in its place, and {SCHEMAS_MAX} are the \
             most"
        )),
        _ if unfolded.patterns > PATTERNS_MAX => Err(format!(
            "has {} patterns, with each reference in its place, and {PATTERNS_MAX} are the most",
            unfolded.patterns
        )),
        _ => Ok(unfolded),
    }
}

impl Unfolded {
    /// Whether a value can be held against it in good time.
    ///
    /// # Errors
    /// That it can't, as the end of a sentence that begins with the schema.
    pub(super) fn must_take(self, value: &Value) -> Result<(), String> {
        let (parts, deep) = extent(value);
        match self.looks(self.schemas, value) {
            looks if looks > LOOKS_MAX => {
                let back = match self.back {
                    0 => String::new(),
                    back => format!(", which refers back to itself in {back} places"),
                };
                Err(format!(
                    "comes to {} schemas{back}: with a value of {parts} parts, {deep} deep, a \
                     check takes {looks} looks, and {LOOKS_MAX} are the most",
                    self.schemas
                ))
            }
            _ => Ok(()),
        }
    }

    /// Whether a value can be held against it in no time, whatever is in it.
    pub(super) fn takes_at_once(self, value: &Value) -> bool {
        let looks = self.looks(self.schemas.saturating_add(self.compared), value);
        let texts = bytes_of(value).saturating_mul(self.patterns).saturating_mul(LOOKS_A_BYTE);
        looks.saturating_add(texts) <= AT_ONCE
    }

    /// How many looks at a value's parts so many schemas take, each back where it leads back.
    fn looks(self, schemas: u64, value: &Value) -> u64 {
        let (parts, deep) = extent(value);
        let again = match self.back {
            0 | 1 => 1,
            back => back.saturating_pow(deep),
        };
        schemas.saturating_mul(again).saturating_mul(parts)
    }
}

/// What parts of a schema are called, whatever they are; nothing, where several are called so:
/// which of them a validator means is not known here.
type Names<'a> = HashMap<&'a str, Option<&'a Value>>;

fn note_names<'a>(value: &'a Value, names: &mut Names<'a>) {
    match value {
        Value::Object(map) => {
            for name in NAMES {
                if let Some(called) = map.get(name).and_then(Value::as_str) {
                    names.entry(called).and_modify(|one| *one = None).or_insert(Some(value));
                }
            }
            map.values().for_each(|part| note_names(part, names));
        }
        Value::Array(list) => list.iter().for_each(|part| note_names(part, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What of a value a part of its schema sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sees {
    Same,
    Within,
}

struct Count<'a> {
    root: &'a Value,
    names: Names<'a>,
    /// What is being counted.
    open: Vec<*const Value>,
    /// What was counted. A part that refers back counts as it did within the schemas that were open
    /// then: what they come to is in the whole count anyway.
    known: HashMap<*const Value, Unfolded>,
}

impl<'a> Count<'a> {
    /// That no schema refers to itself for the same value: a check of it would never end.
    fn must_end(&self) -> Result<(), String> {
        let mut all: HashMap<*const Value, &'a Value> = HashMap::new();
        let mut todo = vec![self.root];
        while let Some(schema) = todo.pop() {
            if all.insert(schema, schema).is_none() {
                todo.extend(self.parts(schema).into_iter().map(|(part, _)| part));
            }
        }
        let same = |schema: &&'a Value| {
            let parts = self.parts(schema).into_iter();
            parts.filter(|(_, sees)| *sees == Sees::Same).map(|(part, _)| part).collect::<Vec<_>>()
        };
        let mut users: HashMap<*const Value, usize> = HashMap::new();
        for part in all.values().flat_map(same) {
            *users.entry(part).or_default() += 1;
        }
        // Whatever nobody uses any more is taken away; what is left at the end uses itself.
        let mut unused: Vec<&'a Value> = all
            .values()
            .filter(|one| !users.contains_key(&(**one as *const Value)))
            .copied()
            .collect();
        let mut left = all.len();
        while let Some(schema) = unused.pop() {
            left -= 1;
            for part in same(&schema) {
                if let Some(count) = users.get_mut(&(part as *const Value)) {
                    *count -= 1;
                    if *count == 0 {
                        unused.push(part);
                    }
                }
            }
        }
        match left {
            0 => Ok(()),
            _ => Err("refers to itself without end".to_owned()),
        }
    }

    fn of(&mut self, schema: &'a Value) -> Result<Unfolded, String> {
        if !schema.is_object() {
            return Ok(Unfolded { schemas: 1, back: 0, patterns: 0, compared: 0 });
        }
        let place: *const Value = schema;
        if self.open.contains(&place) {
            return Ok(Unfolded { schemas: 1, back: 1, patterns: 0, compared: 0 });
        }
        if let Some(known) = self.known.get(&place) {
            return Ok(*known);
        }
        if self.open.len() >= DEEP_MAX {
            return Err(format!("goes more than {DEEP_MAX} schemas deep"));
        }
        self.must_be_whole(schema)?;
        self.open.push(place);
        let compared = COMPARED.iter().filter_map(|name| schema.get(name));
        let compared = compared.map(|with| extent(with).0).sum();
        let mut all = Unfolded { schemas: 1, back: 0, patterns: patterns_of(schema)?, compared };
        for (part, _) in self.parts(schema) {
            let part = self.of(part)?;
            all.schemas = all.schemas.saturating_add(part.schemas);
            all.back = all.back.saturating_add(part.back);
            all.patterns = all.patterns.saturating_add(part.patterns);
            all.compared = all.compared.saturating_add(part.compared);
        }
        if AGAIN.iter().any(|keyword| schema.get(keyword).is_some()) {
            all.schemas = all.schemas.saturating_mul(2);
            all.patterns = all.patterns.saturating_mul(2);
            all.compared = all.compared.saturating_mul(2);
        }
        self.open.pop();
        self.known.insert(place, all);
        Ok(all)
    }

    /// The schemas that one is made of, and what each sees of its value.
    fn parts(&self, schema: &'a Value) -> Vec<(&'a Value, Sees)> {
        let Value::Object(keywords) = schema else { return vec![] };
        let get = |name: &&str| keywords.get(*name);
        let lists =
            |names: &[&str]| names.iter().filter_map(get).flat_map(each).collect::<Vec<_>>();
        let maps = |names: &[&str]| {
            let all = names.iter().filter_map(get).filter_map(Value::as_object);
            all.flat_map(Map::values).collect::<Vec<_>>()
        };
        let referred = REFERENCES.iter().filter_map(get).filter_map(Value::as_str);
        let same = lists(&SAME_LIST).into_iter().chain(lists(&SAME_ONE)).chain(maps(&SAME_MAP));
        let same = same.chain(referred.filter_map(|to| self.target(to)));
        let within = lists(&WITHIN).into_iter().chain(maps(&WITHIN_MAP));
        let within = within.map(|part| (part, Sees::Within));
        same.map(|part| (part, Sees::Same)).chain(within).collect()
    }

    /// Where a reference leads, if that is within the schema.
    fn target(&self, to: &str) -> Option<&'a Value> {
        let local = to.strip_prefix('#').map(decoded);
        match local {
            Some(pointer) if pointer.is_empty() || pointer.starts_with('/') => {
                self.pointed(&pointer)
            }
            Some(name) => self.named(&name),
            None => self.named(to),
        }
    }

    fn named(&self, name: &str) -> Option<&'a Value> {
        self.names.get(name).copied().flatten()
    }

    /// Where a pointer leads (RFC 6901), if not through a part with an id of its own: what it leads
    /// to has its references within that part.
    fn pointed(&self, pointer: &str) -> Option<&'a Value> {
        let mut ends = pointer.match_indices('/').map(|(at, _)| at).skip(1);
        let is_named = |end: usize| {
            let part = self.root.pointer(&pointer[..end]);
            part.is_some_and(|part| IDS.iter().any(|id| part.get(id).is_some_and(Value::is_string)))
        };
        match ends.any(is_named) {
            true => None,
            false => self.root.pointer(pointer),
        }
    }

    /// That each reference is understood here as a validator does: what it led to would not be
    /// counted else.
    fn must_be_whole(&self, schema: &Value) -> Result<(), String> {
        let text = |name: &&str| schema.get(*name).and_then(Value::as_str);
        if let Some(to) = REFERENCES.iter().filter_map(text).find(|to| self.target(to).is_none()) {
            let to = to.chars().take(80).collect::<String>();
            let to = to.escape_debug();
            return Err(format!("refers to `{to}`, which is not in it, or more than once"));
        }
        // References within it would begin there.
        let is_root = std::ptr::eq(schema, self.root);
        match IDS.iter().find(|name| text(name).is_some()) {
            Some(name) if !is_root => {
                Err(format!("has a part with an `{name}` of its own: leave that out"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// How many patterns a schema has itself.
fn patterns_of(schema: &Value) -> Result<u64, String> {
    let own = schema.get("pattern").and_then(Value::as_str);
    let names = schema.get("patternProperties").and_then(Value::as_object);
    let all =
        own.into_iter().chain(names.into_iter().flat_map(|map| map.keys().map(String::as_str)));
    let mut count = 0;
    for pattern in all {
        count += 1;
        if pattern.len() > PATTERN_TEXT_BYTES_MAX {
            let bytes = pattern.len();
            return Err(format!(
                "has a pattern of {bytes} bytes, and {PATTERN_TEXT_BYTES_MAX} are the most"
            ));
        }
    }
    Ok(count)
}

/// The fragment of a reference as it is meant (RFC 6901, section 6; RFC 3986, section 2.1).
fn decoded(fragment: &str) -> String {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        // A sign is none of them.
        let digits = digits.filter(|two| two.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let coded = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        match coded.filter(|_| byte == b'%') {
            Some(coded) => {
                bytes.push(coded);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn each(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        one => vec![one],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Definitions that refer to the next one, `times` each.
    fn doubling(count: usize, times: usize, within: &str) -> Value {
        let mut defs = Map::new();
        for at in 0..count {
            let next = json!({ "$ref": format!("#/$defs/d{}", at + 1) });
            let next = match within {
                "allOf" => json!({ "allOf": vec![next; times] }),
                _ => {
                    let all = (0..times).map(|field| (format!("f{field}"), next.clone()));
                    json!({ "properties": all.collect::<Map<_, _>>() })
                }
            };
            defs.insert(format!("d{at}"), next);
        }
        defs.insert(format!("d{count}"), json!({ "type": "string" }));
        json!({ "$ref": "#/$defs/d0", "$defs": defs })
    }

    #[test]
    fn what_a_validator_would_understand_otherwise_is_refused() {
        let coded = doubling(40, 2, "allOf").to_string().replace("#/$defs", "#/%24defs");
        let coded = serde_json::from_str(&coded).expect("JSON");
        let told = unfold(&coded).expect_err("it doubles");
        assert!(told.contains("comes to") || told.contains("deep"), "{told}");
        let within = |part: Value| json!({ "properties": { "a": part }, "$defs": { "b": true } });
        let long = "x".repeat(PATTERN_TEXT_BYTES_MAX + 1);
        for (schema, says) in [
            (within(json!({ "$ref": "https://example.com/x" })), "which is not in it"),
            (within(json!({ "$ref": "#/$defs/c" })), "`#/$defs/c`, which is not in it"),
            (within(json!({ "$id": "x", "$ref": "#/$defs/b" })), "an `$id` of its own"),
            (within(json!({ "pattern": long })), "a pattern of 2001 bytes"),
            // A part that is called so may be data.
            (
                json!({
                    "properties": { "a": { "$ref": "#b" } },
                    "$defs": { "b": { "$anchor": "b" } },
                    "default": { "$anchor": "b" },
                }),
                "or more than once",
            ),
        ] {
            let told = unfold(&schema).expect_err(says);
            assert!(told.contains(says), "{told}");
        }
        let fields: Map<_, _> =
            (0..300).map(|at| (format!("f{at}"), json!({ "pattern": "a" }))).collect();
        let told = unfold(&json!({ "properties": fields })).expect_err("many patterns");
        assert!(told.contains("has 300 patterns"), "{told}");
        assert_eq!(decoded("/a%20b%+5%zz%"), "/a b%+5%zz%");
        unfold(&within(json!({ "$ref": "#/%24defs/b", "pattern": "^a$" }))).expect("it is whole");
        unfold(&json!({ "properties": { "id": { "type": "string" } } })).expect("a field");
    }

    #[test]
    fn what_doubles_is_told_before_a_validator_is_made_of_it() {
        for within in ["allOf", "properties"] {
            let told = unfold(&doubling(40, 2, within)).expect_err(within);
            assert!(told.contains("and 50000 are the most"), "{told}");
            unfold(&doubling(10, 2, within)).expect(within);
        }
        unfold(&doubling(40, 1, "allOf")).unwrap();
        let told = unfold(&doubling(5_000, 1, "allOf")).unwrap_err();
        assert!(told.contains("schemas deep"), "{told}");
    }

    #[test]
    fn what_refers_to_itself_without_end_is_told() {
        for schema in [
            json!({ "$ref": "#" }),
            json!({ "anyOf": [{ "type": "null" }, { "$ref": "#" }] }),
            json!({ "$ref": "#/$defs/a", "$defs": {
                "a": { "not": { "$ref": "#/$defs/b" } }, "b": { "$ref": "#/$defs/a" },
            } }),
            json!({ "$id": "a", "allOf": [{ "$ref": "a" }] }),
            json!({ "$anchor": "a", "allOf": [{ "$ref": "#a" }] }),
            // One that is met within the value first, where it does end.
            json!({ "allOf": [
                { "properties": { "x": { "$ref": "#/$defs/p" } } }, { "$ref": "#/$defs/p" },
            ], "$defs": { "p": { "allOf": [{ "$ref": "#" }] } } }),
        ] {
            let told = unfold(&schema).unwrap_err();
            assert!(told.contains("without end"), "{schema}: {told}");
        }
    }

    #[test]
    fn a_value_that_takes_too_long_is_told_and_a_tree_is_not() {
        let tree = json!({ "properties": {
            "left": { "$ref": "#" }, "right": { "$ref": "#" }, "name": { "type": "string" },
        } });
        let any = json!({ "anyOf": [
            { "type": "string" },
            { "items": { "$ref": "#" } },
            { "additionalProperties": { "$ref": "#" } },
        ] });
        let bomb = json!({ "properties": { "a": { "allOf": vec![json!({ "$ref": "#" }); 4] } } });
        let deep = |deep: usize| (0..deep).fold(json!("end"), |value, _| json!({ "a": value }));
        for schema in [&tree, &any] {
            unfold(schema).unwrap().must_take(&deep(12)).unwrap();
        }
        let told = unfold(&bomb).unwrap().must_take(&deep(30)).unwrap_err();
        assert!(told.contains("which refers back to itself in 4 places"), "{told}");
        assert!(told.contains("and 10000000 are the most"), "{told}");
        unfold(&bomb).unwrap().must_take(&deep(5)).unwrap();
        let names: Vec<String> = (0..2_000).map(|at| format!("n{at}")).collect();
        let value = json!({ "t": "x".repeat(10_000), "list": vec![1; 1_000] });
        for (schema, at_once) in [
            (tree, true),
            (json!({ "properties": { "t": { "pattern": "^a$" } } }), false),
            (json!({ "enum": names }), false),
            (json!({ "required": names }), false),
            (json!({ "dependentRequired": { "t": names } }), false),
            (json!({ "dependencies": { "t": names } }), false),
            (json!({ "required": ["t"], "enum": [1, 2] }), true),
        ] {
            assert_eq!(unfold(&schema).unwrap().takes_at_once(&value), at_once, "{schema}");
        }
        // Data is no schema.
        unfold(&json!({ "enum": [{ "$ref": "#" }], "default": { "$ref": "#" } })).unwrap();
    }
}
