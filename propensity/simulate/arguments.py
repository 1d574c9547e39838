"""Settings from what a user gives, with the model's defaults for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from propensity.errors import InputError
from propensity.sample import Sample
from propensity.simulate.given import with_given
from propensity.simulate.model import LiquidModel, load_input, load_preset, presets
from propensity.simulate.settings import SimulationSettings, parse_times

#: Structures that are made where no number is given.
STRUCTURES = 20


def choose_model(name: str | None, input_file: Path | None) -> LiquidModel:
    """Read the preset called ``name`` or a user's file, one of the two."""
    if (name is None) == (input_file is None):
        raise InputError(f"give either a model ({', '.join(presets())}) or your own with --input.")
    if input_file is not None:
        return load_input(input_file)
    assert name is not None
    return load_preset(name)


def make_settings(
    model: LiquidModel,
    *,
    temperature: float,
    times: str,
    n_particles: int = 4096,
    density: float | None = None,
    structures: int | None = None,
    runs: int = 30,
    start_from: Path | None = None,
    anneal: float = 0.0,
    timestep: float | None = None,
    chains: int | None = None,
    equilibration: float = 10.0,
    max_equilibration: float | None = None,
    wavenumber: float | None = None,
    seed: int = 0,
) -> tuple[SimulationSettings, Sequence[Sample]]:
    """Fill in defaults; see :class:`SimulationSettings` for the meaning of each.

    Parameters
    ----------
    model
        The liquid.
    times
        ``first:last:count`` or a list.
    temperature, n_particles, density, runs
        As in :class:`SimulationSettings`; None takes the model's value.
    structures
        As in :class:`SimulationSettings`; None makes ``STRUCTURES``, or takes all of ``start_from``.
    timestep, chains, equilibration, max_equilibration, wavenumber, seed
        As in :class:`SimulationSettings`; None takes the model's value.
    start_from
        Data set whose first ``structures`` structures are labelled instead of melting new ones.
    anneal
        Time at the temperature before they are labelled.

    Returns
    -------
    SimulationSettings, sequence of Sample
        The samples are empty without ``start_from``.
    """
    step = model.timestep if timestep is None else timestep
    if not np.isfinite(step) or step <= 0:
        raise InputError(f"--timestep is {step:g}: give a positive number.")
    moments = parse_times(times, step)
    unit = model.constants.time
    if density is None and model.density is None and start_from is None:
        raise InputError(
            f"the model {model.name} names no density: give --density or add a line '# propensity: density"
            " 1.2'."
        )
    made = STRUCTURES if structures is None else structures
    settings = SimulationSettings(
        model=model,
        temperature=temperature,
        n_particles=n_particles,
        density=(model.density or 1.0) if density is None else density,
        structures=made,
        runs=runs,
        times=moments,
        timestep=step,
        wavenumber=model.wavenumber if wavenumber is None else wavenumber,
        chains=made if chains is None else chains,
        equilibration=equilibration,
        max_equilibration=(
            max(1e4 * unit, 100 * moments[-1]) if max_equilibration is None else max_equilibration
        ),
        melt_time=50 * unit,
        cool_time=100 * unit,
        seed=seed,
        anneal=anneal,
    )
    if anneal and start_from is None:
        raise InputError("--anneal is for --start-from: melted structures are equilibrated anyway.")
    if anneal and model.sizes is not None:
        raise InputError(
            f"--anneal: {model.name} has continuous sizes, which are sampled with swaps: leave it out."
        )
    if start_from is None:
        # Raises when a species would be missing.
        model.counts(n_particles)
        return settings, ()
    from propensity.data import open_dataset

    for name, value in (("--density", density), ("--chains", chains)):
        if value is not None:
            raise InputError(f"{name} is {value:g}: leave it out, {start_from} has structures of its own.")
    dataset = open_dataset(start_from)
    if structures is not None and structures > len(dataset):
        raise InputError(f"--structures is {structures} and {start_from} has {len(dataset)}: give as many.")
    given = list(dataset[:structures])
    return with_given(settings, given), given
