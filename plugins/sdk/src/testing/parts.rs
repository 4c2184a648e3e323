//! The parts of a step under the host's rules: what a check, a run and an undo may do.

use crate::{Check, Failure, Past, Step, Undo};
use std::cell::Cell;

thread_local! {
    static PART: Cell<Option<Part>> = const { Cell::new(None) };
}

/// What a host function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    Read,
    Wait,
    Effect,
    /// It takes an effect back.
    Reverse,
}

/// The part of a step that is at work.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Check,
    Run,
    Undo,
}

/// Puts back what was at work before, after a panic, too.
struct Leaves(Option<Part>);

impl Drop for Leaves {
    fn drop(&mut self) {
        PART.set(self.0);
    }
}

/// A part at work. A run that calls its step's own check is a run all the while.
fn within<T>(part: Part, work: impl FnOnce() -> T) -> T {
    let _leaves = Leaves(PART.get());
    PART.set(PART.get().or(Some(part)));
    work()
}

/// The step's check, as strict as the host: it may only look, and ask with [`crate::may`].
///
/// # Errors
/// The step's own failure.
///
/// # Panics
/// If it makes an effect, or waits.
pub fn check<S: Step>(input: &S::Input) -> Result<Check, Failure> {
    within(Part::Check, || S::check(input))
}

/// The step's run.
///
/// # Errors
/// The step's own failure.
///
/// # Panics
/// If it asks with [`crate::may`], which would make the effect, or takes an effect back.
pub fn run<S: Step>(input: S::Input) -> Result<S::Output, Failure> {
    within(Part::Run, || S::run(input))
}

/// The step's undo.
///
/// # Errors
/// The step's own failure.
///
/// # Panics
/// If it asks with [`crate::may`], which would make the effect.
pub fn undo<S: Step>(input: &S::Input, past: &Past) -> Result<Undo, Failure> {
    within(Part::Undo, || S::undo(input, past))
}

/// What a function does.
///
/// # Panics
/// If there is no such function.
#[track_caller]
pub(super) fn does(function: &str) -> Does {
    let found = crate::functions().find(|(name, _)| *name == function);
    found.map(|(_, does)| does).unwrap_or_else(|| {
        let interface = function.split('.').next().unwrap_or_default();
        let is_beside = |name: &&str| name.split('.').next() == Some(interface);
        let mut names: Vec<&str> =
            crate::functions().map(|(name, _)| name).filter(is_beside).collect();
        if names.is_empty() {
            names = vec!["clock.…", "effects.…", "ec2.…", "ebs.…", "docker.…", "load-balancer.…"];
        }
        panic!("there is no host function `{function}`; there are {}", names.join(", "))
    })
}

