"""Tasks that trap, hang, spin, leak and exit at random beside tasks that must not notice. Run by chaos.sh.

Clients ask `chaos` for its misbehaviours, at random and without waiting for those that hang, while others ask `hello`. Leaks end chaos tasks for
their memory, and the service starts others in their place. Memory and descriptors of the daemon are compared with what they were before chaos.
"""

import argparse
import http.client
import pathlib
import random
import threading
import time

from daemon import Daemon
from harness import caveat, finish, free_port, guest, percentile, record, verdict

PATHS = [
    "/", "/trap", "/trap-mid-body", "/panic", "/exit?code=1", "/hang", "/spin", "/recurse", "/500",
    "/slow?chunks=3&ms=20", "/allocate?mib=8", "/allocate?mib=64", "/leak?mib=4", "/log?lines=50",
]  # fmt: skip
# How long a client of chaos waits before it goes away.
PATIENCE = 0.5
CHAOS_CLIENTS, HELLO_CLIENTS = 8, 4
# Of the daemon, after everything of chaos has ended. The pool's slots stay resident for the next instance, and the newest 1,000 tasks described.
MEMORY_KEPT = 256 << 20
DESCRIPTORS_KEPT = 8
SETTLE = 60


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=int, default=60)
    arguments.add_argument("--chaos", type=int, default=200, help="tasks that misbehave")
    arguments.add_argument("--hello", type=int, default=50, help="tasks that must not notice")
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()

    caveat()
    hello, chaos = free_port(), free_port()
    with Daemon() as daemon:
        daemon.register("hello", guest("hello"))
        daemon.publish("hello", hello, options.hello)
        register_chaos(daemon)
        run([Client(hello, ["/"], options.seed) for _ in range(HELLO_CLIENTS)], 1)
        before = usage(daemon)

        daemon.publish("chaos", chaos, options.chaos)
        during = Peak(daemon)
        bad = [Client(chaos, PATHS, options.seed + index, PATIENCE) for index in range(CHAOS_CLIENTS)]
        good = [Client(hello, ["/"], 0) for _ in range(HELLO_CLIENTS)]
        run([*bad, *good, during], options.seconds)
        killed = sum(1 for task in stopped(daemon) if "memory" in task.lower())
        daemon.call("DeleteService", service="chaos", force=True)
        after = settled(daemon, before)

    answers = sum(len(client.answered) for client in good)
    lost = [problem for client in good for problem in client.lost]
    latencies = sorted(latency for client in good for latency in client.answered)
    asked = sum(len(client.answered) + len(client.lost) for client in bad)
    print(f"{asked} requests to {options.chaos} chaos tasks in {options.seconds} s; of the last 100 stopped tasks {killed} for their memory")
    print(f"{answers} answers of hello, p50 {percentile(latencies, 0.5):.1f} ms, p99 {percentile(latencies, 0.99):.1f} ms; {lost[:3]}")
    print(f"resident: {before[0] >> 20} MiB before, {during.memory >> 20} at most, {after[0] >> 20} after")
    print(f"descriptors: {before[1]} before, {during.descriptors} at most, {after[1]} after")
    record("chaos", seed=options.seed, asked=asked, answers=answers, lost=lost, before=before, after=after, peak=during.memory)
    finish(
        [
            verdict(f"hello lost {len(lost)} of {answers + len(lost)} requests (wanted 0)", not lost and answers > 0),
            verdict(
                f"{(after[0] - before[0]) >> 20} MiB more than before are resident (wanted at most {MEMORY_KEPT >> 20})",
                after[0] - before[0] <= MEMORY_KEPT,
            ),
            verdict(
                f"{after[1] - before[1]} descriptors more than before are open (wanted at most {DESCRIPTORS_KEPT})",
                after[1] - before[1] <= DESCRIPTORS_KEPT,
            ),
        ]
    )


def register_chaos(daemon):
    """Memory that a leak soon reaches, and a quota, so that the spinners leave hello its processors."""
    labels = {"coracle.instance-reuse": "100", "coracle.request-timeout": "1", "coracle.max-concurrency": "4"}
    container = {"name": "chaos", "image": str(pathlib.Path(guest("chaos")).resolve()), "memory": 32, "dockerLabels": labels}
    daemon.call("RegisterTaskDefinition", family="chaos", cpu="128", memory="32", containerDefinitions=[container])


class Client(threading.Thread):
    """Asks for one of some paths after the other until it is told to stop, on a connection that it keeps as long as that lasts."""

    def __init__(self, port, paths, seed, patience=30):
        super().__init__()
        self.port, self.paths, self.random, self.patience = port, paths, random.Random(seed), patience
        self.over = threading.Event()
        self.answered, self.lost = [], []

    def run(self):
        connection = None
        while not self.over.is_set():
            connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.patience)
            path = self.random.choice(self.paths)
            started = time.perf_counter()
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise http.client.HTTPException(f"{path}: {answer.status}")
                self.answered.append((time.perf_counter() - started) * 1000)
            except (OSError, http.client.HTTPException) as problem:
                self.lost.append(repr(problem))
                connection.close()
                connection = None
        if connection:
            connection.close()


class Peak(threading.Thread):
    """The most that the daemon held."""

    def __init__(self, daemon):
        super().__init__()
        self.watched, self.over = daemon, threading.Event()
        self.memory = self.descriptors = 0

    def run(self):
        while not self.over.wait(0.2):
            memory, descriptors = usage(self.watched)
            self.memory, self.descriptors = max(self.memory, memory), max(self.descriptors, descriptors)


def run(threads, seconds):
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    for thread in threads:
        thread.over.set()
    for thread in threads:
        thread.join(60)


def stopped(daemon):
    """Why the newest stopped tasks of chaos ended."""
    arns = daemon.call("ListTasks", serviceName="chaos", desiredStatus="STOPPED")["taskArns"][-100:]
    tasks = daemon.call("DescribeTasks", tasks=arns)["tasks"] if arns else []
    return [container.get("reason", "") for task in tasks for container in task["containers"]]


def settled(daemon, before):
    """Memory and descriptors once they have stopped to fall, or are where they were."""
    deadline, least = time.monotonic() + SETTLE, usage(daemon)
    while time.monotonic() < deadline and (least[0] > before[0] or least[1] > before[1]):
        time.sleep(0.5)
        now = usage(daemon)
        least = (min(least[0], now[0]), min(least[1], now[1]))
    return least


def usage(daemon):
    """Resident bytes and open descriptors of the daemon."""
    process = pathlib.Path(f"/proc/{daemon.process.pid}")
    resident = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(resident.split()[1]) * 1024, len(list((process / "fd").iterdir()))


if __name__ == "__main__":
    main()
