"""Structure functions of Behler–Parrinello type, as used for softness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple, cast

import numpy as np

from propensity.compiling import njit
from propensity.descriptors.averaged import neighbour_rows, radial_descriptors
from propensity.errors import InputError
from propensity.structure import Structure

#: Centres of the radial functions, in σ_AA.
RADIAL = tuple(round(0.1 * k, 9) for k in range(1, 51))

#: Width δ of the radial functions, in σ_AA.  Publications write exp(−(r − μ)²/L²) or exp(−(r − μ)²/2δ²); the
#: codes that
#: can be read (A. Liu's group, amlearn, SoftnessML_api) all compute the second with δ = 0.1.
WIDTH = 0.1

#: (ξ, ζ, λ) of the 22 angular functions of Cubuk et al., Phys. Rev. Lett. 114, 108001 (2015); ξ in σ_AA.  The
#: same in
#: amlearn (Qi-max/amlearn) and SoftnessML_api (tomidiy/SoftnessML_api).
ANGULAR = (
    *((xi, zeta, lam) for xi, zeta in ((14.633, 1), (14.638, 2), (2.554, 1), (2.554, 2)) for lam in (-1, 1)),
    *((1.648, zeta, 1) for zeta in (1, 2)),
    *((xi, zeta, 1) for xi in (1.204, 0.933, 0.695) for zeta in (1, 2, 4, 16)),
)

#: Angular sums run over neighbours closer than this, in σ_AA: two shells, as in amlearn.
ANGULAR_CUTOFF = 2.5


def structure_functions(
    structure: Structure, n_species: int, angular_cutoff: float = ANGULAR_CUTOFF, width: float = WIDTH
) -> np.ndarray:
    """Radial functions by species, then angular ones by species pair, shape (N, 50·S + 22·S(S+1)/2).

    Columns follow :func:`names`.
    """
    radial = radial_descriptors(structure, n_species, [(r, width) for r in RADIAL])
    return np.concatenate([radial, angular_functions(structure, n_species, ANGULAR, angular_cutoff)], axis=1)


def names(species: Sequence[str]) -> list[str]:
    """Name of each structure function, e.g. ``G(r=1.1,A)`` and ``Ψ(ξ=2.554,ζ=1,λ=-1,AB)``."""
    radial = [f"G(r={r:g},{s})" for s in species for r in RADIAL]
    pairs = ["".join(pair) for pair in combinations_with_replacement(species, 2)]
    return radial + [f"Ψ(ξ={xi:g},ζ={zeta},λ={lam},{pair})" for pair in pairs for xi, zeta, lam in ANGULAR]


def angular_functions(
    structure: Structure,
    n_species: int,
    parameters: Sequence[tuple[float, int, int]],
    cutoff: float = ANGULAR_CUTOFF,
) -> np.ndarray:
    """Ψ_i(ξ, ζ, λ; X, Y) = Σ_{j∈X, k∈Y} exp(−(r_ij² + r_ik² + r_jk²)/ξ²) (1 + λ cos θ_jik)^ζ.

    Each unordered pair of neighbours within the cutoff counts once; shape (N, n_pairs·n_parameters), by
    species pair XX, XY, ..., YY.  Source: Phys. Rev. Lett. 114, 108001, Eq. 2.

    Raises
    ------
    InputError
        When ζ is not a positive integer, or the structure has more species.
    """
    if structure.types.max() >= n_species:
        raise InputError(
            f"the structure has type {structure.types.max()}, but there are {n_species} species."
        )
    if any(zeta < 1 or zeta != int(zeta) for _, zeta, _ in parameters):
        raise InputError("an angular function has ζ that is not a positive integer.")
    widths, width_of = np.unique([float(xi) for xi, _, _ in parameters], return_inverse=True)
    shapes, shape_of = np.unique([(zeta, lam) for _, zeta, lam in parameters], axis=0, return_inverse=True)
    pair_of = np.zeros((n_species, n_species), dtype=np.int64)
    for k, (a, b) in enumerate(combinations_with_replacement(range(n_species), 2)):
        pair_of[a, b] = pair_of[b, a] = k
    start, source, r, vectors = neighbour_rows(structure, cutoff)
    return cast(
        "np.ndarray",
        _triples(
            start,
            structure.types[source],
            r,
            vectors,
            pair_of,
            _Functions(
                1 / widths**2,
                width_of.ravel(),
                shapes[:, 0].astype(np.int64),
                shapes[:, 1].astype(np.float64),
                shape_of.ravel(),
            ),
        ),
    )


class _Functions(NamedTuple):
    """Parameters of the angular functions; those that share a width or a shape compute it once."""

    inverse: np.ndarray  # 1/ξ² of each width
    width_of: np.ndarray  # width of each function
    zeta: np.ndarray  # of each shape
    lam: np.ndarray
    shape_of: np.ndarray  # shape of each function


@njit(nogil=True)
def _triples(start, types, r, vectors, pair_of, functions):  # type: ignore[no-untyped-def]
    """Reads the neighbours of each particle; writes the sums over pairs of them, (N, n_pairs·n_functions)."""
    inverse, width_of, zeta, lam, shape_of = functions
    n, n_functions = len(start) - 1, len(width_of)
    out = np.zeros((n, (pair_of.max() + 1) * n_functions))
    gaussian, angle = np.empty(len(inverse)), np.empty(len(zeta))
    for i in range(n):
        for a in range(start[i], start[i + 1]):
            for b in range(a + 1, start[i + 1]):
                dot = 0.0
                for c in range(3):
                    dot += vectors[a, c] * vectors[b, c]
                # r_jk² = r_ij² + r_ik² − 2 r_ij·r_ik
                squares = 2 * (r[a] * r[a] + r[b] * r[b] - dot)
                cosine = dot / (r[a] * r[b])
                for k in range(len(inverse)):
                    gaussian[k] = math.exp(-squares * inverse[k])
                for k in range(len(zeta)):
                    base = max(1.0 + lam[k] * cosine, 0.0)
                    power = 1.0
                    for _ in range(zeta[k]):
                        power *= base
                    angle[k] = power
                offset = pair_of[types[a], types[b]] * n_functions
                for f in range(n_functions):
                    out[i, offset + f] += gaussian[width_of[f]] * angle[shape_of[f]]
    return out
