"""What it costs to make guests yield, and to count their fuel. Run by metering.sh, with what metering.rs measures in one process."""

import argparse
import json
import os
import subprocess

from harness import caveat, finish, guest, record, verdict

# Of what all guests pay, against code that never yields.
MOST = 1.10


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=int, default=10, help="of each guest on each engine")
    arguments.add_argument("images", nargs="*", default=[guest("burn"), guest("json")])
    options = arguments.parse_args()

    caveat()
    command = [os.environ["METERING"], *options.images, f"--seconds={options.seconds}"]
    output = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True, text=True).stdout
    verdicts = []
    for figures in map(json.loads, output.splitlines()):
        record("metering", **figures)
        name, epochs, fuel = figures["guest"], figures["epochs"], figures["fuel"]
        print(f"{name}: {figures['plain_us']:.1f} us of CPU time without metering; x {fuel:.3f} with fuel counted")
        verdicts.append(verdict(f"{name}: x {epochs:.3f} with epochs (wanted at most {MOST})", epochs <= MOST))
    finish(verdicts)


if __name__ == "__main__":
    main()
