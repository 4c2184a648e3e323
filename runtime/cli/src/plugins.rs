//! Where plugins come from: the ones in the program, the configuration's, and paths.

use crate::builtins;
use crate::config::{PluginConfig, is_one_file};
use crate::files;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use stepback_core::manifest::Uses;
use stepback_engine::{PluginBytes, PluginSource};
use stepback_wasm::Grants;

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

    fn grants(&self, name: &str) -> Grants {
        let mut configured = self.configured.iter();
        let entry = configured.find(|(known, _)| is_one_file(known, name));
        entry.map_or_else(Grants::none, |(_, plugin)| plugin.granted())
    }
}

impl PluginSource for Plugins {
    fn plugin(&self, uses: &Uses, base_dir: &Path) -> Result<PluginBytes, Option<String>> {
        match uses {
            Uses::Named { plugin, .. } => {
                if let Some(bytes) = builtins::bytes(plugin) {
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
        builtins::names().map(str::to_owned).chain(configured).collect()
    }
}

/// A plugin's file.
pub fn read(path: &Path) -> Result<Arc<[u8]>, String> {
    files::bytes(path, PLUGIN_BYTES_MAX).map(Into::into)
}
