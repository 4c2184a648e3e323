//! How much a call and its answer may hold: each is journaled, and kept for a replay.

use super::{Call, DockerCall};
use crate::failure::{Failure, FailureClass};
use crate::resource::Facts;
use crate::step::Change;
use crate::texts::MapTexts;
use serde_json::Value;
use std::cell::Cell;

/// All arguments of one call together. A container's environment is the largest there is; Linux
/// takes at most 128 KiB of one such text (execve(2)).
pub const ARGUMENT_BYTES_MAX: usize = 64 << 10;
/// A text that is no command, environment or option: EC2 takes tags of 255 characters, Docker names
/// of 128 and images of some 4,000.
pub const NAME_BYTES_MAX: usize = 4 << 10;
/// The answer of one call.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// The lines of a container's log.
pub const TAIL_LINES_MAX: u32 = 10_000;
/// All calls of one attempt, with their answers.
pub const ATTEMPT_BYTES_MAX: usize = 64 << 20;
/// All calls of one operation, with their answers and the facts of what they touched; an undo goes
/// on beyond.
pub const OPERATION_BYTES_MAX: u64 = 1 << 30;
/// What the undo of one step is told of its effects, with what they touched before and after: all
/// of it goes into the memory of one guest.
pub const PAST_BYTES_MAX: usize = 16 << 20;
/// The effects of one operation going forward; each is compared when it ends, and may be undone.
pub const OPERATION_EFFECTS_MAX: u64 = 50_000;
/// What each text costs beside its bytes, so that many empty ones are not for nothing.
const TEXT_BYTES: usize = 16;

/// The arguments that are as long as they have to be.
const LONG: [&str; 3] = ["command", "env", "options"];

/// The code of what is refused for its size.
pub const TOO_LARGE: &str = "too-large";
/// The code of what is refused because there were too many of its kind.
pub const TOO_MANY: &str = "too-many";

fn too_large(message: String) -> Failure {
    Failure::new(FailureClass::InvalidInput, message).with_code(TOO_LARGE)
}

impl Call {
    /// Whether its arguments are no larger than those of any call that makes sense.
    ///
    /// # Errors
    /// `invalid-input`, with the argument, its size and the most that there may be.
    pub fn must_fit(&self) -> Result<(), Failure> {
        let function = self.function();
        if let Call::Docker(DockerCall::Logs { tail_lines, .. }) = self
            && *tail_lines > TAIL_LINES_MAX
        {
            return Err(too_large(format!(
                "{function}: {tail_lines} lines are asked for, and {TAIL_LINES_MAX} are the most"
            )));
        }
        let bytes = self.bytes();
        if bytes > ARGUMENT_BYTES_MAX {
            return Err(too_large(format!(
                "{function}: its arguments have {bytes} bytes, and {ARGUMENT_BYTES_MAX} are the \
                 most"
            )));
        }
        if bytes <= NAME_BYTES_MAX {
            return Ok(());
        }
        let written = serde_json::to_value(self).unwrap_or_default();
        match longest("", &written["arguments"]) {
            (name, longest) if longest > NAME_BYTES_MAX => Err(too_large(format!(
                "{function}: {name} has {longest} bytes, and {NAME_BYTES_MAX} are the most"
            ))),
            _ => Ok(()),
        }
    }

    /// What its arguments take.
    pub fn bytes(&self) -> usize {
        let bytes = Cell::new(0_usize);
        self.map_texts(&|text| {
            bytes.set(bytes.get().saturating_add(text.len()).saturating_add(TEXT_BYTES));
            String::new()
        });
        bytes.get()
    }
}

