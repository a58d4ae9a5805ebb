"""From exec to the first answer, `coracle serve` against `wasmtime serve`. Run by coldstart.sh.

Both have their compiled code cached: one start that is not counted fills it. The clock runs from just before the child
process is made until the first whole 200 is read; a refused connection is tried again at once.
"""

import argparse
import signal
import socket
import subprocess
import time

from harness import (
    START_DEADLINE,
    caveat,
    coracle_serve,
    finish,
    guest,
    median,
    percentile,
    record,
    verdict,
    wasmtime_serve,
)

LIMIT_MS = 150
REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=20)
    arguments.add_argument("--image", default=guest("hello"))
    options = arguments.parse_args()

    caveat()
    servers = {
        "coracle serve": lambda: coracle_serve(options.image),
        "coracle serve --replicas 4": lambda: coracle_serve(options.image, "--replicas", "4"),
        "wasmtime serve": lambda: wasmtime_serve(options.image),
    }
    for make in servers.values():
        first_answer(make())
    times = {name: [] for name in servers}
    for _ in range(options.rounds):
        for name, make in servers.items():
            times[name].append(first_answer(make()))

    print(f"\n{'milliseconds from exec to first 200':40} {'median':>8} {'min':>8} {'p90':>8}")
    for name, measured in times.items():
        ordered = sorted(measured)
        row = median(ordered), ordered[0], percentile(ordered, 0.9)
        print(f"{name:40} {row[0]:>8.1f} {row[1]:>8.1f} {row[2]:>8.1f}")
        record("coldstart", server=name, median_ms=row[0], min_ms=row[1], p90_ms=row[2], rounds=options.rounds)
    ours, theirs = median(times["coracle serve"]), median(times["wasmtime serve"])
    finish(
        [
            verdict(f"coracle serve answers after {ours:.1f} ms (wanted at most {LIMIT_MS})", ours <= LIMIT_MS),
            verdict(f"that is {ours / theirs:.2f} x wasmtime serve's (wanted at most 1.0)", ours <= theirs),
        ]
    )


def first_answer(server):
    """Milliseconds from exec until the server's first 200 was read."""
    started = time.perf_counter()
    process = subprocess.Popen(server.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not answers(server.port):
            if process.poll() is not None:
                raise SystemExit(f"{server.name} ended with {process.returncode}: {' '.join(server.command)}")
            if time.perf_counter() - started > START_DEADLINE:
                raise SystemExit(f"{server.name} did not answer: {' '.join(server.command)}")
            # Short against what is measured, long enough to leave the processor to the server.
            time.sleep(0.0002)
        return (time.perf_counter() - started) * 1000
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(REQUEST)
            answer = b""
            while received := client.recv(4096):
                answer += received
            return answer.startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


if __name__ == "__main__":
    main()
