//! The compiler's flags that an author gives: cargo would find them by itself, but takes what is
//! set for a build in place of all of them, so they are found here and joined with it.
//!
//! Cargo takes the first of these that there is (The Cargo Book, *Configuration*,
//! `build.rustflags`): `CARGO_ENCODED_RUSTFLAGS`, `RUSTFLAGS`, what `target.*.rustflags` says of
//! the target, `build.rustflags`.

use crate::TARGET;
use crate::route::{self, Route};
use anyhow::{Context, ensure};
use cargo_platform::{Cfg, CfgExpr, Platform};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// The flags for a command, and what is between two of them: a path may have a space in it (The
/// Cargo Book, *Environment Variables*).
pub(crate) const ENCODED: &str = "CARGO_ENCODED_RUSTFLAGS";
pub(crate) const BETWEEN: char = '\u{1f}';

const PLAIN: &str = "RUSTFLAGS";
const OF_BUILD: &str = "CARGO_BUILD_RUSTFLAGS";
const OF_TARGET: &str = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS";
/// What only a build script has.
const OF_SCRIPTS: &str = "CARGO_CFG_TARGET_ARCH";

/// The flags that whoever builds the crate in `dir` gives.
///
/// A build script has none: those that it is told are of the build that it is a part of, which is
/// another one, for another target.
///
/// # Errors
/// A configuration that cargo can't read.
pub(crate) fn given(dir: &Path, route: Route) -> anyhow::Result<Vec<String>> {
    if std::env::var_os(OF_SCRIPTS).is_some() {
        return Ok(vec![]);
    }
    let variable = |name: &str| std::env::var(name).ok();
    first(&variable, || configuration(dir), || properties(dir, route))
}

fn first(
    variable: &dyn Fn(&str) -> Option<String>,
    configuration: impl FnOnce() -> anyhow::Result<Value>,
    properties: impl FnOnce() -> anyhow::Result<Vec<Cfg>>,
) -> anyhow::Result<Vec<String>> {
    // One that is set to nothing says that there are no flags.
    if let Some(encoded) = variable(ENCODED) {
        let flags = encoded.split(BETWEEN).filter(|flag| !flag.is_empty());
        return Ok(flags.map(str::to_owned).collect());
    }
    if let Some(plain) = variable(PLAIN) {
        return Ok(words(&plain));
    }
    let of_variable = |name: &str| words(&variable(name).unwrap_or_default());
    let all = configuration()?;
    let mut of_target = listed(&all["target"][TARGET]["rustflags"]);
    of_target.extend(of_variable(OF_TARGET));
    let tables = all["target"].as_object().into_iter().flatten();
    // A condition that is none does not hold: cargo itself complains of it.
    let condition = |key: &str| match key.parse() {
        Ok(Platform::Cfg(condition)) => Some(condition),
        Ok(Platform::Name(_)) | Err(_) => None,
    };
    let conditions: Vec<(CfgExpr, Vec<String>)> = tables
        .filter_map(|(key, table)| Some((condition(key)?, listed(&table["rustflags"]))))
        .filter(|(_, flags)| !flags.is_empty())
        .collect();
    if !conditions.is_empty() {
        let properties = properties()?;
        let that_hold = conditions.into_iter().filter(|(one, _)| one.matches(&properties));
        of_target.extend(that_hold.flat_map(|(_, flags)| flags));
    }
    if !of_target.is_empty() {
        return Ok(of_target);
    }
    let mut of_build = listed(&all["build"]["rustflags"]);
    of_build.extend(of_variable(OF_BUILD));
    Ok(of_build)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A list, or one text with spaces between.
fn listed(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => words(text),
        Value::Array(list) => {
            list.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
        }
        _ => vec![],
    }
}

