"""All targets of `coracle balance` are replaced by others again and again, under load. Run by targets.sh.

Two sets of plain HTTP servers take turns: the file is written anew and read again at SIGHUP. Answers are counted by wrk and,
over some connections beside it, looked at one by one.
"""

import argparse
import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
import time

from balancer_peers import Balancer, nginx
from harness import CORACLE, caveat, failed, finish, free_port, free_ports, parse_wrk, record, verdict
from load import Load

# Of the memory in the second quarter of the run, to that in the last.
GROWTH = 1.05
GROWTH_KIB = 2048


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=int, default=30)
    arguments.add_argument("--targets", type=int, default=100)
    arguments.add_argument("--every-ms", type=int, default=100)
    options = arguments.parse_args()

    caveat()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        ports = free_ports(2 * options.targets)
        sets = [ports[: options.targets], ports[options.targets :]]
        servers = "\n".join(
            f'    server {{ listen 127.0.0.1:{port} reuseport; return 200 "{number}"; }}'
            for number, ports in enumerate(sets)
            for port in ports
        )
        stack.enter_context(nginx(folder, "targets", servers, (sets[0][0], sets[0][0])))
        port = free_port()
        file = pathlib.Path(folder, "balance.yaml")
        write(file, port, sets[0])
        balancer = stack.enter_context(Balancer("coracle", [CORACLE, "balance", "--config", file], port, port))
        finish(measure(balancer, file, sets, options))


def write(file, port, targets):
    servers = ", ".join(f"'127.0.0.1:{target}'" for target in targets)
    # In whole or not at all: it may be read at any moment.
    new = file.with_suffix(".new")
    new.write_text(
        f"""targetGroups:
  web: {{targets: [{servers}]}}
listeners:
  web: {{listen: '127.0.0.1:{port}', default: {{forward: web}}}}
"""
    )
    os.replace(new, file)


def measure(balancer, file, sets, options):
    command = ["wrk", "-t2", "-c32", f"-d{options.seconds}s", "--latency", balancer.url]
    wrk = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    replaced, memory = 0, []
    with Load(balancer.port) as load:
        started = time.monotonic()
        while time.monotonic() - started < options.seconds - 1:
            due = started + (replaced + 1) * options.every_ms / 1000
            write(file, balancer.port, sets[(replaced + 1) % 2])
            balancer.process.send_signal(signal.SIGHUP)
            replaced += 1
            memory.append(balancer.memory_kib())
            time.sleep(max(0, due - time.monotonic()))
        run = parse_wrk(wrk.communicate(timeout=options.seconds + 30)[0])
    # One line when it began to serve, and one each time it has read the file.
    taken_in = balancer.output().count("listening on") - 1
    turns = sum(1 for before, after in zip(load.answers, load.answers[1:]) if before[2] != after[2])
    quarter = len(memory) // 4
    early, late = max(memory[quarter : 2 * quarter]), max(memory[-quarter:])
    lost = failed(run) + len(load.failures)
    print(
        f"{taken_in} of {replaced} times {options.targets} targets replaced under {run['requests'] + len(load.answers)} requests, "
        f"p99 {run['p99_ms']} ms; the answers changed sets {turns} times"
    )
    record("targets", replaced=taken_in, load=run, looked_at=len(load.answers), failures=load.failures[:10], memory_kib=memory)
    return [
        verdict(f"{lost} failed requests (wanted 0) {load.failures[:3] or ''}", lost == 0),
        verdict(f"{taken_in} replacements (wanted at least 0.95 of {replaced})", taken_in >= 0.95 * replaced),
        verdict(f"the answers followed: {turns} changes (wanted at least {taken_in // 2})", turns >= taken_in // 2),
        verdict(
            f"memory {early / 1024:.1f} MiB in the second quarter, {late / 1024:.1f} in the last (wanted at most {GROWTH} x and 2 MiB more)",
            late <= early * GROWTH + GROWTH_KIB,
        ),
    ]


if __name__ == "__main__":
    main()
