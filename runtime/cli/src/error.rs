//! Errors of the program: each with an exit code, what happened, and what to do.

use crate::output::{Style, draw};
use crate::shown::Shown;
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity};
use std::ffi::OsString;
use std::fmt;
use std::process::ExitCode;
use stepback_core::OperationId;
use stepback_core::diagnostic::{Diagnostic, Diagnostics};
use stepback_core::shell::word;
use stepback_core::shown::{in_place, in_row, without_commands};
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
    /// A rehearsal found something wrong.
    Wrong = 7,
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
        message: Shown,
        help: Option<Shown>,
    },
    Mistakes(Diagnostics),
    Refused {
        id: Option<OperationId>,
        reasons: Vec<String>,
    },
    Left {
        id: OperationId,
        why: String,
        /// How it stands, a line each.
        stands: Vec<Shown>,
    },
    LeftByStore {
        id: OperationId,
        error: StoreError,
        /// How it stands, a line each.
        stands: Vec<Shown>,
    },
    /// It can't be rolled back now; whoever takes it up does.
    CancelKept {
        id: OperationId,
        why: String,
        /// How it stands, a line each.
        stands: Vec<Shown>,
    },
    /// It can't go forward any more.
    NotForward {
        id: OperationId,
        because: Vec<String>,
        way_out: WayOut,
        /// How it stands, a line each.
        stands: Vec<Shown>,
    },
    /// What is on record of an operation can't be read.
    Unreadable {
        id: OperationId,
        why: String,
        is_given_up: bool,
    },
    Store(StoreError),
    Internal(Shown),
}

impl CliError {
    /// A journal that can't be read, of an operation that nobody has given up.
    pub fn unreadable(id: OperationId, why: String) -> Self {
        CliError::Unreadable { id, why, is_given_up: false }
    }

    /// A mistake on the command line, with what to do instead.
    pub fn usage(message: impl Into<Shown>, help: impl Into<Shown>) -> Self {
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
                tell!("{}: {}", error, message);
                if let Some(help) = help {
                    tell!("  help: {}", help);
                }
            }
            CliError::Mistakes(mistakes) => print_mistakes(mistakes, &style),
            CliError::Refused { id, reasons } => {
                match id {
                    Some(id) => {
                        tell!("{}: operation {} is refused; nothing was changed", error, id)
                    }
                    None => tell!("{}: refused; nothing was changed", error),
                }
                for reason in reasons {
                    tell!("  - {}", Shown::advice(reason));
                }
            }
            CliError::Left { id, why, stands } => {
                tell!("{}: operation {} is left unfinished: {}", error, id, why);
                stands.iter().for_each(|line| tell!("  {}", line));
                tell!("  help: go on with `stepback resume {}`", id);
            }
            CliError::CancelKept { id, why, stands } => {
                tell!("{}: operation {} is left unfinished: {}", error, id, why);
                stands.iter().for_each(|line| tell!("  {}", line));
                tell!("  help: the cancel is kept; `stepback resume {}` rolls it back", id);
            }
            CliError::LeftByStore { id, error: store, stands } => {
                match store {
                    StoreError::StaleEpoch { .. } => tell!("{}: {}", error, store),
                    _ => tell!("{}: operation {} is left unfinished: {}", error, id, store),
                }
                stands.iter().for_each(|line| tell!("  {}", line));
                if let Some(help) = store_help(store) {
                    tell!("  help: {}", Shown::from(help));
                }
                if !matches!(store, StoreError::StaleEpoch { .. }) {
                    tell!("  help: then go on with `stepback resume {}`", id);
                }
            }
            CliError::NotForward { id, because, way_out, stands } => {
                tell!("{}: operation {} is left unfinished: it can't go forward", error, id);
                for reason in because {
                    tell!("  - {}", Shown::advice(reason));
                }
                stands.iter().for_each(|line| tell!("  {}", line));
                let out = way_out_text(*id, *way_out);
                tell!("  help: put that back and `stepback resume {}` goes on; {}", id, out);
            }
            CliError::Unreadable { id, why, is_given_up } => {
                tell!("{}: the journal of operation {} can't be read: {}", error, id, why);
                tell!("  help: {}", unreadable_help(*id, *is_given_up));
            }
            CliError::Store(store) => {
                tell!("{}: {}", error, store);
                if let Some(help) = store_help(store) {
                    tell!("  help: {}", Shown::from(help));
                }
            }
            CliError::Internal(why) => {
                tell!("{}: {}", error, why);
                tell!("  help: this is a defect of Stepback; please report it");
            }
        }
    }
}

