#!/usr/bin/env bash
# Throughput, latency, CPU per request and memory of `coracle balance` beside nginx and HAProxy in front of the same two servers.
# usage: bench/balancers.sh [--rounds 5] [--seconds 4] [--connections 32] [--idle 10000] [--protocols h1,h2]
. "$(dirname "$0")/prepare.sh"
need wrk wrk
need h2load nghttp2-client
need nginx nginx-light
need haproxy haproxy
exec python3 "${bench:?}/balancers.py" "$@"
