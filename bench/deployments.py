"""Deployments under load: no request may fail, and traffic goes exactly where it is said to. Run by deployments.sh."""

import argparse
import threading
import time

from daemon import Daemon
from harness import caveat, finish, free_port, guest, record, verdict
from load import Load

FAST_CHECKS = {"coracle.health-check.interval": "0.2", "coracle.health-check.timeout": "0.1"}
BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}


class Service:
    """The service `web` of a daemon, and what a deployment of it does."""

    def __init__(self, daemon, replicas, configuration=None, tags=None, health_path="/health"):
        self.daemon = daemon
        self.port = free_port()
        self.replicas = replicas
        all_tags = {"coracle.listen": f"127.0.0.1:{self.port}", "coracle.health-check.path": health_path}
        all_tags |= FAST_CHECKS | (tags or {})
        self.define("hello")
        daemon.call(
            "CreateService",
            serviceName="web",
            taskDefinition="web",
            desiredCount=replicas,
            deploymentConfiguration=configuration or {},
            tags=[{"key": key, "value": value} for key, value in all_tags.items()],
        )
        self.until_over("SUCCESSFUL")

    def define(self, image, labels=None, ports=False):
        container = {"name": "web", "image": guest(image), "memory": 64, "dockerLabels": labels or {}}
        if ports:
            container["portMappings"] = [{"containerPort": 8080}]
        self.daemon.call("RegisterTaskDefinition", family="web", containerDefinitions=[container])

    def roll_out(self, image, **options):
        self.define(image, **options)
        self.daemon.call("UpdateService", service="web", taskDefinition="web")

    def describe(self):
        return self.daemon.call("DescribeServices", services=["web"])["services"][0]

    def deployment(self):
        newest = self.daemon.call("ListServiceDeployments", service="web", maxResults=1)["serviceDeployments"][0]
        arns = [newest["serviceDeploymentArn"]]
        return self.daemon.call("DescribeServiceDeployments", serviceDeploymentArns=arns)["serviceDeployments"][0]

    def tasks(self):
        """Ids of the tasks that are to run."""
        arns = []
        token = {}
        while True:
            page = self.daemon.call("ListTasks", serviceName="web", desiredStatus="RUNNING", **token)
            arns += page["taskArns"]
            if "nextToken" not in page:
                return {arn.rsplit("/", 1)[1] for arn in arns}
            token = {"nextToken": page["nextToken"]}

    def until_over(self, *statuses):
        self.daemon.until(
            lambda: self.deployment()["status"] in statuses and len(self.describe()["deployments"]) == 1,
            f"the deployment is {' or '.join(statuses)}",
        )

    def until_share(self, percent):
        self.daemon.until(lambda: self.share() == percent, f"{percent} % of the traffic has moved")

    def share(self):
        return self.deployment()["targetServiceRevision"].get("requestedProductionTrafficWeight")


class Watch:
    """How many tasks run and are there at all, looked at without pause."""

    def __init__(self, service):
        self.service = service
        self.fewest = self.most = service.replicas
        self.looks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(30)

    def _look(self):
        while not self._stop.is_set():
            seen = self.service.describe()
            self.fewest = min(self.fewest, seen["runningCount"])
            self.most = max(self.most, seen["runningCount"] + seen["pendingCount"])
            self.looks += 1


def roll(_options):
    """Fifty replicas to a new revision."""
    with Daemon() as daemon:
        service = Service(daemon, 50)
        old = service.tasks()
        with Load(service.port) as load, Watch(service) as watch:
            time.sleep(0.5)
            began = time.monotonic()
            service.roll_out("hello")
            service.until_over("SUCCESSFUL")
            took = time.monotonic() - began
            time.sleep(0.5)
        replaced = not (old & service.tasks())
    record("deployments-roll", seconds=took, requests=len(load.answers), failures=len(load.failures))
    print(f"roll: 50 tasks replaced in {took:.2f} s under {len(load.answers)} requests; {watch.looks} looks")
    return [
        verdict(f"roll: {len(load.failures)} failed requests (wanted 0) {load.failures[:3]}", not load.failures),
        verdict(f"roll: {watch.fewest} to {watch.most} tasks (wanted 50 to 100)", watch.fewest >= 50 and watch.most <= 100),
        verdict("roll: every task is new", replaced),
    ]


