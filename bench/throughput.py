"""Requests per second of `coracle serve` against `wasmtime serve`. Run by throughput.sh.

Each round measures both, one right after the other, and gives one ratio; the median of the ratios is the result. So a
slow minute of the machine moves both sides of a ratio, not one.
"""

import argparse

from harness import (
    caveat,
    coracle_serve,
    failed,
    finish,
    guest,
    median,
    record,
    verdict,
    wasmtime_serve,
    wrk,
)

# Instances live for the whole run.
FOR_EVER = "1000000000"

MODES = [
    # name, coracle's flags, wasmtime's flags
    ("instances reused", ["--instance-reuse", FOR_EVER], ["--max-instance-reuse-count", FOR_EVER]),
    ("instance per request", ["--instance-reuse", "1"], ["--max-instance-reuse-count", "1"]),
]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=5, help="of each measurement")
    arguments.add_argument("--connections", type=int, default=32)
    arguments.add_argument("--image", default=guest("hello"))
    arguments.add_argument("--reused", type=float, default=1.1, help="wanted ratio where instances are reused")
    arguments.add_argument("--fresh", type=float, default=4.0, help="wanted ratio with an instance per request; JavaScript 2.0, Python 1.3")
    options = arguments.parse_args()

    caveat()
    verdicts = []
    for (mode, ours, theirs), wanted in zip(MODES, (options.reused, options.fresh)):
        with (
            coracle_serve(options.image, "--replicas", "4", *ours) as coracle,
            wasmtime_serve(options.image, *theirs) as wasmtime,
        ):
            verdicts.append(compare(mode, wanted, coracle, wasmtime, options))
    finish(verdicts)


def compare(mode, wanted, coracle, wasmtime, options):
    print(f"\n{mode}: wrk -t2 -c{options.connections} -d{options.seconds}s")
    print(f"{'round':>5} {'coracle req/s':>14} {'p99 ms':>8} {'wasmtime req/s':>15} {'p99 ms':>8} {'ratio':>6}")
    # Caches fill, connections' first costs are paid; not counted.
    for server in (coracle, wasmtime):
        wrk(server.url, 1, connections=options.connections)
    ratios, failures = [], 0
    for number in range(options.rounds):
        # The first of a pair may profit from a rested machine: they take turns.
        order = (coracle, wasmtime) if number % 2 == 0 else (wasmtime, coracle)
        runs = {server: wrk(server.url, options.seconds, connections=options.connections) for server in order}
        ours, theirs = runs[coracle], runs[wasmtime]
        ratios.append(ours["rps"] / theirs["rps"])
        failures += failed(ours)
        print(
            f"{number + 1:>5} {ours['rps']:>14.0f} {ours['p99_ms']:>8.2f} "
            f"{theirs['rps']:>15.0f} {theirs['p99_ms']:>8.2f} {ratios[-1]:>6.2f}"
        )
        record("throughput", mode=mode, round=number + 1, coracle=ours, wasmtime_serve=theirs, ratio=round(ratios[-1], 3))
    ratio = median(ratios)
    record("throughput", mode=mode, median_ratio=round(ratio, 3), wanted=wanted, failed=failures)
    return verdict(
        f"{mode}: {ratio:.2f} x wasmtime serve (wanted at least {wanted}), {failures} failed requests",
        ratio >= wanted and failures == 0,
    )


if __name__ == "__main__":
    main()
