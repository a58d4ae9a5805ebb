#!/usr/bin/env bash
# Requests per second of `coracle serve --replicas 4` against `wasmtime serve`, both with hello, interleaved.
# usage: bench/throughput.sh [--rounds 5] [--seconds 5]
. "$(dirname "$0")/prepare.sh"
need wrk wrk
peer
exec python3 "${bench:?}/throughput.py" "$@"
