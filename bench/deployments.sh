#!/usr/bin/env bash
# Deployments under load: fifty replicas rolled, bad revisions given up, a canary's split, a switch and its way back.
# usage: bench/deployments.sh [--split-requests 100000] [--only roll,bad,split,switch]
. "$(dirname "$0")/prepare.sh"
exec python3 "${bench:?}/deployments.py" "$@"
