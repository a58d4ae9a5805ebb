#!/usr/bin/env bash
# Tasks killed at random under load, and the daemon itself killed and started again in the middle.
# usage: bench/kills.sh [--seconds 60]
. "$(dirname "$0")/prepare.sh"
exec python3 "${bench:?}/kills.py" "$@"
