#!/usr/bin/env bash
# The README's second command: builds the guests, then runs every test. Arguments go to the test runner.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/rust-env.sh

scripts/guests.sh
# Release, because the compiler inside coracle is unbearable in debug; the demo and the benchmarks use the same build.
flags=(--release --locked --workspace)
# The documentation's examples first: the runner's closing line is to be the last.
[ $# -gt 0 ] || cargo test "${flags[@]}" --doc
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run "${flags[@]}" "$@"
else
    cargo test "${flags[@]}" --lib --bins --tests --examples "$@"
fi
