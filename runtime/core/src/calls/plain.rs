//! Names as an engine has them.
//!
//! They go into the paths of requests, where anything else asks for something else:
//! `../containers/x` is no Docker volume. And a variable's name ends at its first `=`
//! (environ(7)): what is held against grants would not be what the container gets.

use super::{Call, DockerCall};
use crate::expr::MARK_EDGE;
use crate::failure::{Failure, FailureClass};
use std::borrow::Cow;

/// The arguments that are a name of one part.
const NAMES: [&str; 3] = ["container", "to", "volume"];

impl Call {
    /// Whether each name in it can be one; whether there is such a thing is another question.
    ///
    /// # Errors
    /// `invalid-input`, with the argument.
    pub fn must_be_plain(&self) -> Result<(), Failure> {
        let Call::Docker(of) = self else { return Ok(()) };
        let odd = |what: &str, text: &str, may: &str| {
            let message = format!("{}: `{what}` can't be `{text}`: {may}", self.function());
            Err(Failure::new(FailureClass::InvalidInput, message))
        };
        let written = serde_json::to_value(self).unwrap_or_default();
        let arguments = &written["arguments"];
        let like = ("spec.like.container", &arguments["spec"]["like"]["container"]);
        let names = NAMES.map(|name| (name, &arguments[name]));
        for (what, name) in names.into_iter().chain([like]) {
            if let Some(name) = name.as_str().filter(|name| !is_name(&without_marks(name))) {
                return odd(what, name, "a name has letters, digits, `_`, `.` and `-` only");
            }
        }
        let made = ("spec.image", &arguments["spec"]["image"]);
        let images = ["image", "digest"].map(|name| (name, &arguments[name]));
        for (what, image) in images.into_iter().chain([made]) {
            if let Some(image) = image.as_str().filter(|image| !is_image(&without_marks(image))) {
                return odd(what, image, "it is no reference of an image");
            }
        }
        if let DockerCall::CreateContainer { spec, .. } | DockerCall::RunOnce { spec, .. } = of {
            let is_odd = |name: &&String| {
                let name = without_marks(name);
                name.is_empty() || name.contains(|c: char| c == '=' || c.is_control())
            };
            if let Some(name) = spec.env.keys().find(is_odd) {
                return odd("a key of spec.env", name, "a variable has a name, without `=` in it");
            }
        }
        Ok(())
    }
}

/// A mark in a secret's place is refused wherever it is, by whoever knows secrets, and better told.
fn without_marks(text: &str) -> Cow<'_, str> {
    match text.contains(MARK_EDGE) {
        true => text.replace([MARK_EDGE, ':', '<', '>', '#'], "x").into(),
        false => text.into(),
    }
}

fn is_part(text: &str, more: &[char]) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ['_', '.', '-'].contains(&c);
    ![".", ".."].contains(&text) && text.chars().all(|c| is_plain(c) || more.contains(&c))
}

/// An empty one is refused where it is looked for.
fn is_name(text: &str) -> bool {
    is_part(text, &[])
}

/// `registry:5000/team/app:tag@sha256:…`, or an id; an empty one may be that of what it is like.
fn is_image(text: &str) -> bool {
    let mut parts = text.split('/');
    text.is_empty()
        || parts.all(|part| !part.is_empty() && is_part(part, &[':', '@', '+', '[', ']']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::{ContainerSpec, NOT_KNOWN_YET};

    fn remove(volume: &str) -> Call {
        Call::Docker(DockerCall::RemoveVolume { host: "i-1".into(), volume: volume.into() })
    }

    fn image(image: &str) -> Call {
        Call::Docker(DockerCall::RemoveImage { host: "i-1".into(), image: image.into() })
    }

    fn made(name: &str) -> Call {
        let env = [(name.to_owned(), "x".to_owned())].into();
        Call::Docker(DockerCall::CreateContainer {
            host: "i-1".into(),
            container: "main".into(),
            spec: ContainerSpec { env, image: "a:1".into(), ..ContainerSpec::default() },
        })
    }

    #[test]
    fn what_is_no_name_asks_for_nothing() {
        for good in ["db", "0a1b", "main_2-old.x", "vol-0abc", NOT_KNOWN_YET] {
            remove(good).must_be_plain().unwrap();
        }
        for odd in [
            "../containers/main",
            "\u{1}../x",
            "..",
            ".",
            "a/b",
            "/a",
            "a?force=1",
            "a#",
            "a%2Fb",
            "ä",
            "a b",
        ] {
            let told = remove(odd).must_be_plain().unwrap_err();
            assert_eq!(told.class, FailureClass::InvalidInput);
            assert!(told.message.contains("`volume` can't be"), "{}", told.message);
        }
        for good in [
            "postgres:16",
            "127.0.0.1:5000/a/b:1",
            "[::1]:5000/a",
            "Quay.IO/a@sha256:00",
            "sha256:00",
        ] {
            image(good).must_be_plain().unwrap();
        }
        for odd in ["a/../../containers/main", "a//b", "/a", "a/", "a:1?x", " a", "a\n", "a/./b"] {
            image(odd).must_be_plain().unwrap_err();
        }
        for good in ["A", "PG.x-1", "a b"] {
            made(good).must_be_plain().unwrap();
        }
        for odd in ["", "LD_PRELOAD=/x", "A=", "A\n", "A\0"] {
            let told = made(odd).must_be_plain().unwrap_err();
            assert!(told.message.contains("a key of spec.env"), "{}", told.message);
        }
    }
}
