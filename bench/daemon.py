"""A coracle daemon of the benchmark's own, and its API."""

import contextlib
import http.client
import json
import pathlib
import shutil
import tempfile
import time

from harness import CORACLE, START_DEADLINE, Server, free_port


class ApiError(Exception):
    """The daemon refused an operation."""


class Daemon(Server):
    """`coracle up` with an empty data directory, which is gone afterwards, and with the API on a free port."""

    def __init__(self):
        port = free_port()
        self.folder = tempfile.mkdtemp(prefix="coracle-bench-")
        # Started in that folder, so that no compose.yaml is found and applied.
        command = ["env", f"--chdir={self.folder}", CORACLE, "up", "--data-dir", f"{self.folder}/data"]
        super().__init__("coracle up", [*command, "--api", f"127.0.0.1:{port}"], port)

    def is_ready(self):
        with contextlib.suppress(OSError):
            self.call("ListClusters")
            return True
        return False

    def stop(self):
        super().stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, operation, **parameters):
        """One operation of ECS's JSON protocol."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {
            "content-type": "application/x-amz-json-1.1",
            "x-amz-target": f"AmazonEC2ContainerServiceV20141113.{operation}",
        }
        try:
            connection.request("POST", "/", json.dumps(parameters), headers)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise ApiError(f"{operation}: {answer.status} {body.decode(errors='replace')}")
            return json.loads(body)
        finally:
            connection.close()

    def register(self, family, image, cpu=None, command=None):
        """Registers a task definition of one container."""
        container = {"name": family, "image": str(pathlib.Path(image).resolve()), "memory": 256}
        if command:
            container["command"] = command
        if cpu:
            container["cpu"] = cpu
        task = {"cpu": str(cpu)} if cpu else {}
        return self.call("RegisterTaskDefinition", family=family, containerDefinitions=[container], **task)

    def publish(self, name, port, replicas):
        """Creates a service behind a listener of the balancer; returns when all its tasks run."""
        tags = [{"key": "coracle.listen", "value": f"127.0.0.1:{port}"}]
        self.call("CreateService", serviceName=name, taskDefinition=name, desiredCount=replicas, tags=tags)
        self.until(lambda: self.running(name) == replicas, f"{name} has {replicas} running tasks")

    def running(self, service):
        return self.call("DescribeServices", services=[service])["services"][0]["runningCount"]

    def status(self, task):
        """A task's last status, or None when it is gone."""
        found = self.call("DescribeTasks", tasks=[task])["tasks"]
        return found[0]["lastStatus"] if found else None

    def until(self, holds, what):
        """Waits until something holds; seconds it took. Asks without a pause: what is timed may take a millisecond."""
        started = time.perf_counter()
        while not holds():
            if time.perf_counter() - started > START_DEADLINE:
                raise SystemExit(f"waited {START_DEADLINE} s in vain until {what}\n{self.output()}")
        return time.perf_counter() - started
