//! Grants as `stepback.toml` and the command line have them, each mistake at its place.

use crate::error::CliError;
use std::ops::Range;
use stepback_core::diagnostic::Diagnostic;
use stepback_core::grants::{Grant, Grants, Mistake, Policy, read};
use toml::Spanned;

/// One entry of `grants`, `allow` or `deny`, as it is written.
pub type Written = Spanned<toml::Value>;

/// What a list of them comes to; mistakes are added to those found.
pub fn check(list: &[Written], text: &str, found: &mut Vec<Diagnostic>) -> Vec<Grant> {
    let mut grants = vec![];
    for written in list {
        match of_toml(written.get_ref()) {
            Ok(read) => grants.extend(read),
            Err(Mistake { message, word, help }) => {
                let at = place(text, written.span(), word.as_deref());
                found.push(Diagnostic::at(at, message).help(help));
            }
        }
    }
    grants
}

/// What binds everybody in an environment.
pub fn policy(
    allow: Option<&[Written]>,
    deny: &[Written],
    text: &str,
    found: &mut Vec<Diagnostic>,
) -> Policy {
    let allow = allow.map(|list| check(list, text, found).into_iter().collect::<Grants>());
    for written in deny {
        let denied = of_toml(written.get_ref()).unwrap_or_default();
        if let Some(grant) = denied.iter().find(|grant| !grant.interface.needs_grant()) {
            let name = grant.interface.name();
            let at = place(text, written.span(), Some(name));
            let message = format!("`{name}` can't be denied: it reaches nothing outside");
            let help =
                "leave it out; `ec2`, `ebs`, `docker` and `load-balancer` can be denied".to_owned();
            found.push(Diagnostic::at(at, message).help(help));
        }
        let useless: Vec<_> = denied.iter().filter_map(Grant::hits_nothing_by).collect();
        // What narrows one interface may be meant for another one of the same entry.
        if let Some((keys, functions)) = useless.first()
            && useless.len() == denied.len()
        {
            let at = place(text, written.span(), keys.first().copied());
            let keys = keys.join("` and `");
            let message =
                format!("this denies nothing: none of its functions has to do with `{keys}`");
            let help = match functions.is_empty() {
                true => "write an entry for each".to_owned(),
                false => format!("those that have are {}", functions.join(", ")),
            };
            found.push(Diagnostic::at(at, message).help(help));
        }
    }
    Policy { allow, deny: check(deny, text, found).into_iter().collect() }
}

/// What `--grant PLUGIN=…` grants: names of interfaces, or a table as the configuration has it.
pub fn given(text: &str) -> Result<Vec<Grant>, CliError> {
    let mistake =
        |Mistake { message, help, .. }| CliError::usage(format!("`--grant`: {message}"), help);
    if !text.trim_start().starts_with(['{', '[']) {
        let names = text.split(',').filter(|name| !name.is_empty());
        let one = |name: &str| read(&serde_json::Value::from(name)).map_err(mistake);
        let all: Result<Vec<Vec<Grant>>, CliError> = names.map(one).collect();
        return all.map(|all| all.into_iter().flatten().collect());
    }
    let parsed: toml::Table = toml::from_str(&format!("grants = {text}")).map_err(|error| {
        let help = "such as `--grant './my.wasm={ ebs = [\"tag\"] }'`";
        CliError::usage(format!("`--grant`: {}", error.message()), help)
    })?;
    let written = parsed.get("grants").cloned().unwrap_or(toml::Value::Array(vec![]));
    let list = match written {
        toml::Value::Array(list) => list,
        one => vec![one],
    };
    let all: Result<Vec<Vec<Grant>>, CliError> =
        list.iter().map(|one| of_toml(one).map_err(mistake)).collect();
    all.map(|all| all.into_iter().flatten().collect())
}

fn of_toml(written: &toml::Value) -> Result<Vec<Grant>, Mistake> {
    // A time of TOML's has no like in JSON, and is no text either.
    read(&serde_json::to_value(written).unwrap_or_default())
}

/// Where a word is within an entry; the whole entry, where it can't be told.
fn place(text: &str, span: Range<usize>, word: Option<&str>) -> Range<usize> {
    let within = text.get(span.clone()).unwrap_or_default();
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || "-_*".contains(c));
    let whole_word = |(at, word): &(usize, &str)| {
        let (before, after) = (&within[..*at], &within[at + word.len()..]);
        !is_part(before.chars().next_back()) && !is_part(after.chars().next())
    };
    let found = word.and_then(|word| within.match_indices(word).find(whole_word));
    match found {
        Some((at, word)) => span.start + at..span.start + at + word.len(),
        None => span,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_at_its_word() {
        let text = "grants = [\"ebs\", { ebs = [\"describe\", \"describ\"] }]";
        let at = place(text, 17..text.len() - 1, Some("describ"));
        assert_eq!((&text[at.clone()], at.start), ("describ", 39));
        assert_eq!(place(text, 3..9, Some("nothing")), 3..9);
    }

    #[test]
    fn the_command_line_grants_interfaces_or_tables() {
        let told = |text: &str| -> Vec<String> {
            given(text).expect("a grant").iter().map(ToString::to_string).collect()
        };
        assert_eq!(told("ebs,docker"), ["ebs: everything", "docker: everything"]);
        assert_eq!(told("{ ebs = [\"tag\"] }"), ["ebs: tag"]);
        assert_eq!(told("[{ ebs = \"read\" }, \"ec2\"]").len(), 2);
        for bad in ["ebz", "{ ebs = ", "{ ebs = [\"tga\"] }"] {
            given(bad).expect_err(bad);
        }
    }
}