def bad(_options):
    """Revisions that are no good."""
    verdicts = []
    cases = [
        ("ends at start", {}, "wordcount", {"ports": True}, "/health"),
        ("is never healthy", {}, "chaos", {}, "/health"),
        # The second probe leaks it over its limit. What it was answering then is sent to another task.
        ("is healthy, then dies", {"coracle.retry.attempts": "2"}, "chaos", {"labels": {"coracle.instance-reuse": "1000"}}, "/leak?mib=40"),
    ]
    for name, tags, image, options, path in cases:
        with Daemon() as daemon:
            service = Service(daemon, 4, BREAKER, tags, path)
            good = service.tasks()
            with Load(service.port) as load:
                time.sleep(0.2)
                began = time.monotonic()
                service.roll_out(image, **options)
                service.until_over("ROLLBACK_SUCCESSFUL")
                took = time.monotonic() - began
                time.sleep(0.2)
            deployment = service.deployment()
            breaker = deployment["deploymentCircuitBreaker"]
            same = good == service.tasks()
        wrong = [body for _, _, body in load.answers if not body.startswith("hello from")]
        print(
            f"bad, {name}: given up after {breaker['failureCount']} of {breaker['threshold']} failures, back in {took:.2f} s, "
            f"{len(load.answers)} requests, {len(wrong)} answered by the bad revision"
        )
        record("deployments-bad", case=name, seconds=took, requests=len(load.answers), failures=len(load.failures))
        verdicts += [
            verdict(f"bad, {name}: {len(load.failures)} failed requests (wanted 0) {load.failures[:3]}", not load.failures),
            verdict(f"bad, {name}: fired at {breaker['failureCount']} (wanted 3 or more)", breaker["failureCount"] >= 3),
            verdict(f"bad, {name}: the good tasks were never touched", same),
        ]
    return verdicts


def split(options):
    """A canary's sixty to forty."""
    configuration = {"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 40.0}}
    with Daemon() as daemon:
        service = Service(daemon, 3, configuration, {"coracle.step-bake-time": "600", "coracle.bake-time": "0"})
        old = service.tasks()
        service.roll_out("hello")
        service.until_share(40.0)
        new = service.tasks() - old
        with Load(service.port, limit=options.split_requests) as load:
            load.join()
    count = sum(body.split()[-1] in new for _, _, body in load.answers)
    percent = 100 * count / max(1, len(load.answers))
    print(f"split: {count} of {len(load.answers)} requests went to the new revision: {percent:.3f} %")
    record("deployments-split", requests=len(load.answers), percent=percent)
    return [
        verdict(f"split: {percent:.3f} % (wanted 39 to 41)", 39 <= percent <= 41),
        verdict(f"split: {len(load.failures)} failed requests (wanted 0)", not load.failures),
    ]


def switch(_options):
    """All traffic at once, and back."""
    mixed = 0
    failures = []
    with Daemon() as daemon:
        service = Service(daemon, 3, {"strategy": "BLUE_GREEN"}, {"coracle.bake-time": "600"})
        blue = service.tasks()
        for _ in range(5):
            with Load(service.port) as load:
                service.roll_out("hello")
                service.until_share(100.0)
                switched = time.monotonic()
                green = service.tasks() - blue
                time.sleep(0.5)
                arn = service.deployment()["serviceDeploymentArn"]
                stopping = time.monotonic()
                daemon.call("StopServiceDeployment", serviceDeploymentArn=arn)
                back = time.monotonic()
                time.sleep(0.5)
            failures += load.failures
            for began, ended, body in load.answers:
                of_green = body.split()[-1] in green
                mixed += (switched < began and ended < stopping and not of_green) or (began > back and of_green)
            service.until_over("ROLLBACK_SUCCESSFUL")
        same = blue == service.tasks()
    print(f"switch: five times there and back, {mixed} answers of the wrong revision after it was acknowledged")
    record("deployments-switch", mixed=mixed, failures=len(failures))
    return [
        verdict(f"switch: {mixed} answers of the wrong revision (wanted 0)", mixed == 0),
        verdict(f"switch: {len(failures)} failed requests (wanted 0) {failures[:3]}", not failures),
        verdict("switch: blue was never touched", same),
    ]


PARTS = {"roll": roll, "bad": bad, "split": split, "switch": switch}


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--split-requests", type=int, default=100_000)
    arguments.add_argument("--only", default=",".join(PARTS))
    options = arguments.parse_args()
    caveat()
    finish([line for part in options.only.split(",") for line in PARTS[part](options)])


if __name__ == "__main__":
    main()
