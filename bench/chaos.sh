#!/usr/bin/env bash
# Whether tasks that misbehave in every way cost their neighbours a request, or the host its memory.
# usage: bench/chaos.sh [--seconds 60] [--chaos 200] [--hello 50] [--seed 1]
. "$(dirname "$0")/prepare.sh"
exec python3 "${bench:?}/chaos.py" "$@"
