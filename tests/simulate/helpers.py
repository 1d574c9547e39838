"""Small simulations that several tests share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from propensity.errors import PropensityError
from propensity.simulate import LegResult, Microstate, SimulationSettings, load_preset
from propensity.simulate.arguments import make_settings
from propensity.simulate.lammps_engine import LammpsEngine
from propensity.simulate.physics import generator, lattice, maxwell_boltzmann

N_SMALL = 64


def small_settings(**changes) -> SimulationSettings:
    """A hot, tiny liquid: everything is over in a few seconds."""
    options = {
        "temperature": 1.5,
        "times": "0.1:2:3",
        "n_particles": N_SMALL,
        "structures": 3,
        "runs": 4,
        "chains": 2,
    }
    settings, _ = make_settings(changes.pop("model", load_preset("kob-andersen")), **{**options, **changes})
    return replace(settings, melt_time=2.0, cool_time=2.0)


def lammps_engine(**options) -> LammpsEngine:
    """The engine, or a skip where LAMMPS isn't installed."""
    engine = LammpsEngine(**options)
    try:
        engine.describe()
    except PropensityError as error:
        pytest.skip(str(error))
    return engine


def random_microstate(model, n: int, temperature: float = 1.0, seed: int = 0) -> Microstate:
    """Jittered lattice with Maxwell–Boltzmann velocities of unit masses."""
    rng = generator(seed, 9)
    edge = (n / model.density) ** (1 / model.dimension)
    box = np.array([edge, edge, edge if model.dimension == 3 else 1.0])
    positions, types = lattice(model.counts(n), box, model.dimension, rng)
    positions[:, : model.dimension] += 0.05 * rng.standard_normal((n, model.dimension))
    masses = np.ones(n)
    return Microstate(
        positions, maxwell_boltzmann(masses, temperature, model.dimension, rng), types, box, masses
    )


class FreeFlight:
    """Engine of an ideal gas, several legs at once: every answer is known."""

    name = "free flight"
    batch_size = 3
    cores = 1

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, legs):
        self.batches.append(len(legs))
        return [self._run(leg) for leg in legs]

    def describe(self) -> str:
        return "free flight"

    def _run(self, leg):
        s = leg.microstate
        n = len(s.types)
        fly = leg.ensemble != "minimise"
        step = leg.timestep if fly else 0.0
        frames = [s.positions + s.velocities * step * k for k in leg.frames]
        end = replace(s, positions=s.positions + s.velocities * step * leg.steps, masses=np.ones(n))
        samples = 1 + leg.steps // leg.sample_every
        kinetic = np.full(samples, 0.5 * (s.velocities**2).sum() / n)
        zero = np.zeros(samples)
        return LegResult(end, np.array(frames).reshape(-1, n, 3), zero, kinetic, zero, 1e-3, 0.0)
