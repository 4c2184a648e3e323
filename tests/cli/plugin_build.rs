//! `plugin build` of small crates: whose flags are taken, what is said of what a plugin can't have,
//! and that one plugin is never in the place of another.

use crate::harness::{Place, Ran};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// What is said of a crate that compiled, and has no step.
const COMPILED: &str = "it is no Stepback plugin";

/// A crate without dependencies, which compiles in a moment.
fn make_crate(place: &Place, dir: &str, name: &str, lib: &str) {
    fs::create_dir_all(place.path(dir).join("src")).expect("a directory");
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
         [lib]\ncrate-type = [\"cdylib\"]\n"
    );
    place.write(&format!("{dir}/Cargo.toml"), manifest);
    place.write(&format!("{dir}/src/lib.rs"), lib);
}

fn build(place: &Place, dir: &str, variables: &[(&str, &str)]) -> Ran {
    let mut command = place.command(&["plugin", "build", dir]);
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    command.env("CARGO_TARGET_DIR", place.path("target")).env("CARGO_NET_OFFLINE", "true");
    Ran::of(&mut command)
}

#[test]
fn the_authors_own_flags_are_taken_with_those_of_the_build() {
    let place = Place::new();
    let lib = "#[cfg(not(mine))]\ncompile_error!(\"its flags are lost\");\n";
    make_crate(&place, "c", "c", lib);
    fs::create_dir(place.path("c/.cargo")).expect("a directory");
    let flags = ("CARGO_ENCODED_RUSTFLAGS", "--cfg\u{1f}mine");
    let with = |configuration: &str, variables: &[(&str, &str)]| {
        place.write("c/.cargo/config.toml", configuration);
        build(&place, "c", variables).exits(2)
    };
    let lost = with("", &[]).says("its flags are lost");
    lost.says("--remap-path-prefix");
    with("", &[("RUSTFLAGS", "--cfg mine")]).says(COMPILED);
    with("", &[flags]).says(COMPILED);
    for table in ["build", "target.wasm32-unknown-unknown", "target.'cfg(panic = \"abort\")'"] {
        with(&format!("[{table}]\nrustflags = [\"--cfg\", \"mine\"]\n"), &[]).says(COMPILED);
    }
    let of_target = "[target.'cfg(target_arch = \"wasm32\")']\nrustflags = \"--cfg mine\"\n";
    let both = format!("[build]\nrustflags = \"--cfg other\"\n{of_target}");
    with(&both, &[]).says(COMPILED);
    // As for cargo: what the environment says is all.
    with(of_target, &[("RUSTFLAGS", "")]).says("its flags are lost");
    // In a build script they are those of another build.
    with("", &[flags, ("CARGO_CFG_TARGET_ARCH", "x86_64")]).says("its flags are lost");
}

/// A build runs the code of whatever a crate depends on.
#[test]
fn a_registrys_token_is_for_what_fetches_and_not_for_the_build() {
    let place = Place::new();
    make_crate(&place, "c", "c", "");
    let script = "fn main() {\n    let mut all = std::env::vars();\n    \
                  assert!(!all.any(|(_, value)| value == \"hunter22\"), \"a token is told\");\n}\n";
    place.write("c/build.rs", script);
    let cargo = place.write(
        "cargo.sh",
        "#!/bin/sh\necho \"$1 $CARGO_REGISTRIES_MINE_TOKEN\" >> \"$0.said\"\n\
         unset CARGO\nexec cargo \"$@\"\n",
    );
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let token = ("CARGO_REGISTRIES_MINE_TOKEN", "hunter22");
    let index = ("CARGO_REGISTRIES_MINE_INDEX", "sparse+https://localhost:1/");
    build(&place, "c", &[token, index, ("CARGO", &cargo)]).exits(2).says(COMPILED);
    let said = fs::read_to_string(format!("{cargo}.said")).expect("it ran");
    let said: Vec<&str> = said.lines().collect();
    assert!(said.contains(&"fetch hunter22") && said.contains(&"build "), "{said:?}");
    place.write("c/src/lib.rs", "no Rust");
    let proxy = ("http_proxy", "http://ann:hunter22@localhost:1");
    build(&place, "c", &[proxy]).exits(2).says("this was run there").lacks("hunter22");
}

#[test]
fn what_a_plugin_can_not_have_is_told_with_what_brings_it() {
    let place = Place::new();
    for (module, said) in [
        ("__wbindgen_placeholder__", "a crate of it was built for browsers: leave out the feature"),
        ("env", "an `extern` block or C code calls what is not there"),
        ("wasi:sockets/tcp@0.2.0", "no network"),
    ] {
        let lib = format!(
            "#[link(wasm_import_module = \"{module}\")]\n\
             unsafe extern \"C\" {{\n    fn outside(number: u32);\n}}\n\
             #[unsafe(no_mangle)]\npub extern \"C\" fn run() {{\n    \
             unsafe {{ outside(1) }}\n}}\n"
        );
        make_crate(&place, "c", "c", &lib);
        let told = build(&place, "c", &[]).exits(2).says(said);
        told.says(&format!("c.wasm can't be made a component: it imports `{module}` `outside`"));
    }
}

#[test]
fn two_crates_of_one_name_are_told_with_both_places() {
    let place = Place::new();
    place.write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"a\", \"b\"]\n");
    make_crate(&place, "a", "same", "");
    make_crate(&place, "b", "stepback-plugin-same", "");
    let told = build(&place, ".", &[]).exits(2).says("two crates make a plugin `same`");
    told.says("/a/Cargo.toml").says("/b/Cargo.toml");
    assert!(!place.path("same.wasm").exists());
    // The library's name is what counts, and these two are even one file for cargo.
    make_crate(&place, "b", "other", "");
    let manifest = fs::read_to_string(place.path("b/Cargo.toml")).expect("it was written");
    place.write("b/Cargo.toml", format!("{manifest}name = \"same\"\n"));
    let told = build(&place, ".", &[]).exits(2).says("/a/Cargo.toml");
    told.says("/b/Cargo.toml");
}

#[test]
fn two_plugins_of_one_name_in_the_configuration_are_told() {
    let place = Place::new();
    let configured = |text: &str| {
        place.write("stepback.toml", text);
        place.run(&["plugin", "list"])
    };
    let twice = "[plugins.\"./m.wasm\"]\ngrants = [\"ebs\"]\n[plugins.\"m.wasm\"]\n";
    let told = configured(twice).exits(2).says("`[plugins.\"./m.wasm\"]`");
    told.says("`[plugins.\"m.wasm\"]` are one file");
    let told = configured("[plugins.ebs]\npath = \"mine/ebs.wasm\"\n").exits(2);
    told.says("a plugin of its own called `ebs`, beside `mine/ebs.wasm`").says("stepback.toml:2");
    configured("[plugins.a]\npath = \"a\"\n[plugins.a]\npath = \"b\"\n").exits(2);
    // What the command line grants comes to what the file grants, however the path is written.
    let bytes = fs::read(crate::harness::component("volume-label")).expect("the build made it");
    place.write("m.wasm", bytes);
    configured("[plugins.\"./m.wasm\"]\ngrants = [\"ec2\"]\n").exits(0);
    let manifest = place.write(
        "m.toml",
        "schema = 1\n[operation]\nname = \"m\"\n[[steps]]\nid = \"s\"\n\
         uses = \"./m.wasm#label-volume\"\nwith = { volume = \"vol-db-main\", label = \"x\" }\n",
    );
    place.run(&["plan", &manifest, "--grant", "m.wasm=ebs"]).exits(0);
}