/// The host's own rules for the part that is at work.
#[track_caller]
pub(super) fn must_be_allowed(function: &str, asks: bool) {
    let does = does(function);
    let Some(part) = PART.get() else { return };
    match (part, does) {
        // The one wait that waits for nothing of the world.
        (_, Does::Wait) if function == "clock.sleep" => {}
        (Part::Check, Does::Effect | Does::Wait) if !asks => {
            let why = if does == Does::Wait { "waits" } else { "changes the world" };
            panic!(
                "{function} {why}, and a check may only look, so the host refuses it: ask with \
                 `may(|| …)`, and do it in `run`"
            );
        }
        (Part::Run | Part::Undo, Does::Effect) if asks => {
            panic!("{function} within `may`: only in a check it is asked for, here it is made");
        }
        (Part::Check | Part::Run, Does::Reverse) => {
            panic!("{function} is for undos only, so the host refuses it");
        }
        (_, Does::Read | Does::Wait | Does::Effect | Does::Reverse) => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::effects::Reversal;
    use crate::testing::World;
    use crate::{
        Check, Failure, FailureClass, NOT_KNOWN_YET, Step, clock, ebs, effects, export_steps,
        failure, granted, may, may_take_back,
    };

    /// What the step does in its check, and in its run.
    #[derive(Clone, Copy)]
    struct Odd(fn() -> Result<(), Failure>, fn() -> Result<(), Failure>);

    thread_local! {
        static ODD: std::cell::Cell<Odd> = const { std::cell::Cell::new(Odd(nothing, nothing)) };
    }

    fn nothing() -> Result<(), Failure> {
        Ok(())
    }

    struct AnyStep;

    impl Step for AnyStep {
        type Input = bool;
        type Output = ();
        const NAME: &'static str = "any-step";
        const DOC: &'static str = "Do what a test wants to see.";

        fn check(_: &bool) -> Result<Check, Failure> {
            let Odd(check, _) = ODD.get();
            check().map(|()| Check::Ok)
        }

        fn run(checks: bool) -> Result<(), Failure> {
            if checks {
                Self::check(&checks)?;
            }
            let Odd(_, run) = ODD.get();
            run()
        }
    }

    export_steps!(AnyStep);

    fn tag() -> Result<(), Failure> {
        ebs::tag("vol-1", "a", "b")
    }

    fn asks() -> Result<(), Failure> {
        may(tag)
    }

    fn waits() -> Result<(), Failure> {
        ebs::wait_snapshot("snap-1", 1).map(drop)
    }

    fn reverses() -> Result<(), Failure> {
        effects::reverse("1").map(drop)
    }

    fn with(check: fn() -> Result<(), Failure>, run: fn() -> Result<(), Failure>) {
        World::reset();
        World::answer("ebs.tag", ());
        World::answer("clock.sleep", ());
        World::answer("effects.reverse", Reversal::Reversed);
        ODD.set(Odd(check, run));
    }

    #[test]
    fn a_check_looks_and_asks() {
        with(|| may(waits).and_then(|()| clock::sleep(1)), tag);
        assert_eq!(AnyStep::check(&false), Ok(Check::Ok));
        assert_eq!(World::asked(), ["ebs.wait-snapshot"]);
        with(asks, tag);
        assert_eq!(AnyStep::check(&false), Ok(Check::Ok));
        assert_eq!(World::functions(), Vec::<String>::new());
        AnyStep::run(false).expect("it is made");
        assert_eq!(World::functions(), ["ebs.tag"]);
    }

    /// A failure with a code, as the host answers what is not granted.
    fn denied(code: &str) -> Failure {
        Failure { code: Some(code.to_owned()), ..failure(FailureClass::Denied, "no") }
    }

    #[test]
    fn whether_a_call_is_granted_is_no_question_to_the_world() {
        with(|| granted(|| ebs::describe(NOT_KNOWN_YET)).and_then(|()| granted(tag)), nothing);
        assert_eq!(AnyStep::check(&false), Ok(Check::Ok));
        assert_eq!(World::asked(), ["ebs.describe", "ebs.tag"]);
        assert_eq!(World::functions(), Vec::<String>::new(), "nothing is read by what is unknown");
        World::reset();
        World::fail("ebs.tag", failure(FailureClass::Precondition, "it has no room"));
        assert_eq!(granted(tag), Ok(()));
        assert!(may(tag).is_err());
        World::reset();
        World::fail("ebs.tag", denied("not-granted"));
        assert_eq!(granted(tag), Err(denied("not-granted")));
    }

    #[test]
    fn what_is_only_taken_back_by_needs_no_grant() {
        with(nothing, nothing);
        assert_eq!(may_take_back(tag), Ok(()));
        for (failure, is_told) in [
            (denied("not-granted"), false),
            (denied("UnauthorizedOperation"), true),
            (failure(FailureClass::Precondition, "it can't be attached again"), true),
        ] {
            World::reset();
            World::fail("ebs.tag", failure.clone());
            assert_eq!(may_take_back(tag).err(), is_told.then_some(failure));
        }
    }

    #[test]
    #[should_panic(expected = "ebs.tag changes the world, and a check may only look")]
    fn an_effect_in_a_check_fails_the_test() {
        with(tag, nothing);
        let _ = AnyStep::check(&false);
    }

    #[test]
    #[should_panic(expected = "ebs.wait-snapshot waits, and a check may only look")]
    fn a_wait_in_a_check_fails_the_test() {
        with(waits, nothing);
        let _ = AnyStep::check(&false);
    }

    #[test]
    #[should_panic(expected = "effects.reverse is for undos only")]
    fn a_run_takes_nothing_back() {
        with(nothing, reverses);
        let _ = AnyStep::run(false);
    }

    #[test]
    #[should_panic(expected = "ebs.tag within `may`: only in a check it is asked for")]
    fn a_run_does_not_ask() {
        with(nothing, asks);
        let _ = AnyStep::run(false);
    }

    #[test]
    fn a_run_that_checks_is_a_run_all_the_while() {
        with(tag, nothing);
        AnyStep::run(true).expect("the host makes it, too");
        assert_eq!(World::functions(), ["ebs.tag"]);
        // Whatever a test ends with, the next part has its own rules.
        let ended = std::panic::catch_unwind(|| AnyStep::check(&false));
        assert!(ended.is_err());
        AnyStep::run(true).expect("it is a run");
    }

    #[test]
    #[should_panic(expected = "there is no host function `ebs.tagg`; there are ebs.describe, ")]
    fn an_answer_is_of_a_function_that_there_is() {
        World::answer("ebs.tagg", ());
    }

    #[test]
    #[should_panic(expected = "there is no host function `esb.tag`; there are clock.…")]
    fn a_failure_is_of_a_function_that_there_is() {
        World::fail("esb.tag", failure(FailureClass::Refused, "no"));
    }
}
