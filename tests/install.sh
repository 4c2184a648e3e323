#!/usr/bin/env bash
# Builds the whole program, optimised, and puts it below a prefix with its manual pages and
# completions.
set -euo pipefail

prefix=$1

echo "== Build stepback"
from=$SECONDS
cargo build --release --package stepback
echo "   ($((SECONDS - from)) s)"

program=$prefix/bin/stepback
share=$prefix/share
install -D -m 755 target/release/stepback "$program"
install -d "$share/man/man1"
"$program" manual "$share/man/man1"

complete() {
    install -d "$(dirname "$2")"
    "$program" completions "$1" >"$2"
}
complete bash "$share/bash-completion/completions/stepback"
complete zsh "$share/zsh/site-functions/_stepback"
complete fish "$share/fish/vendor_completions.d/stepback.fish"
echo "installed $program, with manual pages and completions in $share"