/// All of cargo's configuration for a directory, from every file that counts there.
fn configuration(dir: &Path) -> anyhow::Result<Value> {
    let mut cargo = Command::new(route::cargo());
    route::clear_inherited(&mut cargo);
    cargo
        .current_dir(dir)
        .args(["-Zunstable-options", "config", "get", "--format", "json"])
        // It is not stable, and nothing else reads the configuration as cargo does.
        .env("RUSTC_BOOTSTRAP", "1");
    let told = cargo.output().context("cargo can't be started")?;
    ensure!(
        told.status.success(),
        "cargo does not tell its configuration, which may have flags for the compiler; give them \
         as RUSTFLAGS, or RUSTFLAGS= for none: {}",
        String::from_utf8_lossy(&told.stderr).trim()
    );
    serde_json::from_slice(&told.stdout).context("what cargo tells of its configuration")
}

/// What the compiler says of the target, a line each: `unix`, `target_arch="wasm32"`.
fn properties(dir: &Path, route: Route) -> anyhow::Result<Vec<Cfg>> {
    let mut rustc = Command::new(match route {
        Route::BuildStd => route::DEBIAN_RUSTC,
        Route::Installed | Route::Rustup => "rustc",
    });
    route::clear_inherited(&mut rustc);
    let told = rustc.current_dir(dir).args(["--print", "cfg", "--target", TARGET]).output();
    let told = told.context("rustc can't be started")?;
    Ok(properties_of(&String::from_utf8_lossy(&told.stdout)))
}

/// What a condition can't be about is left out.
fn properties_of(lines: &str) -> Vec<Cfg> {
    lines.lines().filter_map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wasm() -> anyhow::Result<Vec<Cfg>> {
        Ok(properties_of("panic=\"abort\"\ntarget_arch=\"wasm32\"\ntarget_os=\"unknown\"\n"))
    }

    #[track_caller]
    fn flags(variables: &[(&str, &str)], configuration: Value, wanted: &[&str]) {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        assert_eq!(first(&variable, || Ok(configuration), wasm).expect("flags"), wanted);
    }

    #[test]
    fn the_first_that_there_is_counts_as_for_cargo() {
        let build = json!({ "build": { "rustflags": ["--cfg", "b c"] } });
        let both = json!({
            "build": { "rustflags": "--cfg b" },
            "target": {
                "cfg(unix)": { "rustflags": "--cfg u" },
                "cfg(target_arch = \"wasm32\")": { "rustflags": "--cfg w", "runner": "r" },
                TARGET: { "rustflags": ["--cfg", "t"] },
                "x86_64-unknown-linux-gnu": { "rustflags": ["--cfg", "x"] },
            },
        });
        let other = json!({
            "build": { "rustflags": "--cfg b" }, "target": { "cfg(unix)": { "rustflags": "u" } },
        });
        flags(&[], json!({}), &[]);
        flags(&[], build.clone(), &["--cfg", "b c"]);
        flags(&[], other, &["--cfg", "b"]);
        flags(&[], both.clone(), &["--cfg", "t", "--cfg", "w"]);
        flags(&[(OF_BUILD, "-C x")], build.clone(), &["--cfg", "b c", "-C", "x"]);
        flags(&[(OF_TARGET, "-C x")], both.clone(), &["--cfg", "t", "-C", "x", "--cfg", "w"]);
        flags(&[(PLAIN, " -C  x ")], both.clone(), &["-C", "x"]);
        flags(&[(PLAIN, "")], both.clone(), &[]);
        flags(&[(PLAIN, "-C x"), (ENCODED, "-C\u{1f}y z")], both.clone(), &["-C", "y z"]);
        flags(&[(PLAIN, "-C x"), (ENCODED, "")], both, &[]);
    }

    #[test]
    fn a_condition_holds_as_the_compiler_says() {
        for (condition, wanted) in [
            ("target_arch = \"wasm32\"", true),
            ("target_arch=\"x86_64\"", false),
            ("unix", false),
            ("not(unix)", true),
            ("all()", true),
            ("any()", false),
            ("true", true),
            ("all(not(unix), any(windows, target_os = \"unknown\"),)", true),
            ("all(not(unix), target_os = \"a,b(\")", false),
            ("not(all(panic = \"abort\", target_arch = \"wasm32\"))", false),
            ("nonsense(", false),
        ] {
            let wanted: &[&str] = if wanted { &["-C", "x"] } else { &[] };
            let key = format!("cfg({condition})");
            flags(&[], json!({ "target": { key: { "rustflags": "-C x" } } }), wanted);
        }
    }
}
