//! Steps that touch nothing: wait, and insist on a condition.

use stepback_sdk::{Check, Duration, Failure, Step, clock, export_steps, precondition};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SleepInput {
    duration: Duration,
}

/// Waits.
pub struct Sleep;

impl Step for Sleep {
    type Input = SleepInput;
    type Output = ();
    const NAME: &'static str = "sleep";
    const DOC: &'static str = "Wait for a duration; a cancel ends it early.";

    fn run(input: SleepInput) -> Result<(), Failure> {
        clock::sleep(input.duration.ms())
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AssertInput {
    /// What must be so; an expression.
    condition: bool,
    /// What to tell when it is not.
    message: String,
}

/// Insists on a condition.
pub struct Assert;

impl Step for Assert {
    type Input = AssertInput;
    type Output = ();
    const NAME: &'static str = "assert";
    const DOC: &'static str = "Go on only if a condition holds; else say so.";

    fn check(input: &AssertInput) -> Result<Check, Failure> {
        Ok(match input.condition {
            true => Check::Ok,
            false => Check::Refused(input.message.clone()),
        })
    }

    fn run(input: AssertInput) -> Result<(), Failure> {
        match input.condition {
            true => Ok(()),
            false => Err(precondition(input.message)),
        }
    }
}

export_steps!(Sleep, Assert);

#[cfg(test)]
mod tests {
    use super::*;
    use stepback_sdk::testing::{World, input};

    fn assert_input(condition: bool) -> AssertInput {
        AssertInput { condition, message: "the volume is elsewhere".into() }
    }

    #[test]
    fn assert_refuses_with_its_message() {
        assert_eq!(Assert::check(&assert_input(true)), Ok(Check::Ok));
        let refused = Check::Refused("the volume is elsewhere".into());
        assert_eq!(Assert::check(&assert_input(false)), Ok(refused));
        let failure = Assert::run(assert_input(false)).expect_err("a false condition fails");
        assert_eq!(failure.message, "the volume is elsewhere");
    }

    #[test]
    fn sleep_sleeps_as_long_as_it_says() {
        World::reset();
        World::answer("clock.sleep", ());
        Sleep::run(input::<Sleep>(serde_json::json!({ "duration": "2m" }))).expect("it sleeps");
        assert_eq!(World::calls()[0].arguments["duration_ms"], 120_000);
    }
}
