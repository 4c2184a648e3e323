//! The part of a lock file that one crate needs: a new plugin builds with the very crates that the
//! program's own plugins were built with.
//!
//! Cargo writes a lock file anew that is not byte for byte as it would write it, so this keeps the
//! packages' text, and their order by name.

use anyhow::{Context, ensure};
use std::collections::BTreeSet;

/// What each package of a lock file begins with.
const PACKAGE: &str = "[[package]]\n";

/// A package of a lock file.
struct Package<'a> {
    name: &'a str,
    version: &'a str,
    /// `name`, or `name version` where the file has several versions of it.
    needs: Vec<&'a str>,
    text: &'a str,
}

fn parse(text: &str) -> anyhow::Result<Package<'_>> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
        line.map(|value| value.trim_matches('"')).with_context(|| format!("no `{name}` in {text}"))
    };
    let needs = text.lines().filter_map(|line| line.strip_prefix(" \"")?.strip_suffix("\","));
    Ok(Package { name: field("name")?, version: field("version")?, needs: needs.collect(), text })
}

impl Package<'_> {
    fn is(&self, needed: &str) -> bool {
        let mut words = needed.split(' ');
        words.next() == Some(self.name) && words.next().is_none_or(|word| word == self.version)
    }
}

fn split(lock: &str) -> (&str, Vec<&str>) {
    let mut parts = lock.split(PACKAGE);
    let head = parts.next().unwrap_or_default();
    (head, parts.map(str::trim_end).collect())
}

fn join(head: &str, packages: &[String]) -> String {
    let packages: Vec<String> = packages.iter().map(|text| format!("{PACKAGE}{text}\n")).collect();
    format!("{head}{}", packages.join("\n"))
}

/// What `root` needs, itself included; the rest is left out.
pub(crate) fn part(lock: &str, root: &str) -> anyhow::Result<String> {
    let (head, texts) = split(lock);
    let all: Vec<Package<'_>> = texts.into_iter().map(parse).collect::<anyhow::Result<_>>()?;
    let (mut kept, mut asked) = (BTreeSet::new(), vec![root]);
    while let Some(needed) = asked.pop() {
        let found = all.iter().position(|package| package.is(needed));
        let found = found.with_context(|| format!("the lock file has no {needed}"))?;
        if kept.insert(found) {
            asked.extend(&all[found].needs);
        }
    }
    let kept: Vec<&Package<'_>> = kept.into_iter().map(|index| &all[index]).collect();
    // Of a name with one version left, the version is not told.
    let is_alone = |name: &str| kept.iter().filter(|package| package.name == name).count() == 1;
    let told = |line: &str| match line.strip_prefix(" \"").and_then(|line| line.split_once(' ')) {
        Some((name, _)) if is_alone(name) => format!(" \"{name}\","),
        _ => line.to_owned(),
    };
    let text =
        |package: &&Package<'_>| package.text.lines().map(told).collect::<Vec<_>>().join("\n");
    Ok(join(head, &kept.iter().map(text).collect::<Vec<_>>()))
}

/// The names of a lock file's packages.
pub(crate) fn names(lock: &str) -> impl Iterator<Item = &str> {
    lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
}

/// The same lock file for a crate of another name, which nothing in it needs.
pub(crate) fn renamed(lock: &str, from: &str, to: &str) -> anyhow::Result<String> {
    let (head, texts) = split(lock);
    ensure!(names(lock).any(|name| name == from), "the lock file has no {from}");
    let line = |name: &str| format!("name = \"{name}\"\n");
    let mut packages: Vec<String> =
        texts.iter().map(|text| text.replacen(&line(from), &line(to), 1)).collect();
    // Versions of one name stay in their order.
    packages.sort_by(|a, b| names(a).next().cmp(&names(b).next()));
    Ok(join(head, &packages))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "# by Cargo\nversion = 4\n\n\
        [[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n\
        [[package]]\nname = \"a\"\nversion = \"2.0.0\"\nchecksum = \"aa\"\n\n\
        [[package]]\nname = \"mine\"\nversion = \"0.1.0\"\ndependencies = [\n \"a 2.0.0\",\n]\n\n\
        [[package]]\nname = \"other\"\nversion = \"0.1.0\"\ndependencies = [\n \"a 1.0.0\",\n]\n";

    #[test]
    fn what_a_crate_does_not_need_is_left_out() {
        let mine = part(LOCK, "mine").expect("it is there");
        let wanted = "# by Cargo\nversion = 4\n\n\
            [[package]]\nname = \"a\"\nversion = \"2.0.0\"\nchecksum = \"aa\"\n\n\
            [[package]]\nname = \"mine\"\nversion = \"0.1.0\"\ndependencies = [\n \"a\",\n]\n";
        assert_eq!(mine, wanted);
        assert!(part(LOCK, "gone").is_err());
    }

    #[test]
    fn a_crate_of_another_name_has_its_place_in_the_order() {
        let lock = renamed(LOCK, "mine", "zebra").expect("it is there");
        assert_eq!(names(&lock).collect::<Vec<_>>(), ["a", "a", "other", "zebra"]);
        assert_eq!(renamed(&lock, "zebra", "mine").expect("it is there"), LOCK);
        assert!(renamed(LOCK, "gone", "zebra").is_err());
    }
}