fn way_out_text(id: OperationId, way_out: WayOut) -> Shown {
    match way_out {
        WayOut::CalledOff => shown!("`stepback cancel {}` calls it off", id),
        WayOut::Back => shown!("`stepback cancel {}` rolls it back without it", id),
        WayOut::BackInPart => shown!(
            "`stepback cancel {}` rolls back only what can be without it; the rest waits for \
             `stepback rollback {}` with that put back",
            id,
            id
        ),
        WayOut::GivenUp => shown!(
            "past its commit point nothing rolls back: `stepback unlock {} --reason WHY` leaves \
             what is not cleaned up, and releases its locks",
            id
        ),
    }
}

fn unreadable_help(id: OperationId, is_given_up: bool) -> Shown {
    match is_given_up {
        true => "it was given up, and holds no locks; its records are what is left".into(),
        false => shown!(
            "take the state directory from a backup; or give the operation up: \
             `stepback unlock {} --reason WHY` releases its locks, and puts nothing back",
            id
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
        StoreError::ReadOnly(_) | StoreError::Unusable { .. } => Some(
            "choose another place with `--state DIR`, or make this one writable; to look at \
                 one that can't be written, copy it whole (`cp -r`) and look at the copy",
        ),
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

fn runs_elsewhere(id: OperationId, place: &str, host: &str) -> CliError {
    CliError::usage(
        shown!(
            "operation {} is run from another state directory, {} on {}, which this one is a copy \
             of",
            id,
            place,
            host
        ),
        "end it there; two journals of one operation can't both be true",
    )
}

fn held_elsewhere(id: OperationId, place: &str) -> CliError {
    CliError::usage(
        shown!(
            "operation {} is unfinished in another state directory, {}, which this one is a copy \
             of, and its locks are held from there",
            id,
            place
        ),
        shown!("end it there: `stepback --state {} rollback {}`", word(place), id),
    )
}

impl From<RunError> for CliError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Refused(refusal) => refusal.into(),
            RunError::Left { id, why } => CliError::Left { id, why, stands: vec![] },
            RunError::LeftByStore { id, error } => {
                CliError::LeftByStore { id, error, stands: vec![] }
            }
            RunError::Requested => CliError::Internal("a request was not honoured".into()),
            RunError::NotForward { id, because, way_out } => {
                CliError::NotForward { id, because, way_out, stands: vec![] }
            }
            RunError::Unreadable { id, why } => CliError::unreadable(id, why),
            RunError::Committed { id } => CliError::usage(
                shown!("operation {} is past its commit point: nothing rolls back now", id),
                shown!(
                    "what it still does is cleanup; if nobody runs it, `stepback resume {}` \
                     goes on with it",
                    id
                ),
            ),
            RunError::RunsElsewhere { id, place, host } => runs_elsewhere(id, &place, &host),
            RunError::HeldElsewhere { id, place } => held_elsewhere(id, &place),
            RunError::WentOn { id, why } => CliError::usage(
                why,
                format!(
                    "put the newest journal in this one's place; where there is none, look at the \
                     world, then `stepback unlock {id} --reason …` gives this one up"
                ),
            ),
            RunError::StandsStill { id, why } => CliError::usage(
                shown!("the rollback of operation {} can't be taken up again: {}", id, why),
                shown!("`stepback rollback {}` again, once that is over", id),
            ),
            RunError::AskedFor { id } => CliError::usage(
                shown!("operation {} is being run, and was asked to roll back", id),
                shown!("`stepback show {}` tells how it goes", id),
            ),
            RunError::BeingRun { id } => CliError::usage(
                shown!("operation {} is being run, so nobody else can take it back", id),
                shown!("`stepback cancel {}` asks whoever runs it to", id),
            ),
            RunError::Unfinished { id, rolling_back: true } => CliError::usage(
                shown!("operation {} has not ended: it is rolling back", id),
                shown!("`stepback resume {}` goes on with the rollback if nobody runs it", id),
            ),
            RunError::Unfinished { id, rolling_back: false } => CliError::usage(
                shown!("operation {} has not ended, so there is no world to accept", id),
                shown!("`stepback cancel {}` rolls it back first", id),
            ),
            RunError::Ended { id, status } => CliError::usage(
                shown!("operation {} has ended already: {}", id, status),
                shown!("`stepback show {}` tells how", id),
            ),
            RunError::Store(error) => error.into(),
            RunError::Internal(why) => CliError::Internal(why.into()),
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreadable { id, seq, why } => {
                CliError::unreadable(id, format!("event {}: {}", seq.0, why))
            }
            error => CliError::Store(error),
        }
    }
}

