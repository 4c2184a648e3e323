//! Compiled components on disk, and what they said of their steps, so that a plugin is compiled
//! and asked once per machine and engine.
//!
//! A file is named by the digest of the component and the hash of everything that compiling
//! depends on. A compiled file is machine code: whoever can write the directory can run code as
//! this user, so one that others own or may write to is not used. A cache that fails in any way
//! costs time, never a run.

use sha2::{Digest, Sha256};
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use stepback_core::PluginDigest;
use stepback_core::step::StepInfo;
use wasmtime::Engine;
use wasmtime::component::Component;

/// A file begins with the SHA-256 of what follows.
const SEAL_BYTES: usize = 32;

/// The directory of compiled components.
pub(crate) struct Cache {
    dir: PathBuf,
    compatibility: u64,
}

impl Cache {
    /// Opens the cache, making its directory; `None` if it can't be trusted or made.
    pub(crate) fn open(dir: &Path, engine: &Engine) -> Option<Self> {
        make_private(dir).ok()?;
        // The hasher's keys are fixed, so that the next process computes the same name.
        let mut hasher = std::hash::DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Some(Self { dir: dir.to_owned(), compatibility: hasher.finish() })
    }

    fn path(&self, digest: &PluginDigest, kind: &str) -> PathBuf {
        self.dir.join(format!("{digest}-{:016x}.{kind}", self.compatibility))
    }

    /// The compiled component, if it is there, whole, and this engine takes it.
    ///
    /// The file is read and not mapped: a mapped file that is cut short later would kill the
    /// program.
    pub(crate) fn component(&self, engine: &Engine, digest: &PluginDigest) -> Option<Component> {
        let file = fs::read(self.path(digest, "cwasm")).ok()?;
        let code = unsealed(&file)?;
        // SAFETY: the code was written by `keep_component` of this program into a directory that
        // only this user can write to, for this very configuration, and is whole by its seal;
        // wasmtime checks its own version and settings in the code's header.
        unsafe { Component::deserialize(engine, code) }.ok()
    }

    /// Keeps a compiled component.
    pub(crate) fn keep_component(&self, digest: &PluginDigest, component: &Component) {
        if let Ok(code) = component.serialize() {
            self.keep(&self.path(digest, "cwasm"), &code);
        }
    }

    /// What the component said of its steps, if that is there and whole.
    pub(crate) fn steps(&self, digest: &PluginDigest) -> Option<Vec<StepInfo>> {
        let file = fs::read(self.path(digest, "steps")).ok()?;
        serde_json::from_slice(unsealed(&file)?).ok()
    }

    /// Keeps what a component said of its steps.
    pub(crate) fn keep_steps(&self, digest: &PluginDigest, steps: &[StepInfo]) {
        if let Ok(json) = serde_json::to_vec(steps) {
            self.keep(&self.path(digest, "steps"), &json);
        }
    }

    /// Writes a sealed file, which appears whole or not at all. A full disk or a read-only home
    /// costs doing the work again, not the run.
    fn keep(&self, path: &Path, contents: &[u8]) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let part = self.dir.join(format!("{}-{unique}.part", std::process::id()));
        let written = write_sealed(&part, contents).and_then(|()| fs::rename(&part, path));
        if written.is_err() {
            // What is left of a failed write is of no use to anyone.
            let _ = fs::remove_file(&part);
        }
    }
}

/// What a sealed file holds, if it is whole.
fn unsealed(file: &[u8]) -> Option<&[u8]> {
    let (seal, contents) = file.split_at_checked(SEAL_BYTES)?;
    (seal == Sha256::digest(contents).as_slice()).then_some(contents)
}

fn write_sealed(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(&Sha256::digest(contents))?;
    file.write_all(contents)?;
    // Machine code that a power cut left half-written must never be found under its final name.
    file.sync_all()
}

#[cfg(unix)]
fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    const OTHERS_MAY_WRITE: u32 = 0o022;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let found = fs::metadata(dir)?;
    let is_own = found.uid() == rustix::process::geteuid().as_raw();
    match is_own && found.mode() & OTHERS_MAY_WRITE == 0 {
        true => Ok(()),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

#[cfg(not(unix))]
fn make_private(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}
