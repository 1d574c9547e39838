"""Registry of neighbour-list backends."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np
import torch

from propensity.errors import InputError, suggest
from propensity.neighbours.cell import enclosing_cell
from propensity.neighbours.coincidence import refuse_coincident
from propensity.structure import Structure

#: ``backend(structure, cutoff, device, dtype) -> (edge_index, edge_vec)``
Backend = Callable[[Structure, float, torch.device, torch.dtype], tuple[torch.Tensor, torch.Tensor]]

#: Backends that ship with the package: name → module with ``build`` and ``is_available(device)``.
_MODULES: dict[str, str] = {
    "numba": "propensity.neighbours.numba_cells",
    "matscipy": "propensity.neighbours.matscipy",
    "torch": "propensity.neighbours.torch_cells",
    "triton": "propensity.neighbours.triton_cells",
}
#: Where both are exceeded, the cutoff or the cell is not in the units of the other.
MAX_NEIGHBOURS, MAX_EDGES = 10_000, 100_000_000
_REGISTERED: dict[str, Backend] = {}


def register(name: str, backend: Backend) -> None:
    """Add a backend of your own under ``name`` (see ``Backend`` for the signature)."""
    _REGISTERED[name] = backend


def available(device: torch.device | str = "cpu") -> list[str]:
    """Names of the backends that can run for ``device`` here."""
    built_in = [
        name
        for name, path in _MODULES.items()
        if importlib.import_module(path).is_available(torch.device(device))
    ]
    return built_in + list(_REGISTERED)


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
    _check_edges(structure, cutoff)
    device = torch.device(device)
    if backend == "auto":
        backend = _fastest(device)
    if backend in _REGISTERED:
        edge_index, edge_vec = _REGISTERED[backend](structure, cutoff, device, dtype)
        refuse_coincident(edge_index, edge_vec)
        return edge_index, edge_vec
    if backend not in _MODULES:
        names = [*_MODULES, *_REGISTERED]
        raise InputError(
            f"neighbour-list backend {backend!r} is unknown: choose from {names}{suggest(backend, names)}."
        )
    module = importlib.import_module(_MODULES[backend])
    if not module.is_available(device):
        raise InputError(
            f"neighbour-list backend {backend!r} cannot run on {device}: choose from {available(device)}."
        )
    edge_index, edge_vec = module.build(structure, cutoff, device, dtype)
    if not getattr(module, "CHECKS_COINCIDENCE", False):
        refuse_coincident(edge_index, edge_vec)
    return edge_index, edge_vec


def _check_edges(structure: Structure, cutoff: float) -> None:
    """Refuse a cutoff whose edges no memory holds before any of it is taken."""
    cell, _ = enclosing_cell(structure, cutoff)
    # In an open direction the box grows with the cutoff, but no particle has more neighbours than there are.
    each = len(structure) / abs(np.linalg.det(cell)) * 4 / 3 * np.pi * float(cutoff) ** 3
    if not structure.pbc.any():
        each = min(each, len(structure))
    if not each < MAX_NEIGHBOURS and not each * len(structure) < MAX_EDGES:
        raise InputError(
            f"within the cutoff {cutoff:g} lie some {each:.0e} neighbours of each of {len(structure)}"
            " particles: lower it, or check the units of positions and cell."
        )


def _fastest(device: torch.device) -> str:
    if device.type != "cuda":
        return "numba"
    return "triton" if "triton" in available(device) else "torch"
