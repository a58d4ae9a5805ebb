"""A coracle daemon of the benchmark's own, and its API."""

import contextlib
import http.client
import json
import pathlib
import shutil
import tempfile
import time

from harness import CORACLE, START_DEADLINE, Server

API_PORT = 4566


class ApiError(Exception):
    pass


class Daemon(Server):
    """`coracle up` with an empty data directory, which is gone afterwards."""

    def __enter__(self):
        with contextlib.suppress(ApiError, OSError):
            call("ListClusters")
            raise SystemExit(f"something answers on the API's port {API_PORT} already: stop it first")
        return super().__enter__()

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="coracle-bench-")
        # Started in that folder, so that no compose.yaml is found and applied.
        command = ["env", f"--chdir={self.folder}", CORACLE, "up", "--data-dir", f"{self.folder}/data"]
        super().__init__("coracle up", command, API_PORT)

    def wait_until_ready(self):
        deadline = time.monotonic() + START_DEADLINE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended with {self.process.returncode}\n{self.output()}")
            with contextlib.suppress(OSError):
                call("ListClusters")
                return
            time.sleep(0.01)
        raise SystemExit(f"{self.name} did not answer within {START_DEADLINE} s\n{self.output()}")

    def stop(self):
        super().stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def call(operation, **parameters):
    """One operation of ECS's JSON protocol."""
    connection = http.client.HTTPConnection("127.0.0.1", API_PORT, timeout=30)
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


def register(family, image, cpu=None, command=None):
    """Registers a task definition of one container."""
    container = {"name": family, "image": str(pathlib.Path(image).resolve()), "memory": 256}
    if command:
        container["command"] = command
    if cpu:
        container["cpu"] = cpu
    task = {"cpu": str(cpu)} if cpu else {}
    return call("RegisterTaskDefinition", family=family, containerDefinitions=[container], **task)


def publish(name, port, replicas):
    """A service behind a listener of the balancer; returns when all its tasks run."""
    call(
        "CreateService",
        serviceName=name,
        taskDefinition=name,
        desiredCount=replicas,
        tags=[{"key": "coracle.listen", "value": f"127.0.0.1:{port}"}],
    )
    deadline = time.monotonic() + START_DEADLINE
    while running(name) < replicas:
        if time.monotonic() > deadline:
            raise SystemExit(f"{name} has {running(name)} of {replicas} tasks after {START_DEADLINE} s")
        time.sleep(0.01)


def running(service):
    return call("DescribeServices", services=[service])["services"][0]["runningCount"]
