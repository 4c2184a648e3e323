//! The names that expressions can use, and what is said of any other.
//!
//! Minijinja looks a filter, a test or a function up when it gets there, which in an operation is
//! in the middle of it. It lists only its functions, so the names of the others are kept here; a
//! test holds them against minijinja.

use super::tree::{Outline, Use};
use super::{ENVIRONMENT, OF_WORLDS, Reading, code, is_template};
use crate::diagnostic::{Diagnostic, suggest};

/// Every filter there is.
const FILTERS: &str = "abs attr batch bool capitalize chain count d default dictsort e escape \
    first float format groupby indent int items join last length lines list lower map max min \
    pprint reject rejectattr replace reverse round safe select selectattr slice sort split string \
    sum title tojson trim unique upper zip";

/// Every test there is. Those that are operators are for `select` and its like.
const TESTS: &str = "!= < <= == > >= boolean defined divisibleby endingwith eq equalto escaped \
    even false filter float ge greaterthan gt in int integer iterable le lessthan lower lt mapping \
    ne none number odd safe sameas sequence startingwith string test true undefined upper";

/// Every statement that works in a manifest.
const STATEMENTS: &str = "autoescape do elif else endautoescape endfilter endfor endif endset \
    endwith filter for if raw set with";

fn words(list: &'static str) -> impl Iterator<Item = &'static str> + Clone {
    list.split_ascii_whitespace()
}

fn functions() -> Vec<&'static str> {
    ENVIRONMENT.globals().map(|(name, _)| name).collect()
}

/// Whether a name that is not called is a function's.
pub(crate) fn is_function(name: &str) -> bool {
    ENVIRONMENT.globals().any(|(known, _)| known == name)
}

/// What is wrong with the statements of a text, by their keywords.
fn of_statements(text: &str) -> Vec<Diagnostic> {
    code::statements(text).iter().filter_map(|keyword| of_statement(keyword)).collect()
}

fn of_statement(keyword: &str) -> Option<Diagnostic> {
    if words(STATEMENTS).any(|known| known == keyword) {
        return None;
    }
    Some(match keyword {
        // Minijinja says what it misses where one of these stands alone.
        "endblock" | "endmacro" | "endcall" => return None,
        "include" | "extends" | "import" | "from" | "block" => {
            let message = format!("`{{% {keyword} %}}` needs other templates, and there are none");
            Diagnostic::new(message).help("write the text itself where it is needed")
        }
        "macro" | "call" => {
            let message = format!("there are no macros here, so no `{{% {keyword} %}}`");
            Diagnostic::new(message).help("write the text itself where it is needed")
        }
        other => {
            let message = format!("there is no statement `{{% {other} %}}`");
            Diagnostic::new(message).help(suggest(other, words(STATEMENTS)))
        }
    })
}

/// Every filter, test, function and method that is used and is not there.
pub(crate) fn unknown_names(outline: &Outline) -> Vec<Diagnostic> {
    outline.uses.iter().filter_map(of_use).collect()
}

/// The same of an invariant, which can ask the world.
pub(crate) fn unknown_names_of_invariant(outline: &Outline) -> Vec<Diagnostic> {
    let of = |one: &Use| match one {
        Use::Function(name, count) if is_of_worlds(name) => of_count(name, *count),
        Use::Function(name, _) if !is_function(name) => {
            let known = OF_WORLDS.iter().map(|(name, ..)| *name).chain(functions());
            Some(unknown("function", name, known.collect::<Vec<_>>()))
        }
        other => of_use(other),
    };
    outline.uses.iter().filter_map(of).collect()
}

fn is_of_worlds(name: &str) -> bool {
    OF_WORLDS.iter().any(|(known, ..)| *known == name)
}

