"""Order of particles in memory: which slot each gets, so that what is read together lies well."""

from __future__ import annotations

from typing import Any

import numpy as np


def along_curve(xp: Any, x: Any, kind: Any, ids: Any, dimension: int) -> Any:
    """Species after species, each along a space-filling curve.

    Parameters
    ----------
    xp
        numpy or CuPy.
    x
        Positions as fixed point, shape (S, 3, slots).
    kind, ids
        Species and particles in the slots, shape (S, slots).
    dimension
        2 or 3.

    Returns
    -------
    array
        The slot from which each slot is filled, shape (S, slots).
    """
    code = xp.zeros(kind.shape, np.int64)
    for bit in range(4):
        for d in range(dimension):
            code = 2 * code + ((x[:, d] >> np.uint32(31 - bit)) & np.uint32(1)).astype(np.int64)
    return xp.argsort(((kind << 16) + code) * kind.shape[1] + ids, axis=1)
