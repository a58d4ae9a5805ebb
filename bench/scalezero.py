"""Services that scale to zero: the first answer of one that sleeps, and what a thousand that sleep cost. Run by scalezero.sh."""

import argparse
import socket
import time

from daemon import Daemon
from harness import caveat, cpu_seconds, finish, free_port, guest, percentile, record, resident, verdict
from load import exchange

P50_MS, P99_MS = 5, 25
KIB_EACH = 50


def tags(port, idle):
    chosen = {"coracle.listen": f"127.0.0.1:{port}", "coracle.scale-to-zero": str(idle)}
    return [{"key": key, "value": value} for key, value in chosen.items()]


def is_asleep(daemon, name):
    service = daemon.call("DescribeServices", services=[name])["services"][0]
    return service["desiredCount"] == 0 and service["runningCount"] == 0


def first_answers(wakes):
    """Milliseconds from connecting to the answer, each time from a service without a task."""
    port = free_port()
    took = []
    with Daemon() as daemon:
        daemon.register("web", guest("hello"))
        daemon.call("CreateService", serviceName="web", taskDefinition="web", desiredCount=1, tags=tags(port, 0.1))
        for _ in range(wakes):
            daemon.until(lambda: is_asleep(daemon, "web"), "the service sleeps")
            time.sleep(0.02)
            began = time.perf_counter()
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                exchange(connection)
            took.append(1000 * (time.perf_counter() - began))
    took.sort()
    p50, p99 = percentile(took, 0.5), percentile(took, 0.99)
    print(f"first answer of a service that sleeps, {wakes} times: p50 {p50:.2f} ms, p99 {p99:.2f} ms, worst {took[-1]:.2f} ms")
    record("scalezero-wake", wakes=wakes, p50_ms=p50, p99_ms=p99, worst_ms=took[-1])
    return [
        verdict(f"first answer p50 {p50:.2f} ms (wanted at most {P50_MS})", p50 <= P50_MS),
        verdict(f"first answer p99 {p99:.2f} ms (wanted at most {P99_MS})", p99 <= P99_MS),
    ]


def sleepers(count):
    """What services that sleep cost: CPU time over ten seconds, and memory each."""
    with Daemon() as daemon:
        daemon.register("web", guest("hello"))
        # What the first one makes is not counted.
        create(daemon, "first")
        before = resident(daemon.process.pid)
        for number in range(count):
            create(daemon, f"s{number}", wait=False)
        daemon.until(lambda: all(is_asleep(daemon, f"s{number}") for number in range(count)), "all sleep")
        # Until their drains and the resync are over.
        time.sleep(15)
        each = (resident(daemon.process.pid) - before) / count
        idle = cpu_seconds(daemon.process.pid)
        time.sleep(10)
        used = cpu_seconds(daemon.process.pid) - idle
    print(f"{count} services that sleep: {each / 1024:.1f} KiB each, {100 * used / 10:.2f} % of a core")
    record("scalezero-sleep", services=count, kib_each=each / 1024, cpu_percent=10 * used)
    return [
        verdict(f"{each / 1024:.1f} KiB each (wanted at most {KIB_EACH})", each <= KIB_EACH * 1024),
        verdict(f"{10 * used:.2f} % of a core (wanted at most 0.2)", used <= 0.02),
    ]


def create(daemon, name, wait=True):
    daemon.call("CreateService", serviceName=name, taskDefinition="web", desiredCount=1, tags=tags(0, 0.1))
    if wait:
        daemon.until(lambda: is_asleep(daemon, name), f"{name} sleeps")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--wakes", type=int, default=200)
    arguments.add_argument("--services", type=int, default=1000)
    options = arguments.parse_args()
    caveat()
    finish(first_answers(options.wakes) + sleepers(options.services))


if __name__ == "__main__":
    main()
