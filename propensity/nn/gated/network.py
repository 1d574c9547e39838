"""GatedNetwork: the whole network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from propensity.errors import InputError
from propensity.nn.gated.geometry import harmonics, radial_functions
from propensity.nn.gated.graph import VIEWS, GatedGraph
from propensity.nn.gated.layer import GatedLayer, Standard, Widths, lengths
from propensity.nn.gated.stack import Gather

#: ε and σ of the pairs of a Kob–Andersen mixture, for the force and its slope among the radial functions.
PAIRS = (((1.0, 1.5), (1.5, 0.5)), ((1.0, 0.8), (0.8, 0.88)))
#: Particles that a layer treats at once: their weights and sums take 100 MB.
BLOCK = 2048
#: How many vectors, quadrupoles and scalars each choice of inputs brings, by number of cage states.
INPUTS = {
    "thermal": lambda r: (0, 0, 0),
    "inherent": lambda r: (1, 0, 1),
    "cage": lambda r: (1 + r, r, 1 + 4 * r),
}


class GatedNetwork(nn.Module):
    """Per-particle regression that is invariant under rotation, reflection, translation and permutation.

    Each layer reads the neighbours in one view of the structure (thermal, inherent or cage positions).  The
    geometric weights of neighbours are fixed functions; all that is learned acts at the particles, as matrix
    products and small perceptrons, which is why wide layers cost little.

    Parameters
    ----------
    layers
        View that each layer reads: ``"thermal"``, ``"inherent"`` or ``"cage"``.
    inputs
        First features: ``"thermal"`` (species alone), ``"inherent"`` (the thermal offset too) or ``"cage"``
        (mean and covariance in the cage too).
    n_species, n_outputs
        Species, and numbers predicted for each particle, one a time.
    n_cages
        Cage states (radii) among the inputs.
    n_basis, cutoff
        Bessel functions and their range in σ.
    pair_force
        Lennard-Jones force and its slope among the radial functions (Kob–Andersen mixture).
    core
        Distance in σ_ab below which these two are held.
    curved
        Whether l = 2 harmonics meet vectors.
    readout
        Hidden units of the readout, for each species.
    widths
        Fields of :class:`~propensity.nn.gated.layer.Widths`.
    """

    vector_scale: torch.Tensor
    quadrupole_scale: torch.Tensor
    radial_scale: torch.Tensor
    pairs: torch.Tensor

    def __init__(
        self,
        layers: Sequence[str] = ("thermal", "thermal", "cage", "cage", "cage", "cage"),
        inputs: str = "cage",
        *,
        n_species: int = 2,
        n_outputs: int = 1,
        n_cages: int = 2,
        n_basis: int = 8,
        cutoff: float = 2.0,
        pair_force: bool = True,
        core: float = 0.88,
        curved: bool = True,
        readout: int = 64,
        widths: dict[str, int] | None = None,
    ) -> None:
        super().__init__()
        unknown = sorted({*layers} - {*VIEWS})
        if unknown or not layers or inputs not in INPUTS:
            raise InputError(
                f"layers {list(layers)} or inputs {inputs!r} are unknown: layers are among {VIEWS}, inputs"
                f" among {tuple(INPUTS)}."
            )
        if pair_force and n_species != 2:
            raise InputError(f"pair_force is that of a Kob–Andersen mixture: {n_species} species have none.")
        self.widths = w = Widths(**(widths or {}))
        self.layer_views, self.inputs, self.views = tuple(layers), inputs, tuple(sorted({*layers}))
        self.n_species, self.n_outputs, self.cutoff, self.n_cages = (
            n_species,
            n_outputs,
            float(cutoff),
            n_cages,
        )
        self.n_basis, self.pair_force, self.core, self.readout = n_basis, pair_force, core, readout
        self.config: dict[str, Any] = {
            "layers": list(layers),
            "inputs": inputs,
            "n_species": n_species,
            "n_outputs": n_outputs,
            "n_cages": n_cages,
            "n_basis": n_basis,
            "cutoff": float(cutoff),
            "pair_force": pair_force,
            "core": core,
            "curved": curved,
            "readout": readout,
            "widths": asdict(w),
        }
        n_vectors, n_quadrupoles, n_scalars = INPUTS[inputs](n_cages)
        n_in, n_radial = n_species + n_scalars, n_basis + 2 * pair_force
        self.standard_in = Standard(n_in)
        self.embed = nn.Sequential(nn.Linear(n_in, w.scalars), nn.SiLU(), nn.Linear(w.scalars, w.scalars))
        self.in_vectors = nn.Linear(n_vectors, w.vectors, bias=False) if n_vectors else None
        self.in_quadrupoles = nn.Linear(n_quadrupoles, w.quadrupoles, bias=False) if n_quadrupoles else None
        self.layers = nn.ModuleList(GatedLayer(w, n_radial, curved) for _ in layers)
        n_out = w.scalars + w.vectors + w.quadrupoles + n_in
        self.standard_out = Standard(n_out)
        self.hidden = nn.Linear(n_out, readout * n_species)
        self.dropout = nn.Dropout(0.0)
        self.out = nn.Parameter(torch.randn(n_species, readout, n_outputs) / readout**0.5)
        self.bias = nn.Parameter(torch.zeros(n_species, n_outputs))
        self.register_buffer("vector_scale", torch.ones(n_vectors))
        self.register_buffer("quadrupole_scale", torch.ones(n_quadrupoles))
        self.register_buffer("radial_scale", torch.ones(len(self.views), n_radial))
        self.register_buffer("pairs", torch.tensor(PAIRS), persistent=False)

    def forward(self, graph: GatedGraph) -> torch.Tensor:
        """Standardised prediction for each particle, shape (N, n_outputs)."""
        raw, features = self.features_after(graph)
        return self.read_out(raw, features[-1], graph.types)

    def features_after(
        self, graph: GatedGraph, every: bool = False
    ) -> tuple[torch.Tensor, list[tuple[torch.Tensor, ...]]]:
        """Standardised inputs (N, ·), and scalars (N, S), vectors (N, 3, V) and quadrupoles (N, 5, Q) after
        the last layer, or after each.
        """
        raw, features = self._first(graph)
        found: list[tuple[torch.Tensor, ...]] = []
        blocks = list(self._blocks(graph))
        # The weights of a large structure are made anew for each layer rather than kept.
        kept = [self._weights(graph, block) for block in blocks] if len(blocks) <= 4 else None
        for name, layer in zip(self.layer_views, self.layers, strict=True):
            sent = layer.sent(features[0], features[1])
            new = []
            for k, block in enumerate(blocks):
                weights = kept[k][name] if kept else self._weights(graph, block, (name,))[name]
                own = (features[0][block], features[1][block], features[2][block])
                received = (
                    sent[graph.neighbours[block]]
                    if graph.reverse is None
                    else Gather.apply(sent, graph.neighbours, graph.reverse)
                )
                new.append(layer(own, received, weights))
            features = tuple(torch.cat(part) for part in zip(*new, strict=True))
            found = [*found, features] if every else [features]
        return raw, found

    def invariants(self, raw: torch.Tensor, features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Scalars, lengths of vectors and quadrupoles, and the standardised inputs: what is read out."""
        scalars, vectors, quadrupoles = features
        return torch.cat([scalars, lengths(vectors), lengths(quadrupoles), raw], dim=1)

    def _blocks(self, graph: GatedGraph) -> Iterator[slice]:
        n = len(graph.types)
        size = BLOCK if graph.reverse is None else n
        for first in range(0, n, size):
            yield slice(first, min(first + size, n))

    def _first(
        self, graph: GatedGraph
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Standardised inputs, and the first features."""
        one_hot = self._one_hot(graph.types).to(graph.scalar_inputs)
        raw = self.standard_in(torch.cat([one_hot, graph.scalar_inputs], dim=1))
        n, w = len(raw), self.widths
        vectors = raw.new_zeros(n, 3, w.vectors)
        quadrupoles = raw.new_zeros(n, 5, w.quadrupoles)
        if self.in_vectors is not None:
            vectors = self.in_vectors(graph.vector_inputs / self.vector_scale).to(raw.dtype)
        if self.in_quadrupoles is not None:
            quadrupoles = self.in_quadrupoles(graph.quadrupole_inputs / self.quadrupole_scale).to(raw.dtype)
        return raw, (self.embed(raw).to(raw.dtype), vectors, quadrupoles)

    def _one_hot(self, types: torch.Tensor) -> torch.Tensor:
        return types[:, None] == torch.arange(self.n_species, device=types.device)

    def _weights(
        self, graph: GatedGraph, block: slice, views: Sequence[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """Radial functions × harmonics of some particles, (N, 9·n_radial, K), for each view."""
        found, pairs = {}, None
        if self.pair_force:
            here, there = graph.types[block, None], graph.types[graph.neighbours[block]]
            pairs = (self.pairs[0][here, there], self.pairs[1][here, there])
        for name in views or self.views:
            vectors = graph.vectors[name][block]
            r = torch.linalg.vector_norm(vectors, dim=-1).clamp_min(1e-3)
            radial = radial_functions(r, self.n_basis, self.cutoff, self.core, pairs)
            radial = radial * graph.real[block][:, None]
            k = self.views.index(name)
            if self.standard_in.measuring and block.start == 0:
                self.radial_scale[k] = (radial.square().sum((0, 2)) / len(radial)).sqrt()
            radial = radial / self.radial_scale[k][:, None]
            angular = harmonics(vectors / r[..., None])
            if graph.reverse is not None and torch.is_autocast_enabled(r.device.type):
                half = torch.get_autocast_dtype(r.device.type)
                radial, angular = radial.to(half), angular.to(half)
            found[name] = (angular[:, :, None] * radial[:, None]).flatten(1, 2)
        return found

    def read_out(
        self, raw: torch.Tensor, features: tuple[torch.Tensor, ...], types: torch.Tensor
    ) -> torch.Tensor:
        """Standardised prediction of each particle, (N, n_outputs), from what its layers left."""
        hidden = nn.functional.silu(self.hidden(self.standard_out(self.invariants(raw, features))))
        hidden = self.dropout(hidden)
        one_hot = self._one_hot(types).to(raw.dtype)
        own = hidden.to(raw.dtype).view(len(raw), self.n_species, self.readout) * one_hot[..., None]
        answers: torch.Tensor = own.flatten(1) @ self.out.flatten(0, 1) + one_hot @ self.bias
        return answers.to(raw.dtype)
