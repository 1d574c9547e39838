"""Clusters of the fastest and slowest particles, in space and through time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from propensity.analysis.pairs import as_structure, pairs_of
from propensity.errors import InputError


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters of chosen particles.

    Parameters
    ----------
    labels
        Cluster of each particle, the largest first, shape (N,); −1 where the particle was not chosen.
    sizes
        Particles in each cluster, descending, shape (C,).
    """

    labels: np.ndarray
    sizes: np.ndarray

    @property
    def weighted_size(self) -> float:
        """Mean size of the cluster of a chosen particle, Σn²/Σn; NaN without any."""
        return float((self.sizes**2).sum() / self.sizes.sum()) if len(self.sizes) else np.nan


@dataclass(frozen=True, eq=False)
class Events:
    """Clusters in space and time: what moves (or stands) together while its frames touch.

    Parameters
    ----------
    labels
        Event of each particle in each frame, the largest first, shape (F, N); −1 where it was not chosen.
    sizes
        Pairs (particle, frame) in each event, shape (E,).
    n_particles
        Different particles that took part, shape (E,).
    first, last
        First and last frame, shape (E,).
    """

    labels: np.ndarray
    sizes: np.ndarray
    n_particles: np.ndarray
    first: np.ndarray
    last: np.ndarray

    @property
    def durations(self) -> np.ndarray:
        """Frames from first to last, both counted, shape (E,)."""
        return np.asarray(self.last - self.first + 1)


def extreme_particles(
    values: Any, fraction: float = 0.1, types: Any = None, *, which: Literal["fast", "slow"] = "fast"
) -> np.ndarray:
    """Mask of the particles with the largest (smallest) values, the same fraction of each species.

    Parameters
    ----------
    values
        Shape (N,); NaN is never chosen.
    fraction
        Between 0 and 1; 0.05 to 0.1 is usual (Donati et al., Phys. Rev. Lett. 80, 2338 (1998)).
    types
        Species, shape (N,); None for one.
    which
        ``"fast"`` for the largest values.

    Returns
    -------
    bool, (N,)
    """
    values = np.asarray(values, dtype=np.float64)
    types = np.zeros(len(values), dtype=np.int64) if types is None else np.asarray(types)
    if not 0 < fraction < 1:
        raise InputError(f"fraction is {fraction}: give a number between 0 and 1, e.g. 0.1.")
    if which not in ("fast", "slow"):
        raise InputError(f"which is {which!r}: choose 'fast' or 'slow'.")
    if values.ndim != 1 or types.shape != values.shape:
        raise InputError(
            f"values have shape {values.shape} and types {types.shape}: give shape (N,) for both."
        )
    chosen = np.zeros(len(values), dtype=bool)
    for kind in np.unique(types):
        mine = np.flatnonzero((types == kind) & np.isfinite(values))
        order = np.argsort(values[mine] if which == "slow" else -values[mine], kind="stable")
        chosen[mine[order[: round(fraction * len(mine))]]] = True
    return chosen


