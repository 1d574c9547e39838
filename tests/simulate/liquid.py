"""Static properties of configurations, for validation."""

from __future__ import annotations

import numpy as np

#: Edges of the bins of g(r).
EDGES = np.arange(0.8, 2.5001, 0.05)


def pair_distribution(x: np.ndarray, box: np.ndarray) -> np.ndarray:
    """g(r) of one species in the bins of EDGES, from positions (N, 3) in a periodic box; shape (B,)."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(x % box, boxsize=box).query_pairs(EDGES[-1], output_type="ndarray")
    d = x[pairs[:, 0]] - x[pairs[:, 1]]
    r = np.linalg.norm(d - box * np.rint(d / box), axis=1)
    shells = 4 / 3 * np.pi * np.diff(EDGES**3)
    return np.histogram(r, EDGES)[0] * 2 * np.prod(box) / (len(x) * (len(x) - 1) * shells)
