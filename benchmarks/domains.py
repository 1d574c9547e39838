"""Memory and time of a structure of any size, predicted domain by domain.

``python -m benchmarks.domains 100000 1000000``: each size is a process of its own, by ``Predictor.predict``
with a network of random weights at the paper's sizes (l_max 3, 4 channels; ``--layers`` of them), above a
bound of 50,000 particles, so that all walk; the slope of the peak of the last two projects it to 10⁷.
``--whole`` predicts in one pass, for comparison.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
import warnings


def one(n: int, layers: int, whole: bool) -> None:
    """Predict n particles here; prints time, processor time and peak."""
    import numpy as np

    from benchmarks.common import liquid
    from propensity.estimators import ranges
    from propensity.estimators.card import Card
    from propensity.estimators.se3gnn import SE3Estimator
    from propensity.estimators.storage import save_model
    from propensity.nn import SE3GNN, walk
    from propensity.predictor import Predictor

    warnings.simplefilter("ignore")
    walk.LARGEST = ranges.LARGEST = 10**12 if whole else 50_000
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
        predictor = Predictor(save_model(folder, SE3Estimator(network, card)), device="cpu")
    predictor.predict(liquid())
    copies = [1, 1, 1]
    while 4096 * np.prod(copies) < n:
        copies[int(np.argmin(copies))] += 1
    structure = liquid(tuple(copies), seed=1)
    start, busy = time.perf_counter(), time.process_time()
    predictor.predict(structure)
    busy = time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(len(structure), time.perf_counter() - start, busy, peak)


def main() -> None:
    """Every size in its own process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("particles", type=int, nargs="+")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        one(args.particles[0], args.layers, args.whole)
        return
    rows = []
    for n in args.particles:
        words = [sys.executable, "-m", "benchmarks.domains", str(n), "--here", "--layers", str(args.layers)]
        done = subprocess.run(words + ["--whole"] * args.whole, check=True, stdout=subprocess.PIPE, text=True)
        count, seconds, busy, peak = map(float, done.stdout.split())
        rows.append((count, peak))
        print(
            f"{count:12,.0f} particles  {seconds:8.1f} s  {1e6 * busy / count:6.1f} µs of the processor a"
            f" particle  peak {peak:8.0f} MB",
            flush=True,
        )
    if len(rows) > 1:
        (few, low), (many, high) = rows[-2:]
        slope = (high - low) / (many - few)
        print(f"{slope * 2**20:.0f} bytes a particle: {(high + slope * (1e7 - many)) / 1024:.2f} GB for 10⁷")


if __name__ == "__main__":
    main()
