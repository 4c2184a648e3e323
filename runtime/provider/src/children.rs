//! What other programs that are started here are told by variables.
//!
//! A child gets what it needs to be found, to speak and to log in as its user would, and nothing
//! else: a secret that somebody gave by `env:NAME` is none of its business, nor of what it starts.

use std::ffi::OsString;

/// How it is found, whose it is, and how it speaks.
const ALLOWED: [&str; 20] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    // An agent has keys, and shows none.
    "SSH_AUTH_SOCK",
    "KRB5CCNAME",
    // A `ProxyCommand` through AWS finds its account by these, and its keys in files.
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CA_BUNDLE",
];

/// The variables that a child gets, of those that this program has.
pub fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| is_allowed(&name.to_string_lossy()))
}

fn is_allowed(name: &str) -> bool {
    ALLOWED.contains(&name) || name.starts_with("LC_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_be_needed_is_kept_back() {
        for name in ["PATH", "HOME", "LC_ALL", "SSH_AUTH_SOCK"] {
            assert!(is_allowed(name), "{name}");
        }
        for name in ["DB_PASSWORD", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "path", "STEPBACK_STATE"]
        {
            assert!(!is_allowed(name), "{name}");
        }
    }
}
