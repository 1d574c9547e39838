"""Training one network on several temperatures: its conditions, its answers, and its readout solved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import Sampler

from propensity.errors import DataError
from propensity.estimators.conditions import Conditions, StatePoint, median_offset
from propensity.estimators.se3gnn import features_of
from propensity.estimators.training_set import check_mixture, label_statistics
from propensity.graph import Graph

if TYPE_CHECKING:
    from propensity.nn import SE3GNN
    from propensity.sample import Sample

#: Structures of a state point that the readout is solved on at most, evenly spaced.
SOLVED = 16
#: Ridge of the readout, relative to the mean square of its features.
RIDGE = 1e-4


def learn_conditions(train: Sequence[Sample]) -> Conditions:
    """State points of samples at two temperatures or more, each with times of its own.

    Raises
    ------
    DataError
        For a sample without temperature, a single temperature, or structures at one temperature that differ
        in times or interaction.
    """
    first = check_mixture(train)
    groups: dict[float, list[Sample]] = {}
    for sample in train:
        if sample.temperature is None:
            raise DataError(
                f"{sample.name} has no temperature, which --condition temperature needs: add it to the file,"
                " or leave this structure out."
            )
        groups.setdefault(round(sample.temperature, 6), []).append(sample)
    if len(groups) < 2:
        raise DataError(
            f"all structures are at temperature {next(iter(groups)):g}: --condition temperature needs two at"
            " least; train without it."
        )
    states = []
    for temperature, samples in sorted(groups.items()):
        one = samples[0]
        for other in samples:
            same = len(other.times) == len(one.times) and np.allclose(other.times, one.times, rtol=1e-6)
            if not same or other.potential != one.potential:
                what = (
                    f"interactions {one.potential!r} and {other.potential!r}"
                    if same
                    else f"times {one.times} and {other.times}"
                )
                raise DataError(
                    f"{one.name} and {other.name} are both at temperature {temperature:g} and have {what}:"
                    " give one set a temperature."
                )
        order = np.argsort(one.times)
        mean, std = (values[:, order] for values in label_statistics(samples))
        states.append(
            StatePoint(
                temperature=temperature,
                potential=one.potential,
                times=tuple(float(f"{t:.10g}") for t in np.asarray(one.times)[order]),
                tau_alpha=one.tau_alpha,
                mean=tuple(map(tuple, mean.tolist())),
                std=tuple(map(tuple, std.tolist())),
                offset=_offsets(samples),
                n_structures=len(samples),
            )
        )
    shares = np.mean([x.structure.composition(len(first.species)) for x in train], axis=0)
    return Conditions(states=tuple(states), composition=tuple(shares.tolist()))


def _offsets(samples: Sequence[Sample]) -> tuple[float, float] | None:
    """Mean and spread over structures of the median thermal offset."""
    if any(sample.inherent_positions is None for sample in samples):
        return None
    sizes = [
        median_offset(
            cast(
                "np.ndarray", x.structure.at_minimum(cast("np.ndarray", x.inherent_positions)).thermal_offset
            )
        )
        for x in samples
    ]
    return float(np.mean(sizes)), float(np.std(sizes))


def labels_at(sample: Sample, conditions: Conditions) -> tuple[int, np.ndarray]:
    """Index of the state point, and labels standardised for it, shape (N, T_max), 0 beyond its times.

    Raises
    ------
    DataError
        For a structure at another temperature or other times than those of the training.
    """
    temperatures = conditions.temperatures
    away = np.abs(temperatures - (np.inf if sample.temperature is None else sample.temperature))
    index = int(np.argmin(away))
    state = conditions.states[index]
    types, order = sample.structure.types, np.argsort(sample.times)
    times = np.asarray(sample.times, dtype=float)[order]
    if away[index] > 1e-6 or len(times) != len(state.times) or not np.allclose(times, state.times, rtol=1e-6):
        raise DataError(
            f"{sample.name} is at temperature {sample.temperature} with {len(times)} times, and no training"
            " structures are: leave it out of the validation, and score it by `propensity evaluate`."
        )
    mean, std = np.array(state.mean), np.array(state.std)
    labels = np.zeros((len(types), longest(conditions)))
    labels[:, : len(order)] = (np.asarray(sample.propensities)[:, order] - mean[types]) / std[types]
    return index, labels


def longest(conditions: Conditions) -> int:
    """Largest number of times of a state point, T_max."""
    return max(len(state.times) for state in conditions.states)


class Answers(nn.Module):
    """From the modes of a network, (N, K), to standardised propensities at the times of each particle's state
    point, (N, T_max).
    """

    bases: torch.Tensor

    def __init__(self, conditions: Conditions, dtype: torch.dtype) -> None:
        super().__init__()
        bases = torch.zeros(len(conditions.states), conditions.n_modes, longest(conditions), dtype=dtype)
        for k, state in enumerate(conditions.states):
            found = conditions.basis(state.temperature, state.times)
            bases[k, :, : len(state.times)] = torch.from_numpy(found)
        self.register_buffer("bases", bases, persistent=False)

    def forward(self, modes: torch.Tensor, graph: Graph) -> torch.Tensor:
        """Answers for the particles of a graph with ``state``."""
        return torch.einsum("nk,nkt->nt", modes, self.bases.to(modes.dtype)[graph.state])


@torch.no_grad()
def solve_readout(network: SE3GNN, graphs: Sequence[Graph], answers: Answers) -> None:
    """Set the readout to the least-squares solution on labelled graphs, of everything before it as it is.

    A few structures of each state point say all about its hundreds of weights; gradient steps would take
    thousands to say the same.
    """
    readouts = [network.readout] + ([network.thermal.readout] if network.thermal is not None else [])
    per_species = network.config["readout"] == "species"
    n_readouts = network.n_species if per_species else 1
    n_modes, width = answers.bases.shape[1], sum(part.in_features for part in readouts) + 1
    size = width * n_modes
    left = torch.zeros(n_readouts, size, size, dtype=torch.float64)
    right = torch.zeros(n_readouts, size, dtype=torch.float64)
    was_training = network.training
    network.eval()
    try:
        for graph in _some(graphs):
            values = features_of(network, graph, None).values
            features = torch.cat([values, values.new_ones(len(values), 1)], dim=1).double().cpu()
            labels, types = graph.labels.double().cpu(), graph.types.cpu()
            basis = answers.bases[int(graph.state[0])].double().cpu()
            for s in range(n_readouts):
                mask = graph.trained.cpu() > 0
                if per_species:
                    mask = mask & (types == s)
                h = features[mask] / max(float(mask.sum()), 1) ** 0.5
                y = labels[mask] / max(float(mask.sum()), 1) ** 0.5
                left[s] += torch.kron(h.T @ h, basis @ basis.T)
                right[s] += (h.T @ y @ basis.T).flatten()
    finally:
        network.train(was_training)
    for s in range(n_readouts):
        scale = left[s].diagonal().mean()
        if scale == 0:
            continue  # a species that was not in the loss
        solved = torch.linalg.solve(left[s] + RIDGE * scale * torch.eye(size, dtype=torch.float64), right[s])
        weights = solved.view(width, n_modes)
        rows, at = slice(s * n_modes, (s + 1) * n_modes), 0
        for part in readouts:
            part.weight[rows] = weights[at : at + part.in_features].T.to(part.weight)
            part.bias[rows] = 0
            at += part.in_features
        network.readout.bias[rows] = weights[-1].to(network.readout.bias)


def _some(graphs: Sequence[Graph]) -> Iterator[Graph]:
    states = [int(graph.state[0]) for graph in graphs]
    for state in sorted(set(states)):
        own = [k for k, value in enumerate(states) if value == state]
        for k in np.unique(np.linspace(0, len(own) - 1, min(len(own), SOLVED)).astype(int)):
            yield graphs[own[int(k)]]


class BalancedSampler(Sampler[int]):
    """Equally many structures of each state point an epoch, larger sets by turns; else as
    :class:`propensity.training.graphs.EpochSampler`.
    """

    def __init__(self, states: Sequence[int], seed: int, rank: int = 0, world: int = 1) -> None:
        self.members = [[i for i, s in enumerate(states) if s == state] for state in sorted(set(states))]
        self.each = min(len(own) for own in self.members)
        self.seed, self.rank, self.world, self.epoch = seed, rank, world, 0
        if self.each * len(self.members) < world:
            raise DataError(f"there are {len(states)} training structures for {world} devices: use fewer.")

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.each * len(self.members) // self.world

    def __iter__(self) -> Iterator[int]:
        chosen = [
            self._turn(k, own, place) for k, own in enumerate(self.members) for place in range(self.each)
        ]
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(chosen))
        return iter([chosen[k] for k in order[self.rank :: self.world][: len(self)]])

    def _turn(self, k: int, own: list[int], place: int) -> int:
        """Member number ``place`` of this epoch: sets are gone through in an order that every pass renews."""
        passed, within = divmod(self.epoch * self.each + place, len(own))
        return own[int(np.random.default_rng((self.seed, k, passed)).permutation(len(own))[within])]
