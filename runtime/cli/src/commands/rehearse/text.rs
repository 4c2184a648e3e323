//! A rehearsal's report for a person: the verdict first, then what is weak, then the rest.

use crate::commands::ending;
use crate::output::{Style, duration, table};
use crate::shown::{Shown, row};
use stepback_core::shell::word;
use stepback_rehearse::{CaseId, Cell, Doing, Ending, Fault, Report, Row, Shown as Case, line};

/// So many reasons why cases are wrong are told.
const REASONS_TOLD_MAX: usize = 20;
/// So many weak points of each kind are told.
pub const WEAK_TOLD_MAX: usize = 10;

/// The whole report; `again` is its command, but for what comes first in it.
pub fn of(report: &Report, again: &str, style: &Style) -> Shown {
    let mut text = verdict(report, style);
    text.push(&shown!("  of `stepback rehearse {}`\n", row(again)));
    text.push(&wrong(report, style));
    text.push(&weak(report, style));
    text.push(&facts(report, style));
    text.push(&matrix(report, style));
    if let Some(case) = example(report) {
        text.push(&shown!(
            "\na case again, with its journal: `stepback rehearse {} --case {}`\n",
            row(again),
            row(word(&case.to_string()))
        ));
    }
    text
}

fn verdict(report: &Report, style: &Style) -> Shown {
    let wrong = match report.wrong_count() {
        0 => style.green("0 wrong"),
        n => style.red(&format!("{n} wrong")),
    };
    let mut text = shown!(
        "{}: {} cases, {} distinct: {}\n",
        style.bold(&report.operation),
        report.cases,
        report.distinct,
        wrong
    );
    let seconds = match report.faults {
        1 => shown!("; with a second fault there are {}", report.possible),
        _ => Shown::default(),
    };
    text.push(&shown!("  every place was tried with every fault that fits{}\n", seconds));
    let work = &report.work;
    if work.from_a_kill + work.from_quiet + work.merged > 0 {
        text.push(&shown!(
            "  {} were run from the start, {} from an instant before their fault, {} from the \
             instant of a kill; {} are as another kill\n",
            work.from_the_start,
            work.from_quiet,
            work.from_a_kill,
            work.merged
        ));
    }
    if !report.not_fired.is_empty() {
        text.push(&shown!(
            "  {} cases tell nothing, because their fault never came about\n",
            report.not_fired.len()
        ));
    }
    if report.still_down > 0 {
        let down = style.red(&report.still_down.to_string());
        text.push(&shown!("  {} cases leave the service down\n", down));
    }
    text.push(&"  so they ended:\n".into());
    for (ending, count) in &report.endings {
        text.push(&shown!("  {:>6} {}\n", count, row(ending)));
    }
    text
}

/// Whose doing it is, in words.
pub fn whose_text(doing: &Doing) -> String {
    match (&doing.step, doing.undo, doing.check) {
        (Some(step), true, _) => format!("undo of {step}"),
        (Some(step), false, _) => step.clone(),
        (None, _, true) => "a check".to_owned(),
        (None, _, false) => "the engine".to_owned(),
    }
}

fn whose(doing: &Doing) -> Shown {
    row(whose_text(doing))
}

/// How it ended, in words.
pub fn how(ending: &Ending) -> String {
    let mut text = ending.status.clone();
    if let Some(verdict) = &ending.verdict {
        text.push_str(&format!(", {verdict}"));
    }
    if let Some(ms) = ending.downtime_ms.filter(|ms| *ms > 0) {
        text.push_str(&format!(", down for {}", duration(ms)));
    }
    if ending.is_down {
        text.push_str(", and still down");
    }
    text
}

fn ended(ending: &Ending) -> Shown {
    row(how(ending))
}

