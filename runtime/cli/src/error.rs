//! Errors of the program: each with an exit code, what happened, and what to do.

use crate::output::{Style, harmless};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity};
use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use stepback_core::OperationId;
use stepback_core::diagnostic::{Diagnostic, Diagnostics};
use stepback_engine::{Refusal, RunError, WayOut};
use stepback_journal::StoreError;

/// The exit codes of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Succeeded = 0,
    Internal = 1,
    Refused = 2,
    Restored = 3,
    RestoredExceptDeclared = 4,
    Incomplete = 5,
    Unfinished = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub enum CliError {
    /// A command line, file or input that can't be taken.
    Usage {
        message: String,
        help: Option<String>,
    },
    Mistakes(Diagnostics),
    Refused {
        id: Option<OperationId>,
        reasons: Vec<String>,
    },
    Left {
        id: OperationId,
        why: String,
    },
    LeftByStore {
        id: OperationId,
        error: StoreError,
    },
    /// It can't be rolled back now; whoever takes it up does.
    CancelKept {
        id: OperationId,
        why: String,
    },
    /// It can't go forward any more.
    NotForward {
        id: OperationId,
        because: Vec<String>,
        way_out: WayOut,
    },
    /// What is on record of an operation can't be read.
    Unreadable {
        id: OperationId,
        why: String,
        is_given_up: bool,
    },
    Store(StoreError),
    Internal(String),
}

impl CliError {
    /// A journal that can't be read, of an operation that nobody has given up.
    pub fn unreadable(id: OperationId, why: String) -> Self {
        CliError::Unreadable { id, why, is_given_up: false }
    }

    /// A mistake on the command line, with what to do instead.
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        CliError::Usage { message: message.into(), help: Some(help.into()) }
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            CliError::Usage { .. }
            | CliError::Mistakes(_)
            | CliError::Refused { .. }
            | CliError::Unreadable { .. }
            | CliError::Store(StoreError::NotFound(_) | StoreError::LeaseHeld { .. }) => {
                Exit::Refused
            }
            CliError::Left { .. }
            | CliError::LeftByStore { .. }
            | CliError::CancelKept { .. }
            | CliError::NotForward { .. } => Exit::Unfinished,
            CliError::Store(_) | CliError::Internal(_) => Exit::Internal,
        }
    }

    /// Tell it on stderr.
    pub fn print(&self) {
        let style = Style::of_stderr();
        let error = style.red("error");
        match self {
            CliError::Usage { message, help } => {
                tell!("{error}: {message}");
                if let Some(help) = help {
                    tell!("  help: {help}");
                }
            }
            CliError::Mistakes(mistakes) => print_mistakes(mistakes, &style),
            CliError::Refused { id, reasons } => {
                match id {
                    Some(id) => {
                        tell!("{error}: operation {id} is refused; nothing was changed")
                    }
                    None => tell!("{error}: refused; nothing was changed"),
                }
                for reason in reasons {
                    tell!("  - {reason}");
                }
            }
            CliError::Left { id, why } => {
                tell!("{error}: operation {id} is left unfinished: {why}");
                tell!("  help: go on with `stepback resume {id}`");
            }
            CliError::CancelKept { id, why } => {
                tell!("{error}: operation {id} is left unfinished: {why}");
                tell!("  help: the cancel is kept; `stepback resume {id}` rolls it back");
            }
            CliError::LeftByStore { id, error: store } => {
                match store {
                    StoreError::StaleEpoch { .. } => tell!("{error}: {store}"),
                    _ => tell!("{error}: operation {id} is left unfinished: {store}"),
                }
                if let Some(help) = store_help(store) {
                    tell!("  help: {help}");
                }
                if !matches!(store, StoreError::StaleEpoch { .. }) {
                    tell!("  help: then go on with `stepback resume {id}`");
                }
            }
            CliError::NotForward { id, because, way_out } => {
                tell!("{error}: operation {id} is left unfinished: it can't go forward");
                for reason in because {
                    tell!("  - {reason}");
                }
                let out = way_out_text(*id, *way_out);
                tell!("  help: put that back and `stepback resume {id}` goes on; {out}");
            }
            CliError::Unreadable { id, why, is_given_up } => {
                tell!("{error}: the journal of operation {id} can't be read: {why}");
                tell!("  help: {}", unreadable_help(*id, *is_given_up));
            }
            CliError::Store(store) => {
                tell!("{error}: {store}");
                if let Some(help) = store_help(store) {
                    tell!("  help: {help}");
                }
            }
            CliError::Internal(why) => {
                tell!("{error}: {why}");
                tell!("  help: this is a defect of Stepback; please report it");
            }
        }
    }
}

