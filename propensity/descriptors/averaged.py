"""Averaged structural descriptors of Boattini, Smallenburg and Filion, Phys. Rev. Lett. 127, 088007
(2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from scipy.sparse import csr_array

from propensity.descriptors.harmonics import angular_sums, legendre_coefficients
from propensity.descriptors.pairs import TAIL, gaussian_sums
from propensity.errors import InputError
from propensity.neighbours import neighbour_list
from propensity.structure import Structure


def _shells(*pieces: tuple[float, float, float]) -> tuple[tuple[float, float], ...]:
    """(r, δ) pairs from (first, last, spacing = δ) pieces."""
    return tuple(
        (round(first + k * step, 9), step)
        for first, last, step in pieces
        for k in range(round((last - first) / step) + 1)
    )


@dataclass(frozen=True)
class DescriptorGrid:
    """Where the descriptors are evaluated; 1092 features for two species at the defaults.

    Parameters
    ----------
    radial
        (r, δ) of the radial descriptors, in σ: fine near contact, coarse far away.
    angular
        (r, δ) of the angular descriptors.
    l_max
        Orders l = 1..l_max.
    generations
        How often the descriptors are averaged over neighbours.
    averaging_length
        r_c of the averages, in σ: neighbours closer than r_c, with weights exp(−r/r_c).
    """

    radial: tuple[tuple[float, float], ...] = field(
        default_factory=lambda: _shells((0.875, 2.0, 0.025), (2.05, 3.0, 0.05), (3.1, 5.0, 0.1))
    )
    angular: tuple[tuple[float, float], ...] = field(default_factory=lambda: _shells((1.0, 2.5, 0.1)))
    l_max: int = 12
    generations: int = 2
    averaging_length: float = 2.1

    def __post_init__(self) -> None:
        for name in ("radial", "angular"):
            shells = tuple((float(r), float(delta)) for r, delta in getattr(self, name))
            if any(r <= 0 or delta <= 0 for r, delta in shells):
                raise InputError(f"{name} shells have r or δ ≤ 0: give positive distances and widths.")
            object.__setattr__(self, name, shells)
        if not (1 <= self.l_max <= 50 and 0 <= self.generations <= 20 and 0 < self.averaging_length <= 20):
            raise InputError(
                f"l_max is {self.l_max}, generations {self.generations}, averaging_length"
                f" {self.averaging_length}: give l_max ≥ 1 (to 50), generations ≥ 0 (to 20) and a positive"
                " length (to 20)."
            )

    def names(self, species: Sequence[str]) -> list[str]:
        """Name of each feature, e.g. ``G0(r=1.1,A)`` and ``q2(l=6,r=1.5)``; the number is the generation."""
        base = [f"G{{}}(r={r:g},{s})" for s in species for r, _ in self.radial]
        base += [f"q{{}}(l={l},r={r:g})" for r, _ in self.angular for l in range(1, self.l_max + 1)]
        return [name.format(n) for n in range(self.generations + 1) for name in base]


def averaged_descriptors(
    structure: Structure, n_species: int, grid: DescriptorGrid | None = None
) -> np.ndarray:
    """All generations of radial and angular descriptors, float64, shape (N, n_features).

    Columns follow :meth:`DescriptorGrid.names`.  Source: Phys. Rev. Lett. 127, 088007, Eqs. 1–4.
    """
    grid = grid or DescriptorGrid()
    generations = [
        np.concatenate(
            [
                radial_descriptors(structure, n_species, grid.radial),
                angular_descriptors(structure, grid.angular, grid.l_max),
            ],
            axis=1,
        )
    ]
    average = averaging_matrix(structure, grid.averaging_length)
    for _ in range(grid.generations):
        generations.append(average @ generations[-1])
    return np.concatenate(generations, axis=1)


def radial_descriptors(
    structure: Structure, n_species: int, shells: Sequence[tuple[float, float]]
) -> np.ndarray:
    """G_i(r, δ, s) = Σ_{j≠i, s_j=s} exp(−(r_ij − r)²/2δ²), shape (N, n_species·n_shells), by species.

    Raises
    ------
    InputError
        When the structure has a type ≥ ``n_species``, or two particles coincide.
    """
    _check_types(structure, n_species)
    if not shells:
        return np.zeros((len(structure), 0))
    r, delta = np.array(shells, dtype=float).T
    return gaussian_sums(structure, n_species, r, delta)


def angular_descriptors(
    structure: Structure, shells: Sequence[tuple[float, float]], l_max: int = 12
) -> np.ndarray:
    """q_i(l, r, δ) = √(4π/(2l+1) Σ_m |q_lm|²) for l = 1..l_max, shape (N, n_shells·l_max), by shell.

    q_lm = Σ_{j≠i} w_ij Y_lm(r̂_ij) / Σ_{j≠i} w_ij with w_ij = exp(−(r_ij − r)²/2δ²); 0 where no
    neighbour is within 8δ of the shell.
    """
    if not shells:
        return np.zeros((len(structure), 0))
    r, delta = np.array(shells, dtype=float).T
    start, _, distance, vectors = neighbour_rows(structure, float((r + TAIL * delta).max()))
    return cast(
        "np.ndarray", angular_sums(start, distance, vectors, r, delta, l_max, legendre_coefficients(l_max))
    )


def averaging_matrix(structure: Structure, length: float, cutoff: float | None = None) -> csr_array:
    """Rows of exp(−r_ij/length) over r_ij < cutoff, self included, normalised to 1; shape (N, N), sparse.

    Source: Phys. Rev. Lett. 127, 088007, Eq. 4, where the cutoff is the length itself (the default).
    """
    start, source, distance, _ = neighbour_rows(structure, length if cutoff is None else cutoff)
    n = len(structure)
    weights = csr_array((np.exp(-distance / length), source, start), shape=(n, n))
    weights = weights + csr_array((np.ones(n), np.arange(n), np.arange(n + 1)), shape=(n, n))
    return csr_array(weights.multiply(1 / weights.sum(axis=1)[:, None]))


def neighbour_rows(
    structure: Structure, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours of each particle: row starts (N+1,), sources, distances and vectors r_j − r_i.

    Raises
    ------
    InputError
        When two particles coincide, since the direction between them is undefined.
    """
    edge_index, edge_vec = neighbour_list(structure, cutoff)
    vectors = edge_vec.numpy()
    distance = np.sqrt(np.einsum("ed,ed->e", vectors, vectors))
    if len(distance) and distance.min() == 0:
        j, i = edge_index[:, int(distance.argmin())].tolist()
        raise InputError(
            f"particles {i} and {j} coincide: remove one, the direction between them is undefined."
        )
    start = np.searchsorted(edge_index[1].numpy(), np.arange(len(structure) + 1))
    return start, edge_index[0].numpy(), distance, vectors


def _check_types(structure: Structure, n_species: int) -> None:
    if structure.types.max() >= n_species:
        raise InputError(
            f"the structure has type {structure.types.max()}, but there are {n_species} species: types are"
            f" 0..{n_species - 1}."
        )
