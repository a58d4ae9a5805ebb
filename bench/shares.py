"""CPU quotas, equal shares and weighted shares over some seconds, and latency beside ten spinners. Run by shares.sh.

Quotas are judged by what the whole daemon used, read from /proc: work for a guest's sake is part of its quota. Shares are judged by the tasks' accounts
(`coracle stats`), whose sum is compared with the same. `burn` has one thread, so that a task of two cores has two of it.
"""

import argparse
import http.client
import json
import pathlib
import time

from daemon import Daemon
from harness import caveat, cpu_seconds, finish, free_port, guest, percentile, record, steady, verdict

# ECS has no task quota below 128.
QUOTAS = [128, 256, 1024, 2048]
CORES = 2
SPINNERS = 10
WEIGHTS = [128, 256, 512]
TOLERANCE = 0.05
RATE = 100
P99_MS = 2.0
PARTS = {}


def part(function):
    """One of the measurements, by its name."""
    PARTS[function.__name__] = function
    return function


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=int, default=10, help="of each measurement")
    arguments.add_argument("--only", choices=PARTS, action="append", help="all of them without")
    options = arguments.parse_args()

    caveat()
    finish([held for name in options.only or PARTS for held in PARTS[name](options)])


@part
def quotas(options):
    """Whether a spinning task gets its quota, no more and no less."""
    for units in QUOTAS:
        with Daemon() as daemon:
            spin(daemon, {f"burn-{index}": None for index in range(-(-units // 1024))}, cpu=units)
            got, elapsed, _ = used(daemon, options.seconds)
        ratio = got / elapsed / (units / 1024)
        record("shares", quota=units, ratio=round(ratio, 4))
        yield verdict(f"a quota of {units}: {ratio:.3f} of it over {elapsed:.0f} s (wanted within {TOLERANCE:.0%})", near(ratio))


@part
def spinners(options):
    """Whether equals get equal parts of all cores, and what they cost hello."""
    port = free_port()
    with Daemon() as daemon:
        daemon.register("hello", guest("hello"))
        daemon.publish("hello", port, 1)
        alone = hello(port, options.seconds)
        for _ in range(SPINNERS):
            spin(daemon, {"burn": None})
        _, elapsed, times = used(daemon, options.seconds)
        parts = sorted(time / elapsed / (CORES / SPINNERS) for time in times.values())
        record("shares", spinners=SPINNERS, parts=[round(part, 4) for part in parts])
        yield verdict(
            f"{SPINNERS} equal spinners: {parts[0]:.3f} to {parts[-1]:.3f} of a fair part each (wanted within {TOLERANCE:.0%})",
            near(parts[0]) and near(parts[-1]),
        )
        beside = hello(port, options.seconds)
        record("shares", beside=SPINNERS, rate=RATE, p50_ms=beside[0], p99_ms=beside[1], alone_p50_ms=alone[0], alone_p99_ms=alone[1])
        yield verdict(
            f"hello at {RATE} requests a second beside them: p50 {beside[0]:.2f} ms, p99 {beside[1]:.2f} ms (wanted at most {P99_MS:g}); "
            f"alone {alone[0]:.2f} and {alone[1]:.2f}",
            beside[1] <= P99_MS,
        )


def hello(port, seconds):
    """Median and 99th percentile of its answers' latency. Of two clients: the first request of each opens its connection, and of many would be the percentile."""
    latencies = steady(f"http://127.0.0.1:{port}/", RATE, 2 * seconds, clients=2)
    return percentile(latencies, 0.5), percentile(latencies, 0.99)


@part
def weights(options):
    """Whether containers share by their `cpu`. Two of each: one alone could use no more than one core."""
    with Daemon() as daemon:
        spin(daemon, {f"burn-{weight}-{index}": weight for weight in WEIGHTS for index in range(2)})
        _, elapsed, times = used(daemon, options.seconds)
    fair = {name: CORES * int(name.split("-")[1]) / (2 * sum(WEIGHTS)) for name in times}
    parts = {name: time / elapsed / fair[name] for name, time in sorted(times.items())}
    record("shares", weights=WEIGHTS, parts={name: round(part, 4) for name, part in parts.items()})
    yield verdict(
        f"shares 1 : 2 : 4: {min(parts.values()):.3f} to {max(parts.values()):.3f} of a fair part each (wanted within {TOLERANCE:.0%})",
        all(near(part) for part in parts.values()),
    )


def near(ratio):
    return abs(ratio - 1) <= TOLERANCE


def spin(daemon, containers, cpu=None):
    """Runs a task of spinning containers, by name, each with its share if it has one; returns when it runs."""
    image = str(pathlib.Path(guest("burn")).resolve())
    definitions = [
        {"name": name, "image": image, "memory": 64, "command": ["--forever"], **({"cpu": share} if share else {})}
        for name, share in containers.items()
    ]
    task = {"cpu": str(cpu)} if cpu else {}
    family = f"burn-{cpu}"
    daemon.call("RegisterTaskDefinition", family=family, containerDefinitions=definitions, **task)
    arn = daemon.call("RunTask", taskDefinition=family)["tasks"][0]["taskArn"]
    daemon.until(lambda: daemon.status(arn) == "RUNNING", "burn runs")


def used(daemon, seconds):
    """CPU seconds of the daemon over a stretch, its length, and those of each spinning container."""
    # Compiling, and the quota that was saved up, are not what is measured.
    time.sleep(1)
    before, accounts, started = cpu_seconds(daemon.process.pid), spent(daemon), time.monotonic()
    time.sleep(seconds)
    after, accounts_after, elapsed = cpu_seconds(daemon.process.pid), spent(daemon), time.monotonic() - started
    times = {key: (nanos - accounts[key]) / 1e9 for key, nanos in accounts_after.items()}
    by_name = {name if len(times) == len({n for _, n in times}) else f"{name} {task}": time for (task, name), time in times.items()}
    return after - before, elapsed, by_name


def spent(daemon):
    """CPU time of each spinning container, by task and name."""
    tasks = daemon.call("ListTasks")["taskArns"]
    stats = call_ours(daemon, "DescribeTaskStats", tasks=tasks)["tasks"]
    containers = ((task["taskArn"], container) for task in stats for container in task["containers"])
    return {(task, c["name"]): c["cpuTimeNanos"] for task, c in containers if c["name"].startswith("burn")}


def call_ours(daemon, operation, **parameters):
    """One operation of ours, which ECS does not have."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
    headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": f"Coracle_20261124.{operation}"}
    try:
        connection.request("POST", "/", json.dumps(parameters), headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{operation}: {answer.status} {body.decode(errors='replace')}")
        return json.loads(body)
    finally:
        connection.close()


if __name__ == "__main__":
    main()
