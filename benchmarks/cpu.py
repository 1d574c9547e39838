"""The network on the CPU, as ratios to the e3nn reference in the same run.

    OMP_NUM_THREADS=2 python -m benchmarks.cpu

Processor time is printed beside wall time, since it does not change when others use the machine.
"""

from __future__ import annotations

import resource
import time

import torch

from benchmarks.common import liquid, network, trainer
from propensity.graph import build_graph
from propensity.structure import Structure


def resident():
    """Largest memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds(function, repeats):
    """Smallest wall and processor time of a call."""
    times = []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        function()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    return tuple(min(column) for column in zip(*times, strict=True))


if __name__ == "__main__":
    whole = liquid()
    graph = build_graph(whole, 2.0)
    few = build_graph(Structure(whole.positions[:64], whole.types[:64], whole.cell), 2.0)
    print(
        f"{graph.num_nodes} particles, {graph.edge_index.shape[1]} edges, {torch.get_num_threads()} threads"
    )
    rows = {}
    # The reference comes last, since the peak of memory only grows.
    for kernel, repeats in (("cpu", 4), ("reference", 1)):
        net = network("cpu", kernel)
        trainer(net, few)()
        before = resident()
        net.eval()
        with torch.no_grad():
            rows[kernel, "inference"] = *seconds(lambda: net(graph), repeats), resident() - before  # noqa: B023
        net.train()
        rows[kernel, "training step"] = *seconds(trainer(net, graph), repeats), resident() - before
    print("| | kernel | wall, s | processor, s | memory, MB | wall ratio | processor ratio |")
    for (kernel, what), (wall, processor, memory) in rows.items():
        base = rows["reference", what]
        print(
            f"| {what} | {kernel} | {wall:.3g} | {processor:.3g} | {memory:.0f} | {base[0] / wall:.1f}× | "
            f"{base[1] / processor:.1f}× |"
        )  # fmt: skip
