#!/usr/bin/env bash
# A rush: from 100 to 2,000 requests a second within ten seconds, and back. The service follows in fast mode.
# usage: bench/blackfriday.sh
. "$(dirname "$0")/prepare.sh"
exec python3 "${bench:?}/blackfriday.py" "$@"
