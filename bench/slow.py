"""Honest clients of `coracle balance` while slowhttptest attacks the same listener, in each of its four ways. Run by slow.sh.

The same requests are made at the same rate before, during and after each attack; the p99 during it is compared with the
median of all that were measured without. slowhttptest keeps a core busy for itself: what that does to the honest clients
is told by their p99 while another server is attacked.
"""

import argparse
import contextlib
import os
import re
import resource
import subprocess
import tempfile
import time

from balancer_peers import coracle, nginx
from harness import caveat, finish, free_port, median, percentile, record, steady, verdict

AT_MOST = 2.0
# What is read slowly has to be more than the kernel buffers for a client that does not read.
LARGE = "y" * 2**20
SMALL = "x" * 1024
ATTACKS = {
    "slow headers": ["-H", "-i", "5"],
    "slow bodies": ["-B", "-i", "5", "-s", "8192"],
    "ranges": ["-R", "-a", "5", "-b", "2000"],
    "slow reading": ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"],
}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=int, default=30, help="of each attack")
    arguments.add_argument("--connections", type=int, default=1000)
    arguments.add_argument("--rate", type=int, default=1000, help="honest requests a second, over 16 connections")
    options = arguments.parse_args()

    caveat()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        server = stack.enter_context(upstream(folder, "upstream"))
        elsewhere = stack.enter_context(upstream(folder, "elsewhere"))
        balancer = stack.enter_context(coracle(folder, [server.port]))
        finish(measure(balancer, elsewhere, options))


def upstream(folder, name):
    """A plain HTTP server that answers 1 KiB, 1 MiB under /large, and under /upload when it has the whole body."""
    port = free_port()
    os.chmod(folder, 0o755)  # nginx's workers are not root
    large = os.path.join(folder, "large")
    with open(large, "w") as file:
        file.write(LARGE)
    server = f"""    client_max_body_size 0;
    server {{
        listen 127.0.0.1:{port} reuseport backlog=4096;
        location = /large {{ root {folder}; }}
        location = /upload {{ proxy_pass http://127.0.0.1:{port}/; }}
        location / {{ return 200 "{SMALL}"; }}
    }}"""
    return nginx(folder, name, server, (port, port))


def measure(balancer, elsewhere, options):
    def honest(seconds):
        return steady(balancer.url, options.rate, seconds, clients=16)

    honest(2)  # connections to targets open; not counted
    quiet = [percentile(honest(10), 0.99)]
    print(f"alone: p99 {quiet[0]:.2f} ms")
    during = {}
    for name, flags in ATTACKS.items():
        with attack(elsewhere, flags, options):
            time.sleep(options.connections / 500 + 1)
            aside = percentile(honest(options.seconds - 8), 0.99)
        with attack(balancer, flags, options) as attacker:
            # All its connections are open, and stay to the end.
            time.sleep(options.connections / 500 + 1)
            open_connections = established(balancer.port)
            latencies = honest(options.seconds - 8)
            memory = balancer.memory_kib()
        quiet.append(percentile(honest(10), 0.99))
        during[name] = percentile(latencies, 0.99)
        print(
            f"{name}: {open_connections} connections open, {len(latencies)} honest answers, p50 {percentile(latencies, 0.5):.2f} ms, "
            f"p99 {during[name]:.2f} ms, {aside:.2f} ms while another server is attacked, then alone {quiet[-1]:.2f} ms; balancer {memory / 1024:.0f} MiB; {attacker.summary}"
        )
        record("slow", attack=name, p99_ms=during[name], aside_ms=aside, alone_ms=quiet[-1], connections=open_connections, memory_kib=memory)
    alone = median(quiet)
    return [
        verdict(f"{name}: p99 {p99 / alone:.2f} x of {alone:.2f} ms alone (wanted at most {AT_MOST})", p99 <= AT_MOST * alone)
        for name, p99 in during.items()
    ]


class attack:
    """slowhttptest, started again when it has ended by itself, which a range attack does as soon as it is answered."""

    def __init__(self, server, flags, options):
        url = server.url + {"-B": "upload", "-X": "large"}.get(flags[0], "")
        attack = ["slowhttptest", *flags, "-c", options.connections, "-r", 500, "-l", options.seconds, "-p", 5, "-u", url]
        again = ["timeout", options.seconds, "sh", "-c", 'while :; do "$@"; done', "sh"]
        self.command = list(map(str, [*again, *attack]))

    def __enter__(self):
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        return self

    def __exit__(self, *_):
        output = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", self.process.communicate()[0])
        states = re.findall(r"^(connected|error|closed|service available):\s+(\S+)", output, re.MULTILINE)
        self.summary = "slowhttptest at last: " + ", ".join(f"{key} {value}" for key, value in dict(states).items())


def established(port):
    """Connections to this port, by the kernel's table."""
    wanted = f":{port:04X}"
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(1 for row in rows if row[1].endswith(wanted) and row[3] == "01")


if __name__ == "__main__":
    main()
