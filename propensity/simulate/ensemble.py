"""An isoconfigurational ensemble as a labelled sample."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from propensity.errors import InputError
from propensity.sample import Sample
from propensity.simulate.engine import Microstate
from propensity.simulate.physics import energy_drift, nearest_image, relaxation_time
from propensity.simulate.settings import SimulationSettings
from propensity.simulate.units import UNITS, Units
from propensity.structure import Structure

#: Largest change of the total energy per particle over a run, in units of k_B T.
MAX_DRIFT = 0.02


def ensemble_sample(
    settings: SimulationSettings,
    name: str,
    group: str | None,
    tau_alpha: float | None,
    start: Microstate,
    inherent: Microstate,
    runs: Iterable[dict[str, np.ndarray]],
) -> tuple[Sample, dict[str, np.ndarray]]:
    """Average the runs of one structure.

    The propensity of a particle is the mean over runs of the norm of its unwrapped displacement
    (A. Widmer-Cooper, P. Harrowell and H. Fynewever, PRL 93, 135701 (2004), with the norm as in Bapst et al.
    2020).

    Parameters
    ----------
    settings
        Of the data set.
    name, group, tau_alpha
        Of the sample.
    start, inherent
        The structure, and its energy minimum.
    runs
        ``displacements`` (T, N), ``fs`` (T,), energies and ``temperatures`` of each run, in the order of the
        runs.

    Returns
    -------
    Sample, dict
        The sample; and its ``drift`` (worst of the runs, per particle) and kinetic ``temperatures``
        (n_species,).
    """
    n, t = len(start.types), len(settings.times)
    total = np.zeros((2, t, n))
    squared = np.zeros((t, n))
    fs, drifts, temperatures = [], [], []
    for r, run in enumerate(runs):
        displacement = run["displacements"].astype(np.float64)
        total[r % 2] += displacement
        squared += displacement**2
        fs.append(run["fs"])
        drifts.append(energy_drift(run["potential"] + run["kinetic"]))
        temperatures.append(run["temperatures"])
    sizes = np.array([-(-settings.runs // 2), settings.runs // 2])
    dimension = settings.model.dimension
    sample = Sample(
        structure=Structure(
            start.positions, start.types, start.box, dimension=dimension, diameters=start.diameters
        ),
        times=np.array(settings.times),
        propensities=(total.sum(axis=0) / settings.runs).T.copy(),
        name=name,
        inherent_positions=nearest_image(inherent.positions, start.positions, start.box),
        halves=(total / sizes[:, None, None]).transpose(0, 2, 1).copy(),
        squared_displacement=(squared / settings.runs).T.copy(),
        n_runs=settings.runs,
        temperature=settings.temperature,
        potential=settings.model.potential,
        fs=np.mean(fs, axis=0),
        tau_alpha=tau_alpha,
        group=group,
        source=f"propensity simulate {settings.model.name}, seed {settings.seed}",
        species=settings.model.species,
    )
    if settings.model.sizes is not None:
        # What swaps were sampled with relaxes faster than the liquid itself.
        sample = replace(sample, tau_alpha=relaxation_time(sample.times, np.asarray(sample.fs)))
    if settings.model.length_scale != 1:
        sample = sample.in_units_of(settings.model.length_scale)
    return sample, {"drift": np.array(max(drifts, key=abs)), "temperatures": np.mean(temperatures, axis=0)}


def check_drift(
    run: dict[str, np.ndarray], temperature: float, name: str, units: Units = UNITS["lj"]
) -> None:
    """Refuse a run whose total energy changes.

    Raises
    ------
    InputError
        When the energy per particle drifts by more than ``MAX_DRIFT``·T: the step is too large for this
        liquid.
    """
    drift = energy_drift(run["potential"] + run["kinetic"])
    if not abs(drift) <= MAX_DRIFT * units.boltzmann * temperature:
        raise InputError(
            f"{name}: the energy per particle drifts by {drift:.2g} in a run, more than {MAX_DRIFT:g} T: use"
            " a smaller --timestep (and another -o, since all runs must agree)."
        )
