//! The contract of `wit/`, as wasmtime's macro writes it; `host/` implements its imports.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "plugin",
    imports: { default: async },
    exports: { default: async },
    additional_derives: [serde::Deserialize],
});
