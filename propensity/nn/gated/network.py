"""GatedNetwork: the whole network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from propensity.errors import InputError
from propensity.nn.gated.geometry import harmonics, radial_functions
from propensity.nn.gated.graph import VIEWS, GatedGraph
from propensity.nn.gated.layer import GatedLayer, Standard, Widths, lengths
from propensity.nn.gated.stack import Gather
from propensity.nn.gated.triton.ends import answers_of
from propensity.nn.gated.triton.passing import Passing, fits

#: ε and σ of the pairs of a Kob–Andersen mixture, for the force and its slope among the radial functions.
PAIRS = (((1.0, 1.5), (1.5, 0.5)), ((1.0, 0.8), (0.8, 0.88)))
#: Particles that a layer treats at once: their weights and sums take 100 MB.
BLOCK = 2048
#: The view of neighbours at positions that the network guesses; nearer than this in it they are held, in σ.
GUESSED, NEAREST = "guessed", 0.5
#: How many vectors, quadrupoles and scalars each choice of inputs brings, by number of cage states.
INPUTS = {
    "thermal": lambda r: (0, 0, 0),
    "inherent": lambda r: (1, 0, 1),
    "cage": lambda r: (1 + r, r, 1 + 4 * r),
}


@dataclass
class Passed:
    """What the layers left: standardised inputs (N, ·); scalars (N, S), vectors (N, 3, V) and quadrupoles
    (N, 5, Q) after the last layer or after each; guessed ways (N, 3, ·), where there are any; and the type of
    operands, where what follows runs in the kernels of a GPU too.
    """

    raw: torch.Tensor
    features: list[tuple[torch.Tensor, ...]]
    guess: torch.Tensor | None = None
    operands: torch.dtype | None = None


class GatedNetwork(nn.Module):
    """Per-particle regression that is invariant under rotation, reflection, translation and permutation.

    Each layer reads the neighbours in one view of the structure (thermal, inherent or cage positions).  The
    geometric weights of neighbours are fixed functions; all that is learned acts at the particles, as matrix
    products and small perceptrons, which is why wide layers cost little.

    Parameters
    ----------
    layers
        View that each layer reads: ``"thermal"``, ``"inherent"``, ``"cage"``, or ``"guessed"``: where the
        network itself expects the cages, by what the layers before have found.
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
    n_guessed
        Ways that are guessed (standardised) before the first ``"guessed"`` layer; ``guess_scale`` says how
        much of each, in σ, leads from the positions of ``inputs`` to those that it sees.
    widths
        Fields of :class:`~propensity.nn.gated.layer.Widths`.
    """

    guess_scale: torch.Tensor
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
        n_guessed: int = 0,
        widths: dict[str, int] | None = None,
    ) -> None:
        super().__init__()
        unknown = sorted({*layers} - {*VIEWS, GUESSED})
        if unknown or not layers or inputs not in INPUTS:
            raise InputError(
                f"layers {list(layers)} or inputs {inputs!r} are unknown: layers are among"
                f" {(*VIEWS, GUESSED)}, inputs among {tuple(INPUTS)}."
            )
        if pair_force and n_species != 2:
            raise InputError(f"pair_force is that of a Kob–Andersen mixture: {n_species} species have none.")
        if (GUESSED in layers) != (n_guessed > 0) or layers[0] == GUESSED or (inputs == "cage" and n_guessed):
            raise InputError(
                f"layers {list(layers)} with inputs {inputs!r} and n_guessed = {n_guessed}: guess something"
                " where a layer sees it, after the first, and where the inputs don't show cages."
            )
        self.widths = w = Widths(**(widths or {}))
        self.layer_views, self.inputs, self.views = tuple(layers), inputs, tuple(sorted({*layers}))
        self.given_views = tuple(sorted({*layers, inputs} - {GUESSED})) if n_guessed else self.views
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
            "n_guessed": n_guessed,
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
        self.hidden = nn.Linear(n_out + n_guessed, readout * n_species)
        self.dropout = nn.Dropout(0.0)
        self.out = nn.Parameter(torch.randn(n_species, readout, n_outputs) / readout**0.5)
        self.bias = nn.Parameter(torch.zeros(n_species, n_outputs))
        self.guess = nn.Linear(w.vectors, n_guessed, bias=False) if n_guessed else None
        if self.guess is not None:
            nn.init.zeros_(self.guess.weight)
            self.register_buffer("guess_scale", torch.zeros(n_guessed))
        self.register_buffer("vector_scale", torch.ones(n_vectors))
        self.register_buffer("quadrupole_scale", torch.ones(n_quadrupoles))
        self.register_buffer("radial_scale", torch.ones(len(self.views), n_radial))
        self.register_buffer("pairs", torch.tensor(PAIRS), persistent=False)

    def forward(self, graph: GatedGraph) -> torch.Tensor:
        """Standardised prediction for each particle, shape (N, n_outputs)."""
        return self.read_out(self.passed(graph), graph.types)

    def passed(self, graph: GatedGraph, every: bool = False) -> Passed:
        """Pass a graph through the layers; features of the last one are kept, or of ``every`` one."""
        if not every and fits(self, graph):
            return self._passed_at_once(graph)
        raw, features = self._first(graph)
        found = Passed(raw, [])
        blocks, moves = list(self._blocks(graph)), None
        # The weights of a large structure are made anew for each layer rather than kept.
        kept: dict[str, list[torch.Tensor]] = {}
        for name, layer in zip(self.layer_views, self.layers, strict=True):
            if name == GUESSED and found.guess is None:
                found.guess, moves = self._guessed(features[1])
            sent = layer.sent(features[0], features[1])
            new = []
            if name not in kept and len(blocks) <= 4:
                kept[name] = [self._weights(graph, block, name, moves) for block in blocks]
            for k, block in enumerate(blocks):
                weights = kept[name][k] if name in kept else self._weights(graph, block, name, moves)
                own = (features[0][block], features[1][block], features[2][block])
                received = (
                    sent[graph.neighbours[block]]
                    if graph.reverse is None
                    else Gather.apply(sent, graph.neighbours, graph.reverse)
                )
                new.append(layer(own, received, weights))
            features = tuple(torch.cat(part) for part in zip(*new, strict=True))
            found.features = [*found.features, features] if every else [features]
        return found

    def _passed_at_once(self, graph: GatedGraph) -> Passed:
        """:meth:`passed` in the kernels of a GPU."""
        passing, guess = Passing(self, graph), None
        raw, features = passing.first()
        size = len(self.layers)
        first = self.layer_views.index(GUESSED) if GUESSED in self.layer_views else size
        features = passing.layers(slice(0, first), features, None)
        if first < size:
            guess, moves = self._guessed(features[1])
            features = passing.layers(slice(first, size), features, moves)
        return Passed(raw, [features], guess, passing.half)

    def _guessed(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Ways that are guessed, standardised, and where the guessed view lies by them."""
        assert self.guess is not None
        guess = self.guess(vectors).to(self.guess_scale.dtype)
        # What later layers see teaches nothing about where neighbours are: the labels do.
        return guess, (guess.detach() if self.training else guess) @ self.guess_scale

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
        self, graph: GatedGraph, block: slice, name: str, moves: torch.Tensor | None
    ) -> torch.Tensor:
        """Radial functions × harmonics of some particles in one view, (N, 9·n_radial, K)."""
        radial, angular = self.geometry(graph, block, name, moves)
        if graph.reverse is not None and torch.is_autocast_enabled(radial.device.type):
            half = torch.get_autocast_dtype(radial.device.type)
            radial, angular = radial.to(half), angular.to(half)
        return (angular[:, :, None] * radial[:, None]).flatten(1, 2)

    def geometry(
        self, graph: GatedGraph, block: slice, name: str, moves: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Radial functions (N, n_radial, K) and harmonics (N, 9, K) of some particles in one view."""
        pairs, real, nearest = None, graph.real[block], 1e-3
        if self.pair_force:
            here, there = graph.types[block, None], graph.types[graph.neighbours[block]]
            pairs = (self.pairs[0][here, there], self.pairs[1][here, there])
        if name == GUESSED:
            assert moves is not None
            given = graph.vectors[self.inputs][block]
            apart = (moves[graph.neighbours[block]] - moves[block, None]) * real[..., None]
            # Neighbours are listed by where they are given, and may not appear at once.
            inside = ((self.cutoff - torch.linalg.vector_norm(given, dim=-1)) / (0.1 * self.cutoff)).clamp(
                0, 1
            )
            vectors, real, nearest = given + apart, real * inside**2 * (3 - 2 * inside), NEAREST
        else:
            vectors = graph.vectors[name][block]
        r = torch.linalg.vector_norm(vectors, dim=-1).clamp_min(nearest)
        radial = radial_functions(r, self.n_basis, self.cutoff, self.core, pairs) * real[:, None]
        k = self.views.index(name)
        if self.standard_in.measuring and block.start == 0:
            self.radial_scale[k] = (radial.square().sum((0, 2)) / len(radial)).sqrt()
        return radial / self.radial_scale[k][:, None], harmonics(vectors / r[..., None])

    def read_out(self, passed: Passed, types: torch.Tensor) -> torch.Tensor:
        """Standardised prediction of each particle, (N, n_outputs), from what the layers left."""
        raw = passed.raw
        if passed.operands is not None:
            return answers_of(self, passed, types, passed.operands)
        seen = self.standard_out(self.invariants(raw, passed.features[-1]))
        if passed.guess is not None:
            seen = torch.cat([seen, lengths(passed.guess)], dim=1)
        hidden = self.dropout(nn.functional.silu(self.hidden(seen)))
        one_hot = self._one_hot(types).to(raw.dtype)
        own = hidden.to(raw.dtype).view(len(raw), self.n_species, self.readout) * one_hot[..., None]
        answers: torch.Tensor = own.flatten(1) @ self.out.flatten(0, 1) + one_hot @ self.bias
        return answers.to(raw.dtype)
