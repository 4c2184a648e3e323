//! What other programs that are started here are told by variables.
//!
//! A child gets what it needs to be found, to speak and to do what it is for as its user would, and
//! nothing else: a secret that somebody gave by `env:NAME` is none of its business, nor of what it
//! starts.

use std::ffi::OsString;

/// How a child is found, whose it is, and how it speaks.
const EACH: [&str; 13] = [
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
];

/// How one logs in elsewhere: a `ProxyCommand` through AWS finds its account by these, and its keys
/// in files.
const OF_TOOLS: [&str; 7] = [
    "KRB5CCNAME",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CA_BUNDLE",
];

/// How a compiler is chosen and speaks, and how cargo reaches its registries. What an outer cargo
/// says about its own build is left out.
const OF_BUILDS: [&str; 18] = [
    "CARGO",
    "CARGO_HOME",
    "NO_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSH_COMMAND",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "CC",
    "AR",
];
/// How more of these begin.
const OF_BUILDS_BEGIN: [&str; 5] =
    ["RUSTUP_", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR", "CARGO_SOURCE_"];

/// The variables that a tool gets, of those that this program has.
pub fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    those(is_for_tools)
}

/// The variables that a build gets: it runs other people's code, so no token is among them.
pub fn environment_of_build() -> impl Iterator<Item = (OsString, OsString)> {
    those(is_for_builds)
}

/// The tokens that registries know their readers by (The Cargo Book, *Registry Authentication*):
/// for what only fetches, and runs nobody's code.
pub fn registry_tokens() -> impl Iterator<Item = (OsString, OsString)> {
    those(is_a_token)
}

fn those(are_told: fn(&str) -> bool) -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(move |(name, _)| are_told(&name.to_string_lossy()))
}

fn is_for_each(name: &str) -> bool {
    EACH.contains(&name) || name.starts_with("LC_")
}

fn is_for_tools(name: &str) -> bool {
    is_for_each(name) || OF_TOOLS.contains(&name)
}

fn is_for_builds(name: &str) -> bool {
    is_for_each(name)
        || OF_BUILDS.contains(&name)
        || OF_BUILDS_BEGIN.iter().any(|begin| name.starts_with(begin)) && !is_secret(name)
}

fn is_a_token(name: &str) -> bool {
    name.starts_with("CARGO_REGISTR") && is_secret(name)
}

/// A registry's name stands before it, and may have any words in it.
fn is_secret(name: &str) -> bool {
    name.ends_with("_TOKEN") || name.ends_with("_SECRET_KEY")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [&str; 6] = [
        "DB_PASSWORD",
        "AWS_SECRET_ACCESS_KEY",
        "LD_PRELOAD",
        "path",
        "STEPBACK_STATE",
        "GITHUB_TOKEN",
    ];

    #[test]
    fn what_is_not_known_to_be_needed_is_kept_back() {
        for name in ["PATH", "HOME", "LC_ALL", "SSH_AUTH_SOCK"] {
            assert!(is_for_tools(name) && is_for_builds(name), "{name}");
        }
        for name in SECRET {
            assert!(!is_for_tools(name) && !is_for_builds(name), "{name}");
        }
        assert!(is_for_tools("AWS_PROFILE") && !is_for_builds("AWS_PROFILE"));
    }

    #[test]
    fn a_build_is_told_nothing_that_it_need_not_know() {
        for name in
            ["CARGO_HOME", "RUSTUP_TOOLCHAIN", "CARGO_NET_OFFLINE", "CARGO_REGISTRY_DEFAULT"]
        {
            assert!(is_for_builds(name) && !is_for_tools(name), "{name}");
        }
        for name in ["RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_PKG_NAME", "CARGO_CFG_UNIX"] {
            assert!(!is_for_builds(name), "{name}");
        }
    }

    #[test]
    fn a_token_is_for_what_fetches_alone() {
        for name in [
            "CARGO_REGISTRY_TOKEN",
            "CARGO_REGISTRIES_MINE_TOKEN",
            "CARGO_REGISTRIES_CRATES_IO_SECRET_KEY",
        ] {
            assert!(is_a_token(name) && !is_for_builds(name), "{name}");
        }
        for name in ["CARGO_REGISTRIES_OF_TOKENS_INDEX", "CARGO_HOME"] {
            assert!(!is_a_token(name) && is_for_builds(name), "{name}");
        }
        assert!(!is_a_token("GITHUB_TOKEN"));
    }
}
