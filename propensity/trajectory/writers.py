"""Annotated frames on disk: extended XYZ and LAMMPS dumps for OVITO, H5MD for analysis."""

from __future__ import annotations

import io
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ase
import h5py
import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from ase.io.extxyz import write_xyz

from propensity.errors import InputError, PropensityError
from propensity.files import replacing
from propensity.predictor import Predictor
from propensity.trajectory.dump import format_dump
from propensity.trajectory.frame import Frame
from propensity.version import __version__

#: Extension → format.
FORMATS = {
    ".extxyz": "extxyz",
    ".xyz": "extxyz",
    ".dump": "dump",
    ".lammpstrj": "dump",
    ".lammpsdump": "dump",
    ".h5": "h5md",
    ".h5md": "h5md",
    ".hdf5": "h5md",
}
_STALE = re.compile(r"propensity(_std)?(_t[0-9.e+-]+)?|propensities(_std)?")
#: Element of H5MD → column of a frame.
_ELEMENTS = {"id": "id", "velocity": "velocities", "force": "forces", "image": "image", "mass": "mass"}


class Writer(Protocol):
    """What every format offers: the work on a frame, which any thread or machine may do, and its place in the
    file.
    """

    def prepare(self, frame: Frame, types: np.ndarray, columns: dict[str, np.ndarray]) -> Any:
        """What a frame with its types 0..n−1 and the columns of a predictor becomes."""

    def append(self, prepared: Any) -> None:
        """Write what ``prepare`` gave."""


@contextmanager
def open_writer(path: str | Path, predictor: Predictor) -> Iterator[Writer]:
    """Yield a writer of the format that the extension of ``path`` names.

    What is written appears at ``path`` when the block ends without an error, and not at all otherwise.

    Raises
    ------
    InputError
        For an unknown extension.
    PropensityError
        When the file can't be written.
    """
    path = Path(path)
    format = FORMATS.get(path.suffix.lower())
    if format is None:
        raise InputError(f"output {path} has no known extension: choose from {' '.join(FORMATS)}.")
    if path.is_dir():
        raise InputError(f"output {path} is a folder: give the name of a file.")
    with replacing(path) as temporary:
        try:
            if format == "h5md":
                with h5py.File(temporary, "w") as file:
                    writer = _H5MD(file, predictor)
                    yield writer
                    writer.trim()
            else:
                with temporary.open("w", encoding="utf-8") as stream:
                    yield (_ExtXYZ if format == "extxyz" else _Dump)(stream, predictor)
        except OSError as error:
            raise PropensityError(
                f"{path} can't be written ({error.strerror or error}): free some space or choose another"
                " folder."
            ) from None


class _ExtXYZ:
    def __init__(self, stream: Any, predictor: Predictor) -> None:
        self._stream, self._times = stream, predictor.times

    def prepare(self, frame: Frame, types: np.ndarray, columns: dict[str, np.ndarray]) -> str:
        atoms = _atoms(frame, types) if frame.atoms is None else frame.atoms
        atoms.arrays = {name: a for name, a in atoms.arrays.items() if not _STALE.fullmatch(name)} | columns
        atoms.info["propensity_times"] = self._times
        text = io.StringIO()
        write_xyz(text, [atoms])
        return text.getvalue()

    def append(self, prepared: str) -> None:
        self._stream.write(prepared)


def _atoms(frame: Frame, types: np.ndarray) -> ase.Atoms:
    """ASE's view of a frame of another format, with names of columns that OVITO knows."""
    atoms = ase.Atoms(_symbols(frame, types), frame.positions, cell=frame.cell, pbc=frame.pbc)
    for name, array in frame.arrays.items():
        if name not in ("positions", "numbers", "symbols", "species", "pos"):
            atoms.arrays["velo" if name == "velocities" else name] = array
    atoms.info.update(frame.info)
    for key, value in (("Timestep", frame.step), ("Time", frame.time)):
        if value is not None:
            atoms.info[key] = value
    if frame.origin is not None and np.any(frame.origin):
        atoms.info["Origin"] = frame.origin
    return atoms


def _symbols(frame: Frame, types: np.ndarray) -> list[str]:
    """Element symbols, which extended XYZ asks for: the file's own, else H, He, ... by type as ASE does."""
    for labels in frame.labels.values():
        names = labels.astype(str).tolist()
        if all(name in atomic_numbers for name in set(names)):
            return names
    given = frame.arrays.get("type")
    usable = (
        given is not None
        and given.dtype.kind in "iu"
        and given.min() > 0
        and given.max() < len(chemical_symbols)
    )
    return [chemical_symbols[k] for k in (given if usable and given is not None else types + 1)]


class _Dump:
    def __init__(self, stream: Any, predictor: Predictor) -> None:
        self._stream, self._times = stream, predictor.times

    def prepare(self, frame: Frame, types: np.ndarray, columns: dict[str, np.ndarray]) -> str:
        scalars: dict[str, np.ndarray] = {}
        for name, array in columns.items():
            if array.ndim == 1:
                scalars[name] = array
            elif len(self._times) > 1:
                stem = name.replace("propensities", "propensity")
                scalars |= {f"{stem}_t{t:g}": array[:, k] for k, t in enumerate(self._times)}
        return format_dump(frame, scalars, types, drop=_STALE)

    def append(self, prepared: str) -> None:
        self._stream.write(prepared)


