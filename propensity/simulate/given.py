"""Labelling structures that a user already has, instead of melting new ones."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from propensity.errors import InputError, PropensityWarning
from propensity.sample import Sample
from propensity.simulate.engine import Microstate
from propensity.simulate.settings import SimulationSettings


def with_given(settings: SimulationSettings, given: Sequence[Sample]) -> SimulationSettings:
    """Settings that label given structures; their size and density replace those of ``settings``.

    Warns
    -----
    PropensityWarning
        When the data set names another temperature or potential and nothing is annealed.

    Raises
    ------
    InputError
        When sizes differ, a box is not orthorhombic or not periodic, or dimension or species don't fit the
        model.
    """
    model = settings.model
    marks = []
    for sample in given:
        structure = sample.structure
        cell, d = structure.cell, model.dimension
        if len(structure) != len(given[0].structure):
            raise InputError(
                f"{sample.name} has {len(structure)} particles and {given[0].name} has"
                f" {len(given[0].structure)}: label structures of one size at a time."
            )
        if structure.dimension != d or (d == 2 and structure.normal != 2):
            raise InputError(
                f"{sample.name} has {structure.dimension} dimensions and {model.name} has {d}"
                f"{', in the plane of x and y' if d == 2 else ''}: choose the model that made it."
            )
        if not structure.pbc[:d].all() or abs(cell - np.diag(np.diag(cell))).max() > 1e-9 * abs(cell).max():
            raise InputError(
                f"{sample.name}: its box isn't periodic and orthorhombic, as isoconfigurational runs need."
            )
        if structure.types.max() >= len(model.species):
            raise InputError(
                f"{sample.name} has type {structure.types.max()} and {model.name} knows only the species "
                f"{', '.join(model.species)}: choose the model that made it."
            )
        for what, made, now in (
            ("temperature", sample.temperature, settings.temperature),
            ("potential", sample.potential, model.potential),
        ):
            if made is not None and made != now and not settings.anneal:
                warnings.warn(
                    f"{sample.name} was made with {what} {made} and its runs now have {now}: it is out of"
                    " equilibrium (--anneal lets it relax first).",
                    PropensityWarning,
                    stacklevel=2,
                )
        digest = hashlib.sha256(np.ascontiguousarray(structure.positions).tobytes())
        digest.update(structure.types.tobytes())
        marks.append(f"{sample.name}:{digest.hexdigest()[:16]}")
    first = given[0].structure.scaled(given[0].length_scale)
    return replace(
        settings,
        n_particles=len(first),
        density=len(first) / float(np.prod(np.diag(first.cell)[: model.dimension])),
        structures=len(given),
        chains=len(given),
        start_from=tuple(marks),
    )


def given_microstate(sample: Sample, dimension: int) -> Microstate:
    """A given structure, at rest."""
    # In the units of the model again.
    box = np.diag(sample.structure.cell) * sample.length_scale
    positions = sample.structure.positions * sample.length_scale
    if dimension == 2:
        box[2], positions[:, 2] = 1.0, 0.0
    sizes = sample.structure.diameters
    return Microstate(
        positions,
        np.zeros_like(positions),
        sample.structure.types,
        box,
        diameters=None if sizes is None else sizes * sample.length_scale,
    )
