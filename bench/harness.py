"""What the benchmarks share: servers as child processes, load generators, results."""

import contextlib
import datetime
import http.client
import json
import os
import pathlib
import platform
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

BENCH = pathlib.Path(__file__).resolve().parent
CORACLE = os.environ.get("CORACLE", "coracle")
WASMTIME = os.environ.get("WASMTIME", "wasmtime")
GUESTS = pathlib.Path(os.environ.get("GUESTS", "target/guests"))
# Enough for a cold compile of a large image on a slow machine.
START_DEADLINE = 60


def guest(name):
    return str(GUESTS / f"{name}.wasm")


def free_port():
    return free_ports(1)[0]


def free_ports(count):
    """Ports that differ: each is held until the last is found."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class Server:
    """A child process that answers HTTP. Its output goes to a file that is shown when it fails."""

    def __init__(self, name, command, port, env=None):
        self.name, self.command, self.port = name, [str(part) for part in command], port
        self.env = {**os.environ, **(env or {})}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def __enter__(self):
        self.log = tempfile.TemporaryFile(mode="w+")
        self.restart()
        return self

    def restart(self):
        """Starts it, the first time or after it has ended."""
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=self.env)
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()

    def wait_until_ready(self):
        deadline = time.monotonic() + START_DEADLINE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended with {self.process.returncode}\n{self.output()}")
            if self.is_ready():
                return
            time.sleep(0.01)
        raise SystemExit(f"{self.name} did not answer within {START_DEADLINE} s\n{self.output()}")

    def is_ready(self):
        return status(self.port) == 200

    def output(self):
        self.log.seek(0)
        return f"$ {' '.join(self.command)}\n{self.log.read()}"

    def stop(self):
        if self.process.poll() is None:
            # wasmtime drains on an interrupt, coracle on both signals.
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def coracle_serve(image, *flags, port=None, name="coracle serve"):
    port = port or free_port()
    return Server(name, [CORACLE, "serve", image, "--listen", f"127.0.0.1:{port}", *flags], port)


def wasmtime_serve(image, *flags, port=None, name="wasmtime serve"):
    port = port or free_port()
    # -S cli: hello reads its environment, which is outside of the bare proxy world.
    command = [WASMTIME, "serve", "-S", "cli", "--env", "CORACLE_TASK_ID=wasmtime", "--addr", f"127.0.0.1:{port}"]
    return Server(name, [*command, *flags, image], port)


def status(port, path="/"):
    """The status of one GET, or None while nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def wrk(url, seconds, threads=2, connections=32):
    """One run of wrk: requests per second, latencies in milliseconds, and whatever failed."""
    output = subprocess.run(
        ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--latency", url],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return parse_wrk(output)


def parse_wrk(output):
    units = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}

    def latency(percentile):
        number, unit = re.search(rf"^\s+{percentile}%\s+([\d.]+)([a-z]+)$", output, re.MULTILINE).groups()
        return round(float(number) * units[unit], 3)

    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return {
        "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1]),
        "requests": int(re.search(r"(\d+) requests in", output)[1]),
        "p50_ms": latency(50),
        "p99_ms": latency(99),
        "socket_errors": dict(zip(("connect", "read", "write", "timeout"), map(int, errors.groups()))) if errors else {},
        "non_2xx": int(bad[1]) if bad else 0,
    }


def failed(run):
    """How many requests of a wrk run went wrong in any way."""
    return run["non_2xx"] + sum(run["socket_errors"].values())


def steady(url, rate, seconds, clients=8):
    """Requests at a fixed rate, whatever the answers do; latencies in milliseconds, sorted."""
    with tempfile.NamedTemporaryFile() as log:
        subprocess.run(
            ["h2load", "--h1", f"-c{clients}", "-t1", f"--rps={rate / clients:g}", f"-D{seconds}", f"--log-file={log.name}", url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=True,
        )
        rows = [line.split("\t") for line in pathlib.Path(log.name).read_text().splitlines()]
    bad = sum(1 for _, code, _ in rows if not code.startswith("2"))
    if bad:
        raise SystemExit(f"{bad} of {len(rows)} answers were not 2xx")
    return sorted(int(microseconds) / 1000 for _, _, microseconds in rows)


def percentile(ordered, part):
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def cpu_seconds(pid):
    """User and system time of a process with all its threads, living and dead; to 10 ms."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid):
    """Bytes of memory that a process holds."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1])
    raise SystemExit("no VmRSS")


def median(values):
    return statistics.median(values)


def command_output(*command):
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return "unknown"


def machine():
    return {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": command_output("git", "-C", str(BENCH), "describe", "--always", "--dirty"),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "wasmtime": command_output(WASMTIME, "--version"),
    }


def record(benchmark, **result):
    """Appends one line to results/BENCHMARK.jsonl."""
    folder = BENCH / "results"
    folder.mkdir(exist_ok=True)
    with open(folder / f"{benchmark}.jsonl", "a") as results:
        results.write(json.dumps({**machine(), **result}) + "\n")


def caveat():
    print(f"Load generator and server share this machine's {os.cpu_count()} processors: ratios mean something, figures little.")


def verdict(text, held):
    """Prints whether a promised number held; the caller exits with the sum of them."""
    print(f"{'held' if held else 'MISSED'}: {text}")
    return held


def finish(verdicts):
    sys.exit(0 if all(verdicts) else 1)