class _H5MD:
    """H5MD 1.1 (https://www.nongnu.org/h5md): per-particle data below ``particles/all``.

    ``observables/propensity`` (F, N) and ``observables/propensities`` (F, N, T) are the same data under the
    names where MDAnalysis looks for them.
    """

    def __init__(self, file: h5py.File, predictor: Predictor) -> None:
        self._file, self._predictor = file, predictor
        self._n: int | None = None
        self._frames = 0
        file.create_group("h5md").attrs["version"] = [1, 1]
        file.create_group("h5md/author").attrs["name"] = "unknown"
        file["h5md"].create_group("creator").attrs.update(name="propensity", version=__version__)

    def prepare(self, frame: Frame, types: np.ndarray, columns: dict[str, np.ndarray]) -> _Prepared:
        # The corner of the box is no part of H5MD, but positions mean little without.
        origin = np.zeros(3) if frame.origin is None else frame.origin
        values = {"box/edges": frame.cell, "box/origin": origin, "position": frame.positions}
        values["species"] = types.astype(np.int32)
        values |= {name: frame.arrays[c] for name, c in _ELEMENTS.items() if c in frame.arrays}
        values |= {name: column.astype(np.float32) for name, column in columns.items()}
        step = frame.number if frame.step is None else frame.step
        time = float(step) if frame.time is None else frame.time
        chunks = {name: _Chunk.of(np.asarray(value)) for name, value in values.items()}
        return _Prepared(len(frame), step, time, frame.pbc, chunks)

    def append(self, prepared: _Prepared) -> None:
        particles = self._file.require_group("particles/all")
        if self._n is None:
            self._n = prepared.n
            box = particles.create_group("box")
            box.attrs["dimension"] = 3
            box.attrs["boundary"] = ["periodic" if periodic else "none" for periodic in prepared.pbc]
        if prepared.n != self._n:
            raise InputError(
                f"it has {prepared.n} particles and the first {self._n}, which HDF5 output can't hold: "
                "write .extxyz or .dump."
            )
        for name, chunk in prepared.chunks.items():
            _append(particles, name, chunk, prepared)
            if name.startswith("propensit") and f"observables/{name}" not in self._file:
                particles[name].attrs.update(
                    times=self._predictor.times,
                    default_time_index=self._predictor.default_time_index,
                    species=list(self._predictor.species),
                    model=self._predictor.card.name,
                    length_scale=self._predictor.length_scale,
                    card=json.dumps(self._predictor.card.model_dump(mode="json")),
                )
                self._file.require_group("observables")[name] = particles[name]
        self._frames += 1

    def trim(self) -> None:
        """Drop what an interrupted ``append`` left."""
        groups = [*self._file["particles/all"].values()] if self._frames else []
        groups += [*self._file["particles/all/box"].values()] if self._frames else []
        for group in groups:
            for key in ("value", "step", "time") if "value" in group else ():
                group[key].resize(self._frames, axis=0)


@dataclass(frozen=True)
class _Chunk:
    """A value as HDF5 stores it: bytes of equal weight together (shuffle), then deflated."""

    shape: tuple[int, ...]
    dtype: np.dtype
    data: bytes

    @classmethod
    def of(cls, value: np.ndarray) -> _Chunk:
        """Compress; zlib lets other threads run meanwhile, which h5py does not."""
        flat = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
        shuffled = flat.reshape(-1, value.dtype.itemsize).T.tobytes()
        return cls(value.shape, value.dtype, zlib.compress(shuffled, 4))


@dataclass(frozen=True)
class _Prepared:
    n: int
    step: int
    time: float
    pbc: np.ndarray
    chunks: dict[str, _Chunk]


def _append(particles: h5py.Group, name: str, chunk: _Chunk, prepared: _Prepared) -> None:
    group = particles.require_group(name)
    for key, item in (("step", np.int64(prepared.step)), ("time", np.float64(prepared.time))):
        if key not in group:
            group.create_dataset(key, shape=(0,), maxshape=(None,), chunks=(1024,), dtype=item.dtype)
        group[key].resize(len(group[key]) + 1, axis=0)
        group[key][-1] = item
    if "value" not in group:
        group.create_dataset(
            "value",
            shape=(0, *chunk.shape),
            maxshape=(None, *chunk.shape),
            chunks=(1, *chunk.shape),
            dtype=chunk.dtype,
            compression="gzip",
            shuffle=True,
        )
    value = group["value"]
    if value.shape[1:] != chunk.shape:
        raise InputError(
            f"its {name} has shape {chunk.shape} and that of the first frame {value.shape[1:]}, which HDF5"
            " output can't hold: write .extxyz or .dump."
        )
    at = len(value)
    value.resize(at + 1, axis=0)
    value.id.write_direct_chunk((at, *[0] * len(chunk.shape)), chunk.data)
