#!/usr/bin/env bash
# Whether a CPU quota is what was asked for, and what a spinning neighbour costs hello's answers.
# usage: bench/cpu.sh [--seconds 10] [--rate 500]
. "$(dirname "$0")/prepare.sh"
need h2load nghttp2-client
exec python3 "${bench:?}/cpu.py" "$@"
