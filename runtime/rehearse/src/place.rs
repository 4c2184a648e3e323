//! Where something can go wrong, and what: the names of cases.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use stepback_core::diagnostic::suggest;
use stepback_core::{Call, calls::Class};

/// What an operation does at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It asks the provider for a host function.
    Call {
        /// `interface.function`.
        function: &'static str,
        /// Whether it is an effect that an undo asks for.
        undo: bool,
    },
    /// It reads the facts of a resource.
    Look,
    /// It asks what became of an effect whose answer was lost.
    Settle,
    /// It looks for what carries its stamps.
    Search,
    /// It writes to its journal.
    Commit,
}

/// The names of the kinds that are no calls.
const OTHERS: [(&str, Kind); 4] = [
    ("look", Kind::Look),
    ("settle", Kind::Settle),
    ("search", Kind::Search),
    ("commit", Kind::Commit),
];

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Call { function, undo: false } => f.write_str(function),
            Kind::Call { function, undo: true } => write!(f, "undo:{function}"),
            Kind::Look | Kind::Settle | Kind::Search | Kind::Commit => {
                let name = OTHERS.iter().find(|(_, kind)| kind == self).map(|(name, _)| *name);
                f.write_str(name.unwrap_or_default())
            }
        }
    }
}

/// The n-th time that an operation does such a thing, from its beginning on.
///
/// It is written as `--inject` is: `ebs.attach#1`, `undo:ebs.attach#1`, `commit#12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// What it does.
    pub kind: Kind,
    /// From 1.
    pub nth: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.kind, self.nth)
    }
}

/// What goes wrong at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The provider says no.
    Refuse,
    /// It says no from here on, whenever the same is asked.
    RefuseAlways,
    /// It says *try again*.
    Transient,
    /// An effect is made, and its answer never comes.
    Lost,
    /// Nothing is made, and no answer comes.
    Hang,
    /// An effect is made, and nobody ever answers, whatever becomes of its step.
    HangAfter,
    /// It takes longer than the downtime may last.
    Slow,
    /// Somebody cancels the operation.
    Cancel,
    /// The program is killed just before.
    CrashBefore,
    /// The program is killed just after.
    CrashAfter,
}

const FAULTS: [(&str, Fault); 10] = [
    ("refuse", Fault::Refuse),
    ("refuse-always", Fault::RefuseAlways),
    ("transient", Fault::Transient),
    ("lost", Fault::Lost),
    ("hang", Fault::Hang),
    ("hang-after", Fault::HangAfter),
    ("slow", Fault::Slow),
    ("cancel", Fault::Cancel),
    ("crash-before", Fault::CrashBefore),
    ("crash-after", Fault::CrashAfter),
];

impl Fault {
    /// Every fault there is, in the order in which they are told.
    pub fn all() -> impl Iterator<Item = Fault> {
        FAULTS.into_iter().map(|(_, fault)| fault)
    }

    /// Its name in a case.
    pub fn name(self) -> &'static str {
        FAULTS.iter().find(|(_, fault)| *fault == self).map_or("", |(name, _)| name)
    }

    /// Whether it is over at once: nothing waits because of it.
    pub fn is_prompt(self) -> bool {
        match self {
            Fault::Refuse
            | Fault::RefuseAlways
            | Fault::Transient
            | Fault::Lost
            | Fault::Cancel => true,
            Fault::Hang
            | Fault::HangAfter
            | Fault::Slow
            | Fault::CrashBefore
            | Fault::CrashAfter => false,
        }
    }

    /// Those that can come about where this is done, going forward or `is_back`; `is_bounded`
    /// tells whether the service is down there, and may be so only for a while.
    pub fn fitting(kind: Kind, is_back: bool, is_bounded: bool) -> Vec<Fault> {
        use Fault::*;
        match kind {
            Kind::Call { function, undo } => match Call::class_of(function) {
                Some(Class::Effect | Class::Irreversible) if undo || is_back => {
                    vec![
                        Refuse,
                        RefuseAlways,
                        Transient,
                        Lost,
                        Hang,
                        HangAfter,
                        CrashBefore,
                        CrashAfter,
                    ]
                }
                Some(Class::Effect | Class::Irreversible) => {
                    let mut all = vec![Refuse, Transient, Lost, Hang, HangAfter];
                    all.extend(is_bounded.then_some(Slow));
                    all.extend([Cancel, CrashBefore, CrashAfter]);
                    all
                }
                Some(Class::Wait) if is_back => vec![Refuse, Transient, Hang, CrashBefore],
                Some(Class::Wait) => vec![Refuse, Transient, Hang, Cancel, CrashBefore],
                Some(Class::Read) | None => vec![Refuse, Transient, Hang],
            },
            Kind::Look => vec![Refuse, Transient, Hang],
            Kind::Settle | Kind::Search => vec![Refuse],
            Kind::Commit if is_back => vec![CrashBefore, CrashAfter],
            Kind::Commit => vec![Cancel, CrashBefore, CrashAfter],
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A fault at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Planned {
    /// Where.
    pub at: Place,
    /// What.
    pub fault: Fault,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.at, self.fault)
    }
}

