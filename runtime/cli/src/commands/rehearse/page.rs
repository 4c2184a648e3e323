//! A rehearsal's report as one page that needs nothing but itself: in a browser, on a phone,
//! printed.

use super::text::{WEAK_TOLD_MAX, also, by_worst, example, how, refused, whose_text};
use crate::output::duration;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::collections::BTreeSet;
use std::fmt::Display;
use stepback_core::shell::word;
use stepback_core::shown::{in_row, written_out};
use stepback_rehearse::{Cell, Ended, Fault, Report, Stretch, Timeline};

const STYLE: &str = include_str!("page.css");

/// What others wrote, in which nothing is hidden; the page's own markup is kept from it by `maud`.
fn theirs(text: impl Display) -> String {
    in_row(&text.to_string()).into_owned()
}

/// The whole page.
pub fn of(report: &Report, again: &str) -> String {
    let title = format!("rehearsal of {}", theirs(&report.operation));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (title) }
                    p { "Of " code { "stepback rehearse " (theirs(again)) } }
                    (verdict(report))
                    (wrong(report))
                    (weak(report))
                    (facts(report))
                    (matrix(report))
                    (cases(report, again))
                }
            }
        }
    };
    // Whatever of theirs was not written out by then.
    written_out(&page.into_string()).into_owned()
}

fn verdict(report: &Report) -> Markup {
    let (class, wrong) = match report.wrong_count() {
        0 => ("well", "nothing is wrong".to_owned()),
        n => ("wrong", format!("{n} wrong")),
    };
    html! {
        p.verdict.(class) {
            strong { (wrong) }
            " in " (report.cases) " cases, " (report.distinct) " of them distinct"
        }
        @if report.still_down > 0 {
            p { span.bad { (report.still_down) } " cases leave the service down." }
        }
        p { "So they ended:" }
        ul.endings {
            @for (ending, count) in &report.endings {
                li { strong { (count) } " " (theirs(ending)) }
            }
        }
        @if !report.not_fired.is_empty() {
            p { (report.not_fired.len()) " cases tell nothing: their fault never came about." }
        }
    }
}

fn wrong(report: &Report) -> Markup {
    html! {
        @if !report.is_well() {
            section {
                h2 { "Wrong" }
                @for name in &report.never_held {
                    p {
                        "The invariant " code { (theirs(name)) }
                        " never held: nothing was shown about it."
                    }
                }
                @for (why, cases) in report.wrong_by_reason() {
                    article.wrong {
                        ul { @for why in why { li { (theirs(why)) } } }
                        p {
                            "It ended " (how(&cases[0].ended))
                            @if cases[0].case.0.is_empty() { " where nothing goes wrong" }
                            @else { " in " code { (theirs(&cases[0].case)) } }
                        }
                        @if cases.len() > 1 { p { "And so in " (cases.len() - 1) " more." } }
                    }
                }
            }
        }
    }
}

fn weak(report: &Report) -> Markup {
    let (told, more) = report.weak_told(WEAK_TOLD_MAX);
    html! {
        @if !report.weak.is_empty() {
            section {
                h2 { "Weak points" }
                p {
                    "All that the operation says of itself is true in these; "
                    "they are worth to be known before."
                }
                ul.weak {
                    @for point in told {
                        li {
                            (marked(&point.told))
                            @if !point.case.0.is_empty() {
                                br;
                                code.case { (theirs(&point.case)) }
                                (also(point.cases))
                            }
                        }
                    }
                }
                @if more > 0 { p { "And " (more) " more." } }
            }
        }
    }
}

/// What stands in backquotes is code.
fn marked(text: &str) -> Markup {
    html! {
        @for (nth, part) in text.split('`').enumerate() {
            @if nth % 2 == 1 { code { (theirs(part)) } } @else { (theirs(part)) }
        }
    }
}

fn facts(report: &Report) -> Markup {
    let list = |names: &[String]| names.iter().map(theirs).collect::<Vec<_>>().join(", ");
    html! {
        section {
            h2 { "As it was rehearsed" }
            dl {
                dt { "Where nothing goes wrong" } dd { (how(&report.quiet)) }
                @if let Some(worst) = &report.worst_downtime {
                    dt { "Longest downtime" }
                    dd {
                        @if worst.goes_on { "without end" } @else { (duration(worst.ms)) }
                        ", in " code { (theirs(&worst.case)) }
                    }
                }
                @if let Some(step) = &report.point_of_no_return {
                    dt { "Point of no return" } dd { code { (theirs(step)) } }
                }
                @if !report.is_any_undone {
                    dt { "Undos" }
                    dd {
                        "None was tried: in this world the operation changes nothing that could "
                        "be taken back."
                    }
                }
                @if !report.undos_never_exercised.is_empty() {
                    dt { "Undos that never took anything back" }
                    dd { (list(&report.undos_never_exercised)) }
                }
                @if !report.retries_never_exercised.is_empty() {
                    dt { "Retries that never came about" }
                    dd { (list(&report.retries_never_exercised)) }
                }
                dt { "Assumed times" }
                dd {
                    @for (nth, (what, ms)) in report.assumed_ms.iter().enumerate() {
                        @if nth > 0 { ", " } (what) " " (duration(*ms))
                    }
                }
                dt { "Not shown" }
                dd { "What a real provider does differently: the world is the simulator's." }
                @if !report.unconfirmed.is_empty() {
                    dt { "Held against an imitation of the real part alone" }
                    dd { (report.unconfirmed.join(", ")) }
                }
            }
        }
    }
}

