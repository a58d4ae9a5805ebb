#!/usr/bin/env bash
# All of a hundred targets of `coracle balance` replaced ten times a second under load: no request may fail, and nothing may be left.
# usage: bench/targets.sh [--seconds 30] [--targets 100] [--every-ms 100]
. "$(dirname "$0")/prepare.sh"
need wrk wrk
need nginx nginx-light
exec python3 "${bench:?}/targets.py" "$@"
