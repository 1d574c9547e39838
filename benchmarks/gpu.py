"""The network on one GPU, as ratios to the e3nn reference in the same run.

python -m benchmarks.gpu [network] [predict] [peers] [scaling] [epoch] [loop] [l_max_5]
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path

import torch

from benchmarks.common import cuda_graph, labelled_liquid, liquid, milliseconds, network, peak, trainer
from benchmarks.peers import compare_peers
from benchmarks.prediction import time_predictions
from propensity.graph import build_graph
from propensity.nn.cuda_graph import RecordedLosses
from propensity.runs.curves import read_log
from propensity.training import fit_network


def end_to_end(net, structure):
    return net(build_graph(structure, 2.0, device="cuda")).cpu()


def compare_networks():
    structure = liquid()
    graph = build_graph(structure, 2.0, device="cuda")
    print(f"{len(structure)} particles, {graph.edge_index.shape[1]} edges, float32, l_max 3")
    rows = {}
    for kernel in ("reference", "triton"):
        net = network("cuda", kernel)
        step = trainer(net, graph, capturable=True)
        net.train()
        rows[kernel, "training step"] = milliseconds(step, 8)
        rows[kernel, "memory of a step, MB"] = peak(step)
        if kernel == "triton":
            rows[kernel, "training step, CUDA graph"] = milliseconds(cuda_graph(step))
        net.eval()
        with torch.no_grad():
            rows[kernel, "inference"] = milliseconds(partial(net, graph))
            rows[kernel, "positions on host → propensity on host"] = milliseconds(
                partial(end_to_end, net, structure), 10
            )
            if kernel == "triton":
                rows[kernel, "inference, CUDA graph of the layers"] = milliseconds(
                    graphed_inference(net, graph)
                )
    for (kernel, what), value in rows.items():
        base = rows.get(("reference", what.split(", CUDA")[0]), float("nan"))
        print(f"| {what} | {kernel} | {value:.2f} | {base / value:.1f}× |", flush=True)


def graphed_inference(net, graph):
    """Layers and readout replayed; the order of the edges is known, as for a second pass over a graph."""
    from propensity.nn.kernels.triton import kernel as triton_kernel

    geometry = triton_kernel.KERNEL.prepare(graph, net.convolutions[-1])
    held, triton_kernel.KERNEL.prepare = triton_kernel.KERNEL.prepare, lambda *_: geometry
    try:
        return cuda_graph(lambda: net(graph))
    finally:
        triton_kernel.KERNEL.prepare = held


#: How often the structure is repeated along each direction.
COPIES = ((1, 1, 1), (4, 4, 4), (8, 8, 4), (16, 8, 16), (17, 17, 17), (16, 20, 23), (20, 20, 20))


def scaling(sizes=COPIES):
    net = network("cuda", "triton").eval()
    print("| particles | edges | neighbour list, s | network, s | µs a particle | peak GB |")
    for copies in sizes:
        structure = liquid(copies)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
        start = time.perf_counter()
        graph = build_graph(structure, 2.0, device="cuda")
        torch.cuda.synchronize()
        built = time.perf_counter()
        torch.cuda.empty_cache()
        with torch.no_grad():
            net(graph)
            torch.cuda.synchronize()
            ready = time.perf_counter()
            net(graph)
            torch.cuda.synchronize()
        done = time.perf_counter()
        n = len(structure)
        print(
            f"| {n} | {graph.edge_index.shape[1]} | {built - start:.3f} | {done - ready:.4f} | "
            f"{1e6 * (done - ready) / n:.3f} | {torch.cuda.max_memory_allocated() / 1e9:.2f} |",
            flush=True,
        )
        del graph, structure


class SquaredError(torch.nn.Module):
    """What the epoch minimises."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, graph):
        return (self.net(graph) - graph.labels).square().mean()[None]


def epoch():
    """Steps over different structures of one size, recorded once: what 400 structures × 200 epochs would
    take."""
    graphs = [build_graph(liquid(seed=k), 2.0, device="cuda") for k in range(24)]
    for graph in graphs:
        graph.labels = torch.randn(4096, 10, device="cuda")
    net = network("cuda", "triton").train()
    recording = RecordedLosses(
        SquaredError(net), graphs[0], max(graph.edge_index.shape[1] for graph in graphs)
    )
    adam = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.95, 0.999), weight_decay=1e-7, fused=True)

    def run():
        for graph in graphs:
            recording(graph)
            adam.step()

    each = milliseconds(run, 5, warm=2) / len(graphs)
    print(f"| recorded step over {len(graphs)} structures, ms | {each:.2f} |")
    print(
        f"| 80,000 steps (400 structures × 200 epochs), min | {each * 400 * 200 / 6e4:.1f} |",
        flush=True,
    )


def loop():
    """A training through fit_network: what Lightning adds to the recorded step."""
    samples = [labelled_liquid(k) for k in range(100)]
    options = {"epochs": 5, "dropout": 0.5, "device": "cuda", "progress": False, "validate_every": 1000}
    with tempfile.TemporaryDirectory() as folder:
        fit_network(samples, folder=folder, **options)
        seconds = read_log(Path(folder) / "log.csv")["seconds"]
    each = 1e3 * statistics.median(b - a for a, b in itertools.pairwise(seconds)) / len(samples)
    print(
        f"| step of fit_network over {len(samples)} structures, checkpoints and log included, ms |"
        f" {each:.2f} |"
    )
    print(f"| start: graphs, kernels, recording, first epoch, s | {seconds[0]:.1f} |", flush=True)


def l_max_5():
    graph = build_graph(liquid(), 2.0, device="cuda")
    start = time.perf_counter()
    net = network("cuda", "triton", l_max=5).train()
    step = trainer(net, graph, capturable=True)
    step()
    torch.cuda.synchronize()
    print(f"| l_max 5: first step with compilation, s | {time.perf_counter() - start:.0f} |")
    print(f"| l_max 5: training step, ms | {milliseconds(step, 5, warm=1):.1f} |")
    print(f"| l_max 5: memory of a step, MB | {peak(step):.0f} |", flush=True)


SECTIONS = {
    "network": compare_networks,
    "predict": time_predictions,
    "peers": compare_peers,
    "scaling": scaling,
    "epoch": epoch,
    "loop": loop,
    "l_max_5": l_max_5,
}

if __name__ == "__main__":
    print(torch.__version__, torch.cuda.get_device_name())
    for name in sys.argv[1:] or SECTIONS:
        try:
            SECTIONS[name]()
        except Exception:
            traceback.print_exc(limit=3)
