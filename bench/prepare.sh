# shellcheck shell=bash
# Sourced by the benchmarks: builds what is measured, finds what it is measured against, and says where they are.
set -euo pipefail
bench=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$bench/.."
. scripts/rust-env.sh

need() {
    command -v "$1" >/dev/null && return
    echo "$1 is needed (Debian: apt-get install $2)" >&2
    exit 1
}
need python3 python3

scripts/guests.sh
# Optimised as what users are given, as the peer is by `cargo install`. The first time takes some ten minutes.
# With CORACLE set a binary that is there already is measured.
[ -n "${CORACLE:-}" ] || cargo build --quiet --profile dist --locked --package coracle
export CORACLE=${CORACLE:-$CARGO_TARGET_DIR/dist/coracle}
export GUESTS=$CARGO_TARGET_DIR/guests
export BENCH_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/coracle

# The peer, at the very version that is inside coracle: a difference is then ours, not the engine's.
peer() {
    local version
    version=$(sed -n 's/^wasmtime = .*version = "=\([0-9.]*\)".*/\1/p' Cargo.toml)
    WASMTIME=${WASMTIME:-$(command -v wasmtime || true)}
    [ -n "$WASMTIME" ] || WASMTIME=$BENCH_CACHE/wasmtime-cli/bin/wasmtime
    if ! "$WASMTIME" --version 2>/dev/null | grep -q " $version\b"; then
        echo "installing wasmtime-cli $version (once, about ten minutes on two cores)" >&2
        WASMTIME=$BENCH_CACHE/wasmtime-cli/bin/wasmtime
        env -u CARGO_TARGET_DIR cargo install --quiet --locked wasmtime-cli --version "$version" \
            --root "$BENCH_CACHE/wasmtime-cli"
    fi
    export WASMTIME
}
