//! How long things take in a rehearsal, where nobody can be asked: assumptions, and told as such.
//!
//! They are of the size that such calls are known to have, and decide nothing but how long a
//! downtime is told to be, and which timeouts a slow answer meets.

use stepback_core::Call;
use stepback_core::calls::Class;

/// Whoever starts a program again that was killed takes this long to do it.
pub const TAKEN_UP_AFTER_MS: u64 = 30_000;
/// A read, and a look at a resource's facts.
pub const LOOK_MS: u64 = 200;
/// An effect that is not listed here.
const EFFECT_MS: u64 = 1_000;

/// The effects that take longer than others.
const EFFECTS_MS: [(&str, u64); 11] = [
    ("docker.pull-image", 30_000),
    ("docker.start-container", 2_000),
    ("docker.stop-container", 5_000),
    ("docker.exec", 5_000),
    ("docker.run-once", 5_000),
    ("ebs.attach", 5_000),
    ("ebs.create-snapshot", 60_000),
    ("ebs.create-volume", 5_000),
    ("ebs.detach", 5_000),
    ("ec2.start", 30_000),
    ("ec2.stop", 60_000),
];

/// How long a call takes until it is done and answered.
pub fn takes_ms(call: &Call) -> u64 {
    let function = call.function();
    match (EFFECTS_MS.iter().find(|(name, _)| *name == function), call.class()) {
        (Some((_, ms)), _) => *ms,
        (None, Class::Effect | Class::Irreversible) => EFFECT_MS,
        (None, Class::Read | Class::Wait) => LOOK_MS,
    }
}

/// What is assumed of each function that is not like the others, for the report.
pub fn all() -> impl Iterator<Item = (&'static str, u64)> {
    EFFECTS_MS.into_iter().chain([
        ("any other effect", EFFECT_MS),
        ("a read or a look", LOOK_MS),
        ("until a killed program is run again", TAKEN_UP_AFTER_MS),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_assumed_is_of_functions_that_there_are() {
        for (name, _) in EFFECTS_MS {
            let class = Call::class_of(name);
            assert!(matches!(class, Some(Class::Effect | Class::Irreversible)), "{name}");
        }
    }
}
