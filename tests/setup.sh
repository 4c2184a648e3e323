#!/usr/bin/env bash
# Makes sure that plugins can be built: a WebAssembly target of rustup, or Debian's packages.
# Changes nothing that is there already.
set -euo pipefail

target=wasm32-unknown-unknown

command -v cargo >/dev/null || {
    echo "setup: a Rust toolchain (1.95 or newer) is needed: https://rustup.rs" >&2
    exit 1
}
libdir=$(rustc --print target-libdir --target "$target" 2>/dev/null || true)
if [ -n "$libdir" ] && [ -n "$(ls -A "$libdir" 2>/dev/null)" ]; then
    exit 0
fi
if command -v rustup >/dev/null && timeout 60 rustup target add "$target" >/dev/null 2>&1; then
    exit 0
fi
packages="rustc-web rust-web-src lld-19"
# shellcheck disable=SC2086
if dpkg -s $packages >/dev/null 2>&1; then
    exit 0
fi
if command -v apt-get >/dev/null; then
    echo "setup: rustup has no $target here; installing $packages" >&2
    as_root=""
    [ "$(id -u)" = 0 ] || as_root="sudo"
    $as_root apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq $packages >/dev/null
    exit 0
fi
echo "setup: run \`rustup target add $target\`" >&2
exit 1
