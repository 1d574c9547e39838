"""What is made of a network's outputs and of neighbourhoods, in one pass over the particles each.

Symbols
-------
=======  ===================================  =================
letter   meaning                              shape
=======  ===================================  =================
i, t     a particle, a time
s        its species                          (N,), in ``types``
a, b     mean and spread of its labels        one a (s, t)
=======  ===================================  =================
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from propensity.compiling import njit


class Limits(NamedTuple):
    """Of each species, shape (S,): what particles of the training had."""

    closest: np.ndarray  # smallest distance of the nearest neighbour
    low: np.ndarray  # distances of the nearest neighbour beyond these are outside
    high: np.ndarray
    fewest: np.ndarray  # numbers of neighbours
    most: np.ndarray


@njit(nogil=True)
def unscaled(standardised, types, mean, spread, found):
    """Labels from what a network says of particles.

    Reads   standardised (N, T) in either precision, types (N,), mean and spread (S, T).
    Writes  found (N, T).
    One call is all particles.
    """
    for i in range(found.shape[0]):
        b, a = spread[types[i]], mean[types[i]]
        for t in range(found.shape[1]):
            found[i, t] = b[t] * standardised[i, t] + a[t]


@njit(nogil=True)
def strays(nearest, neighbours, types, limits, radius):
    """Particles unlike those of the training: how many, those with too few and with too many neighbours, the
    smallest distance, up to the radius, and the smallest that was known of the species here.

    Reads   nearest, neighbours and types (N,), limits.
    Writes  nothing.
    One call is all particles.
    """
    outside, sparse, dense, least, known = 0, 0, 0, radius, np.inf
    for i in range(len(types)):
        s, near = types[i], min(nearest[i], radius)
        few, many = neighbours[i] < limits.fewest[s], neighbours[i] > limits.most[s]
        sparse += few
        dense += many
        outside += few or many or near < limits.low[s] or near > limits.high[s]
        least, known = min(least, near), min(known, limits.closest[s])
    return outside, sparse, dense, least, known
