"""Tasks killed at random under load, and the daemon itself killed and started again in the middle. Run by kills.sh."""

import argparse
import random
import signal
import time

from daemon import ApiError, Daemon
from harness import caveat, finish, free_port, guest, record, verdict
from load import Load

REPLICAS = 8


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = arguments.parse_args()
    caveat()
    print(f"--seed {options.seed}")
    luck = random.Random(options.seed)
    port = free_port()
    with Daemon() as daemon:
        daemon.register("web", guest("hello"))
        daemon.publish("web", port, REPLICAS)
        first = kill_for(daemon, port, options.seconds / 2, luck)
        acknowledged = change(daemon, luck)
        began = time.monotonic()
        kill_and_restart(daemon)
        whole = daemon.until(lambda: daemon.running("web") == REPLICAS, "all tasks run again")
        down = time.monotonic() - began
        lost = [name for name, count in acknowledged.items() if wanted(daemon, name) != count]
        second = kill_for(daemon, port, options.seconds / 2, luck)
        daemon.until(lambda: daemon.running("web") == REPLICAS, "all tasks run again")
    killed = first[0] + second[0]
    requests = first[1] + second[1]
    failures = first[2] + second[2]
    print(f"{killed} tasks killed under {requests} requests; the daemon was away for {down:.2f} s (whole {whole:.2f} s after its start)")
    record("kills", seed=options.seed, killed=killed, requests=requests, failures=len(failures), down_s=down)
    finish(
        [
            verdict(f"{len(failures)} failed requests outside of that (wanted 0) {failures[:3]}", not failures),
            verdict(f"{len(lost)} of {len(acknowledged)} acknowledged services lost or changed (wanted 0) {lost[:3]}", not lost),
        ]
    )


def kill_for(daemon, port, seconds, luck):
    """Kills some of the tasks again and again under load: how many, how many requests, and which failed."""
    killed = 0
    with Load(port) as load:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            tasks = daemon.call("ListTasks", serviceName="web", desiredStatus="RUNNING")["taskArns"]
            # Any number, but all: without a task there is nobody to answer.
            for task in luck.sample(tasks, luck.randint(0, max(0, len(tasks) - 1))):
                try:
                    daemon.call("StopTask", task=task, reason="bench/kills")
                    killed += 1
                except ApiError:
                    # It is gone already.
                    pass
            time.sleep(luck.uniform(0, 0.3))
        # The last of them are replaced.
        time.sleep(0.5)
    return killed, len(load.answers), load.failures


def change(daemon, luck):
    """Creates services of which the last is acknowledged just before the daemon dies."""
    acknowledged = {}
    for number in range(20):
        count = luck.randint(0, 3)
        daemon.call("CreateService", serviceName=f"s{number}", taskDefinition="web", desiredCount=count)
        acknowledged[f"s{number}"] = count
    return acknowledged


def wanted(daemon, name):
    found = daemon.call("DescribeServices", services=[name])["services"]
    return found[0]["desiredCount"] if found else None


def kill_and_restart(daemon):
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    daemon.restart()


if __name__ == "__main__":
    main()