fn matrix(report: &Report) -> Markup {
    let used: BTreeSet<&str> =
        report.matrix.iter().flat_map(|row| row.cells.keys().copied()).collect();
    let faults: Vec<&str> =
        Fault::all().map(Fault::name).filter(|one| used.contains(one)).collect();
    html! {
        section {
            h2 { "Step by step" }
            p.legend {
                span.on { "on" } " went on to its end, "
                span.back { "back" } " was taken back, "
                span.left { "left" } " something is left for a person, "
                span.bad { "down" } " the service is down in the end, "
                span.bad { "wrong" }
            }
            div.scrolls tabindex="0" role="region" aria-label="Step by step" {
                table {
                    thead { tr {
                        th scope="col" { "step" } th scope="col" { "what" }
                        @for fault in &faults { th scope="col" { (fault) } }
                    } }
                    tbody {
                        @for row in by_worst(&report.matrix) {
                            tr {
                                th scope="row" { (whose_text(&row.doing)) }
                                td { code { (theirs(&row.what)) } }
                                @for fault in &faults { (cell(row.cells.get(fault))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell(cell: Option<&Cell>) -> Markup {
    let Some(cell) = cell else { return html! { td.none { "·" } } };
    let parts = [
        ("bad", "wrong", cell.wrong),
        ("on", "on", cell.succeeded),
        ("back", "back", cell.rolled_back),
        ("left", "left", cell.incomplete),
        ("back", "refused", refused(cell)),
        ("bad", "endless", cell.endless),
        ("bad", "down", cell.down),
        ("none", "not fired", cell.cases - cell.fired),
    ];
    let parts: Vec<_> = parts.into_iter().filter(|(_, _, count)| *count > 0).collect();
    html! {
        td {
            @for (nth, (class, name, count)) in parts.iter().enumerate() {
                @if nth > 0 { ", " }
                span.(*class) { @if *count > 1 { (count) " " } (name) }
            }
        }
    }
}

fn cases(report: &Report, again: &str) -> Markup {
    let example = example(report).map(|case| word(&case.to_string()));
    html! {
        section {
            h2 { "Every case" }
            p {
                "One again, with its journal: "
                code {
                    "stepback rehearse " (theirs(again)) " --case "
                    (theirs(example.unwrap_or_else(|| "CASE".to_owned())))
                }
            }
            p.legend {
                "Time goes from left to right: " span.key.do {} " a step, "
                span.key.undo {} " its undo, "
                span.key.down {} " the service is down, " span.key.fault {} " what goes wrong."
            }
            ol.cases { @for one in &report.all { (case(one)) } }
        }
    }
}

fn case(one: &Ended) -> Markup {
    html! {
        li.case.wrong[one.is_wrong] {
            code.case { (theirs(&one.case)) }
            span.whose { (whose_text(&one.doing)) }
            span.how { (how(&one.ended)) }
            (strip(&one.timeline))
        }
    }
}

/// A timeline in one line.
fn strip(line: &Timeline) -> Markup {
    let whole = line.ended_ms.max(1) as f64;
    let percent = |ms: u64| ms as f64 * 100.0 / whole;
    let place = |from: u64, to: u64| {
        format!("left:{:.2}%;width:{:.2}%", percent(from), percent(to.saturating_sub(from)))
    };
    let title = |one: &Stretch| {
        let whose = if one.undo { format!("undo of {}", one.step) } else { one.step.clone() };
        format!("{}, {}", theirs(whose), duration(one.to_ms.saturating_sub(one.from_ms)))
    };
    html! {
        div.strip role="img" aria-label=(format!("it took {}", duration(line.ended_ms))) {
            @for (from, to) in &line.down { i.down style=(place(*from, *to)) {} }
            @for one in &line.attempts {
                i.do[!one.undo].undo[one.undo].failed[!one.is_well] title=(title(one))
                    style=(place(one.from_ms, one.to_ms)) {}
            }
            @for at in &line.faults_ms { i.fault style=(format!("left:{:.2}%", percent(*at))) {} }
        }
    }
}
