"""Annotate a running LAMMPS simulation with propensities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["Annotator"]

if TYPE_CHECKING:
    from lammps_bridge.annotator import Annotator


# Lazy, since every start of LAMMPS imports this package to find the plugin.
def __getattr__(name: str) -> Any:
    if name == "Annotator":
        from lammps_bridge.annotator import Annotator

        return Annotator
    raise AttributeError(f"module 'lammps_bridge' has no attribute {name!r}")
