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
#: Arrays of particles and times.
OVER_TIME = ("propensities", "squared_displacement")


def read_propensity_store(
    filename: str | os.PathLike[str], index: int | slice = -1, **options: Any
) -> Iterator[ase.Atoms]:
    """Yield frames of a store, as ASE's readers do.

    Arrays: ``type`` (1, 2, ... in the order of ``info["species"]``), ``species`` (names), ``propensities``
    (N, T), and where there are some ``inherent_positions`` (N, 3), ``squared_displacement`` (N, T),
    ``propensity_halves`` (N, 2, T) and ``diameter`` (N,).  ``info``: ``times`` (T,), ``fs`` (T,) and the
    facts of the simulation.  Types 1 and 2 become H and He, as in ASE's reader of dumps; lengths are in σ.

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
    for name, values in arrays.items():
        if values is not None:
            atoms.set_array(name, np.asarray(values))
    atoms.info.update(times=np.asarray(sample.times), species=list(sample.species))
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
    structure = Structure.from_ase(atoms, species, {k + 1: name for k, name in enumerate(species)})
    if "diameter" in arrays:
        diameters = np.asarray(arrays["diameter"], dtype=float)
        structure = Structure(
            structure.positions, structure.types, structure.cell, structure.pbc, diameters=diameters
        )
    halves = arrays.get("propensity_halves")
    facts = {name: info[name] for name in FACTS if name in info}
    facts.setdefault("name", f"frame {number}")
    return Sample(
        structure,
        np.asarray(info["times"], dtype=float),
        species=species,
        inherent_positions=arrays.get("inherent_positions"),
        halves=None if halves is None else np.moveaxis(halves, 1, 0),
        fs=None if "fs" not in info else np.asarray(info["fs"], dtype=float),
        **{name: arrays.get(name) for name in OVER_TIME},
        **facts,
    )
