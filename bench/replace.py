"""Stops a task of a loaded service every 200 ms: counts failed requests, and times replacement. Run by replace.sh."""

import argparse
import subprocess
import time

from daemon import Daemon
from harness import caveat, failed, finish, free_port, guest, parse_wrk, percentile, record, verdict

REPLICAS = 4
BACK_WITHIN_MS = 50


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=int, default=20)
    arguments.add_argument("--every-ms", type=int, default=200)
    options = arguments.parse_args()

    caveat()
    port = free_port()
    with Daemon() as daemon:
        daemon.register("hello", guest("hello"))
        daemon.publish("hello", port, REPLICAS)
        load = subprocess.Popen(
            ["wrk", "-t2", "-c32", f"-d{options.seconds}s", "--latency", f"http://127.0.0.1:{port}/"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        back = []
        started = time.monotonic()
        # Stops within the load: the first when it flows, the last before it ends.
        while time.monotonic() - started < options.seconds - 1:
            next_stop = time.monotonic() + options.every_ms / 1000
            back.append(stop_one(daemon))
            time.sleep(max(0, next_stop - time.monotonic()))
        run = parse_wrk(load.communicate(timeout=options.seconds + 30)[0])

    back.sort()
    print(f"{run['requests']} requests, {run['rps']:.0f} a second, p99 {run['p99_ms']} ms, while {len(back)} tasks were stopped")
    print(
        f"running count back after: median {percentile(back, 0.5):.1f} ms, p99 {percentile(back, 0.99):.1f} ms, worst {back[-1]:.1f} ms"
    )
    record("replace", stops=len(back), back_ms=back, load=run)
    finish(
        [
            verdict(f"{failed(run)} failed requests (wanted 0)", failed(run) == 0),
            verdict(
                f"back to {REPLICAS} running tasks {back[-1]:.1f} ms after the stop at worst (wanted at most {BACK_WITHIN_MS})",
                back[-1] <= BACK_WITHIN_MS,
            ),
        ]
    )


def stop_one(daemon):
    """Stops a task; milliseconds from the answer until the service has all its running tasks again.

    The clock starts when the stop is acknowledged. It ends when the stopped task no longer runs and the count is whole.
    """
    task = daemon.call("ListTasks", serviceName="hello", desiredStatus="RUNNING")["taskArns"][0]
    daemon.call("StopTask", task=task, reason="bench/replace")
    took = daemon.until(
        lambda: daemon.status(task) != "RUNNING" and daemon.running("hello") == REPLICAS,
        f"the service has {REPLICAS} running tasks again",
    )
    return round(took * 1000, 2)


if __name__ == "__main__":
    main()
