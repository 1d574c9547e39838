"""From positions on the host to propensity on the host, as a user's script goes: ``Predictor.predict``.

python -m benchmarks.gpu predict                                   # networks of random weights, part by part
python -m benchmarks.prediction ka3d_fs_T0.44_valid.npz [MODEL ...]  # shipped models, on a GPU
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from functools import partial

import numpy as np
import torch

from benchmarks.common import liquid, milliseconds, network
from propensity.data import open_dataset
from propensity.errors import PropensityWarning
from propensity.estimators.card import Card
from propensity.estimators.likeness import Extremes, measured
from propensity.estimators.ranges import training_range
from propensity.estimators.se3gnn import SE3Estimator
from propensity.estimators.storage import save_model
from propensity.graph import build_graph
from propensity.neighbours import neighbour_list
from propensity.neighbours.triton_cells import grid_of
from propensity.nn import SE3GNN, replay
from propensity.nn.recording import Seen
from propensity.predictor import Predictor


def settle(net, device):
    """Let the batch norms of a network of random weights have seen what they will see."""
    net.to(device).train()
    kernel, net.kernel = net.kernel, "cpu" if device == "cpu" else "reference"
    graph = build_graph(liquid(), net.cutoff, device=device)
    if net.offset_scale:
        graph.thermal_offset = torch.zeros(graph.num_nodes, 3, device=device).normal_(0, net.offset_scale)
        graph.thermal_edge_index, graph.thermal_edge_vec = graph.edge_index, graph.edge_vec
    with torch.no_grad():
        for _ in range(8):
            net(graph)
    net.kernel = kernel
    net.to("cpu").eval()


def predictor_of(net, kernel, device="cuda"):
    """What a user has, around a network of random weights."""
    settle(net, device)
    means, spreads = [[0.0] * net.n_outputs] * 2, [[1.0] * net.n_outputs] * 2
    card = Card(
        kind="se3gnn",
        name="benchmark",
        config=net.config,
        species=("A", "B"),
        cutoff=2.0,
        density=1.2,
        times=tuple(range(1, net.n_outputs + 1)),
        default_time_index=0,
        composition=(0.8, 0.2),
        input_positions="both" if net.offset_scale else "thermal",
        target_mean=means,
        target_std=spreads,
        training_range=training_range([liquid(), *(liquid(seed=k) for k in range(8))], 2),
    )
    with tempfile.TemporaryDirectory() as folder:
        save_model(folder, SE3Estimator(net, card))
        return Predictor(folder, device=device, kernel=kernel)


def time_given_minima(device="cuda"):
    """The same for a network that reads inherent positions, thermal offsets and both lists of neighbours."""
    torch.manual_seed(0)
    net = SE3GNN(2, 10, offset_scale=0.1, thermal_layers=2)
    predictor, random = predictor_of(net, "auto", device), np.random.default_rng(0)
    frames = [liquid(seed=k) for k in range(8)]
    seen = [f.at_minimum(f.positions + random.normal(0, 0.05, f.positions.shape)) for f in frames]
    k = 0

    def one():
        nonlocal k
        k += 1
        return predictor.predict(seen[k % len(seen)])

    each = milliseconds(one, 50, warm=5, device=device)
    print(f"| minima given, two thermal layers more | a frame of a trajectory {each:.2f} ms |", flush=True)


def time_parts(predictor, frames):
    """What a frame of a trajectory costs, part by part, the recording of the last frame's kind given."""
    network = predictor.estimators[0].network
    recordings = replay._RECORDINGS[network]
    recording = next(iter(recordings.held.values()))
    structures = [frames[0].with_positions(frame.positions) for frame in frames]
    one, seen = structures[0], Seen(structures[0], None)
    radius = predictor.card.training_range.radius
    frame, _ = grid_of(one.cell, 2.0, len(one), radius)
    estimator, answer = predictor.estimators[0], recording(seen, frame)
    found, extremes = answer.outputs[None], Extremes(answer.low, answer.high)

    def compared():
        replay._MEASURED[one] = radius, answer.around
        measured(predictor.card, one, "cuda")

    parts = {
        "a Structure of other positions": partial(frames[0].with_positions, frames[1].positions),
        "checks before": partial(predictor._seen, one),
        "positions laid where the device reads": partial(recording._lay, seen, frame),
        "search for neighbours, copies in and out": recording._search,
        "search and layers, copies in and out": recording.replay,
        "all of these, and what comes out": partial(recording, seen, frame),
        "meanwhile: whether it is out of date": partial(recordings._is_current, network),
        "meanwhile: density, composition, boundaries": partial(predictor._unlike, one),
        "meanwhile: neighbourhoods compared": compared,
        "finite, near the labels": partial(predictor._finished, one, found, extremes),
        "recording, found": partial(estimator.at_once, one),
        "prediction": partial(predictor.predict, one),
    }
    with torch.no_grad():
        for name, part in parts.items():
            print(f"| part | {name} | {milliseconds(part, 100, warm=5):.3f} ms |", flush=True)


