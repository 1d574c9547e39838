"""Fields whose correlation is known, in boxes of every shape."""

from __future__ import annotations

import numpy as np

CUBE = np.diag([10.0, 10.0, 10.0])
SHEARED = np.array([[10.0, 0.0, 0.0], [3.0, 9.0, 0.0], [-2.0, 4.0, 11.0]])
PLANE = np.diag([30.0, 30.0])
SHEARED_PLANE = np.array([[30.0, 0.0], [9.0, 28.0]])
CELLS = {"cube": CUBE, "sheared": SHEARED, "plane": PLANE, "sheared plane": SHEARED_PLANE}


def scattered(cell: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    """Uniformly random positions inside a cell, shape (n, d)."""
    return np.random.default_rng(seed).random((n, len(cell))) @ cell


def images(a: np.ndarray, b: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Distance of the nearest image by brute force over the cells around, shape (len(a), len(b))."""
    d = len(cell)
    shifts = np.stack(np.meshgrid(*[[-2, -1, 0, 1, 2]] * d, indexing="ij"), -1).reshape(-1, d) @ cell
    vectors = a[:, None, None, :] - b[None, :, None, :] + shifts
    return np.linalg.norm(vectors, axis=-1).min(axis=-1)


def smooth_field(positions: np.ndarray, cell: np.ndarray, xi: float, seed: int = 0) -> np.ndarray:
    """Gaussian random field of plane waves with the spectrum exp(−q²ξ²): correlates as exp(−r²/4ξ²)."""
    rng = np.random.default_rng(seed)
    d = len(cell)
    n = np.stack(np.meshgrid(*[np.arange(-9, 10)] * d, indexing="ij"), -1).reshape(-1, d)
    waves = n[np.abs(n).sum(axis=1) > 0] @ (2 * np.pi * np.linalg.inv(cell).T)
    square = (waves**2).sum(axis=1)
    waves, square = waves[square * xi**2 < 7], square[square * xi**2 < 7]
    phases = rng.random(len(waves)) * 2 * np.pi
    amplitudes = np.exp(-square * xi**2 / 2) * np.sqrt(rng.exponential(size=len(waves)))
    return np.cos(positions @ waves.T + phases) @ amplitudes
