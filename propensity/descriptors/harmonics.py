"""Compiled spherical harmonics and their sums over neighbours; plain formulas stand in the callers."""

from __future__ import annotations

import math

import numpy as np

from propensity.compiling import njit
from propensity.descriptors.pairs import TAIL


def legendre_coefficients(l_max: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Recursion constants of the orthonormal associated Legendre functions up to ``l_max``.

    P̄_mm = diagonal[m], P̄_lm = a[l, m]·(z·P̄_{l−1,m} − b[l, m]·P̄_{l−2,m}), without the factor sin^m θ.
    """
    diagonal = np.empty(l_max + 1)
    diagonal[0] = math.sqrt(0.25 / math.pi)
    for m in range(1, l_max + 1):
        diagonal[m] = -math.sqrt((2 * m + 1) / (2 * m)) * diagonal[m - 1]
    a, b = np.zeros((l_max + 1, l_max + 1)), np.zeros((l_max + 1, l_max + 1))
    for l in range(1, l_max + 1):
        for m in range(l):
            a[l, m] = math.sqrt((4 * l * l - 1) / (l * l - m * m))
            b[l, m] = math.sqrt(max((l - 1) ** 2 - m * m, 0) / (4 * (l - 1) ** 2 - 1)) if l > 1 else 0.0
    return diagonal, a, b


@njit(nogil=True)
def real_harmonics(x, y, z, l_max, diagonal, a, b, out):  # type: ignore[no-untyped-def]
    """Orthonormal real Y_lm of a unit vector.

    Reads   the vector x, y, z; diagonal, a and b of :func:`legendre_coefficients`.
    Writes  out ((l_max+1)²,), at index l² + l + m.
    One call is one vector.
    """
    root2 = math.sqrt(2.0)
    cosine, sine = 1.0, 0.0
    for m in range(l_max + 1):
        before, here = 0.0, diagonal[m]
        for l in range(m, l_max + 1):
            if l > m:
                before, here = here, a[l, m] * (z * here - b[l, m] * before)
            centre = l * l + l
            if m == 0:
                out[centre] = here
            else:
                out[centre + m] = root2 * here * cosine
                out[centre - m] = root2 * here * sine
        cosine, sine = cosine * x - sine * y, cosine * y + sine * x


@njit(nogil=True, fastmath=True)
def angular_sums(start, r, vectors, grid, delta, l_max, recursion):  # type: ignore[no-untyped-def]
    """q_i(l, r_k, δ_k) for l = 1..l_max, shape (N, n_grid·l_max); 0 where no neighbour is near r_k."""
    n, n_grid, size = len(start) - 1, len(grid), (l_max + 1) ** 2
    diagonal, a, b = recursion
    out = np.zeros((n, n_grid * l_max))
    harmonics = np.empty(size)
    summed = np.empty((n_grid, size))
    norm = np.empty(n_grid)
    for i in range(n):
        summed[:] = 0.0
        norm[:] = 0.0
        for e in range(start[i], start[i + 1]):
            d = r[e]
            real_harmonics(
                vectors[e, 0] / d, vectors[e, 1] / d, vectors[e, 2] / d, l_max, diagonal, a, b, harmonics
            )
            for k in range(n_grid):
                u = (d - grid[k]) / delta[k]
                if abs(u) < TAIL:
                    weight = math.exp(-0.5 * u * u)
                    norm[k] += weight
                    for c in range(size):
                        summed[k, c] += weight * harmonics[c]
        for k in range(n_grid):
            if norm[k] == 0.0:
                continue
            for l in range(1, l_max + 1):
                power = 0.0
                for c in range(l * l, (l + 1) * (l + 1)):
                    power += summed[k, c] ** 2
                out[i, k * l_max + l - 1] = math.sqrt(4 * math.pi / (2 * l + 1) * power) / norm[k]
    return out
