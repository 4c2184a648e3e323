//! Builds plugins: Rust crates become WebAssembly components, whichever toolchain is at hand; and
//! gathers what a new plugin is made of.
//!
//! Three routes, tried in this order: the toolchain's own `wasm32-unknown-unknown`; `rustup target
//! add`; and, where rustup's server can't be reached, Debian's compiler with the standard library
//! built from source. Used by the program's build script and by `stepback plugin build`. It never
//! reaches outside the crate's own directory but for the toolchain.

mod flags;
mod imports;
pub mod kit;
mod lock;
mod route;

pub use route::{Facts, Route, choose};

use anyhow::{Context, bail, ensure};
use flags::{BETWEEN, ENCODED};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TARGET: &str = "wasm32-unknown-unknown";

/// What becomes of a `Cargo.lock` that no longer fits its `Cargo.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockFile {
    /// Nothing is built: what is built is what was written down.
    AsItIs,
    /// Cargo adds what is missing, as it does by itself.
    Amended,
}

/// How much room a plugin's functions have for what they keep in memory: the stack of the module,
/// below its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// As much as the linker gives: 1 MiB.
    Usual,
    /// 64 KiB. All that such a plugin has of memory is small enough that a sandbox puts it back as
    /// it was for the next guest, where a large one is unmapped and faulted in again. It is enough
    /// for JSON as deep as any step's input may be, and for no large array.
    Small,
}

impl Stack {
    /// What the linker is told (LLVM docs, *lld WebAssembly port*, `-z stack-size`).
    fn flags(self) -> &'static [&'static str] {
        match self {
            Stack::Usual => &[],
            Stack::Small => &["-Clink-arg=-zstack-size=65536"],
        }
    }
}

/// Build every plugin of the crate or workspace at `manifest_dir` into `target_dir`.
///
/// Gives each plugin's name (its crate's, without `stepback-plugin-`) and its component, which is
/// touched only when its bytes change. The compiler's flags that cargo would take are taken, but in
/// a build script.
///
/// # Errors
/// What to install where no toolchain can build for WebAssembly; the compiler's own words where a
/// crate does not compile, and then what was run; two crates whose plugins have one name.
pub fn build(
    manifest_dir: &Path,
    target_dir: &Path,
    lock_file: LockFile,
    stack: Stack,
) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let manifest = manifest_dir.join("Cargo.toml");
    ensure!(manifest.is_file(), "there is no {}", manifest.display());
    // Cargo runs in the crate's directory, where a relative path would mean another place.
    let (manifest_dir, target_dir) = (&absolute(manifest_dir)?, &absolute(target_dir)?);
    std::fs::create_dir_all(target_dir).with_context(|| target_dir.display().to_string())?;
    let route = route::find(manifest_dir)?;
    let modules = compile(manifest_dir, target_dir, (lock_file, stack), route)?;
    if modules.is_empty() {
        bail!(
            "{} has no plugin: a plugin's crate has `crate-type = [\"cdylib\"]` in `[lib]`",
            manifest.display()
        );
    }
    let mut components = vec![];
    for (name, module) in named(modules)? {
        let path = target_dir.join(format!("{name}.component.wasm"));
        componentize(&module, &path)?;
        components.push((name, path));
    }
    Ok(components)
}

/// Each module by its plugin's name.
///
/// # Errors
/// Two crates that have one name: one would be in the other's place.
fn named(modules: Vec<Module>) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut named: BTreeMap<String, Module> = BTreeMap::new();
    for module in modules {
        let stem = module.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let name = stem.strip_prefix("stepback_plugin_").unwrap_or(stem).replace('_', "-");
        if let Some(other) = named.get(&name)
            && other.manifest != module.manifest
        {
            bail!(
                "two crates make a plugin `{name}`: {} and {}; give one of them another name",
                other.manifest.display(),
                module.manifest.display()
            );
        }
        named.insert(name, module);
    }
    Ok(named.into_iter().map(|(name, module)| (name, module.path)).collect())
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| path.display().to_string())
}

