"""Builds of coracle side by side: size, memory of an idle daemon, a tight loop, requests. Run by edge.sh."""

import argparse
import pathlib
import subprocess
import time

import daemon
import harness
from harness import caveat, guest, median, record, resident
from load import Load

# Until an idle daemon has settled: its memory is read after that.
SETTLED_SECONDS = 3
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
        rows[name]["idle_mib"] = idle_daemon(binary) / 2**20
        loop(binary, 1)
    loops, requests = ({name: [] for name in binaries} for _ in range(2))
    for _ in range(options.rounds):
        for name, binary in binaries.items():
            loops[name].append(loop(binary, options.iterations))
            requests[name].append(hello(binary))
    first = next(iter(binaries))
    print(f"\n{'build':16} {'MiB':>6} {'idle daemon MiB':>16} {'loop, time':>11} {'hello, requests':>16}")
    for name, row in rows.items():
        row["loop"] = median([mine / other for mine, other in zip(loops[name], loops[first])])
        row["hello"] = median([mine / other for mine, other in zip(requests[name], requests[first])])
        print(f"{name:16} {row['mib']:>6.1f} {row['idle_mib']:>16.1f} {row['loop']:>9.2f} x {row['hello']:>14.2f} x")
        record("edge", build=name, beside=first, rounds=options.rounds, **row)


def idle_daemon(binary):
    """Bytes that a daemon holds with one task of hello that has answered once and waits."""
    daemon.CORACLE = binary
    with daemon.Daemon() as idle:
        container = {"name": "hello", "image": guest("hello"), "memory": 16, "portMappings": [{"containerPort": 80}]}
        idle.call("RegisterTaskDefinition", family="hello", containerDefinitions=[container])
        idle.call("CreateCluster")
        arn = idle.call("RunTask", taskDefinition="hello")["tasks"][0]["taskArn"]
        deadline = time.monotonic() + harness.START_DEADLINE
        while time.monotonic() < deadline:
            task = idle.call("DescribeTasks", tasks=[arn])["tasks"][0]
            bindings = task["containers"][0].get("networkBindings")
            if bindings and harness.status(bindings[0]["hostPort"]) == 200:
                time.sleep(SETTLED_SECONDS)
                return resident(idle.process.pid)
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
