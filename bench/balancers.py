"""`coracle balance` beside nginx and HAProxy, doing the same. Run by balancers.sh.

Each round measures all three, one right after the other, in an order that turns; a ratio is of one round, the result
their median.
"""

import argparse
import contextlib
import re
import resource
import socket
import subprocess
import tempfile

from balancer_peers import BODY, coracle, haproxy, nginx_balancer, upstreams, version
from harness import caveat, failed, finish, median, parse_wrk, record, verdict

PEERS = ("nginx", "haproxy")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=4, help="of each measurement")
    arguments.add_argument("--connections", type=int, default=32)
    arguments.add_argument("--idle", type=int, default=10_000, help="connections to measure memory with; 0: do not")
    arguments.add_argument("--protocols", default="h1,h2")
    options = arguments.parse_args()

    caveat()
    print(version("nginx", "-v"), version("haproxy", "-v"), sep="\n")
    verdicts = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        server, targets = upstreams(folder)
        stack.enter_context(server)
        balancers = [stack.enter_context(make(folder, targets)) for make in (coracle, nginx_balancer, haproxy)]
        for protocol in filter(None, options.protocols.split(",")):
            verdicts += compare(protocol, balancers, options)
        if options.idle:
            compare_memory(balancers, options.idle)
    finish(verdicts)


def compare(protocol, balancers, options):
    load = {"h1": load_http1, "h2": load_http2}[protocol]
    print(f"\n{protocol}, {options.connections} connections, {options.seconds} s each")
    print(f"{'round':>5} {'balancer':>9} {'req/s':>8} {'p50 ms':>7} {'p99 ms':>7} {'CPU us/req':>11}")
    for balancer in balancers:
        load(balancer, 1, options.connections)  # caches fill, connections to targets open; not counted
    rounds, failures = [], 0
    for number in range(options.rounds):
        turn = number % len(balancers)
        runs = {}
        for balancer in balancers[turn:] + balancers[:turn]:
            before = balancer.cpu_seconds()
            run = load(balancer, options.seconds, options.connections)
            run["cpu_us"] = round((balancer.cpu_seconds() - before) / run["requests"] * 1e6, 2)
            runs[balancer.name] = run
        for name, run in sorted(runs.items()):
            print(f"{number + 1:>5} {name:>9} {run['rps']:>8.0f} {run['p50_ms']:>7.2f} {run['p99_ms']:>7.2f} {run['cpu_us']:>11.2f}")
        failures += failed(runs["coracle"])
        rounds.append(runs)
        record("balancers", protocol=protocol, round=number + 1, **runs)
    return [judge(protocol, peer, rounds, failures) for peer in PEERS]


def judge(protocol, peer, rounds, failures):
    """Whether throughput and p99 are at least the peer's."""

    def ratio(measure):
        return median([runs["coracle"][measure] / runs[peer][measure] for runs in rounds])

    throughput, p50, p99, cpu = map(ratio, ("rps", "p50_ms", "p99_ms", "cpu_us"))
    spread = sorted(runs["coracle"]["rps"] / runs[peer]["rps"] for runs in rounds)
    record("balancers", protocol=protocol, peer=peer, throughput=throughput, p50=p50, p99=p99, cpu=cpu)
    return verdict(
        f"{protocol} against {peer}: throughput {throughput:.2f} x ({spread[0]:.2f} to {spread[-1]:.2f}; wanted at least 1.0), "
        f"p50 {p50:.2f} x, p99 {p99:.2f} x (at most 1.0), CPU per request {cpu:.2f} x, {failures} failed",
        throughput >= 1.0 and p99 <= 1.0 and failures == 0,
    )


def load_http1(balancer, seconds, connections):
    command = ["wrk", "-t2", f"-c{connections}", f"-d{seconds}s", "--latency", balancer.url]
    return parse_wrk(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def load_http2(balancer, seconds, connections):
    """h2load with ten streams on each of a quarter as many connections. It prints no percentiles: they are from its log."""
    url = f"http://127.0.0.1:{balancer.ports['h2']}/"
    with tempfile.NamedTemporaryFile() as log:
        output = subprocess.run(
            ["h2load", "-t2", f"-c{max(connections // 4, 2)}", "-m10", f"-D{seconds}", f"--log-file={log.name}", url],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        latencies = sorted(int(line.rsplit(b"\t", 1)[1]) for line in log)
    bad = sum(map(int, re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", output).groups()))
    good = int(re.search(r"status codes: (\d+) 2xx", output)[1])
    return {
        "rps": float(re.search(r"([\d.]+) req/s", output)[1]),
        "requests": good,
        "p50_ms": latencies[len(latencies) // 2] / 1000,
        "p99_ms": latencies[int(len(latencies) * 0.99)] / 1000,
        "socket_errors": {"any": bad},
        "non_2xx": 0,
    }


def compare_memory(balancers, connections):
    """Resident memory with so many connections open that have had one answer each."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"\nmemory with {connections} idle connections, each of which has had an answer")
    print(f"{'balancer':>9} {'before MiB':>11} {'after MiB':>10} {'KiB each':>9}")
    for balancer in balancers:
        before = balancer.memory_kib()
        clients = [one_answer(balancer.ports["h1"]) for _ in range(connections)]
        after = balancer.memory_kib()
        for client in clients:
            client.close()
        each = (after - before) / connections
        print(f"{balancer.name:>9} {before / 1024:>11.1f} {after / 1024:>10.1f} {each:>9.2f}")
        record("balancers", idle=connections, balancer=balancer.name, before_kib=before, after_kib=after)


def one_answer(port):
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    answer = b""
    while not answer.endswith(BODY.encode()):
        part = client.recv(65536)
        if not part:
            raise SystemExit(f"a connection was closed in the middle of its answer: {answer!r}")
        answer += part
    return client


if __name__ == "__main__":
    main()