/// Compile, and tell which core modules came out of it.
fn compile(
    manifest_dir: &Path,
    target_dir: &Path,
    (lock_file, stack): (LockFile, Stack),
    route: Route,
) -> anyhow::Result<Vec<Module>> {
    fetch(manifest_dir, lock_file);
    let mut flags = flags::given(manifest_dir, route)?;
    // Behind what is given: whoever gives the same flag makes the very same component.
    flags.extend(stack.flags().iter().map(|flag| (*flag).to_owned()));
    // No path of the machine that built it gets into a component.
    flags.extend(remap(target_dir));
    let mut cargo = Command::new(route::cargo());
    route::clear_inherited(&mut cargo);
    cargo
        .current_dir(manifest_dir)
        .args([
            "build",
            "--release",
            "--target",
            TARGET,
            "--message-format=json-render-diagnostics",
        ])
        .arg("--target-dir")
        .arg(target_dir)
        .env(ENCODED, flags.join(&BETWEEN.to_string()))
        .stderr(Stdio::inherit());
    if lock_file == LockFile::AsItIs {
        cargo.arg("--locked");
    }
    if route == Route::BuildStd {
        cargo
            .arg("-Zbuild-std=std,panic_abort")
            .env("RUSTC", route::DEBIAN_RUSTC)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", route::DEBIAN_LINKER);
    }
    let output = cargo.output().context("cargo can't be started")?;
    if !output.status.success() {
        bail!("{} does not build; this was run there:\n{}", manifest_dir.display(), shown(&cargo));
    }
    Ok(modules(&String::from_utf8_lossy(&output.stdout)))
}

/// Fetch what the crate depends on, where there are tokens for that: the build, which runs the code
/// of all of it, is told none.
fn fetch(manifest_dir: &Path, lock_file: LockFile) {
    let tokens: Vec<_> = stepback_children::registry_tokens().collect();
    if tokens.is_empty() {
        return;
    }
    let mut cargo = Command::new(route::cargo());
    route::clear_inherited(&mut cargo);
    cargo.current_dir(manifest_dir).arg("fetch").envs(tokens).stdout(Stdio::null());
    if lock_file == LockFile::AsItIs {
        cargo.arg("--locked");
    }
    // What it could not have, the build says.
    let _ = cargo.status();
}

