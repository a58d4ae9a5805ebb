#!/usr/bin/env bash
# The README's first command: builds coracle and the guests, then runs three replicas of hello behind the balancer.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/rust-env.sh

listen=${1:-127.0.0.1:8080}
scripts/guests.sh
cargo build --release --locked --package coracle
echo "Try it from another terminal (each answer comes from the next task):  curl http://$listen" >&2
exec "$CARGO_TARGET_DIR/release/coracle" serve "$CARGO_TARGET_DIR/guests/hello.wasm" --replicas 3 --listen "$listen"
