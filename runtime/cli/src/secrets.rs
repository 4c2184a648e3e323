//! Secrets by reference: from the environment or from a file.

use crate::files::{self, TEXT_BYTES_MAX};
use std::path::Path;
use stepback_engine::SecretSource;

/// Reads `env:NAME` and `file:PATH`.
pub struct References;

impl SecretSource for References {
    fn resolve(&self, reference: &str) -> Result<String, String> {
        match reference.split_once(':') {
            Some(("env", name)) => std::env::var(name).map_err(|error| match error {
                std::env::VarError::NotPresent => {
                    format!("the environment variable {name} is not set")
                }
                std::env::VarError::NotUnicode(_) => {
                    format!("the environment variable {name} is not UTF-8")
                }
            }),
            Some(("file", path)) => {
                let text = files::text(Path::new(path), TEXT_BYTES_MAX)?;
                // Editors end a file with a line break that is not part of the secret.
                let text = text.strip_suffix('\n').unwrap_or(&text);
                Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
            }
            _ => Err("it must be a reference, `env:NAME` or `file:PATH`".to_owned()),
        }
    }

    fn absolute(&self, reference: &str) -> String {
        let path = reference.strip_prefix("file:").map(std::path::absolute);
        // One that is no text is left as it was given.
        match path.and_then(Result::ok).and_then(|path| path.to_str().map(str::to_owned)) {
            Some(path) => format!("file:{path}"),
            None => reference.to_owned(),
        }
    }
}
