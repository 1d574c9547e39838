"""Settings of one data set, and the log-spaced times."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from propensity.errors import InputError
from propensity.simulate.model import LiquidModel

#: Way of a particle in a step, in mean spacings; a seventh of it is usual.
_LONGEST = 0.05
#: k_B T/ε or K below which particles move by less than rounding.
_COLDEST = 1e-6
#: Steps that programs count to.
_MOST_STEPS = 1e15


@dataclass(frozen=True)
class SimulationSettings:
    """Everything that decides the numbers of a data set; how it is computed (workers, ranks) is not here.

    Parameters
    ----------
    model
        The liquid.
    temperature
        k_B T/ε.
    n_particles, density
        Size of each structure.
    structures, runs
        Structures, and isoconfigurational runs of each.
    times
        Times of the labels, multiples of ``timestep``.
    timestep
        Step of velocity Verlet.
    wavenumber
        q of F_s(q, t); None takes the first peak of S(k).
    chains
        Independent melts from which the structures are taken.
    equilibration
        Length of the checked part of equilibration, and distance of structures of one chain, in τ_α.
    max_equilibration
        Time after which a chain that still ages is given up.
    melt_time, cool_time
        Time at the melting temperature, and of the linear ramp from there.
    seed
        Of every random number.
    start_from
        Names of given structures to label instead of melting new ones; empty for none.
    anneal
        Time that given structures are kept at the temperature before they are labelled.
    """

    model: LiquidModel
    temperature: float
    n_particles: int
    density: float
    structures: int
    runs: int
    times: tuple[float, ...]
    timestep: float
    wavenumber: float | None
    chains: int
    equilibration: float = 10.0
    max_equilibration: float = 1e4
    melt_time: float = 50.0
    cool_time: float = 100.0
    seed: int = 0
    start_from: tuple[str, ...] = ()
    anneal: float = 0.0

    def __post_init__(self) -> None:
        positive = (
            "temperature",
            "density",
            "timestep",
            "wavenumber",
            "max_equilibration",
            "melt_time",
            "cool_time",
        )
        for name in positive:
            value = getattr(self, name)
            if value is not None and (not np.isfinite(value) or value <= 0):
                raise InputError(f"{_option(name)} is {value:g}: give a positive number.")
        if self.temperature < _COLDEST:
            raise InputError(f"--temperature is {self.temperature:g}: nothing moves below {_COLDEST:g}.")
        for name, least in (("n_particles", 32), ("structures", 1), ("runs", 2), ("chains", 1), ("seed", 0)):
            value = getattr(self, name)
            if value < least:
                raise InputError(f"{_option(name)} is {value}: give at least {least}.")
        if self.chains > self.structures:
            raise InputError(
                f"--chains is {self.chains} for {self.structures} structures: give at most one chain a"
                " structure."
            )
        if not np.isfinite(self.anneal) or self.anneal < 0:
            raise InputError(
                f"--anneal is {self.anneal:g}: give a time, or 0 to label structures as they are."
            )
        if not np.isfinite(self.equilibration) or self.equilibration < 10:
            raise InputError(
                f"--equilibration is {self.equilibration:g}: give at least 10 (relaxation times), "
                "ten blocks being compared for ageing."
            )

    @property
    def steps(self) -> tuple[int, ...]:
        """Step of each time, shape (T,)."""
        return tuple(round(t / self.timestep) for t in self.times)

    @property
    def box(self) -> np.ndarray:
        """Edges of the cell, shape (3,); the third is 1 in two dimensions."""
        edge = (self.n_particles / self.density) ** (1 / self.model.dimension)
        return np.array([edge, edge, edge if self.model.dimension == 3 else 1.0])

    @property
    def hottest(self) -> float:
        """Temperature at which chains are melted; given structures are never hotter than ``temperature``."""
        return self.temperature if self.start_from else max(self.model.melt, 2 * self.temperature)

    def check_step(self, masses: np.ndarray) -> None:
        """Refuse a time step in which the lightest particles fly past their neighbours.

        Parameters
        ----------
        masses
            Of the species.

        Raises
        ------
        InputError
            With the longest step.
        """
        units = self.model.constants
        speed = float(np.sqrt(units.boltzmann * self.hottest / (units.kinetic * np.min(masses))))
        longest = _LONGEST * self.density ** (-1 / self.model.dimension) / speed
        if self.timestep > longest:
            where = "" if self.start_from else ", at which chains melt,"
            raise InputError(
                f"--timestep is {self.timestep:g}, in which particles at temperature {self.hottest:g}{where}"
                f" fly past their neighbours: lower --temperature, or give {longest:.2g} at most."
            )

    def identity(self) -> dict[str, Any]:
        """What must be equal for a killed run to be resumed, in JSON types."""
        record = asdict(self)
        # These may change between two parts of one run: more patience, another folder.
        del record["max_equilibration"], record["model"]["folder"], record["model"]["title"]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in record.items()} | {
            "model": {k: list(v) if isinstance(v, tuple) else v for k, v in record["model"].items()}
        }


def parse_times(text: str, timestep: float) -> tuple[float, ...]:
    """Read ``first:last:count`` (log-spaced) or a list ``0.13,1.3,13`` and round to the time step.

    Returns
    -------
    tuple
        Increasing multiples of ``timestep``, shape (T,).

    Raises
    ------
    InputError
        For text of another form, or times that are not positive, below a step or equal after rounding.
    """
    form = "give first:last:count, such as 0.1:200:10, or a list, such as 0.13,1.3,13"
    try:
        if ":" in text:
            first, last, number = text.split(":")
            count = int(number)
            ends = float(first), float(last)
            if not (0 < ends[0] < ends[1] < math.inf) or count < 2:
                raise InputError(f"--times {text}: needs 0 < first < last and a count of two or more.")
            values = np.geomspace(*ends, count)
        else:
            values = np.array([float(item) for item in text.split(",")])
    except InputError:
        raise
    except ValueError:
        raise InputError(f"--times {text!r} can't be read: {form}.") from None
    if not np.isfinite(values).all() or values.min() <= 0:
        raise InputError(f"--times {text}: times are positive and finite; {form}.")
    if values.max() / timestep > _MOST_STEPS:
        raise InputError(
            f"--times {text}: {values.max():g} is more than {_MOST_STEPS:g} steps of {timestep:g}: give"
            " shorter times or a longer --timestep."
        )
    steps = np.rint(values / timestep).astype(np.int64)
    if steps.min() < 1:
        raise InputError(f"--times {text}: {values.min():g} is under a step of {timestep:g}: start later.")
    if (np.diff(steps) <= 0).any():
        raise InputError(
            f"--times {text}: times don't increase once rounded to steps of {timestep:g}: give fewer, or in"
            " order."
        )
    return tuple(float(s) for s in np.round(steps * timestep, 12))


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