def time_predictions():
    """Positions on the host → propensity on the host through ``Predictor.predict``, as in a trajectory."""
    frames = [liquid(seed=k) for k in range(8)]
    for kernel in ("reference", "triton"):
        predictor = predictor_of(network("cpu", "reference"), kernel)
        start = time.perf_counter()
        predictor.predict(frames[0])
        first = time.perf_counter() - start
        k = 0

        def one(predictor=predictor):
            nonlocal k
            k += 1
            return predictor.predict(frames[0].with_positions(frames[k % len(frames)].positions))

        each = milliseconds(one, 50, warm=5)
        print(
            f"| {kernel} | a frame of a trajectory {each:.2f} ms | first frame, compilation included,"
            f" {first:.1f} s |"
        )
        estimator = predictor.estimators[0]
        if kernel == "triton":
            time_parts(predictor, frames)
            with torch.no_grad():
                alone = milliseconds(partial(estimator._outputs, frames[0]), 30)
                lists = {
                    name: milliseconds(
                        partial(
                            neighbour_list, frames[0], 2.0, device="cuda", dtype=torch.float32, backend=name
                        )
                    )
                    for name in ("matscipy", "torch", "triton")
                }
            print(f"| triton | a single structure (no recording) {alone:.2f} ms |")
            for name, value in lists.items():
                print(f"| neighbour list by {name} | {value:.2f} ms |", flush=True)
    time_given_minima()


def time_shipped(name, samples, device="cuda"):
    """A shipped model on structures of a file, minima and cage states given where it sees them."""
    predictor, k = Predictor(name, device=device), 0
    positions = predictor.card.input_positions

    def structure(sample):
        if positions == "thermal":
            return samples[0].structure.with_positions(sample.structure.positions)
        found = sample.structure.at_minimum(sample.inherent_positions)
        return found.with_cage(sample.cage) if predictor.card.cage_recipe else found

    seen = [structure(sample) for sample in samples]

    def given():
        nonlocal k
        k += 1
        return predictor.predict(seen[k % len(seen)])

    def anew():
        nonlocal k
        k += 1
        return predictor.predict(structure(samples[k % len(seen)]))

    each, both = (milliseconds(one, 50, warm=6, device=device) for one in (given, anew))
    print(
        f"| {name}, {len(predictor.estimators)} networks | {positions} positions | {each:.2f} ms |"
        f" and its Structure {both:.2f} ms |",
        flush=True,
    )


def main():
    """Time shipped models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("models", nargs="*", default=["ka-default", "ka-inherent", "ka-both", "ka-thermal"])
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    warnings.simplefilter("ignore", PropensityWarning)
    samples = list(open_dataset(options.data))[:8]
    for name in options.models:
        time_shipped(name, samples, options.device)


if __name__ == "__main__":
    main()
