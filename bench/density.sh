#!/usr/bin/env bash
# How fast tasks start, how many one machine holds, and what is left when they end.
# usage: bench/density.sh [--tasks 10000] [--starts 2000] [--burst 1000] [--durable]
# With DENSITY set a build that is there already measures.
CORACLE=${CORACLE:-not measured here}
. "$(dirname "$0")/prepare.sh"
[ -n "${DENSITY:-}" ] || cargo build --quiet --profile dist --locked --package coracle --example density
export DENSITY=${DENSITY:-$CARGO_TARGET_DIR/dist/examples/density}
exec python3 "${bench:?}/density.py" "$@"