fn of_use(one: &Use) -> Option<Diagnostic> {
    match one {
        Use::Filter(name) => {
            let is_known = words(FILTERS).any(|known| known == name);
            (!is_known).then(|| unknown("filter", name, words(FILTERS)))
        }
        Use::Test(name) => {
            let is_known = words(TESTS).any(|known| known == name);
            let named = words(TESTS).filter(|test| test.starts_with(char::is_alphabetic));
            (!is_known).then(|| unknown("test", name, named))
        }
        Use::Function(name, count) if is_function(name) => of_count(name, *count),
        Use::Function(name, _) if words(FILTERS).any(|known| known == name) => {
            let message = format!("there is no function `{name}`");
            Some(Diagnostic::new(message).help(format!("it is a filter: write `… | {name}`")))
        }
        Use::Function(name, _) if is_of_worlds(name) => {
            let message = format!("`{name}` looks at the world, and only `[[invariants]]` can");
            Some(Diagnostic::new(message).help("write what an earlier step gives, or an input"))
        }
        Use::Function(name, _) => Some(unknown("function", name, functions())),
        Use::Method(name) => {
            let message = format!("`{name}(…)` can't be called: values have no methods");
            let help = match name.as_str() {
                "get" => "write `x.name`, or `x['name'] | default(…)`".to_owned(),
                name => match suggest_filter(name) {
                    Some(filter) => format!("write it as a filter, `… | {filter}`"),
                    None => "use a filter, `… | filter`".to_owned(),
                },
            };
            Some(Diagnostic::new(message).help(help))
        }
    }
}

/// The filter that does what a method of this name does elsewhere.
fn suggest_filter(method: &str) -> Option<&'static str> {
    let meant = match method {
        "strip" => "trim",
        "splitlines" => "lines",
        "keys" => "list",
        other => other,
    };
    words(FILTERS).find(|known| *known == meant)
}

fn unknown(
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'static str> + Clone,
) -> Diagnostic {
    Diagnostic::new(format!("there is no {what} `{name}`")).help(suggest(name, known))
}

/// Whether a function is given as many arguments as it takes.
fn of_count(name: &str, count: Option<usize>) -> Option<Diagnostic> {
    let (takes, counts, usage) = match name {
        "product" => ("2 arguments", 2..=2, "product(a, b)"),
        "range" => ("1 to 3 arguments", 1..=3, "range(stop)` or `range(start, stop, step)"),
        "container" => ("2 arguments", 2..=2, "container(host, name)"),
        name => match OF_WORLDS.iter().find(|(known, ..)| *known == name) {
            Some((_, usage, _)) => ("1 argument", 1..=1, *usage),
            None => return None,
        },
    };
    let count = count.filter(|count| !counts.contains(count))?;
    let message = format!("`{name}` takes {takes}, not {count}");
    Some(Diagnostic::new(message).help(format!("write `{usage}`")))
}

/// What a string of a manifest is made of.
///
/// # Errors
/// Every reason why it is no template, without a place: who asks knows it.
pub(crate) fn read(text: &str, reading: Reading) -> Result<Outline, Vec<Diagnostic>> {
    let refused = if is_template(text) { of_statements(text) } else { vec![] };
    if !refused.is_empty() {
        return Err(refused);
    }
    super::outline(text, reading).map_err(|error| {
        let mistake = Diagnostic::new(error.to_string());
        vec![match code::hint(text, reading) {
            Some(hint) => mistake.help(hint),
            None => mistake,
        }]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The names in one map of the environment, as its `Debug` has them.
    fn listed(field: &str) -> BTreeSet<String> {
        let debug = format!("{:?}", *ENVIRONMENT);
        let start = debug.find(&format!("{field}: ")).expect("there is the field");
        let list = &debug[start..];
        let list = &list[list.find(['[', '{']).expect("it begins")..];
        let list = &list[..list.find([']', '}']).expect("it ends")];
        list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_names_are_minijinjas() {
        for (field, kept) in [("filters", FILTERS), ("tests", TESTS)] {
            let kept: BTreeSet<String> = words(kept).map(str::to_owned).collect();
            assert_eq!(kept, listed(field), "{field}");
        }
        assert_eq!(functions(), ["debug", "dict", "product", "range"]);
    }
}
