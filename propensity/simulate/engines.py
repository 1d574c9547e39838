"""Which engines there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from propensity.registry import Registry
from propensity.simulate.engine import Engine

#: Name → class or function that makes the engine from its options.
ENGINES: Registry[Callable[..., Engine]] = Registry(
    "engine", {"lammps": "propensity.simulate.lammps_engine:LammpsEngine"}
)


def register_engine(name: str, factory: Callable[..., Engine]) -> None:
    """Make an engine available as ``--engine name``."""
    ENGINES.register(name, factory)


def make_engine(name: str, **options: Any) -> Engine:
    """Return a registered engine.

    Raises
    ------
    InputError
        When no engine has this name.
    """
    return ENGINES[name](**options)
