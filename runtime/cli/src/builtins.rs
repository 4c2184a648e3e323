//! The program's own plugins, which it carries.

// `BUILTINS`.
include!(concat!(env!("OUT_DIR"), "/builtins.rs"));

/// The bytes of a plugin of the program.
pub fn bytes(name: &str) -> Option<&'static [u8]> {
    BUILTINS.iter().find(|(builtin, _)| *builtin == name).map(|(_, bytes)| *bytes)
}

/// The names of the program's plugins.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILTINS.iter().map(|(name, _)| *name)
}