def find_clusters(
    chosen: Any, positions: Any, cell: Any, pbc: Any = True, *, cutoff: float = 1.4
) -> Clusters:
    """Connect chosen particles that are closer than ``cutoff``.

    Parameters
    ----------
    chosen
        Mask, shape (N,), e.g. of :func:`extreme_particles`.
    positions, cell, pbc
        See :func:`propensity.analysis.find_pairs`.
    cutoff
        First minimum of g(r); 1.4 σ_AA in the Kob–Andersen liquid.

    Returns
    -------
    Clusters
        A particle alone is a cluster of one.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    chosen = np.asarray(chosen, dtype=bool)
    structure, _ = as_structure(positions, cell, pbc)
    if chosen.shape != (len(structure),):
        raise InputError(
            f"the mask has shape {chosen.shape} for {len(structure)} particles: give one a particle."
        )
    i, j = _bonds(structure, chosen, cutoff)
    graph = coo_array((np.ones(len(i), dtype=bool), (i, j)), shape=(len(chosen),) * 2)
    _, component = connected_components(graph, directed=False)
    labels = np.full(len(chosen), -1)
    labels[chosen], sizes = _by_size(component[chosen])
    return Clusters(labels, sizes)


def space_time_clusters(
    chosen: Any, positions: Any, cells: Any, pbc: Any = True, *, cutoff: float = 1.4
) -> Events:
    """Connect chosen particles in space within a frame, and a particle with itself from frame to frame.

    A node is a particle in a frame; nodes are joined when they are closer than ``cutoff`` in the same frame,
    or when they are the same particle in consecutive frames.  The components are events with a volume, a set
    of particles and a duration, which may grow, merge and split on the way.

    Parameters
    ----------
    chosen
        Masks, shape (F, N); particles in the same order in each frame.
    positions
        Shape (F, N, d).
    cells
        One cell for each frame, or one for all, see :func:`propensity.analysis.find_pairs`.
    pbc
        Periodic directions.
    cutoff
        First minimum of g(r).

    Returns
    -------
    Events
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    chosen, positions = np.asarray(chosen, dtype=bool), np.asarray(positions, dtype=np.float64)
    if chosen.ndim != 2 or positions.shape[:2] != chosen.shape:
        raise InputError(
            f"masks have shape {chosen.shape} and positions {positions.shape}: give (F, N) and (F, N, d)."
        )
    n_frames, n = chosen.shape
    cells = np.asarray(cells, dtype=np.float64)
    d = positions.shape[2]
    each = cells if cells.ndim == 3 or cells.shape == (n_frames, d) != (d, d) else [cells] * n_frames
    if len(each) != n_frames:
        raise InputError(f"there are {len(each)} cells for {n_frames} frames: give one, or one for each.")
    rows, columns = [], []
    for step in range(n_frames):
        i, j = _bonds(as_structure(positions[step], each[step], pbc)[0], chosen[step], cutoff)
        rows.append(i + step * n)
        columns.append(j + step * n)
        if step:
            stays = np.flatnonzero(chosen[step] & chosen[step - 1])
            rows.append(stays + (step - 1) * n)
            columns.append(stays + step * n)
    i, j = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(i), dtype=bool), (i, j)), shape=(n_frames * n,) * 2)
    _, component = connected_components(graph, directed=False)
    labels = np.full(n_frames * n, -1)
    labels[chosen.ravel()], sizes = _by_size(component[chosen.ravel()])
    labels = labels.reshape(n_frames, n)
    frame, particle = np.nonzero(labels >= 0)
    event = labels[frame, particle]
    first, last = np.full(len(sizes), n_frames), np.full(len(sizes), -1)
    np.minimum.at(first, event, frame)
    np.maximum.at(last, event, frame)
    different = np.unique(np.stack([event, particle]), axis=1)[0]
    return Events(labels, sizes, np.bincount(different, minlength=len(sizes)), first, last)


def persistence(chosen: Any) -> np.ndarray:
    """Share of the chosen particles of a frame that are chosen again k frames later, averaged over frames.

    P(k) = ⟨n(s) · n(s + k)⟩_s / ⟨n(s) · n(s)⟩_s with n the mask; it falls from 1 to the chosen fraction,
    which is chance.

    Parameters
    ----------
    chosen
        Masks, shape (F, N).

    Returns
    -------
    float64, (F,)
        NaN where no particle is chosen.
    """
    masks = np.asarray(chosen, dtype=np.float64)
    if masks.ndim != 2:
        raise InputError(f"masks have shape {masks.shape}: give (F, N).")
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.array(
            [
                (masks[: len(masks) - k] * masks[k:]).sum() / masks[: len(masks) - k].sum()
                for k in range(len(masks))
            ]
        )


def _bonds(structure: Any, chosen: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of chosen particles closer than the cutoff."""
    which = np.flatnonzero(chosen)
    if len(which) < 2:
        return which[:0], which[:0]
    from propensity.structure import Structure

    part = Structure(structure.positions[which], structure.types[which], structure.cell, structure.pbc)
    i, j, _ = pairs_of(part, cutoff)
    return which[i], which[j]


def _by_size(component: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Components renumbered from the largest to the smallest, and their sizes."""
    if not len(component):
        return component.astype(np.int64), np.array([], dtype=np.int64)
    _, inverse, sizes = np.unique(component, return_inverse=True, return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[inverse], sizes[order]
