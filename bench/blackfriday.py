"""A rush: load grows twentyfold in ten seconds and the service follows in fast mode, then shrinks. Run by blackfriday.sh."""

import subprocess
import threading
import time

from daemon import Daemon
from harness import CORACLE, caveat, finish, free_port, guest, percentile, record, verdict
from load import Paced

CALM_RPS, RUSH_RPS = 100, 2000
CALM, GROWTH, RUSH, AFTER = 35, 10, 20, 75
MOST = 40
# The least that a task may have: an eighth of a core.
CPU_UNITS = 128
RECOVERY = 5


def rate(at):
    """Requests a second, so many seconds after the beginning."""
    if at < CALM or at >= CALM + GROWTH + RUSH:
        return CALM_RPS
    grown = min(1.0, (at - CALM) / GROWTH)
    return CALM_RPS + (RUSH_RPS - CALM_RPS) * grown


def main():
    caveat()
    port = free_port()
    counts = []
    stop = threading.Event()
    with Daemon() as daemon:
        daemon.register("web", guest("hello"), cpu=CPU_UNITS)
        daemon.publish("web", port, 1)
        endpoint = f"http://127.0.0.1:{daemon.port}"
        command = f"service autoscale web --min 1 --max {MOST} --requests 100 --fast --endpoint {endpoint}"
        subprocess.run([CORACLE, *command.split()], check=True, stdout=subprocess.DEVNULL)
        began = time.monotonic()

        def look():
            while not stop.is_set():
                service = daemon.call("DescribeServices", services=["web"])["services"][0]
                counts.append((time.monotonic() - began, service["desiredCount"]))
                stop.wait(0.1)

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        load = Paced(port, rate, CALM + GROWTH + RUSH + AFTER)
        load.run()
        stop.set()
        looking.join(10)
    report(load, counts)


def report(load, counts):
    def p99(begin, end):
        took = sorted(1000 * took for at, took in load.answers if begin <= at < end)
        return percentile(took, 0.99) if took else float("nan")

    calm = p99(CALM - 10, CALM)
    print("second  wanted  p99 ms")
    for second in range(CALM - 5, CALM + GROWTH + RUSH + 5):
        seen = [count for at, count in counts if second <= at < second + 1]
        print(f"{second - CALM:>6}  {max(seen, default=0):>6}  {p99(second, second + 1):.1f}")
    peak = CALM + GROWTH
    after = p99(peak + RECOVERY, peak + RUSH)
    most = max(count for _, count in counts)
    least = counts[-1][1]
    print(f"p99 {calm:.1f} ms in calm, {after:.1f} ms from {RECOVERY} s after the peak; at most {most} tasks, {least} at the end")
    record("blackfriday", requests=len(load.answers), failures=len(load.failures), calm_ms=calm, after_ms=after, most=most)
    finish(
        [
            verdict(f"{len(load.failures)} failed of {len(load.answers)} requests (wanted 0) {load.failures[:3]}", not load.failures),
            verdict(f"{most} tasks for {RUSH_RPS} requests a second at 100 each (wanted 20 to {MOST})", 20 <= most <= MOST),
            verdict(f"p99 {after:.1f} ms within {RECOVERY} s of the peak (wanted at most three times calm, or 20)", after <= max(20, 3 * calm)),
            verdict(f"{least} tasks in the end (wanted at most 2)", least <= 2),
        ]
    )


if __name__ == "__main__":
    main()
