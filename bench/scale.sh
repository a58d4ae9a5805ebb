#!/usr/bin/env bash
# A thousand services of ten tasks: their cost at rest, the cost of one change, the time to roll all of them.
# usage: bench/scale.sh [--services 1000] [--tasks 10] [--changes 200] [--rest 30] [--unpublished]
. "$(dirname "$0")/prepare.sh"
exec python3 "${bench:?}/scale.py" "$@"