/// One mistake, as miette draws it: what others wrote in it passes `in_place` first.
#[derive(Debug)]
struct Drawn {
    one: Diagnostic,
    source: Option<NamedSource<String>>,
}

impl Drawn {
    fn of(mistakes: &Diagnostics, one: &Diagnostic) -> Self {
        let is_drawn = one.span.as_ref().is_some_and(|at| is_narrow(&mistakes.text, at.start));
        let source = (is_drawn && !mistakes.text.is_empty())
            .then(|| NamedSource::new(in_place(&mistakes.name), in_place(&mistakes.text)));
        let one = Diagnostic {
            message: in_place(&one.message),
            label: one.label.as_deref().map(in_place),
            help: one.help.as_deref().map(in_place),
            span: one.span.clone(),
        };
        Self { one, source }
    }
}

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.one.message)
    }
}

impl std::error::Error for Drawn {}

impl miette::Diagnostic for Drawn {
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
fn place_of(mistakes: &Diagnostics, one: &Diagnostic) -> Shown {
    match &one.span {
        Some(span) if !mistakes.text.is_empty() => {
            let (line, column) = mistakes.line_column(span.start);
            shown!("{}:{}:{}", mistakes.name, line, column)
        }
        Some(_) | None => shown!("{}", mistakes.name),
    }
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
        let (mut text, drawn) = (String::new(), Drawn::of(mistakes, one));
        match drawn.source.is_some() && handler.render_report(&mut text, &drawn).is_ok() {
            true => draw(text.strip_suffix('\n').unwrap_or(&text)),
            false => {
                tell!("{}: {}", place_of(mistakes, one), one.message);
                if let Some(help) = &one.help {
                    tell!("  help: {}", help);
                }
            }
        }
    }
    if let Some(more @ 1..) = count.checked_sub(MISTAKES_TOLD_MAX) {
        tell!("… and {} more", more);
    }
    let noun = if count == 1 { "mistake" } else { "mistakes" };
    tell!("{}: {} {} in {}; nothing was changed", style.red("error"), count, noun, mistakes.name);
}

/// Tell what clap says: help and the version are the program's own; an error repeats what was
/// typed, which may be somebody else's.
pub fn tell_usage(error: &clap::Error) -> Exit {
    let is_plain = |typed: OsString| {
        let typed = typed.to_string_lossy();
        in_row(&typed) == typed && without_commands(&typed) == typed
    };
    if !error.use_stderr() || std::env::args_os().all(is_plain) {
        // A closed pipe is the reader's choice.
        let _ = error.print();
    } else {
        tell!("{}", error.render());
    }
    if error.use_stderr() { Exit::Refused } else { Exit::Succeeded }
}
