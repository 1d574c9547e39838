"""Neighbour lists: one file a backend, chosen by name or by device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from propensity.neighbours.backends import (
        available,
        nearest_neighbours,
        nearest_of_edges,
        neighbour_list,
        register,
    )

__all__ = ["available", "nearest_neighbours", "nearest_of_edges", "neighbour_list", "register"]


def __getattr__(name: str) -> Any:
    # The backends import torch, which whoever only needs `neighbours.cell` should not wait for.
    if name in __all__:
        from propensity.neighbours import backends

        return getattr(backends, name)
    raise AttributeError(f"module 'propensity.neighbours' has no attribute {name!r}")
