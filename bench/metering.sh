#!/usr/bin/env bash
# What it costs to make guests yield, and to count their fuel.
# usage: bench/metering.sh [--seconds 10] [IMAGE...], where images are components; `burn` and `json` without
# With METERING set a build that is there already measures.
CORACLE=${CORACLE:-not measured here}
. "$(dirname "$0")/prepare.sh"
[ -n "${METERING:-}" ] || cargo build --quiet --profile dist --locked --package coracle-runtime --example metering
export METERING=${METERING:-$CARGO_TARGET_DIR/dist/examples/metering}
exec python3 "${bench:?}/metering.py" "$@"
