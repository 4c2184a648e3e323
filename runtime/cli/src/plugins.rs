//! Where plugins come from: the ones in the program, the configuration's, and paths.

use crate::config::PluginConfig;
use crate::files;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use stepback_core::manifest::Uses;
use stepback_engine::{PluginBytes, PluginSource};
use stepback_wasm::Grants;

include!(concat!(env!("OUT_DIR"), "/builtins.rs"));

/// A component this large is a mistake; compiling it would take minutes.
const PLUGIN_BYTES_MAX: u64 = 64 << 20;

/// The program's own plugins and the user's.
pub struct Plugins {
    configured: BTreeMap<String, PluginConfig>,
}

impl Plugins {
    pub fn new(configured: BTreeMap<String, PluginConfig>) -> Self {
        Self { configured }
    }

    /// The bytes of a plugin of the program.
    pub fn builtin(name: &str) -> Option<&'static [u8]> {
        BUILTINS.iter().find(|(builtin, _)| *builtin == name).map(|(_, bytes)| *bytes)
    }

    /// The names of the program's plugins.
    pub fn builtins() -> impl Iterator<Item = &'static str> {
        BUILTINS.iter().map(|(name, _)| *name)
    }

    fn grants(&self, name: &str) -> Grants {
        // `./my.wasm` and `my.wasm` are the same file.
        let plain = |name: &str| name.strip_prefix("./").unwrap_or(name).to_owned();
        let mut configured = self.configured.iter();
        let entry = configured.find(|(known, _)| plain(known) == plain(name));
        entry.map_or_else(Grants::none, |(_, plugin)| plugin.granted())
    }
}

impl PluginSource for Plugins {
    fn plugin(&self, uses: &Uses, base_dir: &Path) -> Result<PluginBytes, Option<String>> {
        match uses {
            Uses::Named { plugin, .. } => {
                if let Some(bytes) = Self::builtin(plugin) {
                    return Ok(PluginBytes { bytes: bytes.into(), grants: Grants::all() });
                }
                let configured = self.configured.get(plugin).ok_or(None)?;
                let path = configured.path.as_ref().ok_or(None)?;
                Ok(PluginBytes { bytes: read(path)?, grants: configured.granted() })
            }
            Uses::Path { path, .. } => {
                let bytes = read(&base_dir.join(path))?;
                Ok(PluginBytes { bytes, grants: self.grants(path) })
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let configured = self.configured.iter().filter(|(_, plugin)| plugin.path.is_some());
        let configured = configured.map(|(name, _)| name.clone());
        Self::builtins().map(str::to_owned).chain(configured).collect()
    }
}

/// A plugin's file.
pub fn read(path: &Path) -> Result<Arc<[u8]>, String> {
    files::bytes(path, PLUGIN_BYTES_MAX).map(Into::into)
}
