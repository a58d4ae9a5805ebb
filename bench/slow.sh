#!/usr/bin/env bash
# Honest clients of `coracle balance` while slowhttptest holds connections in each of its four ways.
# usage: bench/slow.sh [--seconds 30] [--connections 1000] [--rate 1000]
. "$(dirname "$0")/prepare.sh"
need h2load nghttp2-client
need slowhttptest slowhttptest
need nginx nginx-light
exec python3 "${bench:?}/slow.py" "$@"
