"""A thousand services of ten tasks: what they cost at rest, what one change costs, how long all tasks take to roll. Run by scale.sh."""

import argparse
import concurrent.futures
import statistics
import time

from daemon import Daemon
from harness import caveat, cpu_seconds, finish, guest, record, resident, verdict

REST_PERCENT = 1
ROLL_SECONDS = 10
# What a change may cost more beside a hundred times as many services: noise, not work.
CHANGE_RATIO = 1.5
# DescribeServices takes so many.
PAGE = 10
CALLERS = 4


class Fleet:
    """Services of one daemon that all have so many tasks of the same task definition."""

    def __init__(self, daemon, tasks, published):
        self.daemon, self.tasks, self.published = daemon, tasks, published
        self.names = []
        self.define()

    def define(self):
        """The next revision."""
        self.daemon.register("web", guest("hello"))

    def grow(self, count):
        new = [f"s{number}" for number in range(len(self.names), count)]
        tags = [{"key": "coracle.listen", "value": "127.0.0.1:0"}] if self.published else []
        self.each(
            new,
            lambda name: self.daemon.call(
                "CreateService", serviceName=name, taskDefinition="web", desiredCount=self.tasks, tags=tags
            ),
        )
        self.names += new
        return self.until_whole()

    def roll(self):
        """Seconds until every task is one of a new revision."""
        self.define()
        began = time.monotonic()
        self.each(self.names, lambda name: self.daemon.call("UpdateService", service=name, taskDefinition="web"))
        asked = time.monotonic() - began
        self.until_whole()
        return asked, time.monotonic() - began

    def change(self, name):
        """One task more, and one less: seconds until each has come true."""
        for count in (self.tasks + 1, self.tasks):
            self.daemon.call("UpdateService", service=name, desiredCount=count)
            self.daemon.until(lambda count=count: self.daemon.running(name) == count, f"{name} has {count} tasks")

    def until_whole(self):
        began = time.monotonic()
        waiting = list(self.names)
        while waiting:
            if time.monotonic() - began > 300:
                raise SystemExit(f"{len(waiting)} services are not whole after 300 s: {waiting[:3]}\n{self.daemon.output()[-4000:]}")
            still = []
            for start in range(0, len(waiting), PAGE):
                page = waiting[start : start + PAGE]
                described = self.daemon.call("DescribeServices", services=page)["services"]
                still += [service["serviceName"] for service in described if not self.is_whole(service)]
                if still:
                    # The others will not be either: asking costs the daemon what it could roll with.
                    still += waiting[start + PAGE :]
                    break
            waiting = still
            time.sleep(0.05)
        return time.monotonic() - began

    def is_whole(self, service):
        deployments = service["deployments"]
        return (
            len(deployments) == 1
            and deployments[0]["rolloutState"] == "COMPLETED"
            and service["runningCount"] == self.tasks
            and service["pendingCount"] == 0
        )

    @staticmethod
    def each(names, work):
        with concurrent.futures.ThreadPoolExecutor(CALLERS) as callers:
            for _ in callers.map(work, names):
                pass


def change_cost(daemon, fleet, changes):
    """CPU milliseconds of the daemon and milliseconds on the clock for one change, asking for its end included; medians."""
    cpu, clock = [], []
    for number in range(changes):
        name = fleet.names[number % len(fleet.names)]
        used, began = cpu_seconds(daemon.process.pid), time.perf_counter()
        fleet.change(name)
        clock.append(1000 * (time.perf_counter() - began) / 2)
        cpu.append(1000 * (cpu_seconds(daemon.process.pid) - used) / 2)
    # The kernel counts in ticks of 10 ms: single changes are too short for a median.
    return statistics.fmean(cpu), statistics.median(clock)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--services", type=int, default=1000)
    arguments.add_argument("--few", type=int, default=10, help="services beside which one change is measured first")
    arguments.add_argument("--tasks", type=int, default=10, help="of each service")
    arguments.add_argument("--changes", type=int, default=200)
    arguments.add_argument("--rest", type=int, default=30, help="seconds")
    arguments.add_argument("--unpublished", action="store_true", help="without listeners and health checks")
    options = arguments.parse_args()

    caveat()
    with Daemon() as daemon:
        fleet = Fleet(daemon, options.tasks, not options.unpublished)
        fleet.grow(options.few)
        few_cpu, few_clock = change_cost(daemon, fleet, options.changes)
        print(f"one change beside {options.few} services: {few_cpu:.2f} ms of CPU, whole after {few_clock:.2f} ms")
        began = time.monotonic()
        fleet.grow(options.services)
        created = time.monotonic() - began
        total = options.services * options.tasks
        print(f"{options.services} services with {total} tasks created and whole in {created:.1f} s")
        # What the beginning left is over by then.
        time.sleep(15)
        rss = resident(daemon.process.pid)
        used = cpu_seconds(daemon.process.pid)
        time.sleep(options.rest)
        rest = 100 * (cpu_seconds(daemon.process.pid) - used) / options.rest
        print(f"at rest: {rest:.2f} % of a core over {options.rest} s, {rss >> 20} MiB resident")
        many_cpu, many_clock = change_cost(daemon, fleet, options.changes)
        # What the daemon does anyway meanwhile is no cost of the change.
        many_cpu -= rest / 100 * many_clock
        ratio = many_cpu / few_cpu
        print(f"one change beside {options.services} services: {many_cpu:.2f} ms of CPU, whole after {many_clock:.2f} ms")
        asked, rolled = fleet.roll()
        print(f"{total} tasks rolled in {rolled:.2f} s, {asked:.2f} s of it for the asking; {resident(daemon.process.pid) >> 20} MiB resident")
    record(
        "scale",
        services=options.services,
        tasks=total,
        published=not options.unpublished,
        created_s=created,
        rest_percent=rest,
        rss_bytes=rss,
        change_cpu_ms=[few_cpu, many_cpu],
        change_ms=[few_clock, many_clock],
        rolled_s=rolled,
    )
    finish(
        [
            verdict(f"{rest:.2f} % of a core at rest (wanted at most {REST_PERCENT})", rest <= REST_PERCENT),
            verdict(
                f"one change costs {ratio:.2f} times as much beside {options.services} services as beside {options.few} "
                f"(wanted at most {CHANGE_RATIO})",
                ratio <= CHANGE_RATIO,
            ),
            verdict(f"{total} tasks rolled in {rolled:.2f} s (wanted at most {ROLL_SECONDS})", rolled <= ROLL_SECONDS),
        ]
    )


if __name__ == "__main__":
    main()
