#!/usr/bin/env bash
# Clients and servers of others through `coracle balance`: curl, h2load, websockets, ws, gRPC, httpwg, and Chromium if it is there.
# usage: bench/interop.sh [NAME]...    only what has one of the names in its line
. "$(dirname "$0")/prepare.sh"
need curl curl
need h2load nghttp2-client
need node nodejs
need npm npm
need openssl openssl

tools=$BENCH_CACHE/interop
if [ ! -e "$tools/venv/done" ]; then
    python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install --quiet websockets==17.4 grpcio==1.85.3
    touch "$tools/venv/done"
fi
[ -e "$tools/node_modules/ws" ] || npm install --silent --no-audit --no-fund --prefix "$tools" ws@8.23.0 >&2
HTTPWG=${HTTPWG:-$tools/httpwg/bin/httpwg}
if [ ! -e "$HTTPWG" ]; then
    echo "installing httpwg-cli (once, some minutes)" >&2
    CARGO_TARGET_DIR=$tools/target cargo install --quiet --locked httpwg-cli --version 0.2.5 --root "$tools/httpwg"
fi
export HTTPWG NODE_PATH=$tools/node_modules
exec "$tools/venv/bin/python" "${bench:?}/interop.py" "$@"