pub fn wrong(report: &Report, style: &Style) -> Shown {
    let mut text = Shown::default();
    if report.is_well() {
        return text;
    }
    text.push(&shown!("\n{}\n", style.red("wrong")));
    for name in &report.never_held {
        text.push(&shown!("  the invariant `{}` never held: nothing was shown about it\n", name));
    }
    let reasons = report.wrong_by_reason();
    for (why, cases) in reasons.iter().take(REASONS_TOLD_MAX) {
        for why in why.iter() {
            text.push(&shown!("  {}\n", why));
        }
        let one = cases[0];
        text.push(&shown!("    {}, it ended {}\n", in_case(&one.case), ended(&one.ended)));
        if cases.len() > 1 {
            text.push(&shown!("    and so in {} more\n", cases.len() - 1));
        }
    }
    let more: usize = reasons.iter().skip(REASONS_TOLD_MAX).map(|(_, cases)| cases.len()).sum();
    if more > 0 {
        text.push(&shown!("  and {} cases more, which `--json` has\n", more));
    }
    text
}

/// In how many cases more something shows, after the one that is named.
pub fn also(cases: usize) -> String {
    match cases.saturating_sub(1) {
        0 => String::new(),
        1 => ", and 1 case more".to_owned(),
        more => format!(", and {more} cases more"),
    }
}

/// In which case something shows, in words where nothing goes wrong in it.
fn in_case(case: &CaseId) -> Shown {
    match case.0.is_empty() {
        true => "where nothing goes wrong".into(),
        false => shown!("in {}", row(case)),
    }
}

/// A case that is worth to be looked at.
pub fn example(report: &Report) -> Option<&CaseId> {
    let wrong = report.wrong.iter().map(|one| &one.case);
    let weak = report.weak.iter().map(|one| &one.case);
    let any = report.all.iter().map(|one| &one.case);
    wrong.chain(weak).chain(any).find(|case| !case.0.is_empty())
}

fn weak(report: &Report, style: &Style) -> Shown {
    let mut text = Shown::default();
    if report.weak.is_empty() {
        return text;
    }
    text.push(&shown!("\n{}\n", style.bold("weak points")));
    let (told, more) = report.weak_told(WEAK_TOLD_MAX);
    for point in told {
        let case = shown!("{}{}", in_case(&point.case), row(also(point.cases)));
        text.push(&shown!("  {}\n    {}\n", row(&point.told), style.dim(&case)));
    }
    if more > 0 {
        text.push(&shown!("  and {} more, which `--json` has\n", more));
    }
    text
}

fn list(names: &[String]) -> Shown {
    Shown::join(names.iter().map(row), ", ")
}

fn facts(report: &Report, style: &Style) -> Shown {
    let mut text = shown!("\n{}\n", style.bold("as it was rehearsed"));
    text.push(&shown!("  where nothing goes wrong: {}\n", ended(&report.quiet)));
    if let Some(worst) = &report.worst_downtime {
        let longest = match worst.goes_on {
            true => "without end".into(),
            false => shown!("{}", duration(worst.ms)),
        };
        text.push(&shown!("  the longest downtime: {}, in {}\n", longest, row(&worst.case)));
    }
    if let Some(step) = &report.point_of_no_return {
        text.push(&shown!("  the point of no return: {}\n", row(step)));
    }
    if !report.is_any_undone {
        text.push(
            &"  no undo was tried: in this world the operation changes nothing that could be taken \
              back\n"
                .into(),
        );
    }
    if !report.undos_never_exercised.is_empty() {
        let steps = list(&report.undos_never_exercised);
        text.push(&shown!("  undos that never took anything back: {}\n", steps));
    }
    if !report.retries_never_exercised.is_empty() {
        let steps = list(&report.retries_never_exercised);
        text.push(&shown!("  retries that never came about: {}\n", steps));
    }
    let assumed = report.assumed_ms.iter();
    let assumed = assumed.map(|(what, ms)| shown!("{} {}", row(what), duration(*ms)));
    text.push(&shown!("  times are assumed: {}\n", Shown::join(assumed, ", ")));
    text.push(
        &"  the world is the simulator's: what a real provider does differently is not here\n"
            .into(),
    );
    if !report.unconfirmed.is_empty() {
        let names = Shown::join(report.unconfirmed.iter().map(row), ", ");
        text.push(&shown!("  held against an imitation of the real part alone: {}\n", names));
    }
    text
}

