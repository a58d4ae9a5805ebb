"""Builds of coracle side by side: size, memory of a daemon, a tight loop, requests. Run by edge.sh."""

import argparse
import pathlib
import subprocess
import time

import daemon
import harness
from harness import caveat, guest, median, record, resident
from load import Load

# Until a daemon has settled: its memory is read after that.
SETTLED_SECONDS = 3
# What it has done by then: so many requests to so many tasks of hello, in turn.
REQUESTS = 100
TASKS = [0, 1, 10]
REQUEST_SECONDS = 3
# Of the tight loop; its first numbers are printed as it goes.
ITERATIONS = 200_000_000


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--iterations", type=int, default=ITERATIONS, help="of the tight loop")
    arguments.add_argument("builds", nargs="+", metavar="NAME=BINARY")
    options = arguments.parse_args()
    builds = dict(build.split("=", 1) for build in options.builds)
    binaries = {name: str(pathlib.Path(binary).resolve()) for name, binary in builds.items()}

    caveat()
    rows = {name: {"mib": pathlib.Path(binary).stat().st_size / 2**20} for name, binary in binaries.items()}
    for name, binary in binaries.items():
        rows[name]["resident_mib"] = [memory(binary, tasks) / 2**20 for tasks in TASKS]
        loop(binary, 1)
    loops, requests = ({name: [] for name in binaries} for _ in range(2))
    for _ in range(options.rounds):
        for name, binary in binaries.items():
            loops[name].append(loop(binary, options.iterations))
            requests[name].append(hello(binary))
    first = next(iter(binaries))
    resident_of = " / ".join(str(tasks) for tasks in TASKS)
    print(f"\nMiB resident: a daemon with {resident_of} tasks of hello after {REQUESTS} requests")
    print(f"{'build':16} {'MiB':>6} {'MiB resident':>20} {'loop, time':>11} {'hello, requests':>16}")
    for name, row in rows.items():
        row["loop"] = median([mine / other for mine, other in zip(loops[name], loops[first])])
        row["hello"] = median([mine / other for mine, other in zip(requests[name], requests[first])])
        held = " / ".join(f"{mib:.1f}" for mib in row["resident_mib"])
        print(f"{name:16} {row['mib']:>6.1f} {held:>20} {row['loop']:>9.2f} x {row['hello']:>14.2f} x")
        record("edge", build=name, beside=first, rounds=options.rounds, **row)


def memory(binary, tasks):
    """Bytes that a daemon holds with so many tasks of hello that were asked in turn and wait."""
    daemon.CORACLE = binary
    with daemon.Daemon() as host:
        container = {"name": "hello", "image": guest("hello"), "memory": 16, "portMappings": [{"containerPort": 80}]}
        host.call("RegisterTaskDefinition", family="hello", containerDefinitions=[container])
        host.call("CreateCluster")
        started = host.call("RunTask", taskDefinition="hello", count=tasks)["tasks"] if tasks else []
        ports = [port(host, task["taskArn"]) for task in started]
        for number in range(REQUESTS if tasks else 0):
            if harness.status(ports[number % tasks]) != 200:
                raise SystemExit(f"request {number} failed")
        time.sleep(SETTLED_SECONDS)
        return resident(host.process.pid)


def port(host, arn):
    """The port of the host at which a task is asked, once it answers there."""
    deadline = time.monotonic() + harness.START_DEADLINE
    while time.monotonic() < deadline:
        task = host.call("DescribeTasks", tasks=[arn])["tasks"][0]
        bindings = task["containers"][0].get("networkBindings")
        if bindings and harness.status(bindings[0]["hostPort"]) == 200:
            return bindings[0]["hostPort"]
        time.sleep(0.05)
    raise SystemExit(f"no answer of the task: {task}")


def loop(binary, iterations):
    """Seconds that a tight loop takes, from exec to exit; its code is compiled by the first."""
    command = [binary, "run", guest("burn"), "--", "--iterations", str(iterations)]
    began = time.perf_counter()
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def hello(binary):
    """Requests a second that hello answers over four connections, an instance for each."""
    harness.CORACLE = binary
    with harness.coracle_serve(guest("hello")) as server:
        with Load(server.port) as load:
            time.sleep(REQUEST_SECONDS)
        if load.failures:
            raise SystemExit(f"{len(load.failures)} requests failed: {load.failures[0]}")
        return len(load.answers) / REQUEST_SECONDS


if __name__ == "__main__":
    main()
