"""What the balancer adds to a task: `coracle serve` against the same task behind hyper alone. Run by added.sh.

Latency is that of one client with one connection, which nothing waits for; throughput that of many. Each round measures both servers, one right
after the other in an order that turns. A connection of the bare server stays on the thread that the kernel gave it to, so with few
connections one thread may be idle there; the throughput is therefore measured with many.
"""

import argparse
import os

from harness import (
    Server,
    caveat,
    coracle_serve,
    failed,
    finish,
    free_port,
    guest,
    median,
    record,
    verdict,
    wrk,
)

FOR_EVER = "1000000000"
ADDED_P50_US = 5
THROUGHPUT = 0.97


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--seconds", type=int, default=3, help="of each measurement")
    arguments.add_argument("--connections", type=int, default=64)
    options = arguments.parse_args()

    caveat()
    with coracle_serve(guest("hello"), "--instance-reuse", FOR_EVER) as balanced, bare() as alone:
        latency = compare("latency", balanced, alone, options, 1, 1)
        load = compare("throughput", balanced, alone, options, 2, options.connections)
    added = 1000 * median([ours["p50_ms"] - theirs["p50_ms"] for ours, theirs in latency])
    throughput = median([ours["rps"] / theirs["rps"] for ours, theirs in load])
    failures = sum(failed(ours) for ours, _ in latency + load)
    record("added", p50_us=round(added, 1), throughput=round(throughput, 3), failed=failures)
    finish(
        [
            verdict(f"p50 {added:+.1f} us for one client (wanted at most {ADDED_P50_US})", added <= ADDED_P50_US),
            verdict(f"throughput {throughput:.3f} x (wanted at least {THROUGHPUT})", throughput >= THROUGHPUT),
            verdict(f"{failures} failed requests", failures == 0),
        ]
    )


def bare():
    port = free_port()
    return Server("bare hyper", [os.environ["BARE"], guest("hello"), f"127.0.0.1:{port}"], port)


def compare(name, balanced, alone, options, threads, connections):
    print(f"\n{name}: wrk -t{threads} -c{connections} -d{options.seconds}s")
    print(f"{'round':>5} {'balanced req/s':>14} {'p50 us':>8} {'bare req/s':>11} {'p50 us':>8}")
    for server in (balanced, alone):
        wrk(server.url, 1, threads, connections)  # not counted
    runs = []
    for number in range(options.rounds):
        order = (balanced, alone) if number % 2 == 0 else (alone, balanced)
        by = {server: wrk(server.url, options.seconds, threads, connections) for server in order}
        ours, theirs = by[balanced], by[alone]
        runs.append((ours, theirs))
        print(
            f"{number + 1:>5} {ours['rps']:>14.0f} {1000 * ours['p50_ms']:>8.0f} {theirs['rps']:>11.0f} {1000 * theirs['p50_ms']:>8.0f}"
        )
        record("added", measured=name, round=number + 1, balanced=ours, bare=theirs)
    return runs


if __name__ == "__main__":
    main()
