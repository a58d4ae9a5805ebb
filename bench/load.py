"""Requests one after the other over a few connections, each answer looked at: what a load generator that only counts cannot tell."""

import socket
import threading
import time


class Load:
    """Threads that ask for `/` without pause until they are stopped, or have asked `limit` times in all."""

    def __init__(self, port, connections=4, limit=None):
        self.port = port
        self.limit = limit
        self.failures = []
        self.answers = []
        self._left = limit
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(connections)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self.join()

    def join(self):
        """Waits for the last answers."""
        for thread in self._threads:
            thread.join(60)

    def _next(self):
        if self._limit_is_reached():
            return False
        return not self._stop.is_set()

    def _limit_is_reached(self):
        if self.limit is None:
            return False
        with self._lock:
            self._left -= 1
            return self._left < 0

    def _ask(self):
        connection = None
        while self._next():
            began = time.monotonic()
            try:
                connection = connection or socket.create_connection(("127.0.0.1", self.port), timeout=30)
                body = exchange(connection)
                # list.append is atomic.
                self.answers.append((began, time.monotonic(), body))
            except (OSError, ValueError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                connection = None
        if connection:
            connection.close()


def exchange(connection):
    """One request and the body of its answer."""
    connection.sendall(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n")
    data = b""
    while b"\r\n\r\n" not in data:
        data += receive(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1]
    if status != b"200":
        raise ValueError(f"status {status.decode()}")
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
    )
    while len(body) < length:
        body += receive(connection)
    return body.decode()


def receive(connection):
    some = connection.recv(65536)
    if not some:
        raise ValueError("the connection was closed")
    return some


class Paced:
    """Requests at a rate that changes with time, whatever the answers take: a slow server makes no load of it less.

    `answers` are pairs of when a request was due, in seconds from the beginning, and how long after that its answer came.
    """

    def __init__(self, port, rate, seconds, connections=48):
        self.port = port
        self.failures = []
        self.answers = []
        self._due = iter(schedule(rate, seconds))
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(connections)]

    def run(self):
        """Returns when the last answer is there."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()

    def _ask(self):
        connection = None
        while True:
            with self._lock:
                due = next(self._due, None)
            if due is None:
                break
            time.sleep(max(0, self._began + due - time.monotonic()))
            try:
                connection = connection or socket.create_connection(("127.0.0.1", self.port), timeout=30)
                exchange(connection)
                self.answers.append((due, time.monotonic() - self._began - due))
            except (OSError, ValueError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                connection = None
        if connection:
            connection.close()


def schedule(rate, seconds):
    """When requests are due."""
    at = 0.0
    while at < seconds:
        yield at
        at += 1 / rate(at)
