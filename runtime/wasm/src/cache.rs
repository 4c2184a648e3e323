//! Compiled components on disk, so that a plugin is compiled once per machine and engine.
//!
//! A file is named by the digest of the component and the hash of everything that compiling
//! depends on. A compiled file is machine code: whoever can write the directory can run code as
//! this user, so one that others may write to is not used. A cache that fails in any way costs
//! time, never a run.

use sha2::{Digest, Sha256};
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use stepback_core::PluginDigest;
use wasmtime::Engine;
use wasmtime::component::Component;

/// A file begins with the SHA-256 of the code that follows.
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

    fn path(&self, digest: &PluginDigest) -> PathBuf {
        self.dir.join(format!("{digest}-{:016x}.cwasm", self.compatibility))
    }

    /// The compiled component, if it is there, whole, and this engine takes it.
    ///
    /// The file is read and not mapped: a mapped file that is cut short later would kill the
    /// program.
    pub(crate) fn load(&self, engine: &Engine, digest: &PluginDigest) -> Option<Component> {
        let file = fs::read(self.path(digest)).ok()?;
        let (seal, code) = file.split_at_checked(SEAL_BYTES)?;
        (seal == Sha256::digest(code).as_slice()).then_some(())?;
        // SAFETY: the code was written by `store` of this program into a directory that only
        // this user can write to, for this very configuration, and is whole by its seal;
        // wasmtime checks its own version and settings in the code's header.
        unsafe { Component::deserialize(engine, code) }.ok()
    }

    /// Keeps a compiled component; the file appears whole or not at all.
    pub(crate) fn store(&self, digest: &PluginDigest, component: &Component) -> io::Result<()> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let code = component.serialize().map_err(io::Error::other)?;
        let mut file = Sha256::digest(&code).to_vec();
        file.extend_from_slice(&code);
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let part = self.dir.join(format!("{digest}.{}-{unique}.part", std::process::id()));
        let written = write_whole(&part, &file).and_then(|()| fs::rename(&part, self.path(digest)));
        if written.is_err() {
            // What is left of a failed write is of no use to anyone.
            let _ = fs::remove_file(&part);
        }
        written
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create_new(path)?;
    file.write_all(bytes)?;
    // Machine code that a power cut left half-written must never be found under its final name.
    file.sync_all()
}

#[cfg(unix)]
fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    const OTHERS_MAY_WRITE: u32 = 0o022;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    match fs::metadata(dir)?.permissions().mode() & OTHERS_MAY_WRITE {
        0 => Ok(()),
        _ => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

#[cfg(not(unix))]
fn make_private(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}
