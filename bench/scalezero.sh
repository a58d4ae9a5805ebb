#!/usr/bin/env bash
# Services that scale to zero: the first answer of one that sleeps, and what a thousand that sleep cost.
# usage: bench/scalezero.sh [--wakes 200] [--services 1000]
. "$(dirname "$0")/prepare.sh"
exec python3 "${bench:?}/scalezero.py" "$@"
