"""From the start of a process to its first training step and first prediction, kernels' compilation included.

    TRITON_CACHE_DIR=FOLDER python -m benchmarks.first_step [--channels 4] [--l-max 3]

Twice with the same empty folder gives both figures: cache empty and filled.
"""

from __future__ import annotations

import argparse
import time


def main():
    """Print what has passed after each part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--l-max", type=int, default=3)
    options = parser.parse_args()
    start = time.perf_counter()

    def passed(what):
        each = time.perf_counter() - start
        print(f"| l_max {options.l_max}, {options.channels} channels | {what} | {each:.2f} s |")

    import torch

    from benchmarks.common import liquid, milliseconds, trainer
    from benchmarks.gpu import peak
    from propensity.graph import build_graph
    from propensity.nn import SE3GNN

    torch.zeros(1, device="cuda").add_(1)
    torch.cuda.synchronize()
    passed("imports and device")
    start = time.perf_counter()
    graph = build_graph(liquid(), 2.0, device="cuda")
    torch.cuda.synchronize()
    passed("graph")
    start = time.perf_counter()
    torch.manual_seed(0)
    net = SE3GNN(2, 10, l_max=options.l_max, channels=options.channels, kernel="triton").cuda()
    passed("network")
    start = time.perf_counter()
    step = trainer(net, graph, capturable=True)
    passed("optimiser, for which torch imports its compiler")
    start = time.perf_counter()
    step()
    torch.cuda.synchronize()
    passed("first step")
    start = time.perf_counter()
    net.eval()
    with torch.no_grad():
        net(graph)
    torch.cuda.synchronize()
    passed("first prediction after it")
    net.train()
    print(f"|  | a later step | {milliseconds(step, 8):.2f} ms, {peak(step):.0f} MB |", flush=True)


if __name__ == "__main__":
    main()
