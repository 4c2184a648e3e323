//! Restart policies, as manifests write them and as engines show them (Docker docs, *docker
//! container run*, *--restart*).

use std::fmt;

/// When an engine starts a container by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Never, however it ended.
    No,
    /// Whenever it ends by itself, and with the engine, even one that was stopped by hand.
    Always,
    /// As [`Policy::Always`], but one that was stopped by hand stays down.
    UnlessStopped,
    /// So many times at most; with 0 as often as it takes.
    OnFailure(u32),
}

impl Policy {
    /// `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:N`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some(("on-failure", count)) => count.parse().ok().map(Self::OnFailure),
            Some(_) => None,
            None => match text {
                "no" => Some(Self::No),
                "always" => Some(Self::Always),
                "unless-stopped" => Some(Self::UnlessStopped),
                "on-failure" => Some(Self::OnFailure(0)),
                _ => None,
            },
        }
    }

    /// Whether two texts mean the same one.
    pub fn are_same(one: &str, other: &str) -> bool {
        one == other || Self::parse(one).is_some_and(|one| Some(one) == Self::parse(other))
    }

    /// The policy's name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure(_) => "on-failure",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnFailure(count @ 1..) => write!(f, "{}:{count}", self.name()),
            other => f.write_str(other.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_shown_as_engines_show_it() {
        for (text, shown) in [
            ("no", "no"),
            ("always", "always"),
            ("on-failure:0", "on-failure"),
            ("on-failure:007", "on-failure:7"),
            ("on-failure:4294967295", "on-failure:4294967295"),
        ] {
            assert_eq!(Policy::parse(text).map(|one| one.to_string()), Some(shown.to_owned()));
            assert!(Policy::are_same(text, shown), "{text}");
        }
        for text in ["", "No", "sometimes", "always:3", "on-failure:", "on-failure:4294967296"] {
            assert_eq!(Policy::parse(text), None, "{text}");
        }
        assert!(!Policy::are_same("on-failure:1", "on-failure"));
    }
}
