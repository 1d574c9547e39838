"""States that trajectories start from: species and velocities drawn from the numbers of one seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from propensity.simulate import soft_spheres
from propensity.simulate.engine import Microstate
from propensity.simulate.physics import generator, lattice, maxwell_boltzmann
from propensity.simulate.settings import SimulationSettings

#: First keys of the random numbers of each purpose.
LATTICE, MELT, RUN, SIZES, ANNEAL = 1, 2, 3, 4, 5


def first_lattice(settings: SimulationSettings, chain: int) -> Microstate:
    """Species at random on a lattice, at rest."""
    counts = settings.model.counts(settings.n_particles)
    positions, types = lattice(
        counts, settings.box, settings.model.dimension, generator(settings.seed, LATTICE, chain)
    )
    diameters = None
    if settings.model.sizes is not None:
        diameters = generator(settings.seed, SIZES, chain).permutation(
            soft_spheres.sizes(settings.n_particles, settings.model.sizes)
        )
    return Microstate(positions, np.zeros_like(positions), types, settings.box, diameters=diameters)


def with_velocities(
    microstate: Microstate, settings: SimulationSettings, temperature: float, *key: int
) -> Microstate:
    """The same with velocities of a temperature, from the random numbers of a purpose and its counters."""
    assert microstate.masses is not None
    rng = generator(settings.seed, *key)
    v = maxwell_boltzmann(
        microstate.masses, temperature, settings.model.dimension, rng, settings.model.constants
    )
    return replace(microstate, velocities=v)
