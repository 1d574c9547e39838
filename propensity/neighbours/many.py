"""Neighbours of many small structures at once: all pairs, of which few lie apart in a small box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from propensity.errors import InputError
from propensity.neighbours.backends import neighbour_list
from propensity.neighbours.cell import enclosing_cell
from propensity.neighbours.coincidence import COINCIDENT, refuse_coincident
from propensity.neighbours.sharing import shared_lists
from propensity.structure import Structure

#: Particles of a structure up to which its pairs are all looked at, and pairs that exist at the same time.
SMALL, PAIRS = 400, 1 << 21


def neighbour_lists(
    structures: Sequence[Structure],
    cutoff: float,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Directed edges of many structures, as those of one whose particles follow each other.

    Structures that are large, or whose box is less than two cutoffs wide, are listed one by one.

    Parameters
    ----------
    structures
        Any number above zero.
    cutoff, device, dtype
        As of :func:`propensity.neighbours.neighbour_list`.

    Returns
    -------
    edge_index
        int64, shape (2, E): source j in row 0, destination i in row 1, sorted by destination.
    edge_vec
        ``dtype``, shape (E, 3): r_j + image − r_i.
    counts
        int64, on the CPU, edges of each structure.

    Raises
    ------
    InputError
        As there; with the number of the structure.
    """
    device = torch.device(device)
    shared = shared_lists(structures, cutoff, device)
    if shared is None:
        return _listed(structures, cutoff, device, dtype)
    if shared.edges is None:
        shared.edges = _listed(structures, shared.cutoff, device, torch.float64)
    index, vectors, counts = shared.edges
    if cutoff < shared.cutoff:
        near = vectors.square().sum(dim=1) < cutoff**2
        so_far = torch.cat([near.new_zeros(1, dtype=torch.int64), torch.cumsum(near, dim=0)]).cpu()
        ends = so_far[torch.cumsum(counts, dim=0)]
        index, vectors, counts = index[:, near], vectors[near], ends.diff(prepend=ends.new_zeros(1))
    return index, vectors.to(dtype), counts


def _listed(
    structures: Sequence[Structure], cutoff: float, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    frames = _frames(structures, cutoff)
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    k = 0
    while k < len(structures):
        width, last = 0, k
        while last < len(structures) and frames[last] is not None:
            wider = max(width, len(structures[last]))
            if last > k and (last - k + 1) * wider**2 > PAIRS:
                break
            width, last = wider, last + 1
        if last > k:
            chosen = [frame for frame in frames[k:last] if frame is not None]
            found += _all_pairs(structures[k:last], chosen, cutoff, device, dtype)
            k = last
        else:
            found.append(neighbour_list(structures[k], cutoff, device=device, dtype=dtype))
            k += 1
    first = np.cumsum([0, *(len(s) for s in structures)])
    index = torch.cat([edges + int(start) for (edges, _), start in zip(found, first, strict=False)], dim=1)
    vectors = torch.cat([vectors for _, vectors in found])
    counts = torch.tensor([len(vectors) for _, vectors in found], device="cpu")  # whatever the default is
    _refuse_coincident(index, vectors, first)
    return index, vectors, counts


Frame = tuple[np.ndarray, np.ndarray]


def _frames(structures: Sequence[Structure], cutoff: float) -> list[Frame | None]:
    """Of each structure what :func:`_frame` says; upright periodic boxes, the usual ones, all at once."""
    cells = np.stack([structure.cell for structure in structures])
    edges = np.diagonal(cells, axis1=1, axis2=2)
    upright = (cells == edges[:, :, None] * np.eye(3)).all(axis=(1, 2)) & (edges > 0).all(axis=1)
    upright &= np.stack([structure.pbc for structure in structures]).all(axis=1)
    small = (edges.min(axis=1) >= 2 * cutoff) & np.array([len(s) <= SMALL for s in structures])
    return [
        ((cell, structure.positions) if fits else None) if simple else _frame(structure, cutoff)
        for structure, cell, simple, fits in zip(structures, cells, upright, small, strict=True)
    ]


def _frame(structure: Structure, cutoff: float) -> Frame | None:
    """Cell and wrapped positions of a structure whose nearest images are all that lies within the cutoff."""
    if len(structure) > SMALL:
        return None
    cell, positions = enclosing_cell(structure, cutoff)
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return (cell, positions) if (heights[structure.pbc] >= 2 * cutoff).all() else None


def _all_pairs(
    structures: Sequence[Structure],
    frames: Sequence[Frame],
    cutoff: float,
    device: torch.device,
    dtype: torch.dtype,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    width = max(map(len, structures))
    padded = np.full((len(structures), width, 3), np.nan)  # no distance from these is less than any
    for row, (_, wrapped) in zip(padded, frames, strict=True):
        row[: len(wrapped)] = wrapped
    cells = np.stack([cell for cell, _ in frames])
    periodic = np.stack([s.pbc for s in structures]).astype(float)
    positions, cell, inverse, pbc = (
        torch.from_numpy(array).to(device) for array in (padded, cells, np.linalg.inv(cells), periodic)
    )
    vectors = positions[:, None] - positions[:, :, None]  # [b, i, j] = r_j − r_i
    images = torch.einsum("bijk,bkl->bijl", vectors, inverse).round_() * pbc[:, None, None]
    vectors -= torch.einsum("bijk,bkl->bijl", images, cell)
    near = vectors.square().sum(dim=3) < cutoff**2
    near.diagonal(dim1=1, dim2=2).fill_(False)
    b, i, j = near.nonzero(as_tuple=True)
    edges, values = torch.stack([j, i]), vectors[b, i, j].to(dtype)
    counts = near.sum(dim=(1, 2)).tolist()
    return list(zip(edges.split(counts, dim=1), values.split(counts), strict=True))


def _refuse_coincident(index: torch.Tensor, vectors: torch.Tensor, first: np.ndarray) -> None:
    squared = vectors.square().sum(dim=1)
    if not len(squared) or not bool(squared.min() < COINCIDENT**2):
        return
    at = int(squared.argmin())
    k = int(np.searchsorted(first, int(index[0, at]), side="right")) - 1
    try:
        refuse_coincident(index[:, at : at + 1] - int(first[k]), vectors[at : at + 1])
    except InputError as error:
        raise InputError(f"structure {k}: {error}") from None
