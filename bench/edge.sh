#!/usr/bin/env bash
# Builds of coracle side by side: their size, the memory of a daemon with no, one and ten tasks, a tight loop and requests, as ratios to the first.
# usage: bench/edge.sh [--rounds 5] NAME=BINARY NAME=BINARY..., as in
#   bench/edge.sh release=target/release/coracle small=target/small/coracle
CORACLE=${CORACLE:-named by the arguments}
. "$(dirname "$0")/prepare.sh"
exec python3 "${bench:?}/edge.py" "$@"
