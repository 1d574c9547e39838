"""One sample as a group of an HDF5 file, checksummed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

from propensity.data.rounding import AUXILIARY_BITS, LABEL_BITS, round_absolute, round_mantissa
from propensity.data.sample import Sample
from propensity.errors import DataError
from propensity.structure import Structure

#: Raised with every change that old files don't meet; each step has a migration below.
FORMAT_VERSION = 1

#: version → function that turns the (arrays, metadata) of a record of that version into the next one's.
MIGRATIONS: dict[int, Callable[[dict[str, Any], dict[str, Any]], tuple[dict[str, Any], dict[str, Any]]]] = {}

_METADATA = ("name", "n_runs", "temperature", "potential", "tau_alpha", "split", "group", "source", "species")


def write_record(group: h5py.Group, sample: Sample) -> None:
    """Fill an empty group; precision as in :mod:`propensity.data.rounding`."""
    arrays = _encode(sample)
    metadata = {key: getattr(sample, key) for key in _METADATA}
    text = json.dumps(metadata, ensure_ascii=False, sort_keys=True)
    for name, array in arrays.items():
        if array.size < 64:
            group.create_dataset(name, data=array)
        else:
            group.create_dataset(
                name, data=array, chunks=array.shape, compression="gzip", compression_opts=6, shuffle=True
            )
    group.attrs["metadata"] = text
    group.attrs["crc32"] = np.uint32(_checksum(arrays, text))


def read_record(group: h5py.Group, where: str, version: int = FORMAT_VERSION) -> Sample:
    """Read a group back and verify its checksum; ``where`` names it in errors.

    Raises
    ------
    DataError
        When the record is damaged.
    """
    arrays = {name: np.asarray(dataset[()]) for name, dataset in group.items()}
    text = str(group.attrs["metadata"])
    if int(group.attrs["crc32"]) != _checksum(arrays, text):
        raise DataError(f"{where} is damaged (checksum differs): convert or copy the file again.")
    metadata = json.loads(text)
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
        "times": np.asarray(sample.times, dtype=np.float64),
        # Particles last: neighbours in memory are alike and compress.
        "propensity": round_mantissa(sample.propensity.T, LABEL_BITS),
    }
    if sample.inherent_positions is not None:
        # As a displacement: fewer digits.
        shift = round_absolute(sample.inherent_positions) - arrays["positions"].astype(np.float64)
        arrays["inherent_displacement"] = round_absolute(shift)
    if sample.halves is not None:
        arrays["halves"] = round_mantissa(sample.halves.transpose(0, 2, 1), AUXILIARY_BITS)
    if sample.squared_displacement is not None:
        arrays["squared_displacement"] = round_mantissa(sample.squared_displacement.T, AUXILIARY_BITS)
    if sample.fs is not None:
        arrays["fs"] = np.asarray(sample.fs, dtype=np.float64)
    return arrays


def _decode(arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> Sample:
    def double(name: str, *axes: int) -> np.ndarray | None:
        return (
            np.ascontiguousarray(arrays[name].transpose(axes), dtype=np.float64) if name in arrays else None
        )

    positions = arrays["positions"].astype(np.float64)
    inherent = double("inherent_displacement", 0, 1)
    propensity = double("propensity", 1, 0)
    assert propensity is not None
    return Sample(
        structure=Structure(positions, arrays["types"], arrays["cell"], arrays["pbc"]),
        times=arrays["times"],
        propensity=propensity,
        inherent_positions=None if inherent is None else positions + inherent,
        halves=double("halves", 0, 2, 1),
        squared_displacement=double("squared_displacement", 1, 0),
        fs=arrays.get("fs"),
        **{**metadata, "species": tuple(metadata["species"])},
    )


def _checksum(arrays: dict[str, np.ndarray], text: str) -> int:
    value = zlib.crc32(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        value = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), value)
        value = zlib.crc32(array.tobytes(), value)
    return value
