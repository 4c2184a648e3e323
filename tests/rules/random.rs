//! Random operations that everything befalls: whatever comes, each ends, and says the truth.

use crate::cases::{Case, Ingredient, NEIGHBOUR, case};
use crate::life::{Fate, Lives};
use crate::mortal::{Epochs, ON_PURPOSE};
use crate::truth;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use std::collections::BTreeMap;
use std::sync::Once;
use stepback_core::machine::Mutant as OfMachine;
use stepback_core::state::Status;
use stepback_engine::Mutant;

/// How many cases there are of everything at once, and how many of each ingredient alone.
const CASES: u32 = 1_000;
const CASES_OF_ONE: u32 = 200;
/// Within so many a defect must be found.
const CASES_OF_MUTANT: u32 = 2_000;

/// A defect on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    Engine(Mutant),
    EpochsByNumber,
    SleepsAreLost,
}

fn seed() -> u64 {
    std::env::var("STEPBACK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// How many cases: `STEPBACK_CASES` for a longer hunt.
fn cases(usual: u32) -> u32 {
    std::env::var("STEPBACK_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}

/// Panics on purpose say nothing.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_on_purpose =
                panic.payload_as_str().is_some_and(|text| text.starts_with(ON_PURPOSE));
            if !is_on_purpose {
                usual(panic);
            }
        }));
    });
}

fn live_through(case: &Case, defect: Option<Defect>) -> Result<Status, String> {
    let befalls = case.befalls.clone();
    let mut lives = Lives::with(&case.manifest(), &case.faults, befalls, case.lag_looks);
    lives.expects_restored = case.is_restorable();
    if case.parks {
        lives.limits.parked_after_ms = 0;
    }
    if let Some(part) = case.secret() {
        lives = lives.knowing("part", part);
    }
    if let Some(life) = case.neighbour_from {
        lives = lives.beside(NEIGHBOUR, life);
    }
    match defect {
        None => {}
        Some(Defect::Engine(mutant)) => lives.limits.mutant = Some(mutant),
        Some(Defect::EpochsByNumber) => lives.epochs = Epochs::ByNumber,
        Some(Defect::SleepsAreLost) => lives.sleeps_are_lost = true,
    }
    let fates = case.kills.iter().map(|kill| Fate { kill_at: Some(*kill), cancel_at: None });
    for fate in fates.chain([Fate::default()]) {
        if let Some(ended) = lives.live(fate).ended {
            let status = ended?;
            let told = lives.check(status);
            told.map_err(|why| format!("{why}\n{}", truth::story(&lives.records())))?;
            return Ok(status);
        }
    }
    Err("the last life was killed, and nothing killed it".into())
}

/// Live through so many cases; gives how they ended, or the first that is wrong, made small.
fn try_cases(
    of: Ingredient,
    cases: u32,
    defect: Option<Defect>,
) -> Result<BTreeMap<String, u32>, String> {
    hush();
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(seed()),
        failure_persistence: None,
        max_shrink_iters: if defect.is_some() { 0 } else { 300 },
        ..Config::default()
    };
    let endings = std::cell::RefCell::new(BTreeMap::<String, u32>::new());
    let tested = TestRunner::new(config).run(&case(of), |case| match live_through(&case, defect) {
        Ok(status) => {
            *endings.borrow_mut().entry(format!("{status:?}")).or_default() += 1;
            Ok(())
        }
        // What is red without the defect too says nothing of the defect.
        Err(_) if defect.is_some() && live_through(&case, None).is_err() => Ok(()),
        Err(why) => {
            let manifest = case.manifest();
            Err(TestCaseError::fail(format!("{why}\n{manifest}")))
        }
    });
    match tested {
        Ok(()) => Ok(endings.into_inner()),
        Err(failed) => Err(failed.to_string()),
    }
}

fn ends_and_says_the_truth(of: Ingredient, usual: u32) {
    let (seed, cases) = (seed(), cases(usual));
    match try_cases(of, cases, None) {
        Ok(endings) => {
            println!("{of:?}: {cases} cases, STEPBACK_SEED={seed}: {endings:?}");
            // A hunt in which nothing ever went wrong, or everything did, has hunted nothing.
            for ending in ["Succeeded", "RolledBack"] {
                assert!(endings.contains_key(ending), "no case ended {ending}: {endings:?}");
            }
        }
        Err(failed) => panic!("STEPBACK_SEED={seed}: {failed}"),
    }
}

#[test]
fn whatever_befalls_a_random_operation_it_ends_and_says_the_truth() {
    ends_and_says_the_truth(Ingredient::Everything, CASES);
}

macro_rules! of_one {
    ($($name:ident: $ingredient:ident;)*) => {
        $(
            #[test]
            fn $name() {
                ends_and_says_the_truth(Ingredient::$ingredient, CASES_OF_ONE);
            }
        )*
    };
}

of_one! {
    steps_that_change_the_same: SameFacts;
    strangers_between_any_two_events: Strangers;
    two_stores_on_one_world: TwoStores;
    secrets_that_are_pieces_of_names: Secrets;
    windows_in_parallel_and_opened_again: Windows;
    clocks_that_jump_and_machines_that_sleep: Clocks;
    providers_that_panic: Panics;
    answers_that_are_lies: Lies;
    listings_that_lag: Lag;
}

/// Each ingredient is worth its name: with the defect that it is there for, some case is red.
#[track_caller]
fn is_found(of: Ingredient, defect: Defect) {
    match try_cases(of, CASES_OF_MUTANT, Some(defect)) {
        Err(found) => {
            let what = found.lines().next().unwrap_or_default();
            println!("{defect:?}: found by {of:?}: {what}");
        }
        Ok(endings) => panic!("{defect:?}: every case of {of:?} stayed green: {endings:?}"),
    }
}

macro_rules! mutants {
    ($($name:ident: $ingredient:ident, $defect:expr;)*) => {
        $(
            #[test]
            fn $name() {
                is_found(Ingredient::$ingredient, $defect);
            }
        )*
    };
}

mutants! {
    an_effect_that_waits_for_nobody_is_found:
        SameFacts, Defect::Engine(Mutant::WaitsForNobody);
    undos_without_an_order_by_facts_are_found:
        SameFacts, Defect::Engine(Mutant::Machine(OfMachine::UndoIgnoresFacts));
    an_undo_that_takes_strangers_is_found:
        Strangers, Defect::Engine(Mutant::TakesStrangers);
    epochs_by_number_alone_are_found: TwoStores, Defect::EpochsByNumber;
    a_look_at_what_the_journal_calls_it_is_found:
        Secrets, Defect::Engine(Mutant::ObservesMarks);
    a_window_that_closes_early_is_found:
        Windows, Defect::Engine(Mutant::Machine(OfMachine::WindowClosesEarly));
    a_window_that_stays_shut_is_found:
        Windows, Defect::Engine(Mutant::Machine(OfMachine::WindowStaysShut));
    trust_in_the_systems_clock_is_found:
        Clocks, Defect::Engine(Mutant::TrustsTheSystemsClock);
    a_clock_that_loses_the_machines_sleep_is_found: Clocks, Defect::SleepsAreLost;
    a_panic_that_nobody_hears_of_is_found: Panics, Defect::Engine(Mutant::PanicsAreLost);
    belief_in_answers_is_found: Lies, Defect::Engine(Mutant::BelievesUndos);
    a_single_look_for_what_lags_is_found: Lag, Defect::Engine(Mutant::LooksOnce);
}
