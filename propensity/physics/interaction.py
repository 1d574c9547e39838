"""Pair interactions of a mixture: 12-6 with its truncations in closed form, everything else tabulated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from propensity.errors import InputError, suggest

#: ε and σ by species pair, Kob and Andersen, Phys. Rev. E 51, 4626 (1995); cut at 2.5 σ_ab.
EPSILON = np.array([[1.0, 1.5], [1.5, 0.5]])
SIGMA = np.array([[1.0, 0.8], [0.8, 0.88]])
CUT = 2.5

#: r → (U, F = −dU/dr), arrays of one shape.
PairFunction = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
#: How a 12-6 potential ends at its cutoff: unshifted, energy continuous, or energy and force continuous.
Truncation = Literal["plain", "energy", "force"]
#: Rows of a tabulated pair, and where it begins, as a fraction of the cutoff: F/r is constant below.
ROWS, FIRST = 8192, 0.2


@dataclass(frozen=True, eq=False)
class Interaction:
    """Pair potentials of every two species, in LJ units.

    Parameters
    ----------
    masses
        Of the species, shape (K,).
    cutoff
        Shape (K, K), symmetric.
    dimension
        2 or 3.
    epsilon, sigma
        Of 12-6 pairs, shape (K, K); None when tabulated.
    truncation
        Of 12-6 pairs.
    functions
        Of tabulated pairs: ``functions[a][b]``, None for 12-6.
    """

    masses: np.ndarray
    cutoff: np.ndarray
    dimension: int = 3
    epsilon: np.ndarray | None = None
    sigma: np.ndarray | None = None
    truncation: Truncation = "energy"
    functions: Sequence[Sequence[PairFunction]] | None = None

    def __post_init__(self) -> None:
        k = len(self.masses)
        if np.shape(self.cutoff) != (k, k) or not np.array_equal(self.cutoff, np.transpose(self.cutoff)):
            raise InputError(
                f"cutoff has shape {np.shape(self.cutoff)}: give a symmetric array of shape ({k}, {k})."
            )
        if not (np.min(self.cutoff) > 0 and np.min(self.masses) > 0):
            raise InputError("a mass or a cutoff is not positive: every species needs both.")
        if self.dimension not in (2, 3):
            raise InputError(f"dimension is {self.dimension}: choose 2 or 3.")
        if (self.functions is None) == (self.epsilon is None or self.sigma is None):
            raise InputError("give either epsilon and sigma of 12-6 pairs or functions of tabulated ones.")

    @property
    def n_species(self) -> int:
        """K."""
        return len(self.masses)

    def pair(self, a: int, b: int, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energy and force of a pair of species ``a`` and ``b`` at distances ``r``, zero past the cutoff."""
        r = np.asarray(r, np.float64)
        near = r < self.cutoff[a, b]
        inside = np.where(near, r, 0.5 * self.cutoff[a, b])
        if self.functions is not None:
            u, f = self.functions[a][b](inside)
        else:
            assert self.epsilon is not None and self.sigma is not None
            u, f = lennard_jones(inside, self.epsilon[a, b], self.sigma[a, b])
            u_c, f_c = lennard_jones(self.cutoff[a, b], self.epsilon[a, b], self.sigma[a, b])
            if self.truncation != "plain":
                u = u - u_c
            if self.truncation == "force":
                u, f = u + (inside - self.cutoff[a, b]) * f_c, f - f_c
        return np.where(near, u, 0.0), np.where(near, f, 0.0)


def named_interaction(name: str) -> Interaction:
    """Interaction of a known liquid, by the name that data sets carry.

    ``"lj/cut"`` (Bapst et al.) and ``"lj/cut force-shifted"`` (BOTAN, GlassBench) are Kob–Andersen's 80:20
    mixture, ``"lj/cut 2d"`` is the first in two dimensions; the others are ``"lj/cut Wahnstroem"`` and
    ``"soft spheres r^-12"``.

    Raises
    ------
    InputError
        When there is none of this name.
    """
    ones = np.ones(2)
    if name in ("lj/cut", "lj/cut force-shifted", "lj/cut 2d"):
        return Interaction(
            ones,
            CUT * SIGMA,
            2 if name.endswith("2d") else 3,
            EPSILON,
            SIGMA,
            "force" if name.endswith("shifted") else "energy",
        )
    masses = np.array([2.0, 1.0])
    if name == "lj/cut Wahnstroem":
        size = np.array([1.0, 5 / 6])
        sigma = (size[:, None] + size) / 2
        return Interaction(masses, 2.5 * sigma, 3, np.ones((2, 2)), sigma, "energy")
    if name == "soft spheres r^-12":
        size = np.array([1.0, 1.2])
        sigma = (size[:, None] + size) / 2
        functions = [[tapered(float(s) ** 12, 0.0, 2.8, 3.0) for s in row] for row in sigma]
        return Interaction(masses[::-1].copy(), np.full((2, 2), 3.0), 3, functions=functions)
    known = ["lj/cut", "lj/cut force-shifted", "lj/cut 2d", "lj/cut Wahnstroem", "soft spheres r^-12"]
    raise InputError(
        f"no interaction {name!r}: choose from {', '.join(known)}{suggest(name, known)}, or give your own."
    )


