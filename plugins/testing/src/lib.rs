//! Steps that misbehave on purpose, for the tests of the program.

use stepback_sdk::{
    Check, Failure, FailureClass, Pair, Past, Step, Undo, clock, ebs, export_steps, failure, log,
    may, reverse_effects,
};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TagInput {
    volume: String,
    key: String,
    value: String,
}

/// Says that it undid what it left as it was.
pub struct LyingUndo;

impl Step for LyingUndo {
    type Input = TagInput;
    type Output = ();
    const NAME: &'static str = "lying-undo";
    const DOC: &'static str = "Tag a volume; the undo says `undone` and does nothing.";

    fn run(input: TagInput) -> Result<(), Failure> {
        ebs::tag(&input.volume, &input.key, &input.value)
    }

    fn undo(_: &TagInput, _: &Past) -> Result<Undo, Failure> {
        Ok(Undo::Undone)
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgetfulInput {
    snapshot: String,
}

/// Does what can't be undone, and does not say so; its name says that it looks.
pub struct Forgetful;

impl Step for Forgetful {
    type Input = ForgetfulInput;
    type Output = ();
    const NAME: &'static str = "check-forgetful";
    const DOC: &'static str = "Delete a snapshot, without saying that this can't be undone.";

    fn check(input: &ForgetfulInput) -> Result<Check, Failure> {
        may(|| ebs::delete_snapshot(&input.snapshot))?;
        Ok(Check::Ok)
    }

    fn run(input: ForgetfulInput) -> Result<(), Failure> {
        ebs::delete_snapshot(&input.snapshot)
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailInput {
    message: String,
}

/// Fails.
pub struct Fail;

impl Step for Fail {
    type Input = FailInput;
    type Output = ();
    const NAME: &'static str = "fail";
    const DOC: &'static str = "Fail with a message.";

    fn run(input: FailInput) -> Result<(), Failure> {
        Err(failure(FailureClass::Precondition, input.message))
    }
}

#[derive(Clone, Copy, PartialEq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    Check,
    Run,
    Undo,
}

#[derive(Clone, Copy, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    Loop,
    Allocate,
    Recurse,
    Output,
    HugeOutput,
    Flood,
    Panic,
    Shout,
    Chatter,
    Wait,
    Effect,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MisbehaveInput {
    how: How,
    at: Moment,
    volume: String,
}

/// Misbehaves in one of many ways, at one of three moments.
pub struct Misbehave;

impl Step for Misbehave {
    type Input = MisbehaveInput;
    type Output = String;
    const NAME: &'static str = "misbehave";
    const DOC: &'static str = "Tag a volume, and misbehave.";

    fn check(input: &MisbehaveInput) -> Result<Check, Failure> {
        match input.at {
            Moment::Check => Ok(Check::Refused(misbehave(input)?)),
            Moment::Run | Moment::Undo => Ok(Check::Ok),
        }
    }

    fn run(input: MisbehaveInput) -> Result<String, Failure> {
        ebs::tag(&input.volume, "misbehaved", "yes")?;
        match input.at {
            Moment::Run => misbehave(&input),
            Moment::Check | Moment::Undo => Ok(String::new()),
        }
    }

    fn undo(input: &MisbehaveInput, past: &Past) -> Result<Undo, Failure> {
        match input.at {
            Moment::Undo => misbehave(input).map(Undo::CannotUndo),
            Moment::Check | Moment::Run => reverse_effects(past),
        }
    }
}

fn misbehave(input: &MisbehaveInput) -> Result<String, Failure> {
    match input.how {
        How::Loop => loop {
            std::hint::spin_loop();
        },
        How::Allocate => {
            let mut hoard: Vec<Vec<u8>> = vec![];
            // 8 GiB, more than any guest can have.
            while hoard.len() < 8 << 10 {
                hoard.push(vec![1; 1 << 20]);
            }
            Ok(format!("{} MiB", hoard.len()))
        }
        How::Recurse => Ok(format!("{}", recurse(std::hint::black_box(1)))),
        // More than may be handed over, less than the guest's memory.
        How::Output => Ok("x".repeat(12 << 20)),
        How::HugeOutput => Ok("x".repeat(100 << 20)),
        How::Flood => {
            for line in 0..200_000 {
                log::info(&format!("line {line} of far too many"));
            }
            Err(failure(FailureClass::Precondition, "the flood is over"))
        }
        How::Panic => panic!("on purpose"),
        How::Shout => {
            for _ in 0..400 {
                ebs::describe(&"x".repeat(1 << 20))?;
            }
            Ok("it heard me".to_owned())
        }
        // As much as one call may hold, and more than an attempt may.
        How::Chatter => {
            let tag = |number: u32| Pair { key: format!("k{number}"), value: "v".repeat(4 << 10) };
            let tags: Vec<Pair> = (0..15).map(tag).collect();
            for _ in 0..1_200 {
                ebs::find(&tags)?;
            }
            Ok("it heard me".to_owned())
        }
        How::Wait => {
            clock::sleep(u64::MAX)?;
            Ok("it let me sleep".to_owned())
        }
        How::Effect => {
            ebs::tag(&input.volume, "checked", "yes")?;
            Ok("it let me".to_owned())
        }
    }
}

#[expect(unconditional_recursion, reason = "that is what it is for")]
fn recurse(depth: u64) -> u64 {
    let deeper = std::hint::black_box([depth; 64]);
    1 + recurse(deeper.iter().sum())
}

/// Writes down when it was there, as a tag.
pub struct Stamp;

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StampInput {
    volume: String,
    /// Until when it is kept, too.
    #[serde(default)]
    keep_days: Option<u64>,
    /// Whether it does not mind that what it asks for is refused.
    #[serde(default)]
    swallows: bool,
    /// It fails from this time on, in milliseconds, and writes no time but how often it looked.
    #[serde(default)]
    until: Option<u64>,
}

impl Step for Stamp {
    type Input = StampInput;
    type Output = u64;
    const NAME: &'static str = "stamp";
    const DOC: &'static str = "Write on a volume when it was looked after.";

    fn run(input: StampInput) -> Result<u64, Failure> {
        let now = clock::now()?;
        let write = |key: &str, value: &str| match ebs::tag(&input.volume, key, value) {
            Err(failure) if !input.swallows => Err(failure),
            _ => Ok(()),
        };
        let seen = !input.swallows || ebs::describe(&input.volume).is_ok();
        if let Some(until) = input.until {
            if now > until {
                return Err(failure(FailureClass::Precondition, "it is too late"));
            }
            write("looked-after", if seen { "1" } else { "0" })?;
            return Ok(now);
        }
        write("looked-after", &format!("{} or {now}", now / 1000))?;
        // Within the same second, perhaps.
        let then = clock::now()?;
        write("written-at", &format!("{then} after {}", now / 1000))?;
        if !seen {
            write("keep-until", "0")?;
        } else if let Some(days) = input.keep_days {
            write("keep-until", &(now / 1000 + days * 86_400).to_string())?;
        }
        Ok(now)
    }
}

export_steps!(LyingUndo, Forgetful, Fail, Misbehave, Stamp);
