//! Plugins that can't be used at all: refused with exit 2 before anything is made.

use crate::harness::{Place, component};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

const STEPS: &str = "stepback:step/steps@0.2.0";

/// A plugin of our world whose `describe` is this WAT.
fn described_by(body: &str) -> Vec<u8> {
    plugin("", body)
}

/// One with data and functions of its own.
pub fn plugin(fields: &str, body: &str) -> Vec<u8> {
    let nothing = "unreachable";
    let strings = "(param i32 i32 i32 i32) (result i32)";
    let past = "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)";
    let text = format!(
        r#"(module
            (import "stepback:log/log@0.2.0" "line" (func $line (param i32 i32 i32)))
            (memory (export "memory") 2)
            {fields}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
            (func $deep (param i32) (result i32)
                (call $deep (i32.add (local.get 0) (i32.const 1))))
            (func (export "{STEPS}#describe") (result i32) {body})
            (func (export "{STEPS}#check") {strings} {nothing})
            (func (export "{STEPS}#run") {strings} {nothing})
            (func (export "{STEPS}#undo") {past} {nothing})
        )"#
    );
    let mut module = wat::parse_str(text).expect("the text is a module");
    let mut resolve = wit_parser::Resolve::default();
    let wit = crate::harness::root().join("wit");
    let (package, _) = resolve.push_dir(wit).expect("the contract is WIT");
    let world = resolve.select_world(&[package], Some("plugin")).expect("the world is there");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("the module fits the world");
    let encoder = ComponentEncoder::default();
    let encoder = encoder.module(&module).expect("a module with metadata");
    encoder.validate(true).encode().expect("a component")
}

#[track_caller]
fn refused(bytes: &[u8], said: &[&str]) {
    let place = Place::new();
    let before = place.untouched();
    place.write("p.wasm", bytes);
    let manifest = place.write(
        "m.toml",
        "schema = 1\n[operation]\nname = \"m\"\n[[steps]]\nid = \"s\"\nuses = \"./p.wasm#x\"\n",
    );
    let mut ran = place.run(&["run", &manifest]).exits(2);
    for piece in said {
        ran = ran.says(piece);
    }
    assert_eq!(place.facts(), before);
}

#[test]
fn bytes_that_are_no_plugin_are_told_apart() {
    refused(b"#!/bin/sh\necho hello\n", &["is not WebAssembly", ":6"]);
    refused(&wat::parse_str("(module)").expect("a module"), &["not a component", "plugin build"]);
    refused(&wat::parse_str("(component)").expect("a component"), &["it is no Stepback plugin"]);
    let cut_off = &described_by("unreachable")[..200];
    refused(cut_off, &["is not a valid component"]);
    let foreign = r#"(component (import "acme:net/sockets@1.0.0" (instance)))"#;
    refused(&wat::parse_str(foreign).expect("a component"), &["it is no Stepback plugin"]);
}

#[test]
fn a_plugin_that_is_not_there_is_told_so() {
    let place = Place::new();
    let manifest = place.write(
        "m.toml",
        "schema = 1\n[operation]\nname = \"m\"\n[[steps]]\nid = \"s\"\nuses = \"./no.wasm#x\"\n",
    );
    place.run(&["run", &manifest]).exits(2).says("no.wasm can't be read");
}

#[test]
fn what_was_not_granted_is_not_used() {
    let bytes = std::fs::read(component("volume-label")).expect("the build made it");
    refused(&bytes, &["uses ebs, not granted to it", "--grant './p.wasm=ebs'"]);
}

#[test]
fn a_describe_that_misbehaves_is_stopped() {
    refused(&described_by("(loop (br 0)) unreachable"), &["the plugin computed for"]);
    refused(&described_by("(call $deep (i32.const 0))"), &["its stack is full"]);
    let grow = "(loop (drop (memory.grow (i32.const 1024))) (br 0)) unreachable";
    refused(&described_by(grow), &["more memory than it may use"]);
    refused(&described_by("unreachable"), &["the plugin crashed"]);
    // A list of 30 million steps at address 1024.
    let many = "(i32.store (i32.const 1024) (i32.const 2048)) \
                (i32.store (i32.const 1028) (i32.const 30000000)) (i32.const 1024)";
    refused(&described_by(many), &["can't describe its steps"]);
    let flood = "(loop (call $line (i32.const 1) (i32.const 0) (i32.const 65536)) (br 0)) \
                 unreachable";
    refused(&described_by(flood), &["can't describe its steps"]);
}
