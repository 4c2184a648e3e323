//! What differs between a resource as it was and as it is, for people: one line a fact.

use serde_json::Value;
use stepback_core::Facts;
use stepback_core::resource::is_sealed;
use stepback_core::shown::in_row;

/// What differs, in lines; `None` is a resource that could not be read.
pub fn differences(before: &Facts, now: Option<&Facts>) -> Vec<String> {
    match (before, now) {
        (Facts::Unknown(why), now) => {
            let first = format!("how it was is not known: {why}");
            match now {
                None | Some(Facts::Unknown(_)) => vec![first, not_known(now)],
                Some(now) => one_side(first, "is", now),
            }
        }
        (before, None | Some(Facts::Unknown(_))) => one_side(not_known(now), "was", before),
        (Facts::Absent, Some(Facts::Absent)) => vec!["it was not there, and is not".to_owned()],
        (Facts::Absent, Some(now)) => one_side("it was not there, and is".to_owned(), "is", now),
        (before, Some(Facts::Absent)) => one_side("it is gone".to_owned(), "was", before),
        (before, Some(now)) => {
            let names = before.differing(now).into_iter();
            let differ = names.map(|name| line(&name, before.flat_get(&name), now.flat_get(&name)));
            let open = before.not_comparable(now).into_iter();
            let open = open.map(|name| format!("{}: can't be compared", in_row(&name)));
            differ.chain(open).collect()
        }
    }
}

fn not_known(now: Option<&Facts>) -> String {
    let why = match now {
        Some(Facts::Unknown(why)) => format!(": {why}"),
        None | Some(Facts::Absent | Facts::Present(_)) => String::new(),
    };
    format!("how it is now is not known{why}")
}

/// A fact that differs. What is sealed tells that it differs, and nothing else.
fn line(name: &str, was: Option<&Value>, is: Option<&Value>) -> String {
    let shown = in_row(name);
    match is_sealed(name, was) && is_sealed(name, is) {
        true => format!("{shown}: was one sealed value, is another"),
        false => format!("{shown}: was {}, is {}", said(name, was), said(name, is)),
    }
}

fn said(name: &str, value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "nothing".to_owned(),
        Some(_) if is_sealed(name, value) => "a sealed value".to_owned(),
        Some(value) => value.to_string(),
    }
}

/// The facts of a resource that was there at one time only, or known. What is sealed, or nothing,
/// tells nobody how it is made anew.
fn one_side(first: String, verb: &str, facts: &Facts) -> Vec<String> {
    if facts.is_absent() {
        return vec![first, format!("it {verb} not there")];
    }
    let told = facts.each().into_iter();
    let told = told.filter(|(name, value)| !is_nothing(value) && !is_sealed(name, Some(value)));
    let lines = told.map(|(name, value)| format!("{}: {verb} {value}", in_row(&name)));
    std::iter::once(first).chain(lines).collect()
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_is_told_fact_by_fact() {
        let was = || {
            Facts::from_json(json!({
                "tags": { "owner": "a", "same": "s", "gone": "g" },
                "attachments": [], "iops": null, "size_gib": 8,
            }))
        };
        let is = Facts::from_json(json!({
            "tags": { "owner": "b", "same": "s", "new": "n" },
            "attachments": [], "iops": 3_000, "size_gib": 8,
        }));
        let unknown = || Facts::Unknown("no answer".to_owned());
        let facts = ["size_gib: was 8", "tags.gone: was \"g\"", "tags.owner: was \"a\""];
        let facts = [&facts[..], &["tags.same: was \"s\""]].concat();
        let after = |first: &'static str| [&[first][..], &facts].concat();
        let table = [
            (
                was(),
                Some(is),
                vec![
                    "iops: was nothing, is 3000",
                    "tags.gone: was \"g\", is nothing",
                    "tags.new: was nothing, is \"n\"",
                    "tags.owner: was \"a\", is \"b\"",
                ],
            ),
            (was(), Some(Facts::Absent), after("it is gone")),
            (was(), None, after("how it is now is not known")),
            (was(), Some(unknown()), after("how it is now is not known: no answer")),
            (
                Facts::Absent,
                Some(Facts::from_json(json!({ "digest": "d" }))),
                vec!["it was not there, and is", "digest: is \"d\""],
            ),
            (Facts::Absent, None, vec!["how it is now is not known", "it was not there"]),
            (
                unknown(),
                None,
                vec!["how it was is not known: no answer", "how it is now is not known"],
            ),
            (
                unknown(),
                Some(Facts::Absent),
                vec!["how it was is not known: no answer", "it is not there"],
            ),
        ];
        for (before, now, wanted) in table {
            assert_eq!(differences(&before, now.as_ref()), wanted, "{before}, {now:?}");
        }
    }

    #[test]
    fn what_is_sealed_tells_nobody_how_it_was() {
        let of = |mode: &str| {
            let config = json!({ "IpcMode": mode });
            let facts = json!({ "image": "postgres:16", "config": config, "running": true });
            Facts::from_json(facts)
        };
        let gone = differences(&of("sealed:98"), Some(&Facts::Absent));
        let wanted = ["it is gone", "image: was \"postgres:16\"", "running: was true"];
        assert_eq!(gone, wanted);
        let changed = differences(&of("sealed:98"), Some(&of("sealed:99")));
        assert_eq!(changed, ["config.IpcMode: was one sealed value, is another"]);
        let bare = Facts::from_json(json!({ "config": {} }));
        let lost = differences(&of("sealed:98"), Some(&bare));
        assert_eq!(lost, ["config.IpcMode: was a sealed value, is nothing"]);
    }
}