/// A command as a shell takes it, with the variables that it was given beside this program's own:
/// whoever runs it again has those, and a proxy's may hold a password.
fn shown(command: &Command) -> String {
    let is_own =
        |name: &OsStr, value: &OsStr| std::env::var_os(name).is_some_and(|own| own == value);
    let variables = command.get_envs().filter_map(|(name, value)| {
        let value = value.filter(|value| !is_own(name, value))?.to_string_lossy();
        Some(match name == ENCODED {
            true => shown_flags(&value),
            false => format!("{}={}", name.display(), quoted(OsStr::new(&*value))),
        })
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

/// `RUSTFLAGS` can't have a flag with a space in it.
fn shown_flags(encoded: &str) -> String {
    let plain = encoded.replace(BETWEEN, " ");
    match encoded.contains(' ') {
        true => {
            let escaped = encoded.replace('\\', r"\\").replace('\'', r"\'");
            format!("{ENCODED}=$'{}'", escaped.replace(BETWEEN, r"\x1f"))
        }
        false => format!("RUSTFLAGS={}", quoted(OsStr::new(&plain))),
    }
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:@+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A core module, and the `Cargo.toml` of the crate that it was made of.
#[derive(Debug, PartialEq, Eq)]
struct Module {
    manifest: PathBuf,
    path: PathBuf,
}

/// The `.wasm` files among cargo's artifacts (The Cargo Book, *External tools*, JSON messages).
fn modules(messages: &str) -> Vec<Module> {
    let messages =
        messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let artifacts = messages.filter(|message| message["reason"] == "compiler-artifact");
    let modules = artifacts.flat_map(|artifact| {
        let manifest = PathBuf::from(artifact["manifest_path"].as_str().unwrap_or_default());
        let files = artifact["filenames"].as_array().cloned().unwrap_or_default().into_iter();
        let paths = files.filter_map(|file| file.as_str().map(PathBuf::from));
        let mut paths: Vec<PathBuf> =
            paths.filter(|path| path.extension().is_some_and(|end| end == "wasm")).collect();
        paths.extend(gone(&artifact));
        paths
            .into_iter()
            .map(|path| Module { manifest: manifest.clone(), path })
            .collect::<Vec<_>>()
    });
    modules.collect()
}

/// The module that a crate made where cargo tells of no file: another crate of its library's name
/// is about to write the same one.
fn gone(artifact: &serde_json::Value) -> Option<PathBuf> {
    let is_there = artifact["filenames"].as_array().is_none_or(|files| !files.is_empty());
    let kinds = artifact["target"]["crate_types"].as_array();
    let is_plugin = kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "cdylib"));
    let name = artifact["target"]["name"].as_str().filter(|_| is_plugin && !is_there)?;
    Some(PathBuf::from(format!("{}.wasm", name.replace('-', "_"))))
}

/// Cargo names a crate's own files from its workspace on; whole paths lead to generated code and to
/// the crates of others. Crates in one target directory have the same flags, or each would compile
/// what they share anew.
fn remap(target_dir: &Path) -> Vec<String> {
    let target = target_dir.canonicalize().unwrap_or_else(|_| target_dir.to_owned());
    let home = std::env::var("CARGO_HOME")
        .or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")))
        .unwrap_or_default();
    let mut flags = vec![format!("--remap-path-prefix={}=/target", target.display())];
    if !home.is_empty() {
        flags.push(format!("--remap-path-prefix={home}=/cargo"));
    }
    flags
}

/// Make a component of a core module; nothing is written if it is there already.
fn componentize(module: &Path, to: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(module).with_context(|| module.display().to_string())?;
    let component = wit_component::ComponentEncoder::default()
        .module(&bytes)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| match imports::causes(&bytes) {
            causes if causes.is_empty() => error,
            causes => anyhow::anyhow!(causes.join("; ")),
        })
        .with_context(|| format!("{} can't be made a component", module.display()))?;
    if std::fs::read(to).is_ok_and(|old| old == component) {
        return Ok(());
    }
    std::fs::write(to, component).with_context(|| to.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_by_hand_gives_the_same_flags() {
        let by_hand = include_str!("../../.cargo/config.toml");
        assert!(Stack::Small.flags().iter().all(|flag| by_hand.contains(flag)), "{by_hand}");
    }

    #[test]
    fn modules_are_found_among_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","filenames":["/t/libserde.rlib"]}"#,
            "\n",
            "not json\n",
            r#"{"reason":"build-script-executed"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/a/Cargo.toml","#,
            r#""filenames":["/t/a.wasm","/t/liba.rlib"]}"#,
            "\n",
        );
        assert_eq!(modules(messages), [module("/a", "/t/a.wasm")]);
        let gone = r#"{"reason":"compiler-artifact","manifest_path":"/b/Cargo.toml","filenames":[],
            "target":{"name":"a-b","crate_types":["cdylib"]}}"#;
        assert_eq!(modules(&gone.replace('\n', "")), [module("/b", "a_b.wasm")]);
        assert_eq!(modules(&gone.replace('\n', "").replace("cdylib", "rlib")), []);
    }

    fn module(dir: &str, path: &str) -> Module {
        Module { manifest: Path::new(dir).join("Cargo.toml"), path: path.into() }
    }

    #[test]
    fn one_plugin_is_not_in_the_place_of_another() {
        let all = |paths: &[(&str, &str)]| {
            named(paths.iter().map(|(dir, path)| module(dir, path)).collect())
        };
        let two = all(&[("/a", "/t/stepback_plugin_a_b.wasm"), ("/c", "/t/c.wasm")]);
        let two = two.expect("two names");
        assert_eq!(two.keys().collect::<Vec<_>>(), ["a-b", "c"]);
        for path in ["/t/stepback_plugin_c.wasm", "/t/c.wasm"] {
            let told = all(&[("/a", path), ("/c", "/t/c.wasm")]).expect_err("one name").to_string();
            for said in ["`c`", "/a/Cargo.toml", "/c/Cargo.toml"] {
                assert!(told.contains(said), "{told}");
            }
        }
        assert!(all(&[("/c", "/t/c.wasm"), ("/c", "/t/c.wasm")]).is_ok(), "told twice");
    }

    #[test]
    fn a_directory_without_a_crate_is_told_so() {
        let empty = std::env::temp_dir();
        let error = build(&empty, &empty, LockFile::AsItIs, Stack::Usual)
            .expect_err("nothing can be built");
        assert!(error.to_string().contains("there is no"), "{error}");
    }

    #[test]
    fn a_command_is_shown_as_a_shell_takes_it() {
        let mut command = Command::new("cargo");
        command.args(["build", "it's"]).env("RUSTFLAGS", "-C a=b").env_remove("HOME");
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        assert_eq!(shown(&command), r"RUSTFLAGS='-C a=b' cargo build 'it'\''s'");
        assert_eq!(shown_flags("-C\u{1f}a=b"), "RUSTFLAGS='-C a=b'");
        assert_eq!(shown_flags("-C\u{1f}a='b c'"), r"CARGO_ENCODED_RUSTFLAGS=$'-C\x1fa=\'b c\''");
    }
}
