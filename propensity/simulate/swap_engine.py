"""Polydisperse soft spheres as an engine: dynamics, and structures sampled with swaps of diameters."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from propensity.errors import InputError
from propensity.simulate import soft_spheres as spheres
from propensity.simulate.engine import Leg, LegResult, Microstate, flew_apart

#: Steps between rounds of swaps, each of as many pairs as there are particles.
SWAP_EVERY = 10
#: Room for neighbours of a particle in the list; more are made when it runs out.
_ROOM = 160


@dataclass(frozen=True)
class SwapEngine:
    """Run legs of polydisperse soft spheres on one core each.

    At constant temperature, velocities are rescaled (Bussi et al. 2007) and diameters of random pairs are
    exchanged every ten steps (swap Monte Carlo, Ninarello, Berthier and Coslovich 2017), so that structures
    far below the mode-coupling temperature cost minutes.  Runs at constant energy exchange nothing.
    """

    batch_size: int = 1
    cores: int = 1
    name: str = field(default="swap", init=False)

    def describe(self) -> str:
        """What works here."""
        return "compiled polydisperse soft spheres with swaps of diameters"

    def run(self, legs: Sequence[Leg]) -> list[LegResult]:
        """Run each leg in turn.

        Raises
        ------
        InputError
            For a model without continuous sizes.
        PropensityError
            When positions become NaN.
        """
        return [self._run(leg) for leg in legs]

    def _run(self, leg: Leg) -> LegResult:
        microstate, model = leg.microstate, leg.model
        if model.sizes is None or microstate.diameters is None:
            raise InputError(
                f"{model.name} has no continuous sizes, which the engine swap is for: use --engine lammps."
            )
        started = time.monotonic()
        room = _ROOM
        while True:
            x, v = spheres.as_float(microstate.positions), spheres.as_float(microstate.velocities)
            sizes, box = spheres.as_float(microstate.diameters), spheres.as_float(microstate.box)
            if leg.ensemble == "minimise":
                first, last, force, fits = spheres.fire(
                    x, box, sizes, leg.iterations, model.constants.force, room
                )
            else:
                start, stop = leg.temperature or (0.0, 0.0)
                every = SWAP_EVERY if leg.ensemble == "nvt" else 0
                marks = np.array(leg.frames, dtype=np.int64)
                frames, records, fits = spheres.dynamics(
                    spheres.Spheres(x, v, box, sizes),
                    spheres.Schedule(leg.steps, leg.timestep, marks, leg.sample_every),
                    spheres.Bath(start, stop, model.damping, every),
                    room,
                    _random(leg),
                )
            if fits:
                break
            room *= 2
        if not np.isfinite(x).all():
            raise flew_apart(leg, "positions became NaN")
        n, d = len(x), model.dimension
        end = Microstate(x, v, microstate.types, microstate.box, np.ones(n), sizes)
        seconds = time.monotonic() - started
        if leg.ensemble == "minimise":
            nothing = np.zeros(2)
            energies = np.array([first, last]) / n
            return LegResult(end, np.empty((0, n, 3)), energies, nothing, nothing, seconds, float(force))
        volume = float(np.prod(microstate.box[:d]))
        pressure = (2 * records[:, 1] + records[:, 2]) / (d * volume)
        return LegResult(end, frames, records[:, 0] / n, records[:, 1] / n, pressure, seconds)


def _random(leg: Leg) -> np.random.Generator:
    """Random numbers of a leg: its microstate decides, so that the same leg gives the same bits."""
    digest = hashlib.sha256(np.ascontiguousarray(leg.microstate.positions).tobytes())
    digest.update(np.ascontiguousarray(leg.microstate.velocities).tobytes())
    digest.update(repr((leg.ensemble, leg.steps, leg.temperature)).encode())
    return np.random.default_rng(int.from_bytes(digest.digest()[:8], "little"))
