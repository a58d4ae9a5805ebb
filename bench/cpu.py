"""CPU quotas and latency beside a spinner. Run by cpu.sh.

Quota: `burn` spins in a process of its own; the process's CPU time, everything included, is read from /proc over the
window. Latency: hello answers a fixed rate of requests, alone and beside a spinning task of the same daemon; alone and
beside take turns.
"""

import argparse
import contextlib
import subprocess
import time

from daemon import Daemon
from harness import CORACLE, caveat, cpu_seconds, finish, free_port, guest, median, percentile, record, steady, verdict

# Of one core; a task of two cores would need a guest with two threads (shares.py has one).
QUOTAS = [64, 256, 512, 1024]
# What a quota may be off: percentage points, and a part of it where that is less.
TOLERANCE = 1.0
PART = 0.05
LATENCY_RATIO = 3.0
SPINNER_CPU = 512


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=int, default=10, help="of each measurement")
    arguments.add_argument("--rounds", type=int, default=3, help="of the latency measurement")
    arguments.add_argument("--rate", type=int, default=500, help="requests a second")
    options = arguments.parse_args()

    caveat()
    print()
    finish([*(quota(cpu, options) for cpu in QUOTAS), latency(options)])


def quota(cpu, options):
    """Whether burn gets cpu / 1024 of one core."""
    process = subprocess.Popen(
        [CORACLE, "run", guest("burn"), "--cpu", str(cpu), "--", "--forever"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        # Starting and compiling are not what is measured.
        time.sleep(1)
        before, started = cpu_seconds(process.pid), time.monotonic()
        time.sleep(options.seconds)
        if process.poll() is not None:
            raise SystemExit(f"coracle run ended with {process.returncode} while it was measured")
        used, elapsed = cpu_seconds(process.pid) - before, time.monotonic() - started
    finally:
        process.terminate()
        process.wait(30)
    got, wanted = 100 * used / elapsed, 100 * cpu / 1024
    record("cpu", cpu=cpu, percent_of_a_core=round(got, 2), seconds=round(elapsed, 3))
    tolerance = min(TOLERANCE, PART * wanted)
    return verdict(
        f"--cpu {cpu}: {got:.2f} % of one core over {elapsed:.0f} s (wanted {wanted:g} +- {tolerance:.2g})",
        abs(got - wanted) <= tolerance,
    )


def latency(options):
    """Whether hello's p99 beside a spinner stays within its bound of hello's p99 alone."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    alone, beside = [], []
    with Daemon() as daemon:
        daemon.register("hello", guest("hello"))
        daemon.register("burn", guest("burn"), cpu=SPINNER_CPU, command=["--forever"])
        daemon.publish("hello", port, 1)
        steady(url, options.rate, 2)
        for _ in range(options.rounds):
            alone.append(p99(url, options))
            with spinner(daemon):
                beside.append(p99(url, options))
            print(f"hello at {options.rate} req/s: p99 {alone[-1]:.2f} ms alone, {beside[-1]:.2f} ms beside burn")
    ratio = median(after / before for before, after in zip(alone, beside))
    record("cpu", rate=options.rate, p99_alone_ms=alone, p99_beside_ms=beside, ratio=round(ratio, 2))
    return verdict(f"p99 beside a spinner is {ratio:.2f} x alone (wanted under {LATENCY_RATIO})", ratio < LATENCY_RATIO)


def p99(url, options):
    return percentile(steady(url, options.rate, options.seconds), 0.99)


@contextlib.contextmanager
def spinner(daemon):
    """A task that spins for as long as the block lasts."""
    task = daemon.call("RunTask", taskDefinition="burn")["tasks"][0]["taskArn"]
    daemon.until(lambda: daemon.status(task) == "RUNNING", "burn runs")
    yield
    daemon.call("StopTask", task=task)
    daemon.until(lambda: daemon.status(task) in ("STOPPED", None), "burn has stopped")


if __name__ == "__main__":
    main()
