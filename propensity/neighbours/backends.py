"""Which neighbour-list backends there are and which one runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from propensity.errors import InputError
from propensity.neighbours.cell import enclosing_cell
from propensity.neighbours.coincidence import COINCIDENT, refuse_coincident
from propensity.neighbours.sharing import USUAL, shared_list
from propensity.registry import Registry
from propensity.structure import Structure

#: ``build(structure, cutoff, device, dtype) -> (edge_index, edge_vec)``
Build = Callable[[Structure, float, torch.device, torch.dtype], tuple[torch.Tensor, torch.Tensor]]


class Backend(Protocol):
    """One way to list neighbours: a module, or what :func:`register` makes of a function."""

    build: Build
    #: Whether ``build`` itself refuses coincident particles.
    CHECKS_COINCIDENCE: bool

    def is_available(self, device: torch.device) -> bool:
        """Whether it runs for a device here."""


@dataclass(frozen=True)
class _Own:
    build: Build
    CHECKS_COINCIDENCE: bool = False

    def is_available(self, device: torch.device) -> bool:
        return True


#: Backends by name, the fastest of a device first.
BACKENDS: Registry[Backend] = Registry(
    "neighbour-list backend",
    {
        "triton": "propensity.neighbours.triton_cells",
        "numba": "propensity.neighbours.numba_cells",
        "matscipy": "propensity.neighbours.matscipy",
        "torch": "propensity.neighbours.torch_cells",
    },
)
#: What ``"auto"`` may mean on GPUs, where the others would copy, and elsewhere.
ON_GPU, ELSEWHERE = ("triton", "torch"), ("numba",)
#: Where both are exceeded, the cutoff or the cell is not in the units of the other.
MAX_NEIGHBOURS, MAX_EDGES = 10_000, 100_000_000


def register(name: str, build: Build) -> None:
    """Add a backend of your own under ``name`` (see ``Build`` for the signature)."""
    BACKENDS.register(name, _Own(build))  # type: ignore[arg-type]


def available(device: torch.device | str = "cpu") -> list[str]:
    """Names of the backends that can run for ``device`` here."""
    device = torch.device(device)
    return BACKENDS.able(lambda backend: backend.is_available(device))


def neighbour_list(
    structure: Structure,
    cutoff: float,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float64,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Directed edges for r < cutoff under the structure's periodic boundaries.

    Returns
    -------
    edge_index
        int64, shape (2, E): source j in row 0, destination i in row 1, sorted by destination.
    edge_vec
        ``dtype``, shape (E, 3): r_j + image − r_i.

    Raises
    ------
    InputError
        When two particles coincide, or for a cutoff or backend that can't be used.
    """
    if not cutoff > 0:
        raise InputError(f"cutoff is {cutoff}: give a positive number.")
    check_edges(structure, cutoff)
    device = torch.device(device)
    shared = shared_list(structure)
    if shared and (backend, device.type, cutoff, dtype) != ("auto", "cpu", shared.cutoff, shared.dtype):
        shared = None
    if shared and shared.edges:
        return shared.edges
    chosen = BACKENDS.choose(
        backend,
        lambda other: other.is_available(device),
        f"on {device}",
        lambda name: name in (ON_GPU if device.type == "cuda" else ELSEWHERE),
    )
    edge_index, edge_vec = chosen.build(structure, cutoff, device, dtype)
    if not chosen.CHECKS_COINCIDENCE:
        refuse_coincident(edge_index, edge_vec)
    if shared:
        shared.edges = edge_index, edge_vec
    return edge_index, edge_vec


def nearest_neighbours(
    structure: Structure, cutoff: float, device: torch.device | str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """Distance of the nearest neighbour of each particle, and how many it has within ``cutoff``.

    Parameters
    ----------
    structure
        Particles and cell.
    cutoff
        In σ.
    device
        Where to look for them.

    Returns
    -------
    distance : float64, (N,)
        inf where there is none within the cutoff.
    count : int64, (N,)

    Raises
    ------
    InputError
        As :func:`neighbour_list`.
    """
    if torch.device(device).type == "cpu":
        from propensity.neighbours import numba_cells

        check_edges(structure, cutoff)
        shared = shared_list(structure)
        if shared and cutoff <= shared.cutoff and expected(structure, shared.cutoff) < USUAL:
            squared, count = shared.measured(cutoff)
        else:
            squared, count = numba_cells.nearest(structure, cutoff)
        if squared.min() >= COINCIDENT**2:
            return np.sqrt(squared), count
    elif available(device)[0] == "triton":
        from propensity.neighbours import triton_cells

        check_edges(structure, cutoff)
        found = triton_cells.counted(structure, cutoff, torch.device(device))
        if found is not None and found[0].min() >= COINCIDENT**2:
            return np.sqrt(found[0]), found[1]
    return nearest_of_edges(*neighbour_list(structure, cutoff, device=device), len(structure))


def counts_alone(structure: Structure, cutoff: float, device: torch.device | str) -> bool:
    """Whether :func:`nearest_neighbours` lists no edges on a device, which none has room for in large
    structures.
    """
    if torch.device(device).type == "cpu":
        return True
    from propensity.neighbours import triton_cells

    cell = structure.cell if structure.pbc.all() else enclosing_cell(structure, cutoff)[0]
    found = triton_cells.grid_of(cell, cutoff, len(structure))
    return available(device)[0] == "triton" and found is not None


def nearest_of_edges(
    edge_index: torch.Tensor, vectors: torch.Tensor, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same of ``n`` particles whose edges are known."""
    destination = edge_index[1]
    near = torch.full((n,), torch.inf, dtype=vectors.dtype, device=vectors.device)
    near.scatter_reduce_(0, destination, vectors.square().sum(dim=1), "amin")
    counts = torch.bincount(destination, minlength=n)
    return near.sqrt().cpu().numpy(), counts.cpu().numpy()


def check_edges(structure: Structure, cutoff: float) -> None:
    """Refuse a cutoff whose edges no memory holds before any of it is taken.

    Raises
    ------
    InputError
        With the number of neighbours that it would find.
    """
    each = expected(structure, cutoff)
    if not each < MAX_NEIGHBOURS and not each * len(structure) < MAX_EDGES:
        raise InputError(
            f"within the cutoff {cutoff:g} lie some {each:.0e} neighbours of each of {len(structure)}"
            " particles: lower it, or check the units of positions and cell."
        )


def expected(structure: Structure, cutoff: float) -> float:
    """Neighbours of a particle within a cutoff, about."""
    cell = structure.cell if structure.pbc.all() else enclosing_cell(structure, cutoff)[0]
    # In an open direction the box grows with the cutoff, but no particle has more neighbours than there are.
    each = float(len(structure) / abs(np.linalg.det(cell)) * 4 / 3 * np.pi * float(cutoff) ** 3)
    return each if structure.pbc.any() else min(each, len(structure))
