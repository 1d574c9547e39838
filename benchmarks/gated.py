"""The network of `ka-cage` on a GPU: training step, memory and inference, beside e3nn of the same shape.

    python -m benchmarks.gated

The peer has the same features, edges, radial functions and updates of particles; only its sums over
neighbours are e3nn's, as usual there: a `uvu` tensor product with weights of each edge, linear in the radial
functions, then a linear map.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from e3nn import o3
from torch import nn

from benchmarks.common import cuda_graph, liquid, milliseconds, peak
from propensity.caging import CageState
from propensity.estimators.storage import load_model
from propensity.nn.gated import GatedNetwork, Labelled, gated_graph
from propensity.nn.gated.descent import Descent
from propensity.nn.gated.geometry import radial_functions
from propensity.nn.gated.network import Passed
from propensity.nn.gated.stack import EqualExamples

HARMONICS = o3.Irreps("0e+1o+2e")


class Sums(nn.Module):
    """Σ_j over neighbours by e3nn: scalars, vectors and quadrupoles that a layer adds."""

    def __init__(self, widths, n_radial):
        super().__init__()
        sent = o3.Irreps(f"{widths.sent_scalars}x0e+{widths.sent_vectors}x1o")
        out = o3.Irreps(f"{widths.scalars}x0e+{widths.vectors}x1o+{widths.quadrupoles}x2e")
        middle, instructions = [], []
        for i, (mul, ir) in enumerate(sent):
            for j, (_, other) in enumerate(HARMONICS):
                for found in ir * other:
                    if found in out:
                        instructions.append((i, j, len(middle), "uvu", True))
                        middle.append((mul, found))
        self.product = o3.TensorProduct(
            sent, HARMONICS, o3.Irreps(middle), instructions, shared_weights=False, internal_weights=False
        )
        self.weights = nn.Linear(n_radial, self.product.weight_numel, bias=False)
        self.mix = o3.Linear(middle, out)
        self.out = out

    def forward(self, sent, ends, harmonics, radial):
        source, destination = ends
        messages = self.product(sent[source], harmonics, self.weights(radial))
        sums = messages.new_zeros(len(sent), messages.shape[1]).index_add(0, destination, messages)
        parts = self.mix(sums).split([mul * ir.dim for mul, ir in self.out], 1)
        shaped = [p.view(len(sent), mul, ir.dim).mT for p, (mul, ir) in zip(parts, self.out, strict=True)]
        return shaped[0][:, 0], shaped[1], shaped[2]


class Peer(GatedNetwork):
    """The same network with e3nn's sums."""

    def __init__(self, **config):
        super().__init__(**config)
        self.sums = nn.ModuleList(Sums(self.widths, layer.n_radial) for layer in self.layers)
        for layer in self.layers:
            for name in ("to_scalars", "to_vectors", "to_quadrupoles"):
                delattr(layer, name)

    def prepare(self, graph):
        """Edges, their harmonics and radial functions, which are the same in every step."""
        real = graph.real.bool()
        destination, source = real.nonzero()[:, 0], graph.neighbours[real]
        pairs = tuple(t[graph.types[destination], graph.types[source]][None] for t in self.pairs)
        self.edges = {}
        for k, name in enumerate(self.views):
            vectors = graph.vectors[name][real]
            r = torch.linalg.vector_norm(vectors, dim=-1).clamp_min(1e-3)[None]
            radial = radial_functions(r, self.n_basis, self.cutoff, self.core, pairs)[0].T
            harmonics = o3.spherical_harmonics(HARMONICS, vectors, True, "component")
            self.edges[name] = (source, destination), harmonics, (radial / self.radial_scale[k]).contiguous()

    def passed(self, graph, every=False):
        raw, features = self._first(graph)
        for name, layer, sums in zip(self.layer_views, self.layers, self.sums, strict=True):
            sent = [layer.send_scalars(features[0]), layer.send_vectors(features[1]).mT.flatten(1)]
            features = layer.updated(features, sums(torch.cat(sent, 1), *self.edges[name]))
        return Passed(raw, [features])


def structure_with_cage(n_cages):
    """The liquid with offsets and cages of random numbers of the right size: times don't hang on them."""
    random, bare = np.random.default_rng(0), liquid()
    n = len(bare)
    structure = bare.at_minimum(bare.positions + random.normal(0, 0.05, (n, 3)))
    factors = random.normal(0, 0.08, (n_cages, n, 3, 3))
    return structure.with_cage(
        CageState(
            radii=np.geomspace(0.3, 0.8, n_cages),
            offset=random.normal(0, 0.05, (n_cages, n, 3)),
            covariance=factors @ factors.swapaxes(-1, -2),
            error=np.zeros(n_cages),
            steps=0,
            inherent_positions=structure.positions,
        )
    )


def trained_graph(graph):
    """The graph as a training gathers it: with the slots in which each particle is a neighbour."""
    none = graph.types.new_zeros(len(graph.types), 0)
    first = torch.zeros(1, dtype=torch.long, device=graph.types.device)
    return EqualExamples([Labelled(graph, none, none, none, none)]).batch(first).graph


def main():
    """Rows of a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cpu tries the script, without times")
    device = parser.parse_args().device
    shipped = load_model("ka-cage").network
    print(torch.__version__, torch.cuda.get_device_name() if device == "cuda" else "cpu")
    graph = trained_graph(
        gated_graph(
            structure_with_cage(shipped.n_cages), shipped.cutoff, shipped.views, shipped.inputs, device=device
        )
    )
    print(f"{len(graph.types)} particles, {int(graph.real.sum())} edges, {list(shipped.layer_views)}")
    labels, rows = torch.randn(len(graph.types), shipped.n_outputs, device=device), {}
    kinds = (
        ("e3nn", Peer, False),
        ("propensity", GatedNetwork, False),
        ("propensity, bfloat16", GatedNetwork, True),
    )
    for name, kind, half in kinds:
        torch.manual_seed(0)
        network = kind(**shipped.config)
        kept = {k: v for k, v in shipped.state_dict().items() if k in network.state_dict()}
        network.load_state_dict(kept, strict=False)
        network.to(device).train()
        if kind is Peer:
            network.prepare(graph)
        descent = Descent([network], torch.full((), 1e-3, device=device), 0.01)

        def predict(network=network, half=half):
            # As in training, where neighbours are summed in half precision.
            with torch.autocast(device, torch.bfloat16, enabled=half):
                return network(graph)

        def step(predict=predict, descent=descent):
            descent.step(descent.gradient(nn.functional.mse_loss(predict(), labels)))

        start = time.perf_counter()
        step()
        assert all(bool(p.isfinite().all()) for p in network.parameters())
        spent = time.perf_counter() - start
        print(f"{name}: {sum(p.numel() for p in network.parameters())} parameters, first step {spent:.1f} s")
        if device == "cpu":
            continue
        rows[name, "memory of a step, MB"] = peak(step)
        rows[name, "training step, launched from Python, ms"] = milliseconds(step, 8)
        with torch.no_grad():
            rows[name, "memory of inference, MB"] = peak(predict)
            rows[name, "inference, launched from Python, ms"] = milliseconds(predict, 8)
            rows[name, "inference, replayed, ms"] = milliseconds(cuda_graph(predict))
        rows[name, "training step, replayed, ms"] = milliseconds(cuda_graph(step))
    for (name, what), value in rows.items():
        print(f"| {what} | {name} | {value:.2f} | {rows['e3nn', what] / value:.1f}× |", flush=True)


if __name__ == "__main__":
    main()
