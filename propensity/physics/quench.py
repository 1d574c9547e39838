"""Inherent structures of the Kob–Andersen mixture: the nearest minimum of the potential energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from propensity.errors import DataError, InputError, PropensityError
from propensity.numeric import positive, whole
from propensity.physics.kob_andersen import LAMMPS, POTENTIALS, by_lammps, check_potential, check_two_species
from propensity.structure import Structure, checked_structure

if TYPE_CHECKING:
    from propensity.physics.minimise import Search
    from propensity.sample import Sample

#: Largest force on a particle at the end, in ε/σ (3·10⁻⁵ σ from the minimum, so that predictions repeat to as
#: much), and
#: steps after which a quench has failed.
FORCE, MAX_STEPS = 1e-4, 5000
#: Density in σ⁻³ or σ⁻² below which no liquid of this mixture is: that of metals in Å is 0.06.
THINNEST = 0.2
#: The usual curvature of the potential, 500 ε/σ², makes steps that need no line search.
SETTINGS: dict[str, Any] = {"maxstep": 0.1, "alpha": 500.0, "memory": 10}


def inherent_structure(
    structure: Structure, potential: str = "lj/cut", *, force: float = FORCE, length_scale: float = 1.0
) -> Structure:
    """Minimise the potential energy from where the particles are: of a Kob–Andersen mixture here,
    of any other interaction by LAMMPS.

    FIRE on a CUDA device where there is one (0.04 s for 4096 particles; many at once:
    :func:`propensity.physics.gpu.quench.inherent_structures`), else L-BFGS with the steps of ASE's (two
    seconds on one core).
    Where several minima are near, another algorithm may find another one.

    Parameters
    ----------
    structure
        Thermal configuration in units of σ_AA, types 0 = A and 1 = B (or those of the input), periodic.
    potential
        ``"lj/cut"`` (Bapst et al.) or ``"lj/cut force-shifted"`` (BOTAN, GlassBench): that of the dynamics.
        ``"lammps:my.in"`` is any other, as ``propensity simulate --input my.in`` reads it.
    force
        Largest force on a particle at the minimum, in ε_AA/σ_AA; LAMMPS goes to that of its units.
    length_scale
        Length of σ in the units of LAMMPS's input.

    Returns
    -------
    Structure
        The same particles and cell at the minimum, not wrapped.

    Raises
    ------
    InputError
        For an unknown potential, more than two species, open boundaries or a gas.
    PropensityError
        When no minimum is found, as where particles overlap.
    """
    check_potential(potential)
    force = positive(force, "force", "the largest at the minimum, in ε/σ")
    length_scale = positive(length_scale, "length_scale", "the length of σ in the units of the input")
    if potential.startswith(LAMMPS):
        checked_structure(structure)
        own = by_lammps("minimum")(structure.scaled(length_scale), potential.removeprefix(LAMMPS))
        return cast("Structure", own.scaled(1 / length_scale))
    from propensity.physics.gpu.device import best_device
    from propensity.physics.gpu.quench import inherent_structures
    from propensity.physics.kob_andersen import pair_table
    from propensity.physics.minimise import Search

    check_quenchable(structure)
    device = best_device()
    if device is not None and structure.dimension == 3 and fits_gpu(structure):
        return inherent_structures([structure], potential, force=force, device=device)[0]
    search = Search(structure, pair_table(POTENTIALS[potential]), **SETTINGS)
    return structure.with_positions(minimised(search, force))


def check_quenchable(structure: Structure) -> None:
    """Check that a structure has a minimum to be found here.

    Parameters
    ----------
    structure
        Thermal configuration.

    Raises
    ------
    InputError
        For open boundaries, more than two species, or a gas: its lengths are in other units.
    """
    check_two_species(structure)
    if not structure.is_periodic:
        raise InputError(
            f"pbc is {structure.pbc.tolist()}: a quench needs a box that is periodic in every direction."
        )
    check_liquid(structure)


def check_liquid(structure: Structure) -> None:
    """Refuse a density at which particles are out of each other's reach: a minimum would be where they are.

    Parameters
    ----------
    structure
        Periodic in every direction.

    Raises
    ------
    InputError
        Below ``THINNEST``.
    """
    density = structure.density
    if density is not None and density < THINNEST:
        raise InputError(
            f"the structure has {density:.3g} particles a σ{'²' if structure.dimension == 2 else '³'}, a gas:"
            " give lengths in σ_AA (length_scale, --length-scale)."
        )


def minimised(search: Search, force: float) -> np.ndarray:
    """Positions at the minimum of a search, shape (N, 3), in σ.

    Parameters
    ----------
    search
        Minimisation that has not run.
    force
        Largest force on a particle there, in ε/σ.

    Returns
    -------
    numpy.ndarray
        Not wrapped.

    Raises
    ------
    PropensityError
        When no minimum is found.
    """
    found = search.run(force, MAX_STEPS)
    if not found < force:
        raise PropensityError(
            f"no energy minimum within {MAX_STEPS} steps (largest force {found:.3g} ε/σ, wanted {force:g}): "
            "check the species and the length scale."
        )
    return search.positions


def mean_inherent_structure(
    structure: Structure,
    potential: str = "lj/cut",
    *,
    samples: int = 16,
    kick: float = 0.05,
    seed: int = 0,
    force: float = FORCE,
) -> Structure:
    """Average of the minima that are reached from about where the particles are.

    One minimum of a hot structure depends on the minimiser, above all in the plain ``"lj/cut"``.  The average
    is itself no minimum, and where minima differ by a rearrangement it can put particles on top of each
    other, which models refuse.

    Parameters
    ----------
    structure, potential, force
        As in :func:`inherent_structure`; LAMMPS's potentials are minimised one by one.
    samples
        Minima.
    kick
        Standard deviation of the displacement in each direction from which a minimisation starts, in σ.
    seed
        Of the displacements.

    Returns
    -------
    Structure
        The same particles and cell at their mean positions, not wrapped.

    Raises
    ------
    InputError
        For fewer than one minimum, or a displacement that is not a positive length.
    PropensityError
        As :func:`inherent_structure`.
    """
    samples, seed = whole(samples, "samples", 1), whole(seed, "seed")
    kick = positive(kick, "kick", "a length in σ")
    checked_structure(structure)
    from propensity.physics.gpu.device import best_device
    from propensity.physics.gpu.quench import inherent_structures

    rng = np.random.default_rng(seed)
    kicks = kick * rng.standard_normal((samples, len(structure), 3))
    kicks[:, :, structure.dimension :] = 0
    kicks -= kicks.mean(axis=1, keepdims=True)
    starts = [structure.with_positions(structure.positions + step) for step in kicks]
    device = best_device()
    if device is not None and potential in POTENTIALS and structure.dimension == 3 and fits_gpu(structure):
        minima = inherent_structures(starts, potential, force=force, device=device)
    else:
        minima = [inherent_structure(start, potential, force=force) for start in starts]
    return structure.with_positions(np.mean([m.positions for m in minima], axis=0))


def with_inherent_structures(
    samples: Sequence[Sample], potential: str | None = None
) -> list[Sample | DataError]:
    """The same samples with inherent positions, together on a CUDA device; errors in their places.

    ``potential`` as in :func:`with_inherent_structure`.

    Parameters
    ----------
    samples
        Of dynamics whose potential is known.
    potential
        As in :func:`with_inherent_structure`.

    Returns
    -------
    list
        A sample, or the error that it met, for each.
    """
    from propensity.physics.gpu.device import best_device
    from propensity.physics.gpu.quench import inherent_structures

    device = best_device()
    found: dict[int, Structure] = {}
    for known in POTENTIALS if device is not None and potential is None else ():
        members = [
            i
            for i, s in enumerate(samples)
            if s.potential == known and fits_gpu(s.structure) and s.structure.types.max() < 2
        ]
        try:
            minima = inherent_structures([samples[i].structure for i in members], known, device=device)
        except PropensityError:
            continue  # one of them: found out below, one by one
        found |= dict(zip(members, minima, strict=True))
    out: list[Sample | DataError] = []
    for i, sample in enumerate(samples):
        try:
            if i in found:
                out.append(replace(sample, inherent_positions=found[i].positions))
            else:
                out.append(with_inherent_structure(sample, potential))
        except DataError as error:
            out.append(error)
    return out


def fits_gpu(structure: Structure) -> bool:
    """Whether the GPU's kernels can follow the box: periodic, of right angles and large enough.

    Parameters
    ----------
    structure
        Lengths in σ.

    Returns
    -------
    bool
        False: a CPU minimises it.
    """
    from propensity.physics.interaction import CUT, SIGMA

    edges = np.diag(structure.cell)
    square = bool(abs(structure.cell - np.diag(edges)).max() < 1e-9 * edges.max())
    return square and bool(structure.pbc.all()) and bool(edges.min() >= 2 * CUT * SIGMA.max())


def with_inherent_structure(sample: Sample, potential: str | None = None) -> Sample:
    """The same sample with inherent positions, minimised in the potential of its dynamics.

    Parameters
    ----------
    sample
        Lengths in σ, which is ``sample.length_scale`` in the units of LAMMPS's input.
    potential
        As in :func:`inherent_structure`, that of the dynamics, for samples that name none or one that LAMMPS
        computes; None: as the sample says.

    Returns
    -------
    Sample
        The rest is as it was.

    Raises
    ------
    DataError
        When its potential is not known or another one, or no minimum is found.
    """
    chosen = potential or sample.potential
    if chosen is None or (potential is None and chosen not in POTENTIALS):
        raise DataError(
            f"{sample.name} can't be quenched: its potential is {chosen!r}, known are {sorted(POTENTIALS)};"
            " of any other give LAMMPS's input (--potential lammps:my.in)."
        )
    try:
        name = chosen if potential is None else _checked(sample, potential)
        found = inherent_structure(sample.structure, chosen, length_scale=sample.length_scale)
    except PropensityError as error:
        raise DataError(f"{sample.name}: {error}") from None
    return replace(sample, inherent_positions=found.positions, potential=name)


def _checked(sample: Sample, potential: str) -> str:
    """Name of the interaction, which must be that of the sample where it names one."""
    check_potential(potential)
    name = potential
    if potential.startswith(LAMMPS):
        liquid = by_lammps("liquid")(potential.removeprefix(LAMMPS))
        name = liquid.potential
        if tuple(sample.species) != tuple(liquid.species):
            raise InputError(
                f"its species are {', '.join(sample.species)}, and {potential} has"
                f" {', '.join(liquid.species)}: give the input that made it, or name them alike."
            )
    if sample.potential not in (None, name):
        raise InputError(
            f"its dynamics ran in {sample.potential!r}, and {potential} is {name!r}: give the one it ran in."
        )
    return name