fn way_out_text(id: OperationId, way_out: WayOut) -> String {
    match way_out {
        WayOut::CalledOff => format!("`stepback cancel {id}` calls it off"),
        WayOut::Back => format!("`stepback cancel {id}` rolls it back without it"),
        WayOut::BackInPart => format!(
            "`stepback cancel {id}` rolls back only what can be without it; the rest waits for \
             `stepback rollback {id}` with that put back"
        ),
        WayOut::GivenUp => format!(
            "past its commit point nothing rolls back: `stepback unlock {id} --reason WHY` leaves \
             what is not cleaned up, and releases its locks"
        ),
    }
}

fn unreadable_help(id: OperationId, is_given_up: bool) -> String {
    match is_given_up {
        true => "it was given up, and holds no locks; its records are what is left".to_owned(),
        false => format!(
            "take the state directory from a backup; or give the operation up: \
             `stepback unlock {id} --reason WHY` releases its locks, and puts nothing back"
        ),
    }
}

fn store_help(error: &StoreError) -> Option<&'static str> {
    match error {
        StoreError::NotFound(_) => Some("`stepback list` shows what there is"),
        StoreError::LeaseHeld { .. } => Some(
            "it goes on by itself while its runner lives; `stepback cancel ID` asks that one to \
             roll back",
        ),
        StoreError::Full(_) => Some("make room on the disk of the state directory"),
        StoreError::Io(_) => Some("look at the disk of the state directory, and mount or mend it"),
        StoreError::ReadOnly(_) | StoreError::Unusable { .. } => {
            Some("choose another place with `--state DIR`, or make this one writable")
        }
        StoreError::Newer { .. } => Some("use the Stepback that wrote it, or a newer one"),
        StoreError::Busy(_) => Some("another process holds it; try again"),
        StoreError::Corrupt(_) => Some("restore the directory from a backup; it was not changed"),
        StoreError::StaleEpoch { .. } | StoreError::WrongSequence { .. } => {
            Some("whoever took it over goes on with it; `stepback list` tells how it goes")
        }
        StoreError::Unreadable { .. } | StoreError::Requested(_) | StoreError::Closed => None,
    }
}

impl From<Refusal> for CliError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Mistakes(mistakes) => CliError::Mistakes(mistakes),
            Refusal::Reasons { id, reasons } => CliError::Refused { id, reasons },
        }
    }
}

impl From<RunError> for CliError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Refused(refusal) => refusal.into(),
            RunError::Left { id, why } => CliError::Left { id, why },
            RunError::LeftByStore { id, error } => CliError::LeftByStore { id, error },
            RunError::Requested => CliError::Internal("a request was not honoured".into()),
            RunError::NotForward { id, because, way_out } => {
                CliError::NotForward { id, because, way_out }
            }
            RunError::Unreadable { id, why } => CliError::unreadable(id, why),
            RunError::Committed { id } => CliError::usage(
                format!("operation {id} is past its commit point: nothing rolls back now"),
                format!(
                    "what it still does is cleanup; if nobody runs it, `stepback resume {id}` \
                     goes on with it"
                ),
            ),
            RunError::RunsElsewhere { id, place, host } => CliError::usage(
                format!(
                    "operation {id} is run from another state directory, {place} on {host}, which \
                     this one is a copy of"
                ),
                "end it there; two journals of one operation can't both be true",
            ),
            RunError::WentOn { id, why } => CliError::usage(
                why,
                format!(
                    "put the newest journal in this one's place; where there is none, look at the \
                     world, then `stepback unlock {id} --reason …` gives this one up"
                ),
            ),
            RunError::StandsStill { id, why } => CliError::usage(
                format!("the rollback of operation {id} can't be taken up again: {why}"),
                format!("`stepback rollback {id}` once that one has let go"),
            ),
            RunError::AskedFor { id } => CliError::usage(
                format!("operation {id} is being run, and was asked to roll back"),
                format!("`stepback show {id}` tells how it goes"),
            ),
            RunError::BeingRun { id } => CliError::usage(
                format!("operation {id} is being run, so nobody else can take it back"),
                format!("`stepback cancel {id}` asks whoever runs it to"),
            ),
            RunError::Unfinished { id, rolling_back: true } => CliError::usage(
                format!("operation {id} has not ended: it is rolling back"),
                format!("`stepback resume {id}` goes on with the rollback if nobody runs it"),
            ),
            RunError::Unfinished { id, rolling_back: false } => CliError::usage(
                format!("operation {id} has not ended, so there is no world to accept"),
                format!("`stepback cancel {id}` rolls it back first"),
            ),
            RunError::Ended { id, status } => CliError::usage(
                format!("operation {id} has ended already: {status}"),
                format!("`stepback show {id}` tells how"),
            ),
            RunError::Store(error) => error.into(),
            RunError::Internal(why) => CliError::Internal(why),
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreadable { id, seq, why } => {
                CliError::unreadable(id, format!("event {}: {why}", seq.0))
            }
            error => CliError::Store(error),
        }
    }
}

