"""Neighbour list by torch operations on the device: for any cell, small ones included.

Particles are sorted into bins at least a cutoff wide; each looks into the bins around its own.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from propensity.neighbours.cell import enclosing_cell
from propensity.structure import Structure

#: Candidate pairs whose distances exist at the same time.
CHUNK = 1 << 24

#: Edges are looked through for coincident particles afterwards.
CHECKS_COINCIDENCE = False


def is_available(device: torch.device) -> bool:
    """Runs wherever torch does."""
    return True


def build(
    structure: Structure, cutoff: float, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`propensity.neighbours.neighbour_list`."""
    cell, wrapped = enclosing_cell(structure, cutoff)
    n = len(wrapped)
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    # Bins may be wider than the cutoff where particles are few.
    bins = np.clip(heights // cutoff, 1, 2 * n ** (1 / 3) + 1).astype(np.int64)
    reach = np.ceil(cutoff * bins / heights - 1e-12).astype(np.int64)

    def on_device(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    positions, vectors_of_cell, n_bins = on_device(wrapped), on_device(cell), on_device(bins)
    offsets = on_device(np.array(list(itertools.product(*(range(-r, r + 1) for r in reach)))))
    stride = on_device(np.array([bins[1] * bins[2], bins[2], 1]))
    place = (positions @ on_device(np.linalg.inv(cell)) * n_bins).floor().long()
    place = torch.minimum(place.clamp_(min=0), n_bins - 1)
    bin_of, order = torch.sort((place * stride).sum(dim=1), stable=True)
    starts = torch.searchsorted(bin_of, torch.arange(int(bins.prod()) + 1, device=device))
    counts = starts[1:] - starts[:-1]

    step = max(int(CHUNK * float(bins.prod()) / n / len(offsets)), 1)
    found = []
    for first in range(0, n, step):
        near = place[first : first + step, None] + offsets
        image = torch.div(near, n_bins, rounding_mode="floor")
        bin_near = ((near - image * n_bins) * stride).sum(dim=2).flatten()
        count = counts[bin_near]
        ends = count.cumsum(0)
        look = torch.repeat_interleave(count)
        rank = torch.arange(len(look), device=device) - (ends - count)[look]
        j = order[starts[bin_near[look]] + rank]
        i = torch.div(look, len(offsets), rounding_mode="floor") + first
        shift = image.view(-1, 3)[look]
        vectors = positions[j] - positions[i] + shift.to(positions.dtype) @ vectors_of_cell
        close = (vectors.square().sum(dim=1) < cutoff * cutoff) & ((i != j) | (shift != 0).any(dim=1))
        kept = close.nonzero().squeeze(1)
        found.append((torch.stack([j, i])[:, kept], vectors[kept].to(dtype)))
    if len(found) == 1:
        return found[0]
    return torch.cat([edges for edges, _ in found], dim=1), torch.cat([vectors for _, vectors in found])
