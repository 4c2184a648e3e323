//! Mistakes, each with its place: what a person is shown when a text can't be taken.
//!
//! Every stage collects all the mistakes it finds before it gives up. A diagnostic knows its byte
//! span; where line and column are wanted they are computed from the text, never kept.

use std::fmt;
use std::ops::Range;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, as one sentence without a full stop.
    pub message: String,
    /// The bytes of the source it is about.
    pub span: Option<Range<usize>>,
    /// A few words put beside the piece of text.
    pub label: Option<String>,
    /// What to write instead.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A mistake with no place.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None, label: None, help: None }
    }

    /// A mistake at a place.
    pub fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span: Some(span), ..Self::new(message) }
    }

    /// The same with what to write instead.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with words beside the piece of text.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }
}

/// All the mistakes of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    /// The file's name as it was given.
    pub name: String,
    /// The whole source, whose lines are shown; empty where it was too large to take.
    pub text: String,
    /// In the order in which they are shown.
    pub list: Vec<Diagnostic>,
}

/// The 1-based line and column (in characters) of a byte offset in a text.
pub fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}

impl Diagnostics {
    /// The 1-based line and column (in characters) of a byte offset.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        line_column(&self.text, offset)
    }

    fn write_one(&self, f: &mut fmt::Formatter<'_>, one: &Diagnostic) -> fmt::Result {
        match &one.span {
            None => writeln!(f, "{}: {}", self.name, one.message)?,
            Some(span) => {
                let (line, column) = self.line_column(span.start);
                writeln!(f, "{}:{line}:{column}: {}", self.name, one.message)?;
                let text = self.text.lines().nth(line - 1).unwrap_or("");
                let shown: String = text.chars().take(160).collect();
                writeln!(f, "  {line:>4} | {shown}")?;
                let room = shown.chars().count().saturating_sub(column - 1).max(1);
                let end = span.end.clamp(span.start, self.text.len());
                let width = self.text.get(span.start..end).map_or(1, |t| t.chars().count());
                let marks = "^".repeat(width.clamp(1, room));
                let label = one.label.as_deref().unwrap_or("");
                let line = format!("       | {}{marks} {label}", " ".repeat(column - 1));
                writeln!(f, "{}", line.trim_end())?;
            }
        }
        match &one.help {
            Some(help) => writeln!(f, "  help: {help}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, one) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            self.write_one(f, one)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// The known name nearest to `given`, if one is near enough to have been meant.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let known: Vec<&str> = known.into_iter().collect();
    // An abbreviation is nearer than any letter count says.
    let begins = |name: &&str| given.len() >= 3 && name.starts_with(given);
    if let Some(whole) = known.iter().copied().find(begins) {
        return Some(whole);
    }
    let is_short = |name: &&str| name.len() <= NAME_BYTES_MAX;
    if !is_short(&given) {
        return None;
    }
    known
        .into_iter()
        .filter(is_short)
        .map(|name| (distance(given, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len().max(given.len()) / 4)
        .min()
        .map(|(_, name)| name)
}

/// A longer name is not guessed at.
const NAME_BYTES_MAX: usize = 200;
/// More names than this are not listed.
const NAMES_MAX: usize = 100;

/// "did you mean …?" or the list of what there is.
pub fn suggest<'a>(given: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match nearest(given, known.clone()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => {
            let names: Vec<&str> = known.into_iter().collect();
            match names.len() {
                0 => "there are none".to_owned(),
                count @ ..=NAMES_MAX => format!("there are: {}", names[..count].join(", ")),
                count => {
                    let more = count - NAMES_MAX;
                    format!("there are: {} and {more} more", names[..NAMES_MAX].join(", "))
                }
            }
        }
    }
}

/// Levenshtein's distance in characters; names are short, so the plain table will do.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
