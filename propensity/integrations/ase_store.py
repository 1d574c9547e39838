"""The package's store as a format of ``ase.io``: structures with their labels as arrays.

ase.io.read("data.h5", index=":", format="propensity-store")
ase.io.write("data.h5", frames, format="propensity-store")
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import ase
import numpy as np

from propensity.caging import CageState
from propensity.data.store.reader import read_stored, store_names
from propensity.data.store.writer import StoreWriter
from propensity.errors import DataError
from propensity.sample import Sample
from propensity.structure import Structure

#: What is kept in ``atoms.info``, as :class:`propensity.Sample` calls it.
FACTS = (
    "name",
    "n_runs",
    "temperature",
    "potential",
    "tau_alpha",
    "split",
    "group",
    "source",
    "length_scale",
)
#: What is kept there of a cage state, as ``cage_radii`` and so on.
CAGE = ("radii", "error", "steps_each")
#: Arrays of particles and times.
OVER_TIME = ("propensities", "squared_displacement")


def read_propensity_store(
    filename: str | os.PathLike[str], index: int | slice = -1, **options: Any
) -> Iterator[ase.Atoms]:
    """Yield frames of a store, as ASE's readers do.

    Arrays: ``type`` (1, 2, ... in the order of ``info["species"]``), ``species`` (names), ``propensities``
    (N, T), and where there are some ``inherent_positions`` (N, 3), ``squared_displacement`` (N, T),
    ``propensity_halves`` (N, 2, T), ``diameter`` (N,) and of the cage state, for each radius in
    ``info["cage_radii"]``, ``cage_offset`` (N, R, 3) from inherent to mean positions and ``cage_covariance``
    (N, R, 3, 3).  ``info``: ``times`` (T,), ``fs`` (T,), ``dimension`` and the facts of the simulation.
    Types 1 and 2 become H and He, as in ASE's reader of dumps; lengths are in σ.

    Raises
    ------
    DataError
        When the file is no store, or a structure is damaged.
    """
    count = len(store_names(filename))
    chosen = range(count)[index] if isinstance(index, slice) else [range(count)[index]]
    for k in chosen:
        yield atoms_of(read_stored(filename, k))


def write_propensity_store(
    filename: str | os.PathLike[str], images: ase.Atoms | Sequence[ase.Atoms], **options: Any
) -> None:
    """Write frames with an array ``propensities`` and ``info["times"]``, as read by
    :func:`read_propensity_store`; an older file is replaced when all are written.

    Raises
    ------
    DataError
        For a frame without labels, or two of one name.
    """
    frames = [images] if isinstance(images, ase.Atoms) else list(images)
    samples = [sample_of(atoms, k) for k, atoms in enumerate(frames)]
    names = [sample.name for sample in samples]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise DataError(f"two frames are called {double!r}: give each a name of its own in info['name'].")
    with StoreWriter(filename, overwrite=True) as writer:
        for sample in samples:
            writer.add(sample)


def atoms_of(sample: Sample) -> ase.Atoms:
    """ASE's atoms of a labelled structure; see :func:`read_propensity_store`."""
    s = sample.structure
    atoms = ase.Atoms(numbers=s.types + 1, positions=s.positions, cell=s.cell, pbc=s.pbc)
    arrays = {
        "type": s.types + 1,
        "species": np.array(sample.species)[s.types],
        "inherent_positions": sample.inherent_positions,
        "propensity_halves": None if sample.halves is None else np.moveaxis(sample.halves, 0, 1),
        "diameter": s.diameters,
        **{name: getattr(sample, name) for name in OVER_TIME},
    }
    if sample.cage is not None:
        arrays["cage_offset"] = np.moveaxis(sample.cage.offset, 0, 1)
        arrays["cage_covariance"] = np.moveaxis(sample.cage.covariance, 0, 1)
        atoms.info.update({f"cage_{name}": getattr(sample.cage, name) for name in CAGE})
    for name, values in arrays.items():
        if values is not None:
            atoms.set_array(name, np.asarray(values))
    atoms.info.update(times=np.asarray(sample.times), species=list(sample.species), dimension=s.dimension)
    if sample.fs is not None:
        atoms.info["fs"] = np.asarray(sample.fs)
    atoms.info.update({name: v for name in FACTS if (v := getattr(sample, name)) not in (None, "")})
    return atoms


def sample_of(atoms: ase.Atoms, number: int = 0) -> Sample:
    """Labelled structure of ASE's atoms; ``number`` names one that has no name.

    Raises
    ------
    DataError
        Without propensities or their times, or with arrays that don't fit.
    """
    info, arrays = atoms.info, atoms.arrays
    for name, where, there in (("propensities", "an array", arrays), ("times", "info", info)):
        if name not in there:
            raise DataError(f"frame {number} has no {name}: give {where} {name!r} of its labels.")
    species = tuple(info.get("species", ("A", "B")))
    read = Structure.from_ase(atoms, species, {k + 1: name for k, name in enumerate(species)})
    # Of a labelled structure equal diameters count too.
    structure = Structure(
        read.positions,
        read.types,
        read.cell,
        read.pbc,
        dimension=info.get("dimension"),
        diameters=arrays.get("diameter", read.diameters),
    )
    halves = arrays.get("propensity_halves")
    facts = {name: info[name] for name in FACTS if name in info}
    facts.setdefault("name", f"frame {number}")
    return Sample(
        structure,
        np.asarray(info["times"], dtype=float),
        species=species,
        inherent_positions=arrays.get("inherent_positions"),
        cage=_cage(atoms, number),
        halves=None if halves is None else np.moveaxis(halves, 1, 0),
        fs=None if "fs" not in info else np.asarray(info["fs"], dtype=float),
        **{name: arrays.get(name) for name in OVER_TIME},
        **facts,
    )


def _cage(atoms: ase.Atoms, number: int) -> CageState | None:
    """Cage state of a frame; None where it has none of its parts."""
    names = ("cage_offset", "cage_covariance", "inherent_positions", *(f"cage_{name}" for name in CAGE))
    known = {
        name: np.asarray(part[name]) for part in (atoms.arrays, atoms.info) for name in names if name in part
    }
    if not any(name.startswith("cage_") for name in known):
        return None
    lacking = [name for name in names if name not in known]
    if lacking:
        raise DataError(f"frame {number} has a part of a cage state and no {lacking[0]}: give all or none.")
    radii = known["cage_radii"]
    shapes = {
        "cage_offset": (len(atoms), len(radii), 3),
        "cage_covariance": (len(atoms), len(radii), 3, 3),
        "cage_error": radii.shape,
    }
    for name, shape in shapes.items():
        if known[name].shape != shape:
            raise DataError(
                f"frame {number}: {name} has shape {known[name].shape} instead of {shape}, for {len(radii)}"
                " radii."
            )
    return CageState(
        radii,
        np.moveaxis(known["cage_offset"], 1, 0),
        np.moveaxis(known["cage_covariance"], 1, 0),
        known["cage_error"],
        int(known["cage_steps_each"]),
        known["inherent_positions"],
    )
