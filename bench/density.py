"""How fast tasks start and how many one machine holds. Run by density.sh, with what density.rs measures in one process."""

import argparse
import json
import os
import subprocess
import tempfile

from harness import caveat, finish, guest, record, verdict

START_P50_US = 200
START_P99_US = 2000
# For each 1,000 tasks.
BURST_MS = 500
IDLE_BYTES = 1 << 30
# Of what the idle tasks held. Records of the newest 1,000 tasks stay for an hour, as ECS keeps them.
RETURNED = 0.75


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tasks", type=int, default=10_000, help="idle ones at once")
    arguments.add_argument("--starts", type=int, default=2000, help="one after another")
    arguments.add_argument("--burst", type=int, default=1000, help="started at once")
    arguments.add_argument("--durable", action="store_true", help="with a store on disk: RunTask's answer then waits for a flush")
    options = arguments.parse_args()

    caveat()
    sizes = [f"--{name}={getattr(options, name)}" for name in ("tasks", "starts", "burst")]
    with tempfile.TemporaryDirectory(prefix="coracle-bench-") as folder:
        place = [f"--data-dir={folder}"] if options.durable else []
        figures = measured([os.environ["DENSITY"], guest("hello"), *sizes, *place])
    record("density", durable=options.durable, **figures)
    start, burst, idle, ended = (figures[name] for name in ("start", "burst", "idle", "ended"))
    held = idle["rss_bytes"] - figures["empty"]["rss_bytes"]
    left = ended["rss_bytes"] - figures["empty"]["rss_bytes"]
    p50, p99 = start["accepted_to_running_p50_us"], start["accepted_to_running_p99_us"]
    print(f"RunTask itself: p50 {start['run_task_p50_us']} us, p99 {start['run_task_p99_us']} us")
    print(f"{idle['tasks']} tasks steady after {idle['steady_ms']} ms, {idle['bytes_per_task'] / 1024:.0f} KiB each")
    finish(
        [
            verdict(f"from RunTask accepted to RUNNING: p50 {p50} us (wanted at most {START_P50_US})", p50 <= START_P50_US),
            verdict(f"from RunTask accepted to RUNNING: p99 {p99} us (wanted at most {START_P99_US})", p99 <= START_P99_US),
            verdict(
                f"{burst['tasks']} tasks run {burst['running_ms']} ms after the first was asked for (wanted at most {BURST_MS} for 1,000)",
                burst["running_ms"] <= BURST_MS * burst["tasks"] / 1000,
            ),
            verdict(
                f"{idle['tasks']} idle tasks: {idle['rss_bytes'] >> 20} MiB resident (wanted at most {IDLE_BYTES >> 20} for 10,000)",
                idle["rss_bytes"] <= IDLE_BYTES * max(1, idle["tasks"] / 10_000),
            ),
            verdict(f"{idle['answering']} of {idle['tasks']} answer", idle["answering"] == idle["tasks"]),
            verdict(
                f"{ended['rss_bytes'] >> 20} MiB are left {ended['returned_after_ms']} ms after their end, of {idle['rss_bytes'] >> 20}, "
                f"{figures['empty']['rss_bytes'] >> 20} at the start (wanted {RETURNED:.0%} of the difference back)",
                left <= held * (1 - RETURNED),
            ),
        ]
    )


def measured(command):
    """Each figure by its name."""
    output = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True, text=True).stdout
    figures = [json.loads(line) for line in output.splitlines()]
    return {figure.pop("figure"): figure for figure in figures}


if __name__ == "__main__":
    main()
