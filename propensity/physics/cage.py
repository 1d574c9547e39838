"""Cage states of the Kob–Andersen mixture: mean position and covariance of each particle while rearrangements
are forbidden.

Every particle is held about its inherent position R by a flat-bottomed harmonic wall, ½k(|r − R| − r_c)²
beyond r_c with k = 500 ε/σ², and moves by Langevin dynamics at the liquid's temperature (friction 1;
splitting BAOAB of Leimkuhler and Matthews, Appl. Math. Res. Express 2013, 34; uniform noise after Dünweg and
Paul, Int. J. Mod. Phys. C 2, 817 (1991)). All replicas start *at the minimum*, never at the thermal
positions, so that no step of the dynamics to be predicted is taken. The first ``SKIP`` steps are dropped;
from then on every ``EVERY``-th configuration enters mean and covariance. Where states are ``centred``, the
centre of mass of every replica is held where that of the minimum is (as often, by moving all particles
together): the noise lets it stray by some .05 σ behind the outer walls, which says nothing about any cage.
The idea is that of Alkemade, Smallenburg and Filion, J. Chem. Phys. 158, 134512 (2023), whose cage states
come from restricted Monte Carlo.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from propensity.caging import CageState, replicas
from propensity.errors import DataError, InputError, PropensityError
from propensity.neighbours import neighbour_list
from propensity.numeric import as_numbers, positive, whole
from propensity.physics.cage_pairs import farthest
from propensity.physics.gpu.cage import cage_states
from propensity.physics.gpu.device import Device, best_device
from propensity.physics.interaction import SIGMA
from propensity.physics.kob_andersen import (
    POTENTIALS,
    check_potential,
    check_two_species,
)
from propensity.physics.quench import check_liquid, fits_gpu, inherent_structure
from propensity.simd import LANES
from propensity.structure import Structure
from propensity.threads import share

if TYPE_CHECKING:
    from propensity.physics.cage_replicas import Sixteen
    from propensity.sample import Sample

#: Radii of the walls in σ: the inner one knows the cage, the outer one its weak sides, and is still less than
#: the way to a neighbour's place.
RADII = (0.25, 0.6)
#: Steps of each replica and those of them that are dropped; time step, friction and stiffness in LJ units.
STEPS, SKIP, EVERY = 4800, 201, 3
TIME_STEP, FRICTION, STIFFNESS = 0.02, 1.0, 500.0
#: Whether the centre of mass of every replica is held where that of the minimum is.
CENTRED = True
#: Widest wall: behind it lies a neighbour's place, and restricted dynamics would be those to be predicted.
WIDEST = 1.0
#: How far beyond its wall the mean position of a particle lies where the wall didn't hold it.
LOST = 0.3
#: Distance of two particles, over their σ, which none have in a minimum.
CLOSEST = 0.75
#: On the CPU, pairs that are far apart act every ``OUTER`` steps only, and which they are is looked up every
#: ``RENEW`` steps; an interruption waits for ``AT_ONCE`` steps.
OUTER, RENEW, AT_ONCE = 3, 20, 400


def cage_state(
    structure: Structure,
    potential: str,
    temperature: float,
    *,
    radii: Sequence[float] = RADII,
    steps: int = STEPS,
    seed: int = 0,
    centred: bool = CENTRED,
) -> CageState:
    """Mean position and covariance of every particle in its cage, by restricted Langevin dynamics.

    Parameters
    ----------
    structure
        Inherent structure with its thermal offset, or thermal structure of the Kob–Andersen mixture in
        units of σ_AA, which is quenched first.
    potential
        ``"lj/cut"`` or ``"lj/cut force-shifted"``: that of the dynamics.
    temperature
        k_B T/ε_AA.
    radii
        Radii of the walls in σ, which share 32 replicas: one, two (with four for the narrower and 44 for the
        wider), four or eight of them.  Runs on a CUDA device where there is one, in 30 replicas (60 of two).
    steps
        Steps of each replica, of which the first 201 are dropped.  Models want those that they were trained
        with: fewer add noise, and in more of them particles come farther.
    seed
        Of the noise: the same seed gives the same numbers on the same machine.
    centred
        Hold the centre of mass of each replica.  Models want what they were trained with.

    Returns
    -------
    CageState
        In σ; ``error`` comes from the differences between replicas.

    Raises
    ------
    InputError
        For an unknown potential, more than two species, open boundaries, a gas, options out of range, or
        particles that leave their cages.
    PropensityError
        When no minimum is found.
    """
    radii = _checked_radii(radii)
    temperature = positive(temperature, "temperature", "k_B T/ε_AA")
    steps, seed = _checked_steps(steps), whole(seed, "seed")
    _check(structure, potential, radii)
    inherent = structure if structure.thermal_offset is not None else inherent_structure(structure, potential)
    _check_minimum(inherent)
    device = best_device()
    if device is not None and fits_gpu(inherent):
        return _on_gpu(device, [inherent], potential, temperature, radii, steps, seed, bool(centred))[0]
    offset, covariance, error = _restricted(
        inherent, potential, temperature, steps, seed, radii, bool(centred)
    )
    return _held(CageState(np.array(radii), offset, covariance, error, steps, inherent.positions))


def with_cage_states(samples: Sequence[Sample]) -> list[Sample | DataError]:
    """The same samples with cage states, together where there is a CUDA device; errors in their places.

    Parameters
    ----------
    samples
        With inherent positions, potential and temperature.

    Returns
    -------
    list
        A sample, or the error that it met, for each.
    """
    device = best_device()
    kinds: dict[tuple[object, ...], list[int]] = {}
    for i, s in enumerate(samples):
        known = s.potential in POTENTIALS and s.temperature is not None and s.inherent_positions is not None
        if device is not None and known and fits_gpu(s.structure) and s.structure.types.max() < 2:
            kinds.setdefault((s.potential, s.temperature, len(s.structure)), []).append(i)
    out: list[Sample | DataError] = []
    found: dict[int, CageState] = {}
    for members in kinds.values():
        minima = [_at_minimum(samples[i]) for i in members]
        first = samples[members[0]]
        assert device is not None and first.potential is not None and first.temperature is not None
        try:
            for minimum in minima:
                _check(minimum, first.potential, RADII)
                _check_minimum(minimum)
            cages = _on_gpu(device, minima, first.potential, first.temperature, RADII, STEPS, 0, CENTRED)
        except PropensityError:
            continue  # one of them: found out below, one by one
        found |= dict(zip(members, cages, strict=True))
    for i, sample in enumerate(samples):
        try:
            out.append(replace(sample, cage=found[i]) if i in found else with_cage_state(sample))
        except PropensityError as error:
            out.append(error if isinstance(error, DataError) else DataError(f"{sample.name}: {error}"))
    return out


def _at_minimum(sample: Sample) -> Structure:
    assert sample.inherent_positions is not None
    return sample.structure.at_minimum(sample.inherent_positions)


def _on_gpu(
    device: Device,
    minima: Sequence[Structure],
    potential: str,
    temperature: float,
    radii: Sequence[float],
    steps: int,
    seed: int,
    centred: bool,
) -> list[CageState]:
    """The same dynamics for many structures at once, with Gaussian noise."""
    numbers = replicas(radii, gpu=True)
    # All walls of all structures in one launch, which few systems don't fill.
    found = cage_states(
        [s for s in minima for _ in radii],
        potential,
        temperature,
        inherent=[s.positions for s in minima for _ in radii],
        begin="inherent",
        radius=[radius for _ in minima for radius in radii],
        replicas=numbers * len(minima),
        steps=steps - SKIP,
        skip=SKIP,
        every=EVERY,
        timestep=TIME_STEP,
        friction=FRICTION,
        stiffness=STIFFNESS,
        centred=centred,
        seed=seed,
        device=device,
    )
    mean, covariance, error = (
        np.stack(values).reshape(len(minima), len(radii), *values[0].shape)
        for values in (found.mean, found.covariance, found.error)
    )
    return [
        _held(
            CageState(
                np.array(radii, dtype=float),
                mean[i] - s.positions,
                covariance[i],
                np.sqrt((error[i] ** 2).mean(axis=1) / 3),
                steps,
                s.positions,
            )
        )
        for i, s in enumerate(minima)
    ]


def with_cage_state(sample: Sample) -> Sample:
    """The same sample with its cage state, in the potential and at the temperature of its dynamics.

    Parameters
    ----------
    sample
        With inherent positions.

    Returns
    -------
    Sample
        The rest is as it was.

    Raises
    ------
    DataError
        When its potential, temperature or inherent positions are not known.
    """
    if sample.potential not in POTENTIALS:
        raise DataError(
            f"{sample.name} can't have a cage state: its potential is {sample.potential!r}, known are"
            f" {sorted(POTENTIALS)}."
        )
    if sample.temperature is None or sample.inherent_positions is None:
        raise DataError(f"{sample.name} can't have a cage state: its temperature or minimum is not known.")
    return replace(sample, cage=cage_state(_at_minimum(sample), sample.potential, sample.temperature))


def _restricted(
    structure: Structure,
    potential: str,
    temperature: float,
    steps: int,
    seed: int,
    radii: Sequence[float],
    centred: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offset (R, N, 3), covariance (R, N, 3, 3) and error (R,)."""
    from propensity.physics.cage_kernels import Course, Motion
    from propensity.physics.cage_replicas import Sixteen

    noise = np.random.default_rng(seed)
    keep = math.exp(-FRICTION * TIME_STEP)
    amplitude = math.sqrt(3 * temperature * (1 - keep**2))  # a uniform number has variance ⅓
    course, runs = Course(SKIP, EVERY, OUTER, RENEW, centred), []
    for lanes in np.repeat(radii, replicas(radii)).astype(np.float32).reshape(-1, LANES):
        motion = Motion(TIME_STEP, keep, amplitude, lanes, STIFFNESS, int(noise.integers(2**31)))
        runs.append(Sixteen(structure, potential, temperature, noise, motion, course))
    while going := [run for run in runs if run.steps < steps]:
        # Those that are behind, one a thread, so that two threads are busy with three all the time.
        turn = sorted(going, key=lambda run: run.steps)[: torch.get_num_threads()]
        share(_advance, len(turn), turn, steps)
    offset, covariance, error = [], [], []
    moments = np.concatenate([run.moments() for run in runs], axis=2)
    for part in np.split(moments, np.cumsum(replicas(radii))[:-1], axis=2):
        mean = part.mean(axis=2)
        away, second = mean[:, :3], mean[:, [3, 6, 7, 6, 4, 8, 7, 8, 5]].reshape(-1, 3, 3)
        offset.append(away)
        covariance.append(second - away[:, :, None] * away[:, None, :])
        error.append(np.sqrt(part[:, :3].var(axis=2, ddof=1).mean() / part.shape[2]))
    return np.stack(offset), np.stack(covariance), np.array(error)


