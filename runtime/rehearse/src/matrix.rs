//! How it went under each fault, by whose doing it was.

use crate::outcome::Outcome;
use crate::place::{Kind, Planned};
use crate::report::{Cell, Row};
use std::collections::BTreeMap;

/// What became of each step's doings under each fault, in the order in which they were first met.
pub(crate) fn matrix(outcomes: &[Outcome]) -> Vec<Row> {
    let mut rows: Vec<Row> = vec![];
    for one in outcomes {
        let Some(Planned { at, fault }) = one.case.0.last() else { continue };
        let what = match at.kind {
            Kind::Call { function, .. } => function.to_owned(),
            other => other.to_string(),
        };
        let is_it = |row: &Row| row.doing == one.doing && row.what == what;
        let at = rows.iter().position(is_it).unwrap_or_else(|| {
            let (doing, what) = (one.doing.clone(), what.clone());
            rows.push(Row { doing, what, cells: BTreeMap::new() });
            rows.len() - 1
        });
        let cell: &mut Cell = rows[at].cells.entry(fault.name()).or_default();
        cell.cases += 1;
        cell.fired += usize::from(one.fired);
        cell.wrong += usize::from(!one.wrong.is_empty());
        cell.succeeded += usize::from(one.fired && one.ending.status == "succeeded");
        cell.rolled_back += usize::from(one.fired && one.ending.status == "rolled-back");
        cell.incomplete += usize::from(one.fired && one.ending.status == "rollback-failed");
        cell.endless += usize::from(one.fired && one.is_endless);
        cell.down += usize::from(one.fired && one.ending.is_down);
    }
    rows
}
