//! Names as an engine has them.
//!
//! They go into the paths of requests, where anything else asks for something else:
//! `../containers/x` is no Docker volume. And a variable's name ends at its first `=`
//! (environ(7)): what is held against grants would not be what the container gets.

use super::{Call, DockerCall};
use crate::expr::MARK_EDGE;
use crate::failure::{Failure, FailureClass};
use crate::grants::Asked;
use crate::resource::Resource;
use crate::shown::MASK;
use std::borrow::Cow;

/// The arguments that are a name of one part.
const NAMES: [&str; 3] = ["container", "to", "volume"];

/// So many volumes a container may be given: each is looked at before it is made.
const MOUNTS_MAX: usize = 64;

/// What the ids of things begin with (Amazon EC2 User Guide, *Resource IDs*).
const KINDS: [(&str, &str); 3] =
    [("i-", "an instance"), ("vol-", "a volume"), ("snap-", "a snapshot")];

impl Call {
    /// Whether each name in it can be one; whether there is such a thing is another question.
    ///
    /// # Errors
    /// `invalid-input`, with the argument.
    pub fn must_be_plain(&self) -> Result<(), Failure> {
        self.must_be_of_their_kinds()?;
        let Call::Docker(of) = self else { return Ok(()) };
        let odd = |what: &str, text: &str, may: &str| {
            let message = format!("{}: `{what}` can't be `{text}`: {may}", self.function());
            Err(Failure::new(FailureClass::InvalidInput, message))
        };
        let written = serde_json::to_value(self).unwrap_or_default();
        let arguments = &written["arguments"];
        let like = ("spec.like.container", &arguments["spec"]["like"]["container"]);
        let mounts = arguments["spec"]["mounts"].as_array().into_iter().flatten();
        let mounts = mounts.map(|mount| ("spec.mounts.volume", &mount["volume"]));
        let names = NAMES.map(|name| (name, &arguments[name]));
        for (what, name) in names.into_iter().chain([like]).chain(mounts) {
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
        if let DockerCall::CreateVolume { options, .. } = of
            && let Some(name) = options.iter().find(|(_, value)| value.contains(MASK))
        {
            return odd("options", name.0, "it has `***`, which stands for what is not shown");
        }
        if let DockerCall::CreateContainer { spec, .. } | DockerCall::RunOnce { spec, .. } = of {
            if spec.mounts.len() > MOUNTS_MAX {
                let what = spec.mounts.len().to_string();
                return odd("spec.mounts", &what, &format!("a container has {MOUNTS_MAX} at most"));
            }
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

impl Call {
    /// Whether no id in it says that it is one of another kind: what a grant or a rule says of
    /// volumes would not be said of an instance that stands in the place of one, and a provider may
    /// take either (Amazon EC2 API Reference, *CreateTags*).
    fn must_be_of_their_kinds(&self) -> Result<(), Failure> {
        for thing in Asked::of(self).things {
            let (id, own) = match &thing {
                Resource::Instance { id } => (id, "an instance"),
                Resource::Volume { id } => (id, "a volume"),
                Resource::Snapshot { id } => (id, "a snapshot"),
                _ => continue,
            };
            let other = KINDS.iter().find(|(begins, kind)| id.starts_with(begins) && *kind != own);
            if let Some((_, other)) = other {
                let message =
                    format!("{}: `{id}` is the id of {other}, not of {own}", self.function());
                return Err(Failure::new(FailureClass::InvalidInput, message));
            }
        }
        Ok(())
    }
}

/// A mark in a secret's place is refused wherever it is, by whoever knows secrets, and better told.
fn without_marks(text: &str) -> Cow<'_, str> {
    match text.contains(MARK_EDGE) {
        true => text.replace([MARK_EDGE, ':', '<', '>', '#', '~'], "x").into(),
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
    use crate::calls::{ContainerSpec, EbsCall, Ec2Call, Mount, NOT_KNOWN_YET};

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
    fn an_id_of_another_kind_is_refused_whoever_serves_the_call() {
        let tag = |volume: &str| -> Call {
            let (key, value) = ("team".into(), "db".into());
            EbsCall::Tag { volume: volume.into(), key, value }.into()
        };
        tag("vol-0a1").must_be_plain().unwrap();
        tag("data").must_be_plain().unwrap();
        for (call, words) in [
            (tag("i-0a1"), "ebs.tag: `i-0a1` is the id of an instance, not of a volume"),
            (tag("snap-1"), "`snap-1` is the id of a snapshot, not of a volume"),
            (Ec2Call::Terminate { instance: "vol-1".into() }.into(), "not of an instance"),
            (EbsCall::DeleteSnapshot { snapshot: "vol-1".into() }.into(), "not of a snapshot"),
            (Call::Docker(DockerCall::ListContainers { host: "vol-1".into() }), "an instance"),
        ] {
            let told = call.must_be_plain().unwrap_err();
            assert_eq!(told.class, FailureClass::InvalidInput);
            assert!(told.message.contains(words), "{}", told.message);
        }
        // A Docker volume is called as one likes.
        remove("i-0a1").must_be_plain().unwrap();
    }

    #[test]
    fn what_is_mounted_has_a_name_of_one_part() {
        let made = |volume: &str| {
            let mounts =
                vec![Mount { volume: volume.into(), target: "/d".into(), read_only: false }];
            Call::Docker(DockerCall::CreateContainer {
                host: "i-1".into(),
                container: "main".into(),
                spec: ContainerSpec { mounts, image: "a:1".into(), ..ContainerSpec::default() },
            })
        };
        made("data").must_be_plain().unwrap();
        for odd in ["/etc", "../containers/x", "a:b"] {
            let told = made(odd).must_be_plain().unwrap_err();
            assert!(told.message.contains("spec.mounts.volume"), "{}", told.message);
        }
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
