#!/usr/bin/env bash
# Builds what the demo needs, and moves a database in the simulated world: once through, and once
# with a failure half way.
set -euo pipefail

stepback=$1
state=$2
operation=operations/redeploy-database.toml

# Run a phase, and tell how long it took.
phase() {
    local name=$1 from=$SECONDS
    shift
    echo "== $name"
    "$@"
    echo "   ($((SECONDS - from)) s)"
}

phase "Fetch what it is built of" cargo fetch --quiet
phase "Build stepback and its plugins, without providers of real environments" \
    cargo build --profile demo --package stepback --no-default-features

rm -rf "$state"
echo "== 1. The database \`main\` moves from i-db-1 to i-db-2"
echo "\$ stepback run $operation -i to_instance=i-db-2"
"$stepback" run "$operation" -i to_instance=i-db-2 --state "$state"

echo
echo "== 2. It is to move back, but the volume can't be attached: everything is put back"
echo "\$ stepback run $operation -i to_instance=i-db-1 --inject ebs.attach=refuse"
code=0
"$stepback" run "$operation" -i to_instance=i-db-1 --inject ebs.attach=refuse --state "$state" ||
    code=$?
echo "exit code $code (3: rolled back, restored)"
[ "$code" = 3 ]

echo
echo "== What happened, from the journal"
"$stepback" list --state "$state"
echo
echo "Look closer: $stepback show 2 --state $state"
