//! Which toolchain builds for WebAssembly here.

use anyhow::bail;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
pub(crate) const DEBIAN_LINKER: &str = "wasm-ld-19";
/// rustup takes seconds when its server answers; behind a firewall it would try for minutes.
const RUSTUP_TIME_MAX: Duration = Duration::from_secs(60);

/// A way to a `wasm32-unknown-unknown` build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The toolchain has the target.
    Installed,
    /// rustup may be able to add it.
    Rustup,
    /// Debian's compiler builds the standard library from source.
    BuildStd,
}

/// What was found on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The toolchain has the standard library for `wasm32-unknown-unknown`.
    pub target_installed: bool,
    /// There is a `rustup` that can be run.
    pub rustup: bool,
    /// `rustup target add` was tried in vain.
    pub rustup_failed: bool,
    /// Debian's compiler is there, `/usr/bin/rustc`.
    pub debian_rustc: bool,
    /// That compiler has the standard library's source.
    pub debian_source: bool,
    /// Debian's linker for WebAssembly can be run, `wasm-ld-19`.
    pub debian_linker: bool,
}

/// The next route to take, or what to install.
///
/// # Errors
/// What to install, as one text.
pub fn choose(facts: Facts) -> Result<Route, String> {
    let debian = facts.debian_rustc && facts.debian_source && facts.debian_linker;
    if facts.target_installed {
        Ok(Route::Installed)
    } else if debian && (facts.rustup_failed || !facts.rustup) {
        Ok(Route::BuildStd)
    } else if facts.rustup && !facts.rustup_failed {
        Ok(Route::Rustup)
    } else {
        Err("plugins need a WebAssembly target: run `rustup target add wasm32-unknown-unknown`, \
             or on Debian and Ubuntu `apt-get install rustc-web rust-web-src lld-19`"
            .to_owned())
    }
}

/// Look, and where needed ask rustup, until there is a route that can be built with.
pub(crate) fn find(manifest_dir: &Path) -> anyhow::Result<Route> {
    let cargo = cargo();
    let mut asked = Command::new(&cargo);
    clear_inherited(&mut asked);
    match asked.current_dir(manifest_dir).arg("--version").output() {
        Ok(output) if output.status.success() => {}
        // It is there, and says itself what is wrong, such as a toolchain that is not installed.
        Ok(output) => {
            bail!("`{}` fails: {}", cargo.display(), String::from_utf8_lossy(&output.stderr).trim())
        }
        Err(error) => {
            bail!("`{}` can't be run: {error}: plugins need a Rust toolchain", cargo.display())
        }
    }
    let mut facts = probe(manifest_dir);
    loop {
        match choose(facts) {
            Ok(Route::Rustup) => match add_target(manifest_dir) {
                true => facts.target_installed = true,
                false => facts.rustup_failed = true,
            },
            Ok(route) => return Ok(route),
            Err(what) => bail!(what),
        }
    }
}

fn probe(manifest_dir: &Path) -> Facts {
    Facts {
        target_installed: target_is_installed(manifest_dir),
        rustup: runs("rustup", "--version"),
        rustup_failed: false,
        debian_rustc: Path::new(DEBIAN_RUSTC).is_file(),
        debian_source: debian_source(),
        debian_linker: runs(DEBIAN_LINKER, "--version"),
    }
}

fn target_is_installed(dir: &Path) -> bool {
    let mut rustc = Command::new("rustc");
    clear_inherited(&mut rustc);
    let asked = rustc.current_dir(dir).args(["--print", "target-libdir", "--target"]);
    let output = asked.arg(super::TARGET).stderr(Stdio::null()).output();
    let Ok(output) = output else { return false };
    let libraries = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success()
        && std::fs::read_dir(libraries).is_ok_and(|mut dir| dir.next().is_some())
}

/// The library's source where Debian's compiler looks for it.
fn debian_source() -> bool {
    let mut rustc = Command::new(DEBIAN_RUSTC);
    clear_inherited(&mut rustc);
    let output = rustc.args(["--print", "sysroot"]).output();
    let Ok(output) = output else { return false };
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Path::new(&sysroot).join("lib/rustlib/src/rust/library/std").is_dir()
}

fn runs(program: impl AsRef<OsStr>, argument: &str) -> bool {
    let mut command = Command::new(program);
    clear_inherited(&mut command);
    let quiet = command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Ask rustup for the target; bounded, because its server may be out of reach.
fn add_target(manifest_dir: &Path) -> bool {
    let mut rustup = Command::new("rustup");
    clear_inherited(&mut rustup);
    rustup
        .current_dir(manifest_dir)
        .args(["target", "add", super::TARGET])
        .env("RUSTUP_MAX_RETRIES", "1")
        .stdout(Stdio::null())
        // What keeps it from it, it says itself.
        .stderr(Stdio::inherit());
    let Ok(mut child) = rustup.spawn() else { return false };
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if started.elapsed() < RUSTUP_TIME_MAX => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(None) | Err(_) => {
                // It may have ended just now; then there is nothing to stop.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Give a command only what it is allowed to know; what else it needs it is given afterwards.
pub(crate) fn clear_inherited(command: &mut Command) {
    command.env_clear().envs(stepback_children::environment_of_build());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_route_is_taken() {
        let nothing = Facts::default();
        let debian =
            Facts { debian_rustc: true, debian_source: true, debian_linker: true, ..nothing };
        let table = [
            (Facts { target_installed: true, ..debian }, Ok(Route::Installed)),
            (Facts { rustup: true, ..nothing }, Ok(Route::Rustup)),
            (Facts { rustup: true, ..debian }, Ok(Route::Rustup)),
            (Facts { rustup: true, rustup_failed: true, ..debian }, Ok(Route::BuildStd)),
            (debian, Ok(Route::BuildStd)),
            (Facts { rustup: true, rustup_failed: true, ..nothing }, Err(())),
            (Facts { debian_linker: false, ..debian }, Err(())),
            (nothing, Err(())),
        ];
        for (facts, route) in table {
            assert_eq!(choose(facts).map_err(drop), route, "{facts:?}");
        }
    }
}
