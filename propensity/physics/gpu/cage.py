"""Cage states: where each particle is on average, and how widely, while rearrangements are forbidden.

Every particle is held within ``radius`` of its inherent position by a flat-bottomed harmonic wall; Langevin
dynamics at the structure's temperature starts from the thermal configuration, in ``replicas`` copies.  After
``skip`` steps one step in ``every`` enters the mean and the covariance of the position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from propensity.errors import InputError
from propensity.physics.gpu.batch import Batch
from propensity.physics.gpu.device import Device, cuda_device
from propensity.physics.gpu.quench import arrays_of, inherent_structures
from propensity.physics.gpu.systems import Wall
from propensity.physics.interaction import Interaction, named_interaction
from propensity.structure import Structure

#: Systems at once: a few for every block that a large device holds.
_AT_ONCE = 1056


@dataclass(frozen=True, eq=False)
class CageStates:
    """Averages over restricted dynamics, one entry a structure.

    Parameters
    ----------
    mean
        Mean positions, the periodic image nearest to the thermal ones, each (N, 3).
    covariance
        Of the position within the cage, each (N, 3, 3).
    error
        Standard error of the mean position (root of the summed variances of its components), from the spread
        of replicas, each (N,).
    temperature
        Kinetic temperature of each structure's replicas, shape (S,).
    """

    mean: list[np.ndarray]
    covariance: list[np.ndarray]
    error: list[np.ndarray]
    temperature: np.ndarray


def cage_states(
    structures: Sequence[Structure],
    interaction: str | Interaction,
    temperature: float,
    *,
    inherent: Sequence[np.ndarray] | None = None,
    begin: Literal["thermal", "inherent"] = "thermal",
    radius: float | Sequence[float] = 0.45,
    replicas: int | Sequence[int] = 16,
    steps: int = 16_000,
    skip: int = 500,
    every: int = 10,
    timestep: float = 0.005,
    friction: float = 1.0,
    stiffness: float = 500.0,
    centred: bool = True,
    seed: int = 0,
    device: Device | None = None,
) -> CageStates:
    """Restricted Langevin dynamics of many structures at once.

    Parameters
    ----------
    structures
        Thermal configurations of one size, in periodic orthorhombic boxes.
    interaction
        Name such as ``"lj/cut force-shifted"``, or an :class:`Interaction`.
    temperature
        Of the liquid.
    inherent
        Inherent positions, the centres of the walls, each (N, 3); found by FIRE when None.
    begin
        Where replicas start: at the thermal positions, or at the centres, forgetting the structure's own
        velocities and thermal displacements.
    radius, stiffness
        Of the wall, in σ and ε/σ²; the radius may be another one for each structure, so that one that is
        given several times is held by several walls at once.
    centred
        Hold the centre of mass of each replica where that of its beginning is: noise would let it stray.
    replicas
        Independent copies of each structure, at least 2; one number for all, or one for each.
    steps, skip, every
        Steps of each copy after ``skip`` steps that are dropped; one in ``every`` is a sample.
    timestep, friction
        Of Langevin dynamics (BAOAB).
    seed
        Of velocities and noise: the result is a function of it on one kind of device.
    device
        None takes the first CUDA device.

    Raises
    ------
    InputError
        For sizes that differ, or values out of range.
    """
    for name, value in (
        ("temperature", temperature),
        *(("radius", each) for each in np.ravel(radius)),
        ("timestep", timestep),
        ("friction", friction),
    ):
        if not np.isfinite(value) or value <= 0:
            raise InputError(f"{name} is {value:g}: give a positive number.")
    if np.min(replicas) < 2 or steps < every or skip < 0:
        raise InputError("a cage state needs at least two replicas and as many steps as one sample.")
    if len({len(s) for s in structures}) != 1:
        raise InputError("structures differ in their number of particles: give those of one size at a time.")
    for name, each in (("radius", radius), ("replicas", replicas)):
        if np.ndim(each) and np.shape(each) != (len(structures),):
            raise InputError(
                f"{name} has {np.size(each)} values for {len(structures)} structures: give one for each."
            )
    radii, copies = (np.broadcast_to(each, len(structures)) for each in (radius, replicas))
    pairs = named_interaction(interaction) if isinstance(interaction, str) else interaction
    if begin not in ("thermal", "inherent"):
        raise InputError(f"begin is {begin!r}: choose thermal or inherent.")
    where = device or cuda_device()
    out = CageStates([], [], [], np.zeros(len(structures)))
    groups = (np.cumsum(copies) - 1) // _AT_ONCE
    with where.active():
        if inherent is None:
            inherent = [s.positions for s in inherent_structures(structures, pairs, device=where)]
        for group in np.unique(groups):
            chosen = [int(i) for i in np.flatnonzero(groups == group)]
            boxes, thermal, types = arrays_of([structures[i] for i in chosen], pairs.dimension)
            centres = np.stack([np.asarray(inherent[i]) for i in chosen])
            start = thermal if begin == "thermal" else centres
            velocities, seeds = _random(types, radii[chosen], pairs, temperature, copies[chosen], seed)
            owner = np.repeat(np.arange(len(chosen)), copies[chosen])
            wall = Wall(centres[owner], radii[chosen][owner], stiffness, skip, every, centred)
            batch = Batch(where, pairs, start[owner], types[owner], boxes[owner], velocities, wall=wall)
            records = batch.dynamics(
                skip + steps,
                timestep,
                sample_every=every * 10,
                temperature=(temperature, temperature),
                friction=friction,
                seeds=seeds,
            )
            assert records.sums is not None
            late = records.kinetic[:, records.kinetic.shape[1] // 4 :].mean(axis=1)
            for k, i in enumerate(chosen):
                own = owner == k
                out.temperature[i] = 2 * late[own].mean() / (pairs.dimension * types.shape[1])
                mean, covariance, error = position_moments(records.sums[own].astype(np.float64))
                out.mean.append(start[k] + mean)
                out.covariance.append(covariance)
                out.error.append(error)
    return out


def _random(
    types: np.ndarray,
    radii: np.ndarray,
    pairs: Interaction,
    temperature: float,
    replicas: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Velocities (M, N, 3) and seeds (M,) of all replicas, whatever structures are beside; those of
    another wall are others.
    """
    velocities, seeds = [], []
    for kinds, radius, number in zip(types, radii, replicas, strict=True):
        width = np.sqrt(temperature / pairs.masses[kinds])[:, None]
        for r in range(number):
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(r, round(radius * 1e6))))
            v = rng.standard_normal((len(kinds), 3)) * width
            v[:, pairs.dimension :] = 0.0
            velocities.append(v)
            seeds.append(rng.integers(0, 2**63, dtype=np.uint64))
    return np.stack(velocities), np.array(seeds, np.uint64)


def position_moments(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (N, 3), covariance (N, 3, 3) and standard error of the mean (N,) from sums of replicas (R, 10, N).

    The sums are those of x, y, z, xx, yy, zz, xy, xz, yz and 1.
    """
    each = sums[:, :3] / sums[:, 9:]
    total = sums.sum(axis=0)
    m = total[:9] / total[9]
    c = np.empty((3, 3, sums.shape[2]))
    for a, b, k in ((0, 0, 3), (1, 1, 4), (2, 2, 5), (0, 1, 6), (0, 2, 7), (1, 2, 8)):
        c[a, b] = c[b, a] = m[k] - m[a] * m[b]
    error = np.sqrt(each.var(axis=0, ddof=1).sum(axis=0) / len(sums))
    return m[:3].T.copy(), np.moveaxis(c, 2, 0).copy(), error