def lennard_jones(r: np.ndarray | float, epsilon: float, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Untruncated 12-6 energy and force."""
    s6 = (sigma / np.asarray(r)) ** 6
    return 4 * epsilon * (s6 * s6 - s6), 24 * epsilon * (2 * s6 * s6 - s6) / r


def inverse_power(epsilon: float, sigma: float, exponent: float, cutoff: float) -> PairFunction:
    """ε(σ/r)ⁿ with energy and force shifted to zero at the cutoff: soft spheres."""
    e_c = epsilon * (sigma / cutoff) ** exponent
    f_c = exponent * e_c / cutoff

    def function(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u = epsilon * (sigma / r) ** exponent
        return u - e_c + (r - cutoff) * f_c, exponent * u / r - f_c

    return function


def tapered(a12: float, b6: float, inner: float, cutoff: float) -> PairFunction:
    """A/r¹² − B/r⁶ taken smoothly to zero from ``inner`` on: M. Mei et al., LAMMPS's ``lennard/mdf``."""

    def function(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u = a12 / r**12 - b6 / r**6
        f = (12 * a12 / r**12 - 6 * b6 / r**6) / r
        x = np.clip((r - inner) / (cutoff - inner), 0.0, 1.0)
        t = (1 - x) ** 3 * (1 + 3 * x + 6 * x * x)
        slope = -30 * x * x * (1 - x) ** 2 / (cutoff - inner)
        return u * t, f * t - u * slope

    return function


def interpolated(r: np.ndarray, energy: np.ndarray, force: np.ndarray) -> PairFunction:
    """Cubic splines through a user's table; constant force below its first distance.

    Parameters
    ----------
    r, energy, force
        Shape (M,), r increasing.
    """
    from scipy.interpolate import CubicSpline

    if len(r) < 4 or (np.diff(r) <= 0).any() or not np.isfinite([r, energy, force]).all():
        raise InputError("a tabulated potential needs at least four finite rows of increasing distance.")
    u_of, f_of = CubicSpline(r, energy), CubicSpline(r, force)

    def function(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inside = np.maximum(x, r[0])
        return u_of(inside) + (inside - x) * force[0], f_of(inside)

    return function


def rows_of(interaction: Interaction, a: int, b: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Cubics of F/r and U in equal intervals of r².

    Returns
    -------
    force_rows, energy_rows
        Coefficients of 1, f, f², f³ with f in [0, 1), shape (ROWS, 4).
    first, spacing
        Lowest r² and width of an interval.
    """
    from scipy.interpolate import CubicSpline

    cut = float(interaction.cutoff[a, b])
    s = np.linspace((FIRST * cut) ** 2, cut**2, ROWS + 1)
    # Just inside at the cutoff, where `pair` is cut to zero.
    r = np.sqrt(s)
    r[-1] = cut * (1 - 1e-12)
    u, f = interaction.pair(a, b, r)
    h = s[1] - s[0]
    rows = []
    for values in (f / r, u):
        c = CubicSpline(s, values).c[::-1].T
        rows.append((c * h ** np.arange(4)).astype(np.float32))
    return rows[0], rows[1], float(s[0]), float(h)


def energy_and_forces(
    interaction: Interaction, positions: np.ndarray, types: np.ndarray, box: np.ndarray
) -> tuple[float, np.ndarray, float]:
    """Reference in float64: energy, forces (N, 3) and virial Σ r·F of one periodic system."""
    from scipy.spatial import cKDTree

    d = interaction.dimension
    edges = np.asarray(box, float)[:d]
    x = np.asarray(positions, float)[:, :d]
    inside = x - edges * np.floor(x / edges)
    inside = np.where(inside >= edges, 0.0, inside)
    reach = float(interaction.cutoff.max())
    if 2 * reach <= edges.min():
        i, j = cKDTree(inside, boxsize=edges).query_pairs(reach, output_type="ndarray").T
    else:
        i, j = np.triu_indices(len(x), 1)
    v = x[i] - x[j]
    v -= edges * np.rint(v / edges)
    r = np.sqrt((v * v).sum(axis=1))
    u, f = np.zeros(len(r)), np.zeros(len(r))
    for a in range(interaction.n_species):
        for b in range(interaction.n_species):
            of = (types[i] == a) & (types[j] == b)
            u[of], f[of] = interaction.pair(a, b, r[of])
    pull = (f / r)[:, None] * v
    forces = np.zeros((len(x), 3))
    for k in range(d):
        forces[:, k] = np.bincount(i, pull[:, k], len(x)) - np.bincount(j, pull[:, k], len(x))
    return float(u.sum()), forces, float((f * r).sum())
