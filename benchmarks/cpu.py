"""The network on the CPU, as ratios to the e3nn reference in the same run.

    OMP_NUM_THREADS=2 python -m benchmarks.cpu [network] [busy] [sizes] [start]

``network`` (default) alternates between the kernels, and takes the smallest of all times: processor time
stands beside wall time, since others who use the machine change it least.  ``busy`` is the same beside as
many processes that compute as there are threads (give all the same cores: ``taskset -c 0,1``), and takes
medians.  ``sizes`` is inference on larger structures and ``start`` the first calls of a process, with numba's
cache on disk empty and filled.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import nullcontext

import torch

from benchmarks.common import liquid, network, others_beside, trainer
from propensity.graph import build_graph
from propensity.structure import Structure


def resident():
    """Largest memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def each(function, repeats):
    """Wall and processor time of each of several calls."""
    times = []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        function()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    return times


def over(times, choose):
    """Wall and processor time as ``choose`` chooses."""
    return tuple(choose(column) for column in zip(*times, strict=True))


def seconds(function, repeats):
    """Smallest wall and processor time of a call."""
    return over(each(function, repeats), min)


def small():
    whole = liquid()
    return build_graph(Structure(whole.positions[:64], whole.types[:64], whole.cell), 2.0)


def inference(kernel, graph):
    net = network("cpu", kernel).eval()

    def call():
        with torch.no_grad():
            net(graph)

    return call


def training(kernel, graph):
    return trainer(network("cpu", kernel).train(), graph)


def compare(rounds=3, choose=min, beside=nullcontext):
    """Each kernel's time and memory; the reference comes last in memory, since a peak only grows."""
    graph = build_graph(liquid(), 2.0)
    print(
        f"{graph.num_nodes} particles, {graph.edge_index.shape[1]} edges, {torch.get_num_threads()} threads"
    )
    calls, memory, times = {}, {}, defaultdict(list)
    for kernel in ("cpu", "reference"):
        training(kernel, small())()
        before = resident()
        for what, make in (("inference", inference), ("training step", training)):
            calls[what, kernel] = make(kernel, graph)
            first = each(calls[what, kernel], 1)
            if choose is min:
                times[what, kernel] += first
            memory[what, kernel] = resident() - before
    with beside():
        for what, n in (("inference", rounds), ("training step", 1)):
            for _ in range(n):
                times[what, "cpu"] += each(calls[what, "cpu"], 5)
                times[what, "reference"] += each(calls[what, "reference"], 1)
            times[what, "cpu"] += each(calls[what, "cpu"], 5)
    print("| | kernel | wall, s | processor, s | memory, MB | wall ratio | processor ratio |")
    best = {key: over(found, choose) for key, found in times.items()}
    for (what, kernel), (wall, processor) in best.items():
        base = best[what, "reference"]
        print(
            f"| {what} | {kernel} | {wall:.3g} | {processor:.3g} | {memory[what, kernel]:.0f} | "
            f"{base[0] / wall:.1f}× | {base[1] / processor:.1f}× |"
        )


def busy():
    """The same while others compute: medians, since the smallest time is one that nobody disturbed."""
    compare(1, statistics.median, lambda: others_beside(torch.get_num_threads()))


def sizes():
    """Inference on the structure repeated, smallest first."""
    print("| particles | edges | wall, s | µs a particle | processor, µs a particle | memory, MB |")
    inference("cpu", small())()
    for copies in ((1, 1, 1), (2, 2, 2), (4, 4, 4)):
        graph = build_graph(liquid(copies), 2.0)
        before, n = resident(), graph.num_nodes
        wall, processor = seconds(inference("cpu", graph), 3)
        print(
            f"| {n:,} | {graph.edge_index.shape[1]:,} | {wall:.3g} | {1e6 * wall / n:.1f} |"
            f" {1e6 * processor / n:.1f} | {resident() - before:.0f} |"
        )


def start():
    """First inference and first training step of a process."""
    print("| numba's cache | first inference, s | first training step, s |")
    with tempfile.TemporaryDirectory() as folder:
        for cache in ("empty", "filled"):
            environment = os.environ | {"NUMBA_CACHE_DIR": folder}
            command = [sys.executable, "-m", "benchmarks.cpu", "first"]
            out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
            print(f"| {cache} | {out.strip()} |")


def first():
    graph = small()
    found = (seconds(make("cpu", graph), 1)[0] for make in (inference, training))
    print(" | ".join(f"{wall:.2f}" for wall in found))


if __name__ == "__main__":
    parts = {"network": compare, "busy": busy, "sizes": sizes, "start": start, "first": first}
    if set(sys.argv[1:]) - parts.keys():
        sys.exit(__doc__)
    for name in sys.argv[1:] or ["network"]:
        parts[name]()
