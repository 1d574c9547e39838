"""A prediction of `ka-cage` from thermal positions of 4096 particles: time of each part, memory.

Peer of the restricted dynamics, in the same run: itself with every pair acting at every step.

    OMP_NUM_THREADS=2 python -m benchmarks.cage_prediction [--no-peer]
    python -m benchmarks.cage_prediction --device cuda    # the first of a process, and later ones
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings

import numpy as np
import torch

import propensity.physics.cage as cage
from benchmarks.common import liquid
from propensity import Predictor, inherent_structure
from propensity.errors import PropensityWarning
from propensity.nn.gated import gated_graph

SMOOTH = "lj/cut force-shifted"


def timed(name, function):
    """Result of a call, and its processor time; printed with its wall time."""
    processor, wall = time.process_time(), time.perf_counter()
    result = function()
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    print(f"{name}: {processor:.2f} s of processor, {wall:.2f} s", flush=True)
    return result, processor


def on_gpu():
    """Whole predictions, the first one with what it loads and compiles; then the parts of a later one."""
    torch.zeros(1, device="cuda").add_(1)
    predictor, _ = timed("loading the models", lambda: Predictor("ka-cage", potential=SMOOTH, device="cuda"))
    structure, recipe = liquid(), predictor.card.cage_recipe
    print(f"{len(structure)} particles, {len(predictor.estimators)} networks, {torch.cuda.get_device_name()}")
    minimum, _ = timed("first minimum", lambda: inherent_structure(structure, SMOOTH))
    bare = structure.at_minimum(minimum.positions)
    state, _ = timed("first cage state", lambda: cage.cage_state(bare, SMOOTH, **recipe))
    seen = bare.with_cage(state)
    timed("first call of the networks", lambda: predictor.predict(seen))
    for seed in range(3):
        timed("a prediction", lambda seed=seed: predictor.predict(liquid(seed=seed)))
    minimum, _ = timed("minimum", lambda: inherent_structure(structure, SMOOTH))
    timed("cage state", lambda: cage.cage_state(structure.at_minimum(minimum.positions), SMOOTH, **recipe))
    network = predictor.estimators[0].network
    timed(
        "graph of one network", lambda: gated_graph(seen, 2.0, network.views, network.inputs, device="cuda")
    )
    timed("networks", lambda: predictor.predict(seen))
    timed("networks", lambda: predictor.predict(seen))
    free, total = torch.cuda.mem_get_info()
    print(f"memory of the device in use, its context included: {(total - free) / 2**20:.0f} MiB")
    print(f"most that tensors of the networks took: {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")


def main():
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-peer", action="store_true", help="leave out the dynamics with all pairs always")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()
    warnings.simplefilter("ignore", PropensityWarning)
    if options.device == "cuda":
        on_gpu()
        return
    predictor = Predictor("ka-cage", potential=SMOOTH, device="cpu")
    recipe, structure = predictor.card.cage_recipe, liquid()
    print(
        f"{len(structure)} particles, {torch.get_num_threads()} threads, {len(predictor.estimators)} networks"
    )
    inherent_structure(structure, SMOOTH, force=1e3)  # compiles
    minimum, quench = timed("minimum", lambda: inherent_structure(structure, SMOOTH))
    bare = structure.at_minimum(minimum.positions)
    cage.cage_state(bare, SMOOTH, **{**recipe, "steps": cage.SKIP + cage.EVERY + 1})  # compiles
    state, dynamics = timed("cage state", lambda: cage.cage_state(bare, SMOOTH, **recipe))
    seen = bare.with_cage(state)
    network = predictor.estimators[0].network
    timed("  graph of one network", lambda: gated_graph(seen, 2.0, network.views, network.inputs))
    _, networks = timed("networks", lambda: predictor.predict(seen))
    print(f"together: {quench + dynamics + networks:.1f} s of processor")
    print(f"most memory so far: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
    if not options.no_peer:
        cage.OUTER = cage.RENEW = 1
        other, slow = timed(
            "cage state, every pair at every step", lambda: cage.cage_state(bare, SMOOTH, **recipe)
        )
        apart = np.sqrt(np.square(other.offset - state.offset).mean(axis=(1, 2)))
        print(f"{slow / dynamics:.2f} times as long; offsets {apart} σ apart, errors {state.error}")


if __name__ == "__main__":
    main()
