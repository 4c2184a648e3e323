//! The plugins that the build made, by their names.

use std::path::Path;
use stepback_core::manifest::Uses;
use stepback_engine::{PluginBytes, PluginSource};

/// They may do everything, as the program's own may.
pub struct Built;

impl PluginSource for Built {
    fn plugin(&self, uses: &Uses, _base_dir: &Path) -> Result<PluginBytes, Option<String>> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let path = root.join("plugins/target").join(format!("{}.component.wasm", uses.plugin()));
        let bytes = std::fs::read(path).map_err(|error| Some(error.to_string()))?;
        Ok(PluginBytes::built_in(&bytes))
    }

    fn names(&self) -> Vec<String> {
        vec![]
    }
}
