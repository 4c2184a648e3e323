//! Where plugins come from: the ones in the program, the configuration's, and paths.

use crate::builtins;
use crate::config::{Config, PluginConfig, is_one_file};
use crate::files;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::Path;
use std::sync::Arc;
use stepback_core::manifest::Uses;
use stepback_engine::{PluginBytes, PluginSource};
use stepback_wasm::{Grants, Interface};

/// A component this large is a mistake; compiling it would take minutes.
const PLUGIN_BYTES_MAX: u64 = 64 << 20;

/// The program's own plugins and the user's.
pub struct Plugins {
    configured: BTreeMap<String, PluginConfig>,
    granted_here: BTreeMap<String, Vec<Interface>>,
}

impl Plugins {
    pub fn new(config: &Config) -> Self {
        let (configured, granted_here) = (config.plugins.clone(), config.granted_here.clone());
        Self { configured, granted_here }
    }

    /// What is granted to a file: by the configuration to that very file, and by the command line
    /// to the path that the manifest has.
    fn grants(&self, written: &str, file: &Metadata) -> Grants {
        let configured = self.configured.values().filter(|plugin| plugin.is_for(file));
        let here = self.granted_here.iter().filter(|(named, _)| is_one_file(named, written));
        let all = configured.map(|plugin| &plugin.grants).chain(here.map(|(_, grants)| grants));
        all.flatten().copied().collect()
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
                let file = base_dir.join(path);
                // What was read is what is granted to: the path may lead elsewhere by now.
                let (bytes, file) = files::opened(&file, PLUGIN_BYTES_MAX)?;
                Ok(PluginBytes { bytes: bytes.into(), grants: self.grants(path, &file) })
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
