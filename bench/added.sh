#!/usr/bin/env bash
# What the balancer adds to a task: `coracle serve` with one replica against the same task behind hyper alone.
# usage: bench/added.sh [--rounds 7] [--seconds 3]
# With CORACLE and BARE set builds that are there already are measured.
. "$(dirname "$0")/prepare.sh"
need wrk wrk
[ -n "${BARE:-}" ] || cargo build --quiet --profile dist --locked --package coracle --example bare
export BARE=${BARE:-$CARGO_TARGET_DIR/dist/examples/bare}
exec python3 "${bench:?}/added.py" "$@"