/// How the cases of one cell ended: *back* was rolled back, *on* came to its end, *left* leaves
/// something for a person; in those that are *DOWN* the service is.
fn cell(cell: &Cell, style: &Style) -> Shown {
    let parts = [
        (cell.wrong, style.red("WRONG")),
        (cell.succeeded, "on".into()),
        (cell.rolled_back, "back".into()),
        (cell.incomplete, style.yellow("left")),
        (refused(cell), "refused".into()),
        (cell.endless, style.red("endless")),
        (cell.cases - cell.fired, "not fired".into()),
    ];
    let parts =
        parts.into_iter().filter(|(count, _)| *count > 0).map(|(count, name)| match count {
            1 => name,
            n => shown!("{} {}", n, name),
        });
    let mut told = Shown::join(parts, ", ");
    if cell.down > 0 {
        let count = if cell.down == 1 { Shown::default() } else { shown!("{} ", cell.down) };
        told.push(&shown!(" ({}{})", count, style.red("DOWN")));
    }
    told
}

/// How many were refused before they began.
pub fn refused(cell: &Cell) -> usize {
    cell.fired - cell.succeeded - cell.rolled_back - cell.incomplete - cell.endless
}

/// By step and fault: a block for each step, a line for each of its functions and faults.
fn matrix(report: &Report, style: &Style) -> Shown {
    let mut text = shown!("\n{}\n", style.bold("step by step"));
    text.push(
        &"  on: it came to its end; back: it was taken back; left: something is left for a person; \
          DOWN: the service is down in the end\n"
            .into(),
    );
    let mut rows = table(&["step", "what", "fault", "how it went on"]);
    for line in by_worst(&report.matrix) {
        for fault in Fault::all().map(Fault::name) {
            if let Some(found) = line.cells.get(fault) {
                rows.add([whose(&line.doing), row(&line.what), fault.into(), cell(found, style)]);
            }
        }
    }
    text.push(&shown!("{}\n", rows.shown()));
    text
}

/// The rows with those first in which something is wrong, and then those that leave something.
pub fn by_worst(matrix: &[Row]) -> Vec<&Row> {
    let mut rows: Vec<&Row> = matrix.iter().collect();
    let any = |row: &Row, of: fn(&Cell) -> usize| row.cells.values().any(|cell| of(cell) > 0);
    rows.sort_by_key(|row| (!any(row, |cell| cell.wrong), !any(row, |cell| cell.incomplete)));
    rows
}

/// One case with its journal.
pub fn of_case(case: &Case, style: &Style) -> Shown {
    let is_left = case.ended.is_down || case.ended.status == "rollback-failed";
    let wrong = match (case.wrong.is_empty(), is_left) {
        (false, _) => style.red("WRONG"),
        (true, true) => style.yellow("what it says is true, and something is left"),
        (true, false) => style.green("nothing is wrong"),
    };
    let name: &CaseId = &case.case;
    let mut text = shown!("{}: {}\n", style.bold(&row(name)), wrong);
    for why in &case.wrong {
        text.push(&shown!("  {}\n", why));
    }
    text.push(&shown!("  it ended {}\n", ended(&case.ended)));
    if let Some(why) = &case.ended.why {
        text.push(&shown!("  {}\n", why));
    }
    ending::write_not_restored(&mut text, &case.state, &[]);
    text.push(&"\n".into());
    let begins = case.records.first().map(|record| record.at);
    for (nth, record) in case.records.iter().enumerate() {
        text.push(&faults(case, nth, style));
        let since_ms = begins.map_or(0, |begins| record.at.since_ms(begins));
        text.push(&shown!("  {:>10}  {}\n", duration(since_ms), row(line(record))));
    }
    text.push(&faults(case, case.records.len(), style));
    text
}

/// What goes wrong after so many records.
fn faults(case: &Case, after: usize, style: &Style) -> Shown {
    let here = case.faults.iter().filter(|(at, _)| *at == after);
    let told = here.map(|(_, fault)| shown!("  {}\n", style.red(&format!(">>> {fault}"))));
    Shown::join(told, "")
}
