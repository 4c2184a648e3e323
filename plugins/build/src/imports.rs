//! Why a core module imports what no plugin has, as far as the import's name tells.

use std::collections::{BTreeMap, BTreeSet};
use wasmparser::{Parser, Payload};

/// So many functions of one cause are named.
const NAMED_MAX: usize = 3;

const BROWSER: &str = "a crate of it was built for browsers: leave out the feature that does that, \
                       such as `js` or `wasm_js` of getrandom, or `wasmbind` of chrono (`cargo \
                       tree --target wasm32-unknown-unknown -i wasm-bindgen` tells which crate)";
const EXTERN: &str = "an `extern` block or C code calls what is not there: leave out the crate or \
                      the feature that has it, such as a crate `…-sys`";
const WASI: &str = "a crate of it was built for WASI, and a plugin of Rust has none: no files, no \
                    network, no environment; take `clock` for the time and `log` for output";

/// What usually brings an import from this module.
fn cause(module: &str) -> Option<&'static str> {
    match module {
        "wbg" => Some(BROWSER),
        _ if module.starts_with("__wbindgen_") => Some(BROWSER),
        "env" => Some(EXTERN),
        _ if module.starts_with("wasi:") || module.starts_with("wasi_") => Some(WASI),
        _ => None,
    }
}

/// A sentence for each cause that there is.
pub(crate) fn causes(module: &[u8]) -> Vec<String> {
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for payload in Parser::new(0).parse_all(module) {
        let Ok(Payload::ImportSection(section)) = payload else { continue };
        for import in section.into_imports().flatten() {
            if let Some(cause) = cause(import.module) {
                let name = format!("`{}` `{}`", import.module, import.name);
                found.entry(cause).or_default().insert(name);
            }
        }
    }
    let sentence = |(cause, names): (&str, BTreeSet<String>)| {
        let named: Vec<String> = names.iter().take(NAMED_MAX).cloned().collect();
        let more = match names.len() > NAMED_MAX {
            true => ", …",
            false => "",
        };
        format!("it imports {}{more}: {cause}", named.join(", "))
    };
    found.into_iter().map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module that imports these, each a function of type 0.
    fn importing(imports: &[(&str, &str)]) -> Vec<u8> {
        let mut section = vec![u8::try_from(imports.len()).expect("few")];
        for (module, name) in imports {
            for text in [module, name] {
                section.push(u8::try_from(text.len()).expect("short"));
                section.extend(text.as_bytes());
            }
            section.extend([0, 0]);
        }
        let mut bytes = b"\0asm\x01\0\0\0".to_vec();
        // One type: a function of nothing.
        bytes.extend([1, 4, 1, 0x60, 0, 0]);
        bytes.extend([2, u8::try_from(section.len()).expect("short")]);
        bytes.extend(section);
        bytes
    }

    #[test]
    fn an_imports_cause_is_told_by_its_module() {
        for (module, said) in [
            ("__wbindgen_placeholder__", "wasmbind"),
            ("__wbindgen_externref_xform__", "getrandom"),
            ("wbg", "browsers"),
            ("env", "`extern` block"),
            ("wasi_snapshot_preview1", "no files"),
            ("wasi:sockets/tcp@0.2.0", "no network"),
            ("wasi:filesystem/types@0.2.0", "no files"),
        ] {
            let told = causes(&importing(&[(module, "f"), ("stepback:ebs/volumes@0.2.0", "tag")]));
            assert_eq!(told.len(), 1, "{module}: {told:?}");
            assert!(told[0].starts_with(&format!("it imports `{module}` `f`: ")), "{}", told[0]);
            assert!(told[0].contains(said), "{module}: {}", told[0]);
        }
        let many = [("env", "a"), ("env", "b"), ("env", "c"), ("env", "d"), ("wbg", "e")];
        let told = causes(&importing(&many));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told.iter().any(|one| one.contains("`env` `c`, …:")), "{told:?}");
        assert!(causes(&importing(&[("stepback:ebs/volumes@0.2.0", "tag")])).is_empty());
        assert!(causes(b"no module").is_empty());
    }
}
