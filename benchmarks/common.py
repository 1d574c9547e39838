"""The structure, clocks and steps that every benchmark here uses."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import statistics
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from propensity.data import Sample
from propensity.nn import SE3GNN
from propensity.structure import Structure

FIXTURE = Path(__file__).parents[1] / "tests" / "fixtures" / "isoconfig_N4096T0.44_1_tc07.npz"
BOX = 15.05658


def liquid(copies=(1, 1, 1), seed=None):
    """4096 particles of the Kob–Andersen liquid at T = 0.44 (GlassBench), repeated; jittered with a seed."""
    data = np.load(FIXTURE, allow_pickle=False)
    positions, types = np.mod(data["initial_positions"], BOX), data["types"].astype(np.int64)
    shifts = np.array(list(itertools.product(*(range(n) for n in copies)))) * BOX
    positions = (positions[None] + shifts[:, None]).reshape(-1, 3)
    if seed is not None:
        positions = positions + np.random.default_rng(seed).normal(0, 0.02, positions.shape)
    return Structure(positions, np.tile(types - types.min(), len(shifts)), np.array(copies) * BOX)


def labelled_liquid(seed):
    """A jittered liquid with random labels at ten times."""
    structure, random = liquid(seed=seed), np.random.default_rng(seed)
    times, labels = np.geomspace(0.1, 1e4, 10), 0.5 + 0.1 * random.normal(size=(len(structure), 10))
    labels = np.maximum(labels, 0.0)
    return Sample(structure, times, labels, f"liquid/{seed}", temperature=0.44, tau_alpha=1e4)


def milliseconds(function, repeats=20, warm=3, device="cuda"):
    """Median wall time of a call, the device's work included."""
    sync = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    for _ in range(warm):
        function()
    times = []
    for _ in range(repeats):
        sync()
        start = time.perf_counter()
        function()
        sync()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def cuda_graph(function):
    """Record ``function`` once; returns what replays it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


def _burn(parent, ready):
    """Keep a core busy while ``parent`` lives."""
    ready.set()
    x = 1.0
    while os.getppid() == parent:
        for _ in range(100_000):
            x = x * 1.0000001 % 3.0


@contextmanager
def others_beside(n):
    """As many processes that compute meanwhile."""
    context = multiprocessing.get_context("spawn")
    signs = [context.Event() for _ in range(n)]
    others = [context.Process(target=_burn, args=(os.getpid(), sign), daemon=True) for sign in signs]
    for other in others:
        other.start()
    try:
        for sign in signs:
            sign.wait()
        yield
    finally:
        for other in others:
            other.terminate()


def trainer(network, graph, capturable=False):
    """One optimisation step on one graph (mean squared error, Adam as in the paper)."""
    options = {"capturable": capturable, "fused": capturable or graph.edge_vec.device.type == "cpu"}
    adam = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.95, 0.999), weight_decay=1e-7, **options)
    target = torch.randn(len(graph.types), network.n_outputs, device=graph.edge_vec.device)

    def step(forward=network):
        adam.zero_grad(set_to_none=True)
        (forward(graph) - target).square().mean().backward()
        adam.step()

    return step


def network(device, kernel, l_max=3):
    torch.manual_seed(0)
    return SE3GNN(2, 10, l_max=l_max, kernel=kernel).to(device)


def peak(function):
    """Memory in MB that ``function`` needs beyond what is held already."""
    function()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6
