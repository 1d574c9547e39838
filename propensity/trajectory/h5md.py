"""H5MD: annotated frames for analysis."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from propensity.errors import InputError
from propensity.predictor import Predictor
from propensity.provenance import facts
from propensity.trajectory.frame import Frame
from propensity.version import __version__

#: Element of H5MD → column of a frame.
_ELEMENTS = {"id": "id", "velocity": "velocities", "force": "forces", "image": "image", "mass": "mass"}


class H5MD:
    """H5MD 1.1 (https://www.nongnu.org/h5md): per-particle data below ``particles/all``.

    ``observables/propensity`` (F, N) and ``observables/propensities`` (F, N, T) are the same data under the
    names where MDAnalysis looks for them.
    """

    def __init__(self, file: h5py.File, predictor: Predictor, check: Callable[[], None]) -> None:
        self._file, self._predictor, self._check = file, predictor, check
        self._n: int | None = None
        self._values: dict[str, h5py.Dataset] = {}
        self._steps: list[int] = []
        self._times: list[float] = []
        self._said: list[dict[str, Any]] = []
        file.create_group("h5md").attrs["version"] = [1, 1]
        file.create_group("h5md/author").attrs["name"] = "unknown"
        file["h5md"].create_group("creator").attrs.update(name="propensity", version=__version__)

    def prepare(self, frame: Frame, types: np.ndarray, columns: dict[str, np.ndarray]) -> _Prepared:
        """Compress what a frame holds, see :class:`propensity.trajectory.writers.Writer`."""
        # The corner of the box is no part of H5MD, but positions mean little without.
        origin = np.zeros(3) if frame.origin is None else frame.origin
        values = {"box/edges": frame.cell, "box/origin": origin, "position": frame.positions}
        values["species"] = types.astype(np.int32)
        values |= {name: frame.arrays[c] for name, c in _ELEMENTS.items() if c in frame.arrays}
        values |= {name: column.astype(np.float32) for name, column in columns.items()}
        step = frame.number if frame.step is None else frame.step
        time = float(step) if frame.time is None else frame.time
        chunks = {name: _Chunk.of(np.asarray(value)) for name, value in values.items()}
        return _Prepared(len(frame), step, time, frame.pbc, chunks, frame.info)

    def append(self, prepared: _Prepared) -> None:
        """Write a frame."""
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
            value = self._values.get(name)
            if value is None:
                value = self._values[name] = self._create(particles.require_group(name), name, chunk)
            if value.shape[1:] != chunk.shape:
                raise InputError(
                    f"its {name} has shape {chunk.shape} and that of the first frame {value.shape[1:]}, which"
                    " HDF5 output can't hold: write .extxyz or .dump."
                )
            at = len(self._steps)
            value.resize(at + 1, axis=0)
            value.id.write_direct_chunk((at, *[0] * len(chunk.shape)), chunk.data)
        self._check()
        self._steps.append(prepared.step)
        self._times.append(prepared.time)
        self._said.append(prepared.said)

    def _create(self, group: h5py.Group, name: str, chunk: _Chunk) -> h5py.Dataset:
        """Data set of a value, and what says of a prediction how it was made."""
        if name.startswith("propensit"):
            group.attrs.update(
                times=self._predictor.times,
                default_time_index=self._predictor.default_time_index,
                species=list(self._predictor.species),
                model=self._predictor.card.name,
                length_scale=self._predictor.length_scale,
                card=json.dumps(self._predictor.card.model_dump(mode="json")),
            )
            self._file.require_group("observables")[name] = group
        return group.create_dataset(
            "value",
            shape=(0, *chunk.shape),
            maxshape=(None, *chunk.shape),
            chunks=(1, *chunk.shape),
            dtype=chunk.dtype,
            compression="gzip",
            shuffle=True,
        )

    def __getstate__(self) -> dict[str, Any]:
        # What travels to another machine can prepare and not append.
        return {}

    def finish(self) -> None:
        """Write steps, times and what is said of the frames, and drop what an interrupted ``append`` left."""
        group = self._file.require_group("parameters/propensity")
        group.attrs.update({key.removeprefix("propensity_"): v for key, v in facts(self._predictor).items()})
        for name, kind in (("out_of_distribution", bool), ("outside", float), ("negative", np.int64)):
            values = [said.get(f"propensity_{name}", np.nan if kind is float else 0) for said in self._said]
            group.create_dataset(name, data=np.array(values, dtype=kind))
        for value in self._values.values():
            value.resize(len(self._steps), axis=0)
            for key, column in (("step", np.array(self._steps, np.int64)), ("time", np.array(self._times))):
                value.parent.create_dataset(key, data=column, maxshape=(None,), chunks=(1024,))


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
    said: dict[str, Any]
