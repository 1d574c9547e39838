"""One sample as a group of an HDF5 file, checksummed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any, cast

import h5py
import numpy as np

from propensity.caging import CageState
from propensity.data.store.rounding import (
    AUXILIARY_BITS,
    CAGE_BITS,
    LABEL_BITS,
    round_absolute,
    round_mantissa,
)
from propensity.errors import DataError
from propensity.sample import Sample
from propensity.structure import Structure

#: Raised with every change that old files don't meet; each step has a migration below.
FORMAT_VERSION = 2

Parts = tuple[dict[str, Any], dict[str, Any]]


def _one_word_one_meaning(arrays: dict[str, Any], metadata: dict[str, Any]) -> Parts:
    """1 → 2: ``propensities``; ``thermal_offset``, which has the opposite sign of its predecessor."""
    arrays = {("propensities" if name == "propensity" else name): array for name, array in arrays.items()}
    if "inherent_displacement" in arrays:
        arrays["thermal_offset"] = -arrays.pop("inherent_displacement")
    return arrays, metadata


#: version → function that turns the (arrays, metadata) of a record of that version into the next one's.
MIGRATIONS: dict[int, Callable[[dict[str, Any], dict[str, Any]], Parts]] = {1: _one_word_one_meaning}

#: Rows and columns of xx yy zz xy xz yz.
_SIX = ([0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2])

_METADATA = (
    "name",
    "times",
    "fs",
    "n_runs",
    "temperature",
    "potential",
    "tau_alpha",
    "split",
    "group",
    "source",
    "species",
)


def write_record(group: h5py.Group, sample: Sample) -> None:
    """Fill an empty group; precision as in :mod:`propensity.data.store.rounding`."""
    arrays = _encode(sample)
    metadata = {key: getattr(sample, key) for key in _METADATA}
    metadata["dimension"] = sample.structure.dimension
    metadata["length_scale"] = sample.length_scale
    if sample.cage is not None:
        cage = sample.cage
        metadata["cage"] = {
            "radii": cage.radii.tolist(),
            "error": cage.error.tolist(),
            "steps_each": cage.steps_each,
        }
    for key in ("times", "fs"):
        metadata[key] = None if metadata[key] is None else np.asarray(metadata[key], dtype=float).tolist()
    for name, array in arrays.items():
        if array.size < 64:
            group.create_dataset(name, data=array)
        else:
            group.create_dataset(
                name, data=array, chunks=array.shape, compression="gzip", compression_opts=6, shuffle=True
            )
    group.attrs["crc32"] = np.uint32(_checksum(arrays))
    write_text(group, "metadata", json.dumps(metadata, sort_keys=True))


def write_text(group: h5py.Group, name: str, text: str) -> None:
    """Text of any length as checksummed bytes.

    Not as an HDF5 string: those lie in a heap without a checksum, and one flipped bit there can hang the
    library.
    """
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    group.create_dataset(name, data=data).attrs["crc32"] = np.uint32(zlib.crc32(data.tobytes()))


def read_text(group: h5py.Group, name: str) -> str:
    """Text of :func:`write_text`; a ValueError when it is damaged."""
    data = group[name][()].tobytes()
    if zlib.crc32(data) != int(group[name].attrs["crc32"]):
        raise ValueError(f"checksum of {name} differs")
    return cast("str", data.decode())


def read_record(group: h5py.Group, where: str, version: int = FORMAT_VERSION) -> Sample:
    """Read a group back and verify its checksum; ``where`` names it in errors.

    Raises
    ------
    DataError
        When the record is damaged.
    """
    metadata = json.loads(read_text(group, "metadata"))
    arrays = {name: np.asarray(dataset[()]) for name, dataset in group.items() if name != "metadata"}
    if int(group.attrs["crc32"]) != _checksum(arrays):
        raise DataError(f"{where} is damaged (checksum differs): convert or copy the file again.")
    while version < FORMAT_VERSION:
        arrays, metadata = MIGRATIONS[version](arrays, metadata)
        version += 1
    return _decode(arrays, metadata)


def _encode(sample: Sample) -> dict[str, np.ndarray]:
    structure = sample.structure
    arrays = {
        "positions": round_absolute(structure.positions),
        "types": structure.types.astype(np.uint8 if structure.types.max() < 256 else np.int64),
        "cell": structure.cell,
        "pbc": structure.pbc,
        # Particles last: neighbours in memory are alike and compress.
        "propensities": round_mantissa(sample.propensities.T, LABEL_BITS),
    }
    if sample.inherent_positions is not None:
        # As an offset: fewer digits.
        offset = arrays["positions"].astype(np.float64) - round_absolute(sample.inherent_positions)
        arrays["thermal_offset"] = round_absolute(offset)
    if sample.cage is not None:
        # Particles last; of the covariance the six numbers that are its own.
        arrays["cage_offset"] = round_absolute(sample.cage.offset.transpose(0, 2, 1), CAGE_BITS)
        covariance = sample.cage.covariance[:, :, _SIX[0], _SIX[1]]
        arrays["cage_covariance"] = round_mantissa(covariance.transpose(0, 2, 1), AUXILIARY_BITS)
    if structure.diameters is not None:
        arrays["diameters"] = structure.diameters.astype(np.float32)
    if sample.halves is not None:
        arrays["halves"] = round_mantissa(sample.halves.transpose(0, 2, 1), AUXILIARY_BITS)
    if sample.squared_displacement is not None:
        arrays["squared_displacement"] = round_mantissa(sample.squared_displacement.T, AUXILIARY_BITS)
    return arrays


def _decode(arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> Sample:
    def double(name: str, *axes: int) -> np.ndarray | None:
        return (
            np.ascontiguousarray(arrays[name].transpose(axes), dtype=np.float64) if name in arrays else None
        )

    positions = arrays["positions"].astype(np.float64)
    # Records of older releases don't say it.
    dimension = metadata.pop("dimension", None)
    offset = double("thermal_offset", 0, 1)
    inherent = None if offset is None else positions - offset
    cage, about = None, metadata.pop("cage", None)
    if about is not None and inherent is not None:
        six = arrays["cage_covariance"].transpose(0, 2, 1).astype(np.float64)
        # Older records have the steps of all replicas: 32, or 16 that two walls up to 0.45 σ shared.
        number = 16 if len(about["radii"]) == 2 and max(about["radii"]) < 0.5 else 32
        steps = int(about["steps_each"]) if "steps_each" in about else about["steps"] // number
        cage = CageState(
            np.array(about["radii"]),
            arrays["cage_offset"].transpose(0, 2, 1).astype(np.float64),
            six[:, :, [0, 3, 4, 3, 1, 5, 4, 5, 2]].reshape(*six.shape[:2], 3, 3),
            np.array(about["error"]),
            steps,
            inherent,
        )
    propensities = double("propensities", 1, 0)
    assert propensities is not None
    return Sample(
        structure=Structure(
            positions,
            arrays["types"],
            arrays["cell"],
            arrays["pbc"],
            dimension=dimension,
            diameters=double("diameters", 0),
        ),
        propensities=propensities,
        inherent_positions=inherent,
        cage=cage,
        halves=double("halves", 0, 2, 1),
        squared_displacement=double("squared_displacement", 1, 0),
        **{
            **metadata,
            "species": tuple(metadata["species"]),
            "times": np.array(metadata["times"]),
            "fs": None if metadata["fs"] is None else np.array(metadata["fs"]),
        },
    )


def _checksum(arrays: dict[str, np.ndarray]) -> int:
    value = 0
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        value = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), value)
        value = zlib.crc32(array.tobytes(), value)
    return value
