"""A training on 1, 2, ... devices by `propensity train --devices N`: structures a second, and the gain.

python -m benchmarks.multi_gpu [--data FILE] [--devices 1,2] [--structures 400] [--repeats 1] [options of
`propensity train`]

Without data, on jittered liquids with random labels, as many as the paper trains on.  Repeats take turns in
the order of ``--devices``: 1, 2, 1, 2, ...; the gain is that of the medians so far, over the fewest devices.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import labelled_liquid
from propensity.data import StoreWriter
from propensity.runs.curves import read_log


def seconds_an_epoch(data, devices, options):
    """Median over the epochs after the second, when kernels are compiled and steps recorded."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "propensity.cli.main", "train", data, "--devices", str(devices)]
        command += ["--validate-every", "1000", "--epochs", "12", "-o", folder, *options]
        subprocess.run(command, check=True, stdout=sys.stderr)
        at = read_log(Path(folder) / "log.csv")["seconds"]
    return statistics.median(at[3:] - at[2:-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data")
    parser.add_argument("--devices", default="1,2")
    parser.add_argument("--structures", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=1)
    arguments, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data
        if data is None:
            data = str(made_up(Path(folder) / "train.h5", range(arguments.structures)))
            options += ["--valid", str(made_up(Path(folder) / "valid.h5", range(10**6, 10**6 + 2)))]
        print("| devices | an epoch, s | faster than the fewest |", flush=True)
        counts = [int(number) for number in arguments.devices.split(",")]
        took = {count: [] for count in counts}
        for count in counts * arguments.repeats:
            took[count].append(seconds_an_epoch(data, count, options))
            fewest = took[min(counts)]
            gain = statistics.median(fewest or [math.nan]) / statistics.median(took[count])
            print(f"| {count} | {took[count][-1]:.4f} | {gain:.3f}× |", flush=True)


def made_up(path, seeds):
    """Store of jittered liquids, which ends up at ``path``."""
    with StoreWriter(path) as writer:
        for seed in seeds:
            writer.add(labelled_liquid(seed))
    return path


if __name__ == "__main__":
    main()
