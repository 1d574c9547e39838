"""Which engines there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from propensity.errors import InputError, suggest
from propensity.registry import Registry
from propensity.simulate.engine import Engine
from propensity.simulate.model import LiquidModel

#: Name → class or function that makes the engine from its options.
ENGINES: Registry[Callable[..., Engine]] = Registry(
    "engine",
    {
        "gpu": "propensity.simulate.gpu_engine:GpuEngine",
        "lammps": "propensity.simulate.lammps_engine:LammpsEngine",
        "swap": "propensity.simulate.swap_engine:SwapEngine",
    },
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


def choose_engine(
    name: str,
    model: LiquidModel,
    *,
    exe: str | None = None,
    suffix: str | None = None,
    ranks: int = 1,
    batch: int | None = None,
) -> Engine:
    """Engine of a command line: its name, or ``"auto"``, and the options of either.

    ``auto`` takes the engine of continuous sizes for a model that has some; else the GPU where there is one
    that can follow the model, unless options of LAMMPS are given.

    Raises
    ------
    InputError
        For an unknown name, and when options of one engine are given to the other.
    """
    if name not in ENGINES and name != "auto":
        known = ["auto", *sorted(ENGINES)]
        raise InputError(f"engine {name!r} is unknown: choose from {known}{suggest(name, known)}.")
    if name == "swap" or (name == "auto" and model.sizes is not None):
        return make_engine("swap")
    for_lammps = exe is not None or suffix is not None or ranks != 1
    if name == "auto":
        name = "lammps" if for_lammps or not _gpu_can(model) else "gpu"
    if name == "gpu" and for_lammps:
        raise InputError(
            "--lammps-exe, --suffix and --ranks belong to LAMMPS: leave them out with --engine gpu."
        )
    if name == "gpu":
        return make_engine(name, batch=batch)
    if batch is not None:
        raise InputError(f"--batch belongs to the GPU engine: leave it out with --engine {name}.")
    return make_engine(name, exe=exe, suffix=suffix, ranks=ranks)


def _gpu_can(model: LiquidModel) -> bool:
    from propensity.physics.gpu.device import gpu_available
    from propensity.simulate.fragment import interaction_of

    if model.units != "lj":
        return False
    try:
        interaction_of(model)
    except InputError:
        return False
    return gpu_available()
