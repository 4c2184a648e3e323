#!/usr/bin/env bash
# Runs every test, and says at the end what was done: passed, failed, skipped and why, and how many
# kills and random cases were tried. All that the tests print is in target/test.log.
set -uo pipefail

log=target/test.log
mkdir -p target
: >"$log"

# What a test printed is shown where it failed; of the others it is in the log.
run() {
    "$@" -- --show-output 2>&1 | tee -a "$log" |
        sed -u '/^successes:$/,/^\(failures:\|test result:\)/{/^\(failures:\|test result:\)/!d}'
}

status=0
run cargo test --workspace --no-fail-fast || status=$?
run cargo test --workspace --no-fail-fast --manifest-path plugins/Cargo.toml || status=$?

awk '
    /^---- .* stdout ----$/ {test = $2}
    /^SKIPPED: / {skipped++; why[test] = substr($0, 10)}
    /^test result:/ {passed += $4; failed += $6}
    match($0, /killed (at [0-9]+ instants|twice [0-9]+ times)/) {
        split(substr($0, RSTART, RLENGTH), word, " "); kills += word[3]
    }
    match($0, /: [0-9]+ kills /) {split(substr($0, RSTART, RLENGTH), word, " "); kills += word[2]}
    match($0, /: [0-9]+ cases,/) {split(substr($0, RSTART, RLENGTH), word, " "); cases += word[2]}
    match($0, /[0-9]+ killed twice of/) {split(substr($0, RSTART), word, " "); kills += word[1]}
    END {
        for (test in why) print "skipped " test ": " why[test]
        printf "tests: %d passed, %d failed, %d skipped; %d kills, %d random cases\n",
            passed, failed, skipped, kills, cases
    }' "$log"
exit "$status"
