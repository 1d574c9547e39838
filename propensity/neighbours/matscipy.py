"""Neighbour list on the CPU by matscipy: the oracle of the other backends."""

from __future__ import annotations

import numpy as np
import torch

from propensity.neighbours.cell import enclosing_cell
from propensity.structure import Structure

#: Edges are looked through for coincident particles afterwards.
CHECKS_COINCIDENCE = False


def is_available(device: torch.device) -> bool:
    """Matscipy is a hard dependency: always available (edges are copied to the device)."""
    return True


def build(
    structure: Structure, cutoff: float, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`propensity.neighbours.neighbour_list`."""
    from matscipy.neighbours import neighbour_list

    cell, positions = enclosing_cell(structure, cutoff)
    i, j, vectors = neighbour_list(
        "ijD", positions=positions, cell=cell, pbc=structure.pbc, cutoff=float(cutoff)
    )
    inside = np.einsum("ed,ed->e", vectors, vectors) < cutoff * cutoff
    if not inside.all():
        i, j, vectors = i[inside], j[inside], vectors[inside]
    if np.any(i[1:] < i[:-1]):
        order = np.argsort(i, kind="stable")
        i, j, vectors = i[order], j[order], vectors[order]
    edge_index = torch.from_numpy(np.stack([j, i]).astype(np.int64))
    edge_vec = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float64))
    return edge_index.to(device), edge_vec.to(device=device, dtype=dtype)