/// What befalls one run of the operation: its name, and all there is to know to run it again.
///
/// `ebs.attach#1=lost`, and with a second fault `commit#37=cancel+undo:ebs.detach#1=refuse`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaseId(pub Vec<Planned>);

impl CaseId {
    /// The same, and then this.
    pub fn and(&self, planned: Planned) -> Self {
        Self(self.0.iter().copied().chain([planned]).collect())
    }
}

impl CaseId {
    /// Whether its last fault is a kill.
    pub(crate) fn ends_with_a_kill(&self) -> bool {
        let last = self.0.last().map(|last| last.fault);
        matches!(last, Some(Fault::CrashBefore | Fault::CrashAfter))
    }
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(NOTHING);
        }
        for (nth, planned) in self.0.iter().enumerate() {
            let joint = if nth > 0 { "+" } else { "" };
            write!(f, "{joint}{planned}")?;
        }
        Ok(())
    }
}

/// The case in which nothing goes wrong.
const NOTHING: &str = "nothing";

impl Serialize for CaseId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for CaseId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            NOTHING => Ok(Self::default()),
            some => some.split('+').map(planned).collect::<Result<_, _>>().map(Self),
        }
    }
}

fn planned(text: &str) -> Result<Planned, String> {
    let (place, fault) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not PLACE#N=FAULT, such as `ebs.attach#1=refuse`"))?;
    let (kind, nth) = place
        .split_once('#')
        .ok_or_else(|| format!("`{place}` does not say which time, such as `{place}#1`"))?;
    let nth = match nth.parse() {
        Ok(nth @ 1..) => nth,
        _ => return Err(format!("`#{nth}` in `{text}` must be a number from 1")),
    };
    let names = FAULTS.iter().map(|(name, _)| *name);
    let fault =
        FAULTS.iter().find(|(name, _)| *name == fault).map(|(_, fault)| *fault).ok_or_else(
            || format!("there is no fault `{fault}`: {}", suggest(fault, names.clone())),
        )?;
    let at = Place { kind: kind_of(kind)?, nth };
    let fits = [false, true]
        .iter()
        .any(|is_back| Fault::fitting(at.kind, *is_back, true).contains(&fault));
    match fits {
        true => Ok(Planned { at, fault }),
        false => Err(format!("`{fault}` can't come about at `{kind}`")),
    }
}

fn kind_of(text: &str) -> Result<Kind, String> {
    if let Some((_, kind)) = OTHERS.iter().find(|(name, _)| *name == text) {
        return Ok(*kind);
    }
    let (function, undo) = match text.strip_prefix("undo:") {
        Some(function) => (function, true),
        None => (text, false),
    };
    match Call::functions().find(|known| *known == function) {
        Some(function) => Ok(Kind::Call { function, undo }),
        None => {
            let all = Call::functions().chain(OTHERS.iter().map(|(name, _)| *name));
            Err(format!("there is no place `{text}`: {}", suggest(function, all)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_found_again_by_its_name() {
        for name in [
            "nothing",
            "ebs.attach#1=lost",
            "undo:ebs.attach#2=refuse-always",
            "look#7=transient",
            "commit#37=cancel+undo:ebs.detach#1=refuse",
        ] {
            let case: CaseId = name.parse().expect("a case");
            assert_eq!(case.to_string(), name);
        }
    }

    #[test]
    fn what_is_no_case_is_told_with_what_is_meant() {
        for (name, told) in [
            ("", "`` is not PLACE#N=FAULT"),
            ("ebs.attach=lost", "`ebs.attach` does not say which time"),
            ("ebs.attach#0=lost", "must be a number from 1"),
            ("ebs.atach#1=lost", "there is no place `ebs.atach`: did you mean `ebs.attach`?"),
            ("ebs.attach#1=loose", "there is no fault `loose`"),
            ("commit#1=lost", "`lost` can't come about at `commit`"),
        ] {
            let why = name.parse::<CaseId>().expect_err(name);
            assert!(why.contains(told), "{name}: {why}");
        }
    }
}
