//! A rehearsal's report for a person: the verdict first, then what is weak, then the rest.

use crate::output::{Style, duration, table};
use crate::shown::{Shown, row};
use std::path::Path;
use stepback_core::shell::word;
use stepback_rehearse::{
    CaseId, Cell, Doing, Ending, Fault, Report, Shown as Case, WrongCase, line,
};

/// So many wrong cases are told one by one.
const WRONG_TOLD_MAX: usize = 20;

/// The whole report.
pub fn of(report: &Report, manifest: &Path, style: &Style) -> Shown {
    let mut text = verdict(report, style);
    text.push(&wrong(report, style));
    text.push(&weak(report, style));
    text.push(&facts(report, style));
    text.push(&matrix(report, style));
    let manifest = word(&manifest.display().to_string());
    text.push(&shown!(
        "\na case again, with its journal: `stepback rehearse {} --case CASE`\n",
        row(manifest)
    ));
    text
}

fn verdict(report: &Report, style: &Style) -> Shown {
    let wrong = match report.wrong.len() {
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
    if !report.not_fired.is_empty() {
        text.push(&shown!(
            "  {} cases tell nothing, because their fault never came about\n",
            report.not_fired.len()
        ));
    }
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
    if let Some(ms) = ending.downtime_ms {
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

fn wrong(report: &Report, style: &Style) -> Shown {
    let mut text = Shown::default();
    if report.is_well() {
        return text;
    }
    text.push(&shown!("\n{}\n", style.red("wrong")));
    for name in &report.never_held {
        text.push(&shown!("  the invariant `{}` never held: nothing was shown about it\n", name));
    }
    for WrongCase { case, doing, ended: ending, why } in report.wrong.iter().take(WRONG_TOLD_MAX) {
        text.push(&shown!("  {} ({})\n", row(case), whose(doing)));
        text.push(&shown!("    it ended {}\n", ended(ending)));
        for why in why {
            text.push(&shown!("    {}\n", why));
        }
    }
    let more = report.wrong.len().saturating_sub(WRONG_TOLD_MAX);
    if more > 0 {
        text.push(&shown!("  and {} more, which `--json` has\n", more));
    }
    text
}

fn weak(report: &Report, style: &Style) -> Shown {
    let mut text = Shown::default();
    if report.weak.is_empty() {
        return text;
    }
    text.push(&shown!("\n{}\n", style.bold("weak points")));
    for point in &report.weak {
        text.push(&shown!("  {}\n    {}\n", row(&point.told), style.dim(&row(&point.case))));
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
        text.push(&shown!(
            "  the longest downtime: {}, in {}\n",
            duration(worst.ms),
            row(&worst.case)
        ));
    }
    if let Some(step) = &report.point_of_no_return {
        text.push(&shown!("  the point of no return: {}\n", row(step)));
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
    text
}

/// How the cases of one cell ended: *back* was rolled back, *on* came to its end.
fn cell(cell: &Cell, style: &Style) -> Shown {
    let parts = [
        (cell.wrong, style.red("WRONG")),
        (cell.succeeded, "on".into()),
        (cell.rolled_back, "back".into()),
        (cell.incomplete, style.yellow("left")),
        (cell.fired - cell.succeeded - cell.rolled_back - cell.incomplete, "refused".into()),
        (cell.cases - cell.fired, "not fired".into()),
    ];
    let parts =
        parts.into_iter().filter(|(count, _)| *count > 0).map(|(count, name)| match count {
            1 => name,
            n => shown!("{} {}", n, name),
        });
    Shown::join(parts, ", ")
}

/// By step and fault: a block for each step, a line for each of its functions and faults.
fn matrix(report: &Report, style: &Style) -> Shown {
    let mut text = shown!("\n{}\n", style.bold("step by step"));
    let mut rows = table(&["step", "what", "fault", "how it went on"]);
    for line in &report.matrix {
        for fault in Fault::all().map(Fault::name) {
            if let Some(found) = line.cells.get(fault) {
                rows.add([whose(&line.doing), row(&line.what), fault.into(), cell(found, style)]);
            }
        }
    }
    text.push(&shown!("{}\n", rows.shown()));
    text
}

/// One case with its journal.
pub fn of_case(case: &Case, style: &Style) -> Shown {
    let wrong = match case.wrong.len() {
        0 => style.green("nothing is wrong"),
        _ => style.red("WRONG"),
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
    text.push(&"\n".into());
    let begins = case.records.first().map(|record| record.at);
    for record in &case.records {
        let since_ms = begins.map_or(0, |begins| record.at.since_ms(begins));
        text.push(&shown!("  {:>10}  {}\n", duration(since_ms), row(line(record))));
    }
    text
}
