//! Compiled components on disk, and what they said of their steps, so that a plugin is compiled
//! and asked once per machine and engine.
//!
//! A file is named by the digest of the component and the hash of everything that compiling
//! depends on. A compiled file is machine code: whoever can put one there runs code as this user.
//! So the directory is opened once and used by its descriptor, whatever its path leads to later; it
//! and its files are this user's alone; and each file is sealed, with its name, under a key that
//! only this user can read ([`key`]). A cache that fails in any way costs time, never a run.

mod dir;
mod key;

use dir::Dir;
use key::{Key, SEAL_BYTES};
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::path::Path;
use stepback_core::PluginDigest;
use stepback_core::step::StepInfo;
use wasmtime::Engine;
use wasmtime::component::Component;

/// What is said of all steps of a plugin, as text; in memory it may take some hundred times that.
/// What the largest built-in plugin says has less than a tenth of it.
pub(crate) const DESCRIBED_BYTES_MAX: usize = 512 << 10;
/// What is said of steps, as it is kept: a byte of a name may take six in JSON.
const KEPT_STEPS_BYTES_MAX: usize = 6 * DESCRIBED_BYTES_MAX;

/// The directory of compiled components.
pub(crate) struct Cache {
    dir: Dir,
    key: Key,
    compatibility: u64,
}

impl Cache {
    /// Opens the cache, making its directory; `None` if it can't be trusted or made.
    pub(crate) fn open(dir: &Path, engine: &Engine) -> Option<Self> {
        let dir = Dir::open(dir).ok()?;
        let key = key::of(&dir).ok()?;
        // The hasher's keys are fixed, so that the next process computes the same name.
        let mut hasher = std::hash::DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Some(Self { dir, key, compatibility: hasher.finish() })
    }

    fn name(&self, digest: &PluginDigest, kind: &str) -> String {
        format!("{digest}-{:016x}.{kind}", self.compatibility)
    }

    /// The compiled component, if it is there, whole, and this engine takes it.
    ///
    /// The file is read and not mapped: a mapped file that is cut short later would kill the
    /// program.
    pub(crate) fn component(&self, engine: &Engine, digest: &PluginDigest) -> Option<Component> {
        let code = self.kept(&self.name(digest, "cwasm"))?;
        // Its seal is made over its name and bytes with a key that only this user can read.
        component_of(engine, code.contents()).ok()
    }

    /// Keeps a compiled component.
    pub(crate) fn keep_component(&self, digest: &PluginDigest, component: &Component) {
        if let Ok(code) = component.serialize() {
            self.keep_code(digest, &code);
        }
    }

    /// Keeps machine code that this program's compiler made.
    pub(crate) fn keep_code(&self, digest: &PluginDigest, code: &[u8]) {
        self.keep(&self.name(digest, "cwasm"), code);
    }

    /// What the component said of its steps, if that is there and whole.
    pub(crate) fn steps(&self, digest: &PluginDigest) -> Option<Vec<StepInfo>> {
        let json = self.kept(&self.name(digest, "steps"))?;
        // An older program may have kept more than this one would read.
        let is_short = json.contents().len() <= KEPT_STEPS_BYTES_MAX;
        is_short.then(|| serde_json::from_slice(json.contents()).ok())?
    }

    /// Keeps what a component said of its steps.
    pub(crate) fn keep_steps(&self, digest: &PluginDigest, steps: &[StepInfo]) {
        if let Ok(json) = serde_json::to_vec(steps) {
            self.keep(&self.name(digest, "steps"), &json);
        }
    }

    /// What a file of this name holds, if it is this user's and sealed for this name.
    fn kept(&self, name: &str) -> Option<Kept> {
        let kept = Kept(self.dir.read(name).ok()?);
        let (seal, contents) = kept.0.split_at_checked(SEAL_BYTES)?;
        self.key.fits(name, contents, seal).then_some(())?;
        Some(kept)
    }

    /// Writes a sealed file, which appears whole or not at all. A full disk or a read-only home
    /// costs doing the work again, not the run.
    fn keep(&self, name: &str, contents: &[u8]) {
        // What can't be kept is made again.
        let _ = self.keep_sealed(name, contents);
    }

    fn keep_sealed(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        self.dir.write(name, |file| {
            file.write_all(&self.key.seal(name, contents))?;
            file.write_all(contents)
        })
    }
}

/// A file whose seal fits.
struct Kept(Vec<u8>);

impl Kept {
    fn contents(&self) -> &[u8] {
        &self.0[SEAL_BYTES..]
    }
}

/// A component of machine code that this program made, here or in a process that it started.
pub(crate) fn component_of(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: whoever calls has the code from this very program: it was sealed by it, or came over
    // a pipe that nobody else has. wasmtime checks its own version and settings in the header.
    unsafe { Component::deserialize(engine, code) }
}
