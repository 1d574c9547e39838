"""The network on the CPU, as ratios to the e3nn reference in the same run.

    OMP_NUM_THREADS=2 python -m benchmarks.cpu
"""

from __future__ import annotations

import resource

import torch

from benchmarks.common import liquid, milliseconds, network, trainer
from propensity.graph import build_graph


def resident():
    """Largest memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    graph = build_graph(liquid(), 2.0)
    print(f"{graph.num_nodes} particles, {graph.edge_index.shape[1]} edges, {torch.get_num_threads()} threads")
    rows = {}
    # The reference comes last, since the peak of memory only grows.
    for kernel, repeats in (("cpu", 5), ("reference", 1)):
        net = network("cpu", kernel)
        step = trainer(net, graph)
        small = trainer(net, build_graph(liquid().scaled(3.0), 2.0))
        small()
        before = resident()
        net.eval()
        with torch.no_grad():
            rows[kernel, "inference, s"] = milliseconds(lambda: net(graph), repeats, 1, "cpu") / 1e3  # noqa: B023
        rows[kernel, "memory of inference, MB"] = resident() - before
        net.train()
        rows[kernel, "training step, s"] = milliseconds(step, repeats, 1, "cpu") / 1e3
        rows[kernel, "memory of a step, MB"] = resident() - before
    for (kernel, what), value in rows.items():
        print(f"| {what} | {kernel} | {value:.3g} | {rows['reference', what] / value:.1f}× |")
