"""Steepest descent: the minimum of the basin in which a structure lies, whoever looks for it."""

from __future__ import annotations

import numpy as np

from propensity.errors import InputError
from propensity.physics import quench
from propensity.physics.kob_andersen import POTENTIALS, pair_table
from propensity.physics.minimise import Search
from propensity.structure import Structure

#: Largest force where the descent ends, or its steps where kinks of the energy keep forces large.
SLOW, STEPS = 0.3, 4000


def descended_structure(
    structure: Structure,
    potential: str = "lj/cut force-shifted",
    *,
    error: float = 1e-4,
    force: float = quench.FORCE,
) -> Structure:
    """Follow dx/dt = F(x) down, then go to the minimum there.

    FIRE and L-BFGS cross from one basin of a hot structure into another, each at its own places; the path of
    steepest descent is defined by the potential alone, if that is smooth enough.  So choose the force-shifted
    potential here even where the dynamics was that of the plain one.  Some five thousand evaluations of the
    forces: ten seconds of a core for 4096 particles.

    Parameters
    ----------
    structure
        Thermal configuration in units of σ_AA, types 0 = A and 1 = B, periodic.
    potential
        ``"lj/cut force-shifted"``, or ``"lj/cut"``, whose kinks make the end depend on the steps again.
    error
        Of a particle in one step of Heun's method, in σ.
    force
        Largest force on a particle at the minimum, in ε_AA/σ_AA.

    Returns
    -------
    Structure
        The same particles and cell at the minimum, not wrapped.

    Raises
    ------
    InputError
        For an unknown potential, more than two species, open boundaries or an error that is not positive.
    PropensityError
        When no minimum is found, as where particles overlap.
    """
    if potential not in POTENTIALS:
        raise InputError(f"potential is {potential!r}: a descent knows {sorted(POTENTIALS)}.")
    if not (np.isfinite(error) and error > 0):
        raise InputError(f"error is {error:g}: give a positive length in σ, such as 1e-4.")
    quench.check_quenchable(structure)
    search = Search(structure, pair_table(POTENTIALS[potential]), **quench.SETTINGS)
    x, step = structure.positions, 1e-5
    f = search.forces(x)
    for _ in range(STEPS):
        if not np.linalg.norm(f, axis=1).max() > SLOW:
            break
        ahead = search.forces(x + step * f)
        off = 0.5 * step * np.linalg.norm(ahead - f, axis=1).max()
        if off <= error:
            x = x + 0.5 * step * (f + ahead)
            f = search.forces(x)
        step *= min(2.0, max(0.2, 0.9 * np.sqrt(error / max(off, 1e-12))))
    search = Search(structure.with_positions(x), search.pairs, **quench.SETTINGS)
    return structure.with_positions(quench.minimised(search, force))
