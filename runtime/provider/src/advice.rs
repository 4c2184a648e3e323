//! What a person can do about a resource that is not as it was.
//!
//! Each provider says it of its own world, because only it knows what a pasted command would
//! reach. Nobody is asked for it: it follows from the facts before and now.

use std::fmt;
use stepback_core::Resource;
use stepback_core::shell::word;
use stepback_core::texts::MapTexts;

/// What a provider says of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Commands, or steps of a manifest, that put it back.
    Paste(String),
    /// Nothing that could be pasted puts it back: what to look at, or to make anew.
    LookAt(String),
}

impl Advice {
    /// Nothing is known that puts it back.
    pub fn look_at(resource: &Resource) -> Self {
        Self::LookAt(format!("look at {}", as_words(resource)))
    }

    /// What is gone has to be made again, by whoever knows what it was for.
    pub fn make_anew(resource: &Resource) -> Self {
        Self::LookAt(format!("{} is gone: make it anew as it was", as_words(resource)))
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Advice::Paste(text) | Advice::LookAt(text) => f.write_str(text),
        }
    }
}

/// A resource whose names are each one word of a shell: what a name says is no command.
pub fn as_words(resource: &Resource) -> Resource {
    resource.map_texts(&|name| word(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_says_is_no_command() {
        let container = Resource::Container { host: "i-1".into(), name: "x; reboot".into() };
        let looked = Advice::look_at(&container).to_string();
        assert_eq!(looked, "look at docker:i-1/container/'x; reboot'");
        let anew = Advice::make_anew(&container).to_string();
        assert!(anew.starts_with("docker:i-1/container/'x; reboot' is gone"), "{anew}");
    }
}
