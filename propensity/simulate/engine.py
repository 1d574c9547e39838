"""Engine interface: who integrates the equations of motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from propensity.errors import PropensityError
from propensity.simulate.model import LiquidModel


@dataclass(frozen=True, eq=False)
class Microstate:
    """A point in phase space.

    Parameters
    ----------
    positions
        Unwrapped, shape (N, 3).
    velocities
        Shape (N, 3).
    types
        Species 0..n_species−1, shape (N,).
    box
        Edges of the periodic cell [0, L), shape (3,).
    masses
        Of each particle, shape (N,); None before an engine has read the model.
    diameters
        Of each particle of a liquid of continuous sizes, shape (N,).
    tilt
        xy, xz and yz of LAMMPS's triclinic cell; None where angles are right, as in all dynamics.
    """

    positions: np.ndarray
    velocities: np.ndarray
    types: np.ndarray
    box: np.ndarray
    masses: np.ndarray | None = None
    diameters: np.ndarray | None = None
    tilt: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Leg:
    """One stretch of dynamics, the unit of work of an engine.

    Parameters
    ----------
    microstate
        Where it starts.
    model
        The liquid.
    ensemble
        ``"nve"``; ``"nvt"`` (Nosé–Hoover, from ``temperature[0]`` to ``temperature[1]``); or ``"minimise"``
        (FIRE, to the inherent structure).
    steps, timestep
        Length of dynamics.
    iterations
        Most iterations of a minimisation.
    frames
        Increasing steps in 1..steps at which positions are wanted.
    temperature
        First and last, for ``"nvt"``.
    sample_every
        Steps between records of energy and pressure.
    """

    microstate: Microstate
    model: LiquidModel
    ensemble: Literal["nve", "nvt", "minimise"]
    steps: int = 0
    timestep: float = 0.005
    frames: tuple[int, ...] = ()
    temperature: tuple[float, float] | None = None
    sample_every: int = 100
    iterations: int = 100_000


def flew_apart(leg: Leg, how: str) -> PropensityError:
    """What to say where dynamics did not survive its steps."""
    return PropensityError(
        f"particles flew apart in steps of {leg.timestep:g} ({how}): give a smaller --timestep; that of the"
        f" model is {leg.model.timestep:g}."
    )


@dataclass(frozen=True, eq=False)
class LegResult:
    """What a leg gives back.

    Parameters
    ----------
    microstate
        Where it ended, with masses.
    frames
        Unwrapped positions, shape (F, N, 3).
    potential, kinetic, pressure
        Energies per particle and pressure at steps 0, sample_every, …, shape (M,); of a minimisation, the
        potential energy before and after.
    residual_force
        Largest force component at the end of a minimisation, NaN for dynamics.
    seconds
        Time that the integration took.
    """

    microstate: Microstate
    frames: np.ndarray
    potential: np.ndarray
    kinetic: np.ndarray
    pressure: np.ndarray
    seconds: float
    residual_force: float = float("nan")


class Engine(Protocol):
    """Runs legs; instances are pickled to workers, so they hold settings and no live handles."""

    @property
    def name(self) -> str:
        """Of the algorithm: all pieces of a data set come from engines of one name."""
        ...

    @property
    def batch_size(self) -> int:
        """Legs that the engine likes to receive at once: 1 for LAMMPS, hundreds for a batched GPU code."""
        ...

    @property
    def cores(self) -> int:
        """Processor cores that one call keeps busy."""
        ...

    # An engine whose calls of one process wait for each other, so that further threads of a worker add
    # nothing, says so with ``one_a_process = True``.
    # One whose calls begin slowly names the particle-steps of a system that tell its speed as ``trial``.

    def run(self, legs: Sequence[Leg]) -> list[LegResult]:
        """Run legs, in any order or together, and return their results in the order given.

        The same leg must give the same bits whenever and wherever it runs with the same settings.
        """
        ...

    def describe(self) -> str:
        """Name and version, for the report; raises when the engine can't work here."""
        ...


def run_legs(engine: Engine, legs: Sequence[Leg]) -> list[LegResult]:
    """Run legs in a worker: a module-level function, so that it can be pickled."""
    return engine.run(legs)
