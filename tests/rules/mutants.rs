//! Each defect on purpose makes the sweeps red; a suite that stays green with one proves nothing.

use crate::mortal::Acks;
use crate::sweep::{Sweep, sweeps};
use stepback_engine::Mutant;

#[track_caller]
fn is_found(defect: &str, with: impl Fn(Sweep) -> Sweep) {
    let found = sweeps().into_iter().find_map(|sweep| with(sweep).kill_everywhere(None).err());
    match found {
        Some(why) => println!("{defect}: found, {why}"),
        None => panic!("{defect}: every sweep stayed green"),
    }
}

#[test]
fn a_replay_that_makes_an_effect_again_is_found() {
    let mutant = Some(Mutant::ReplayMakesEffects);
    is_found("replay makes effects", |sweep| Sweep { mutant, ..sweep });
}

#[test]
fn an_undo_that_is_skipped_is_found() {
    let mutant = Some(Mutant::UndoSkipped);
    is_found("undo skipped", |sweep| Sweep { mutant, ..sweep });
}

#[test]
fn an_effect_in_flight_that_is_not_settled_is_found() {
    let mutant = Some(Mutant::ReissuesUnsettled);
    is_found("reissues unsettled", |sweep| Sweep { mutant, ..sweep });
}

#[test]
fn a_commit_acknowledged_before_it_is_durable_is_found() {
    is_found("acknowledged early", |sweep| Sweep { acks: Acks::BeforeDurable, ..sweep });
}