/// The name and the bytes of the longest text that is to be short.
fn longest(name: &str, value: &Value) -> (String, usize) {
    match value {
        Value::String(text) => (format!("`{name}`"), text.len()),
        Value::Array(list) => {
            let all = list.iter().map(|item| longest(name, item));
            all.max_by_key(|(_, bytes)| *bytes).unwrap_or_default()
        }
        Value::Object(map) => {
            // Of a call, or of what it makes; a label may have any name.
            let is_call = matches!(name, "" | "spec");
            let fields =
                map.iter().filter(|(field, _)| !(is_call && LONG.contains(&field.as_str())));
            let all = fields.map(|(field, value)| match field.len() {
                long if long > NAME_BYTES_MAX => (format!("a key of `{name}`"), long),
                _ => longest(field, value),
            });
            all.max_by_key(|(_, bytes)| *bytes).unwrap_or_default()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Default::default(),
    }
}

/// What an answer takes, as it is kept.
pub fn answer_bytes(answer: &Value) -> usize {
    match answer {
        Value::String(text) => text.len().saturating_add(2),
        Value::Array(list) => {
            list.iter().map(answer_bytes).fold(2, |all, one| all.saturating_add(one + 1))
        }
        Value::Object(map) => {
            let fields = map.iter().map(|(key, value)| key.len() + 4 + answer_bytes(value));
            fields.fold(2, usize::saturating_add)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

/// What the facts of what an effect touched take, as they are kept.
pub fn changes_bytes(changes: &[Change]) -> usize {
    let facts = |facts: &Facts| match facts {
        Facts::Absent => 8,
        Facts::Unknown(why) => why.len(),
        Facts::Present(map) => {
            let all = map.iter().map(|(name, value)| name.len() + 4 + answer_bytes(value));
            all.fold(2, usize::saturating_add)
        }
    };
    let change = |change: &Change| {
        let after = change.after.as_ref().map_or(0, facts);
        facts(&change.before).saturating_add(after).saturating_add(NAME_BYTES_ABOUT)
    };
    changes.iter().map(change).fold(0, usize::saturating_add)
}

/// What naming a resource takes.
const NAME_BYTES_ABOUT: usize = 64;

/// Whether an answer is no larger than what a step may be given.
///
/// # Errors
/// `invalid-input`, with its size and the most that there may be.
pub fn answer_must_fit(function: &str, answer: &Value) -> Result<(), Failure> {
    match answer_bytes(answer) {
        bytes if bytes > ANSWER_BYTES_MAX => Err(too_large(format!(
            "{function}: the answer has {bytes} bytes, and {ANSWER_BYTES_MAX} are the most: ask \
             for less"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::{ContainerSpec, EbsCall};
    use std::collections::BTreeMap;

    fn tag(key: usize, value: usize) -> Call {
        let (key, value) = ("k".repeat(key), "v".repeat(value));
        Call::Ebs(EbsCall::Tag { volume: "vol-1".into(), key, value })
    }

    fn create(spec: ContainerSpec) -> Call {
        Call::Docker(DockerCall::CreateContainer {
            host: "i-1".into(),
            container: "main".into(),
            spec,
        })
    }

    #[test]
    fn what_is_too_large_is_named_with_its_size() {
        let env = |value: usize| ContainerSpec {
            env: BTreeMap::from([("A".to_owned(), "v".repeat(value))]),
            ..ContainerSpec::default()
        };
        let commands = |count: usize| ContainerSpec {
            command: vec![String::new(); count],
            ..ContainerSpec::default()
        };
        let labels = |key: usize| ContainerSpec {
            labels: BTreeMap::from([("k".repeat(key), "v".to_owned())]),
            ..ContainerSpec::default()
        };
        let label = |key: &str, value: usize| ContainerSpec {
            labels: BTreeMap::from([(key.to_owned(), "v".repeat(value))]),
            ..ContainerSpec::default()
        };
        let logs = |tail_lines| {
            Call::Docker(DockerCall::Logs { host: "i".into(), container: "c".into(), tail_lines })
        };
        for (call, wanted) in [
            (tag(10, 255), None),
            (tag(10, NAME_BYTES_MAX), None),
            (tag(10, NAME_BYTES_MAX + 1), Some("`value` has 4097 bytes, and 4096 are the most")),
            (tag(NAME_BYTES_MAX + 1, 1), Some("`key` has 4097 bytes")),
            (create(labels(NAME_BYTES_MAX + 1)), Some("a key of `labels` has 4097 bytes")),
            (create(label("command", 5_000)), Some("`command` has 5000 bytes")),
            (create(env(60 << 10)), None),
            (create(env(64 << 10)), Some("and 65536 are the most")),
            (create(commands(4_000)), None),
            (create(commands(5_000)), Some("and 65536 are the most")),
            (logs(10_000), None),
            (logs(10_001), Some("10001 lines are asked for, and 10000 are the most")),
        ] {
            let told = call.must_fit().err().map(|failure| failure.message);
            match wanted {
                None => assert_eq!(told, None),
                Some(wanted) => {
                    let told = told.expect(wanted);
                    assert!(told.contains(wanted), "{told}");
                }
            }
        }
    }

    #[test]
    fn an_answer_takes_about_what_it_takes_in_json() {
        let text = "x".repeat(1000);
        for answer in [
            Value::Null,
            serde_json::json!([text, text, { "a": text, "b": [1, 2, 3, true, null] }]),
            serde_json::json!(vec![""; 1000]),
        ] {
            let (told, real) = (answer_bytes(&answer), answer.to_string().len());
            assert!(told >= real.min(real / 2 + 8) && told <= 2 * real + 8, "{told} for {real}");
        }
        answer_must_fit("ebs.list", &Value::from("x".repeat(ANSWER_BYTES_MAX - 2))).unwrap();
        answer_must_fit("ebs.list", &Value::from("x".repeat(ANSWER_BYTES_MAX))).unwrap_err();
    }
}
