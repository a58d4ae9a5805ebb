#!/usr/bin/env bash
# From exec to the first answer with a warm cache: `coracle serve` against `wasmtime serve`, interleaved.
# usage: bench/coldstart.sh [--rounds 20]
. "$(dirname "$0")/prepare.sh"
peer
exec python3 "${bench:?}/coldstart.py" "$@"
