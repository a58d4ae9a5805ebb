#!/usr/bin/env bash
# Whether tasks get the CPU that they were promised: quotas, equal and weighted shares; and latency beside ten spinners. Of a machine of two cores.
# usage: bench/shares.sh [--seconds 10] [--only quotas|spinners|weights]
. "$(dirname "$0")/prepare.sh"
need h2load nghttp2-client
exec python3 "${bench:?}/shares.py" "$@"
