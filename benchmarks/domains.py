"""Memory and time of a structure of any size, predicted domain by domain.

``python -m benchmarks.domains 100000 1000000``: each size is a process of its own, by ``Predictor.predict``
with a network of random weights at the paper's sizes (l_max 3, 4 channels; ``--layers`` of them), above a
bound of 50,000 particles, so that all walk; the slope of the peak of the last two projects it to 10⁷.
``--whole`` predicts in one pass, for comparison; ``--devices cuda:0,cuda:1`` walks on GPUs, each size on the
first alone and on all of them, and compares the outputs; ``--network`` times the network alone, positions
and outputs on the host, in the second of two runs.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path


def one(n: int, layers: int, whole: bool, alone: bool, devices: list[str], kept: str | None) -> None:
    """Predict n particles here, or run the network alone; prints time, processor time and peak."""
    import numpy as np
    import torch

    from benchmarks.common import liquid
    from propensity.estimators import ranges
    from propensity.estimators.card import Card
    from propensity.estimators.se3gnn import SE3Estimator
    from propensity.estimators.storage import save_model
    from propensity.nn import SE3GNN, walk
    from propensity.predictor import Predictor
    from propensity.structure import Structure

    warnings.simplefilter("ignore")
    walk.LARGEST = ranges.LARGEST = 10**12 if whole else 50_000
    torch.manual_seed(0)
    network = SE3GNN(2, 7, n_layers=layers)
    card = Card(
        kind="se3gnn",
        name="random",
        config=network.config,
        species=("A", "B"),
        cutoff=2.0,
        times=tuple(range(1, 8)),
        default_time_index=0,
        target_mean=[[0.0] * 7] * 2,
        target_std=[[1.0] * 7] * 2,
    )
    with tempfile.TemporaryDirectory() as folder:
        predictor = Predictor(save_model(folder, SE3Estimator(network, card)), device=devices[0])
    if len(devices) > 1 or devices != ["cpu"]:
        predictor.spread(*devices)
    network = network.eval().to(devices[0])

    def predicted(structure: Structure) -> np.ndarray:
        if alone:
            return walk.walked(network, structure, devices=devices)
        return predictor.predict(structure)

    predicted(liquid())
    copies = [1, 1, 1]
    while 4096 * np.prod(copies) < n:
        copies[int(np.argmin(copies))] += 1
    structure = liquid(tuple(copies), seed=1)
    if alone:
        predicted(structure)
    start, busy = time.perf_counter(), time.process_time()
    output = predicted(structure)
    busy = time.process_time() - busy
    took = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    on_gpu = max([torch.cuda.max_memory_allocated(d) / 2**20 for d in devices if d != "cpu"], default=0.0)
    # Not a number where there is nothing to compare with.
    values, difference = np.asarray(output), float("nan")
    if kept and Path(kept).exists():
        before = np.load(kept)
        difference = abs(values - before).max() / before.std()
    elif kept:
        np.save(kept, values)
    print(len(structure), took, busy, peak, on_gpu, difference)


def main() -> None:
    """Every size in its own process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("particles", type=int, nargs="+")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--network", action="store_true")
    parser.add_argument("--devices", default="cpu")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--kept", help=argparse.SUPPRESS)
    args = parser.parse_args()
    devices = args.devices.split(",")
    if args.here:
        one(args.particles[0], args.layers, args.whole, args.network, devices, args.kept)
        return
    rows = []
    for n in args.particles:
        with tempfile.TemporaryDirectory() as folder:
            alone = None
            for some in [devices[:1], devices][: len(devices)]:
                found = _measured(n, args, some, f"{folder}/outputs.npy")
                count, seconds, busy, peak, on_gpu, difference = found
                line = (
                    f"{count:12,.0f} particles on {','.join(some)}  {seconds:8.2f} s"
                    f"  {1e6 * busy / count:6.1f} µs of the processor a particle  peak {peak:8.0f} MB"
                )
                if some != ["cpu"]:
                    line += f", {on_gpu:.0f} MB of a GPU"
                if alone:
                    line += f"  {alone / seconds:.3f}× as fast, outputs differ by {difference:.1e} of their σ"
                alone = alone or seconds
                print(line, flush=True)
        rows.append((count, peak))
    if len(rows) > 1:
        (few, low), (many, high) = rows[-2:]
        slope = (high - low) / (many - few)
        print(f"{slope * 2**20:.0f} bytes a particle: {(high + slope * (1e7 - many)) / 1024:.2f} GB for 10⁷")


def _measured(n: int, args: argparse.Namespace, devices: list[str], kept: str) -> list[float]:
    """One size in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.domains", str(n), "--here", "--layers", str(args.layers)]
    words += ["--devices", ",".join(devices), "--kept", kept] + ["--whole"] * args.whole
    words += ["--network"] * args.network
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return [float(word) for word in done.stdout.split()]


if __name__ == "__main__":
    main()
