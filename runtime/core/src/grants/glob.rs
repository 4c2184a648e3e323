//! Patterns in grants: `*` stands for any text, `?` for one character, anything else for itself.

use std::fmt;

/// A pattern that a whole text is held against.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glob(pub String);

/// What stands for one character that is not known in a text that is held against patterns.
pub(super) const ANY_ONE: char = '?';

impl Glob {
    /// Whether the whole text is as the pattern says, whatever its unknown characters are.
    ///
    /// The time is bounded by the product of both lengths, whatever the pattern is.
    pub fn matches(&self, text: &str) -> bool {
        self.fits(text, |wanted, there| wanted == there)
    }

    /// The same, where what is not known may be as the pattern says.
    pub(super) fn may_match(&self, text: &str) -> bool {
        self.fits(text, |wanted, there| wanted == there || there == ANY_ONE)
    }

    /// Whether it stands for any text at all.
    pub(super) fn is_any(&self) -> bool {
        !self.0.is_empty() && self.0.chars().all(|one| one == '*')
    }

    fn fits(&self, text: &str, is_it: impl Fn(char, char) -> bool) -> bool {
        let (pattern, text): (Vec<char>, Vec<char>) =
            (self.0.chars().collect(), text.chars().collect());
        let (mut at, mut within) = (0, 0);
        // Where the last `*` is, and how much of the text it stands for so far.
        let mut star: Option<(usize, usize)> = None;
        while within < text.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, within));
                    at += 1;
                }
                Some(one) if *one == '?' || is_it(*one, text[within]) => {
                    at += 1;
                    within += 1;
                }
                _ => {
                    let Some((place, taken)) = star else { return false };
                    star = Some((place, taken + 1));
                    (at, within) = (place + 1, taken + 1);
                }
            }
        }
        pattern[at..].iter().all(|one| *one == '*')
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A command that may be run: its words, each a pattern of one argument; a last word `*` stands for
/// any number of arguments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandPattern(pub String);

impl CommandPattern {
    /// Whether a command is as the pattern says.
    pub fn matches(&self, command: &[String]) -> bool {
        let words: Vec<&str> = self.0.split_whitespace().collect();
        let (words, has_rest) = match words.split_last() {
            Some((&"*", before)) => (before, true),
            _ => (&words[..], false),
        };
        let is_as_long = match has_rest {
            true => command.len() >= words.len(),
            false => command.len() == words.len(),
        };
        let fits = |(word, argument): (&&str, &String)| Glob((*word).to_owned()).matches(argument);
        is_as_long && !command.is_empty() && words.iter().zip(command).all(fits)
    }
}

impl fmt::Display for CommandPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_held_against_the_whole_text() {
        for (pattern, text, wanted) in [
            ("main", "main", true),
            ("main", "mains", false),
            ("main", "Main", false),
            ("i-db-*", "i-db-1", true),
            ("i-db-*", "i-db-", true),
            ("i-db-*", "xi-db-1", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?", "", false),
            ("a?c", "abc", true),
            ("*-db-*", "i-db-db-1", true),
            ("*b*b", "abab", true),
            ("*b*b", "aba", false),
            ("inspect-*", "inspect-container", true),
            ("[a]", "a", false),
            ("[a]", "[a]", true),
        ] {
            assert_eq!(Glob(pattern.to_owned()).matches(text), wanted, "{pattern} and {text}");
        }
    }

    #[test]
    fn what_is_not_known_of_a_text_may_be_anything() {
        for (pattern, matches, may_match) in [
            ("stepback-*", true, true),
            ("*", true, true),
            ("stepback-???", true, true),
            ("stepback-??", false, false),
            ("stepback-0*", false, true),
            ("*f", false, true),
            ("stepback-0?1", false, true),
            ("main", false, false),
        ] {
            let glob = Glob(pattern.to_owned());
            let told = (glob.matches("stepback-???"), glob.may_match("stepback-???"));
            assert_eq!(told, (matches, may_match), "{pattern}");
        }
    }

    #[test]
    fn a_command_is_held_against_its_pattern_word_by_word() {
        for (pattern, command, wanted) in [
            ("pg_dump", &["pg_dump"][..], true),
            ("pg_dump", &["pg_dump", "-x"], false),
            ("pg_dump *", &["pg_dump"], true),
            ("pg_dump *", &["pg_dump", "-x", "a b"], true),
            ("pg_dump *", &["sh", "-c", "pg_dump"], false),
            ("pg_dump *", &["pg_dump -x"], false),
            ("pg_dump *.sql", &["pg_dump", "a.sql"], true),
            ("pg_dump *.sql", &["pg_dump", "x", "a.sql"], false),
            ("*", &["sh"], true),
            ("*", &[], false),
            ("", &[], false),
        ] {
            let command: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
            let pattern = CommandPattern(pattern.to_owned());
            assert_eq!(pattern.matches(&command), wanted, "{pattern} and {command:?}");
        }
    }
}
