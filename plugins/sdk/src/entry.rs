//! What `export_steps!` is made of: JSON in, a typed step, JSON out.

use crate::bindings::exports::stepback::step::steps::StepInfo;
use crate::{Check, Failure, FailureClass, Past, Step, Undo, failure};
use schemars::generate::SchemaSettings;

pub use crate::bindings::exports::stepback::step::steps::{Call, Guest};

/// The step as it is described to the host.
pub fn describe<S: Step>() -> StepInfo {
    let schema = |in_or_out: schemars::Schema| in_or_out.to_value().to_string();
    let settings = || SchemaSettings::draft2020_12().with(|all| all.inline_subschemas = true);
    StepInfo {
        name: S::NAME.to_owned(),
        doc: S::DOC.to_owned(),
        input_schema: schema(settings().into_generator().into_root_schema_for::<S::Input>()),
        output_schema: schema(settings().into_generator().into_root_schema_for::<S::Output>()),
        reversible: S::REVERSIBLE,
    }
}

fn input<S: Step>(json: &str) -> Result<S::Input, Failure> {
    serde_json::from_str(json)
        .map_err(|error| failure(FailureClass::InvalidInput, format!("`with`: {error}")))
}

/// The step's check.
pub fn check<S: Step>(call: &Call) -> Result<Check, Failure> {
    S::check(&input::<S>(&call.input)?)
}

/// The step's run; its output as JSON.
pub fn run<S: Step>(call: &Call) -> Result<String, Failure> {
    let output = S::run(input::<S>(&call.input)?)?;
    serde_json::to_string(&output)
        .map_err(|error| failure(FailureClass::Internal, format!("the output: {error}")))
}

/// The step's undo.
pub fn undo<S: Step>(call: &Call, past: &Past) -> Result<Undo, Failure> {
    S::undo(&input::<S>(&call.input)?, past)
}

/// A step this plugin does not have.
pub fn unknown(step: &str) -> Failure {
    failure(FailureClass::InvalidInput, format!("this plugin has no step `{step}`"))
}

/// Make panics lines of the log; what follows one is a trap, which the host takes for `internal`.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        crate::log::line(crate::log::Level::Error, &format!("the step panicked: {panic}"));
    }));
}

/// Export a plugin's steps: `export_steps!(First, Second);`, once in a crate.
///
/// They are types of the crate, without functions `check`, `run` and `undo` of their own beside
/// those of [`crate::Step`]: tests have these here, under the host's rules.
#[macro_export]
macro_rules! export_steps {
    ($($step:ty),+ $(,)?) => {
        struct ExportedSteps;

        impl $crate::entry::Guest for ExportedSteps {
            fn describe() -> Vec<$crate::bindings::exports::stepback::step::steps::StepInfo> {
                vec![$($crate::entry::describe::<$step>()),+]
            }

            fn check(call: $crate::entry::Call) -> Result<$crate::Check, $crate::Failure> {
                $crate::entry::log_panics();
                match call.step.as_str() {
                    $(<$step as $crate::Step>::NAME => $crate::entry::check::<$step>(&call),)+
                    other => Err($crate::entry::unknown(other)),
                }
            }

            fn run(call: $crate::entry::Call) -> Result<String, $crate::Failure> {
                $crate::entry::log_panics();
                match call.step.as_str() {
                    $(<$step as $crate::Step>::NAME => $crate::entry::run::<$step>(&call),)+
                    other => Err($crate::entry::unknown(other)),
                }
            }

            fn undo(
                call: $crate::entry::Call,
                past: $crate::Past,
            ) -> Result<$crate::Undo, $crate::Failure> {
                $crate::entry::log_panics();
                match call.step.as_str() {
                    $(<$step as $crate::Step>::NAME => {
                        $crate::entry::undo::<$step>(&call, &past)
                    })+
                    other => Err($crate::entry::unknown(other)),
                }
            }
        }

        #[cfg(target_arch = "wasm32")]
        $crate::bindings::export!(ExportedSteps with_types_in $crate::bindings);

        // In the plugin's own tests a step is called under the host's rules: a type's own functions
        // go before those of its traits.
        $(
            #[cfg(all(test, not(target_arch = "wasm32")))]
            #[allow(dead_code, private_interfaces)]
            impl $step {
                fn check(
                    input: &<Self as $crate::Step>::Input,
                ) -> ::core::result::Result<$crate::Check, $crate::Failure> {
                    $crate::testing::check::<Self>(input)
                }

                fn run(
                    input: <Self as $crate::Step>::Input,
                ) -> ::core::result::Result<<Self as $crate::Step>::Output, $crate::Failure> {
                    $crate::testing::run::<Self>(input)
                }

                fn undo(
                    input: &<Self as $crate::Step>::Input,
                    past: &$crate::Past,
                ) -> ::core::result::Result<$crate::Undo, $crate::Failure> {
                    $crate::testing::undo::<Self>(input, past)
                }
            }
        )+
    };
}
