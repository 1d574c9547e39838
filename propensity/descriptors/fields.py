"""Local fields coarse-grained with exp(−r/ξ): any per-particle quantity, and the number density."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from propensity.descriptors.pairs import exponential_sums
from propensity.structure import Structure

#: Coarse-graining stops here, in σ; just under half the box of the usual 4096 particles.
REACH = 6.0


def coarse_grain(structure: Structure, values: np.ndarray, lengths: Sequence[float]) -> np.ndarray:
    """X̄_i(ξ) = Σ_j X_j e^{−r_ij/ξ} / Σ_j e^{−r_ij/ξ} over r_ij < 6σ, self included, shape (N, n_lengths)."""
    weights, weighted = exponential_sums(structure, values, np.array(lengths, dtype=float), REACH)
    return cast("np.ndarray", (values[:, None] + weighted) / (1 + weights))


def local_density(structure: Structure, lengths: Sequence[float]) -> np.ndarray:
    """ρ_i(ξ) = Σ_{j≠i} e^{−r_ij/ξ} / ∫e^{−r/ξ}d³r over r < 6σ, in σ⁻³, shape (N, n_lengths)."""
    xi = np.array(lengths, dtype=float)
    u = REACH / xi
    volume = 8 * np.pi * xi**3 * (1 - np.exp(-u) * (1 + u + u * u / 2))
    return exponential_sums(structure, np.zeros(len(structure)), xi, REACH)[0] / volume
