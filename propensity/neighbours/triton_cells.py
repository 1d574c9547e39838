"""Neighbour list in five Triton kernels: the default on NVIDIA GPUs.

Particles are sorted into bins a little wider than the cutoff; each counts its neighbours, then writes
them where the sum of the counts says, sorted by destination and in the same order every time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from propensity.neighbours import torch_cells
from propensity.neighbours.cell import enclosing_cell
from propensity.neighbours.coincidence import COINCIDENT, refuse_coincident
from propensity.structure import Structure

#: The kernels see coincident particles as they count, which saves a pass over the edges.
CHECKS_COINCIDENCE = True
#: Candidates of each bin that a program looks at together, and its warps.
WIDTH, WARPS = 8, 1
#: Particles that a program puts into bins.
BLOCK = 128
#: Particles up to which each is compared with every other, which takes less than to launch what sorts them.
COMPARED = 8192
#: Particles of a program that compares, and those that it looks at together.
OWN, OTHERS = 8, 512


def is_available(device: torch.device) -> bool:
    """Runs on CUDA devices, and on CPUs under TRITON_INTERPRET=1, given Triton."""
    try:
        import triton
    except ImportError:
        return False
    return device.type == "cuda" or (device.type == "cpu" and bool(triton.knobs.runtime.interpret))


def build(
    structure: Structure, cutoff: float, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`propensity.neighbours.neighbour_list`; cells below three cutoffs are left to torch."""
    found = _searched(structure, cutoff, device)
    if found is None:
        edge_index, edge_vec = torch_cells.build(structure, cutoff, device, dtype)
        refuse_coincident(edge_index, edge_vec)
        return edge_index, edge_vec
    n_edges, closest = found.summary().tolist()
    edge_index = torch.empty(2, int(n_edges), dtype=torch.int64, device=device)
    edge_vec = torch.empty(int(n_edges), 3, dtype=dtype, device=device)
    found.fill(edge_index, edge_vec)
    if closest < COINCIDENT**2:
        refuse_coincident(edge_index, edge_vec)
    return edge_index, edge_vec


def counted(
    structure: Structure, cutoff: float, device: torch.device
) -> tuple[np.ndarray, np.ndarray] | None:
    """Squared distance of the nearest neighbour of each particle (inf without one) and how many it has.

    No edges are listed.  None in cells below three cutoffs.
    """
    found = _searched(structure, cutoff, device)
    if found is None:
        return None
    count, squared = torch.stack([found.counts.double(), found.closest]).cpu().numpy()
    squared[count == 0] = np.inf
    return squared, count.astype(np.int64)


def _searched(structure: Structure, cutoff: float, device: torch.device) -> Found | None:
    if structure.pbc.all():
        cell, positions = structure.cell, structure.positions
    else:
        cell, positions = enclosing_cell(structure, cutoff)
    grid = grid_of(cell, cutoff, len(structure))
    if grid is None:
        return None
    frame, bins = grid
    return search(torch.from_numpy(positions).to(device), torch.from_numpy(frame).to(device), bins)


def grid_of(
    cell: np.ndarray, cutoff: float, n: int, radius: float | None = None
) -> tuple[np.ndarray, tuple[int, int, int]] | None:
    """What the kernels know (cell vectors, their inverse, the squared cutoff, the numbers of bins and the
    squared radius within which neighbours are counted too, with a zero behind it, shape (24,)), and these
    bins.

    Bins are wider than the cutoff by more than rounding; None where there are not three along each vector.
    Without a radius it is the cutoff.
    """
    radius = cutoff if radius is None else radius
    found = _grid_of(np.ascontiguousarray(cell, np.float64).tobytes(), cutoff, n, radius)
    return None if found is None else (found[0].copy(), found[1])


