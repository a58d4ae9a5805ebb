#!/usr/bin/env bash
# A service of four tasks under load while one of them is stopped again and again: no request may fail.
# usage: bench/replace.sh [--seconds 20] [--every-ms 200]
. "$(dirname "$0")/prepare.sh"
need wrk wrk
exec python3 "${bench:?}/replace.py" "$@"