/// One mistake, as miette draws it.
#[derive(Debug)]
struct Drawn<'a> {
    one: &'a Diagnostic,
    source: Option<NamedSource<String>>,
}

impl fmt::Display for Drawn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.one.message)
    }
}

impl std::error::Error for Drawn<'_> {}

impl miette::Diagnostic for Drawn<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(Severity::Error)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.one.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.source.as_ref().map(|source| source as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.one.span.clone()?;
        self.source.as_ref()?;
        let label = LabeledSpan::new_with_span(self.one.label.clone(), span);
        Some(Box::new(std::iter::once(label)))
    }
}

/// Nobody reads more of them at once.
const MISTAKES_TOLD_MAX: usize = 50;
/// A wider line is not drawn: nobody would find the place in it.
const LINE_BYTES_MAX: usize = 400;

/// Whether the lines around a place can be drawn.
fn is_narrow(text: &str, at: usize) -> bool {
    let before = text.get(..at).map_or(0, |before| before.matches('\n').count());
    let around = text.split('\n').skip(before.saturating_sub(2)).take(5);
    around.map(str::len).all(|bytes| bytes <= LINE_BYTES_MAX)
}

/// `FILE:LINE:COLUMN` of a mistake that has a place.
fn place_of(mistakes: &Diagnostics, one: &Diagnostic) -> String {
    let name = harmless(&mistakes.name);
    match &one.span {
        Some(span) if !mistakes.text.is_empty() => {
            let (line, column) = mistakes.line_column(span.start);
            format!("{name}:{line}:{column}")
        }
        Some(_) | None => name,
    }
}

/// Write what is drawn with colours of its own.
fn draw(text: &str) {
    // As everything that is told.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Print every mistake with its piece of text.
pub fn print_mistakes(mistakes: &Diagnostics, style: &Style) {
    let theme = match style.is_coloured() {
        true => GraphicalTheme::unicode(),
        false => GraphicalTheme::unicode_nocolor(),
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
    let count = mistakes.list.len();
    for one in mistakes.list.iter().take(MISTAKES_TOLD_MAX) {
        let one = &Diagnostic {
            message: harmless(&one.message),
            label: one.label.as_deref().map(harmless),
            help: one.help.as_deref().map(harmless),
            ..one.clone()
        };
        let is_drawn = one.span.as_ref().is_some_and(|at| is_narrow(&mistakes.text, at.start));
        let source = (is_drawn && !mistakes.text.is_empty())
            .then(|| NamedSource::new(harmless(&mistakes.name), harmless(&mistakes.text)));
        let mut drawn = String::new();
        let named = match source {
            Some(_) => Drawn { one, source },
            None => Drawn { one, source: None },
        };
        if handler.render_report(&mut drawn, &named).is_err() || named.source.is_none() {
            drawn = format!("{}: {}\n", place_of(mistakes, one), one.message);
            if let Some(help) = &one.help {
                drawn.push_str(&format!("  help: {help}\n"));
            }
        }
        draw(drawn.strip_suffix('\n').unwrap_or(&drawn));
    }
    if let Some(more @ 1..) = count.checked_sub(MISTAKES_TOLD_MAX) {
        tell!("… and {more} more");
    }
    let noun = if count == 1 { "mistake" } else { "mistakes" };
    tell!("{}: {count} {noun} in {}; nothing was changed", style.red("error"), mistakes.name);
}
