//! `stepback compile-plugin`: this program as a compiler, for one that is started by itself.

use crate::error::Exit;

pub fn run() -> Exit {
    // Whoever started it has the other ends of its pipes, and sees how it ends.
    stepback_wasm::compile_stdin().map_or(Exit::Internal, |()| Exit::Succeeded)
}
