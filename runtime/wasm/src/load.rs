//! From bytes to a plugin that can be run: is it Wasm, a component, of our world, and does it
//! import only what there is? Every mistake has its own error, told from structure.

use crate::bindings::PluginPre;
use crate::fault::PluginError;
use crate::guest::Guest;
use crate::invocation::Interface;
use crate::log::cut;
use std::collections::BTreeSet;
use stepback_core::Call;
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker};

const MAGIC: &[u8] = b"\0asm";
/// The version and layer of a core module, and of a component: the Component Model's
/// *Binary.md*, "Component Definitions".
const CORE_MODULE: &[u8] = &[1, 0, 0, 0];
const COMPONENT: &[u8] = &[0x0d, 0, 1, 0];

/// What a plugin exports.
const STEPS: &str = "stepback:step/steps@0.2.0";
const OURS: &str = "stepback:";
/// Each interface is a package of its own, with a version of its own.
const VERSION: &str = "@0.2.0";

/// What is there of WASI 0.2 (see `wasi/`), all of it with nothing granted.
const WASI: [&str; 6] =
    ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];
const WASI_VERSION: &str = "@0.2.";

/// What to do about a plugin of another version of the contract.
const ANOTHER: &str = "an older one is built anew with the SDK of this program (`stepback plugin \
                       update`), a newer one needs a newer Stepback";

/// A compiler's complaint in a message; the whole of one can be pages.
const WHY_BYTES_MAX: usize = 600;

/// Whether the bytes begin as those of a component do.
pub(crate) fn must_be_a_component(name: &str, bytes: &[u8]) -> Result<(), PluginError> {
    let name = name.to_owned();
    let Some(version) = bytes.strip_prefix(MAGIC) else {
        return Err(PluginError::NotWasm { name });
    };
    if version.starts_with(CORE_MODULE) {
        return Err(PluginError::CoreModule { name });
    }
    if !version.starts_with(COMPONENT) {
        let why = "a version of the component format that is not known".to_owned();
        return Err(PluginError::Invalid { name, why });
    }
    Ok(())
}

/// Compiles a component, after making sure that it is one.
pub(crate) fn compile(engine: &Engine, name: &str, bytes: &[u8]) -> Result<Component, PluginError> {
    must_be_a_component(name, bytes)?;
    Component::from_binary(engine, bytes)
        .map_err(|error| PluginError::Invalid { name: name.to_owned(), why: why(&error) })
}

/// What a component imports of ours.
#[derive(Default)]
pub(crate) struct Imports {
    pub(crate) interfaces: BTreeSet<Interface>,
    /// `interface.function`, of those that the table has: what it can call, and nothing else.
    pub(crate) functions: BTreeSet<&'static str>,
}

/// What a component imports of ours, if it is a plugin and imports nothing unknown.
pub(crate) fn verify(
    engine: &Engine,
    name: &str,
    component: &Component,
) -> Result<Imports, PluginError> {
    let component_type = component.component_type();
    let exports: Vec<_> = component_type.exports(engine).map(|(export, _)| export).collect();
    if !exports.contains(&STEPS) {
        let is_steps = |export: &&str| export.starts_with(OURS) && export.contains("/steps@");
        let hint = match exports.as_slice() {
            [] => String::new(),
            exports if exports.iter().any(is_steps) => cut(
                &format!(
                    " (it exports {}: it was built for another version of the contract; {ANOTHER})",
                    exports.join(", ")
                ),
                WHY_BYTES_MAX,
            ),
            exports => cut(&format!(" (it exports {})", exports.join(", ")), WHY_BYTES_MAX),
        };
        return Err(PluginError::NotAPlugin { name: name.to_owned(), wanted: STEPS.into(), hint });
    }
    let mut imports = Imports::default();
    for (import, item) in component_type.imports(engine) {
        let ours = import.strip_prefix(OURS).and_then(|rest| rest.strip_suffix(VERSION));
        let package = ours.and_then(|ours| Some(ours.split_once('/')?.0));
        match (package, package.and_then(Interface::from_name)) {
            (_, Some(interface)) => {
                imports.interfaces.insert(interface);
                imports.functions.extend(functions(engine, interface, &item.ty));
            }
            // Types alone reach nothing.
            (Some("types"), None) => {}
            (None, None) if is_of_wasi(import) => {}
            _ => {
                let hint = what_to_do(import);
                let import = cut(import, WHY_BYTES_MAX);
                return Err(PluginError::UnknownImport { name: name.to_owned(), import, hint });
            }
        }
    }
    Ok(imports)
}

/// What usually brings an import that there is not, and what to do; empty if nobody knows.
fn what_to_do(import: &str) -> String {
    let package = import.strip_prefix(OURS).and_then(|rest| rest.split(['/', '@']).next());
    if package.and_then(Interface::from_name).is_some() {
        return format!("; of its own interfaces there is {VERSION}: {ANOTHER}");
    }
    let hint = match import {
        _ if import.starts_with("wasi:http/") => {
            "; a step reaches the world through `ec2`, `ebs`, `docker` and `load-balancer` alone: \
             leave out the crate, or its feature, that makes requests"
        }
        _ if import.starts_with("wasi:") => "; build it for WASI 0.2",
        _ if import.starts_with("wasi_") => "; build it for WASI 0.2 (`wasm32-wasip2` of Rust)",
        "env" => "; an `extern` block or C code calls what is not there",
        _ if import.starts_with("__wbindgen_") || import == "wbg" => {
            "; a crate of it was built for browsers: leave out that feature of it"
        }
        _ => "",
    };
    hint.to_owned()
}

/// The functions of an interface that an import names.
fn functions(engine: &Engine, interface: Interface, item: &ComponentItem) -> Vec<&'static str> {
    let ComponentItem::ComponentInstance(instance) = item else { return vec![] };
    let names: BTreeSet<String> = instance
        .exports(engine)
        .map(|(function, _)| format!("{}.{function}", interface.name()))
        .collect();
    Call::functions().filter(|function| names.contains(*function)).collect()
}

/// Whether an import is of a part of WASI that is there; what does not fit shows when linking.
fn is_of_wasi(import: &str) -> bool {
    WASI.iter().any(|part| import.starts_with(part)) && import.contains(WASI_VERSION)
}

/// Binds a component's imports and finds its exports, once for all of its runs.
pub(crate) fn link(
    linker: &Linker<Guest>,
    name: &str,
    component: &Component,
) -> Result<PluginPre<Guest>, PluginError> {
    linker
        .instantiate_pre(component)
        .and_then(PluginPre::new)
        // A version grows by functions: what is missing here may be there in a newer program.
        .map_err(|error| PluginError::WrongInterface {
            name: name.to_owned(),
            why: format!("{}; {ANOTHER}", why(&error)),
        })
}

pub(crate) fn why(error: &wasmtime::Error) -> String {
    cut(&format!("{error:#}"), WHY_BYTES_MAX)
}
