"""One list or graph for all that looks at a structure: the check of its neighbourhoods, and every model."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from propensity.structure import Structure

Made = TypeVar("Made")

#: Neighbours of each particle up to which a list is made before its structure is known to be a liquid.
USUAL = 200.0


@dataclass
class SharedList:
    """A list that is made when it is first asked for.

    Parameters
    ----------
    structure, cutoff, dtype
        What it is of.
    edges
        ``edge_index`` and ``edge_vec``, once they are made.
    """

    structure: Structure
    cutoff: float
    dtype: torch.dtype
    edges: tuple[torch.Tensor, torch.Tensor] | None = None

    def measured(self, radius: float) -> tuple[np.ndarray, np.ndarray]:
        """As :func:`propensity.neighbours.numba_cells.nearest` within a radius up to the cutoff; with the
        edges.
        """
        from propensity.neighbours import numba_cells

        *edges, squared, count = numba_cells.build_and_measure(
            self.structure, self.cutoff, radius, self.dtype
        )
        self.edges = edges[0], edges[1]
        return squared, count


@dataclass
class SharedLists:
    """Those of many structures, as one of structures whose particles follow each other.

    Parameters
    ----------
    structures, cutoff, device
        What they are of, and where.
    edges
        ``edge_index``, ``edge_vec`` (float64) and the number of edges of each, once they are made.
    """

    structures: Sequence[Structure]
    cutoff: float
    device: torch.device
    edges: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None


class _Here(threading.local):
    shared: SharedList | None = None
    many: SharedLists | None = None
    graphs: tuple[Structure, dict[Any, Any]] | None = None


_HERE = _Here()


@contextmanager
def sharing(structure: Structure, cutoff: float, dtype: torch.dtype) -> Iterator[None]:
    """Within the block, on this thread, the list of a structure on the CPU is made once."""
    before, _HERE.shared = _HERE.shared, SharedList(structure, cutoff, dtype)
    try:
        yield
    finally:
        _HERE.shared = before


@contextmanager
def sharing_many(structures: Sequence[Structure], cutoff: float, device: torch.device) -> Iterator[None]:
    """Within the block, on this thread, the lists of many structures are made once, by
    :func:`propensity.neighbours.many.neighbour_lists`.
    """
    before, _HERE.many = _HERE.many, SharedLists(structures, cutoff, device)
    try:
        yield
    finally:
        _HERE.many = before


@contextmanager
def sharing_graphs(structure: Structure) -> Iterator[None]:
    """Within the block, on this thread, equal graphs of a structure are made once."""
    before, _HERE.graphs = _HERE.graphs, (structure, {})
    try:
        yield
    finally:
        _HERE.graphs = before


def shared_graph(structure: Structure, key: Any, make: Callable[[], Made]) -> Made:
    """What ``make`` gives for this very structure, which within such a block is called once for a key."""
    if _HERE.graphs is None or _HERE.graphs[0] is not structure:
        return make()
    held = _HERE.graphs[1]
    if key not in held:
        held[key] = make()
    return held[key]  # type: ignore[no-any-return]


def shared_lists(structures: Sequence[Structure], cutoff: float, device: torch.device) -> SharedLists | None:
    """Those of these very structures up to a cutoff, within such a block."""
    many = _HERE.many
    if many is None or cutoff > many.cutoff or device.type != many.device.type:
        return None
    if None not in (device.index, many.device.index) and device != many.device:
        return None
    same = len(structures) == len(many.structures) and all(map(operator.is_, structures, many.structures))
    return many if same else None


def shared_list(structure: Structure) -> SharedList | None:
    """That of this very structure, within such a block."""
    shared = _HERE.shared
    return shared if shared is not None and shared.structure is structure else None