@lru_cache(maxsize=64)
def _grid_of(
    held: bytes, cutoff: float, n: int, radius: float
) -> tuple[np.ndarray, tuple[int, int, int]] | None:
    """Kept, since frames of a trajectory share a cell."""
    cell = np.frombuffer(held).reshape(3, 3)
    inverse = np.linalg.inv(cell)
    # Bins may be much wider where particles are few.
    bins = np.minimum(1 / np.linalg.norm(inverse, axis=0) // (cutoff * (1 + 1e-9)), 2 * n ** (1 / 3) + 1)
    if bins.min() < 3:
        return None
    lengths = [cutoff * cutoff], np.trunc(bins), [radius * radius, 0.0]
    frame = np.concatenate([cell.ravel(), inverse.ravel(), *lengths])
    return frame, (int(bins[0]), int(bins[1]), int(bins[2]))


@dataclass(frozen=True)
class Found:
    """Particles sorted by bin, and how many neighbours each has."""

    positions: torch.Tensor  # (N, 3), float64, wrapped into the cell
    particles: torch.Tensor  # (2, N), bin and number of each
    starts: torch.Tensor  # (bins + 1,), first particle of each bin
    frame: torch.Tensor  # (24,), see grid_of
    counts: torch.Tensor  # (N,), neighbours of each particle, in the structure's order
    within: torch.Tensor  # (N,), those within the radius
    closest: torch.Tensor  # (N,), least squared distance, or the squared cutoff
    rows: torch.Tensor  # (N + 1,), where the edges of each particle begin
    order: torch.Tensor | None  # (N,), particles from many neighbours to few; None above COMPARED

    def summary(self) -> torch.Tensor:
        """Number of edges and least squared distance (or the squared cutoff), float64 on the device, shape
        (2,).
        """
        return torch.stack([self.counts.sum().double(), self.closest.min()])

    def fill(self, edge_index: torch.Tensor, edge_vec: torch.Tensor) -> None:
        """Write the edges that fit into ``edge_index`` (2, E) and ``edge_vec`` (E, 3); the rest stays as it
        is.
        """
        from propensity.neighbours import cell_kernels

        cell_kernels.fill[(len(self.counts),)](
            self.positions,
            self.particles,
            self.starts,
            self.frame,
            self.rows,
            edge_index,
            edge_vec,
            len(edge_vec),
            W=WIDTH,
            num_warps=WARPS,
        )


def search(positions: torch.Tensor, frame: torch.Tensor, bins: tuple[int, int, int]) -> Found:
    """Neighbours of float64 ``positions`` (N, 3), counted; nothing here waits for the device.

    Parameters
    ----------
    positions
        Anywhere: periodic images are wrapped.
    frame, bins
        Of :func:`grid_of`.
    """
    from propensity.neighbours import cell_kernels

    n, device, n_bins = len(positions), positions.device, bins[0] * bins[1] * bins[2]
    positions = positions.contiguous()
    wrapped = torch.empty_like(positions)
    bin_of = torch.empty(n, dtype=torch.int32, device=device)
    cell_kernels.place[(-(-n // BLOCK),)](positions, frame, wrapped, bin_of, n, B=BLOCK)
    particles = torch.empty(2, n, dtype=torch.int32, device=device)
    if n > COMPARED:
        number = torch.empty(n, dtype=torch.int64, device=device)
        torch.sort(bin_of, stable=True, out=(particles[0], number))
        particles[1] = number
        every = torch.arange(n_bins + 1, dtype=torch.int32, device=device)
        starts = torch.searchsorted(particles[0], every, out_int32=True)
        positions = wrapped[number]
    else:
        starts = torch.empty(n_bins + 1, dtype=torch.int32, device=device)
        positions = torch.empty_like(wrapped)
        cell_kernels.by_bin[(-(-(n + n_bins + 1) // OWN),)](
            bin_of, wrapped, positions, particles, starts, n, n_bins, B=OWN, J=OTHERS
        )
    counts = torch.empty(n, dtype=torch.int32, device=device)
    within = torch.empty_like(counts)
    closest = torch.empty(n, dtype=torch.float64, device=device)
    cell_kernels.count[(n,)](
        positions, particles, starts, frame, counts, within, closest, W=WIDTH, num_warps=WARPS
    )
    order = None
    if n > COMPARED:
        rows = torch.zeros(n + 1, dtype=torch.int64, device=device)
        torch.cumsum(counts, 0, out=rows[1:])
    else:
        rows = torch.empty(n + 1, dtype=torch.int32, device=device)
        order = torch.empty_like(counts)
        cell_kernels.by_count[(n // OWN + 1,)](counts, rows, order, n, B=OWN, J=OTHERS)
    return Found(positions, particles, starts, frame, counts, within, closest, rows, order)