def _advance(first: int, last: int, _: int, runs: Sequence[Sixteen], steps: int) -> None:
    for run in runs[first:last]:
        run.advance(min(steps, run.steps + AT_ONCE))


def _held(cage: CageState) -> CageState:
    """The cage state, unless its walls held nothing: it began far from a minimum, or was too hot."""
    reached = np.linalg.norm(cage.offset, axis=2).max(axis=1)
    if not (reached < cage.radii + LOST).all():
        raise InputError(
            f"particles left their cages, by {np.max(reached):.3g} σ: start from a minimum of this potential,"
            " which is made without thermal_offset, and at a temperature of the liquid."
        )
    return cage


def _check_minimum(structure: Structure) -> None:
    """Refuse particles nearer to each other than in any minimum."""
    edge_index, edge_vec = neighbour_list(structure, float(CLOSEST * SIGMA.max()))
    kinds = structure.types[edge_index.numpy()]
    apart = np.linalg.norm(edge_vec.numpy(), axis=1) / SIGMA[kinds[0], kinds[1]]
    if apart.min(initial=1.0) < CLOSEST:
        raise InputError(
            f"two particles are {apart.min():.3g} of their σ apart: start from a minimum of this potential,"
            " which is made without thermal_offset."
        )


def _check(structure: Structure, potential: str, radii: Sequence[float]) -> None:
    check_potential(potential)
    if potential not in POTENTIALS:
        raise InputError(
            f"potential is {potential!r}: cage states are made in {' or '.join(map(repr, POTENTIALS))}."
        )
    check_two_species(structure)
    if structure.dimension != 3 or not structure.is_periodic:
        raise InputError(
            f"pbc is {structure.pbc.tolist()}: cage states need a box that is periodic in three directions."
        )
    check_liquid(structure)
    heights = 1 / np.linalg.norm(np.linalg.inv(structure.cell), axis=0)
    least = 2 * farthest(max(radii))
    if heights.min() < least:
        raise InputError(f"the box is {heights.min():.3g} σ thin: cage states need {least:.3g} σ or more.")


def _checked_radii(radii: Any) -> list[float]:
    form = f"one, two, four or eight different positive lengths up to {WIDEST:g} σ"
    found = np.atleast_1d(as_numbers(radii, "radii", form))
    fits = found.ndim == 1 and len(found) in (1, 2, 4, 8) and len(set(found.tolist())) == len(found)
    if not fits or not ((found > 0) & (found <= WIDEST)).all():
        raise InputError(f"radii are {found.tolist()}: give {form}.")
    return cast("list[float]", found.tolist())


def _checked_steps(steps: Any) -> int:
    found = whole(steps, "steps")
    if found <= SKIP + EVERY:
        raise InputError(f"steps is {steps}: give more than the {SKIP} that are dropped, such as {STEPS}.")
    return found
