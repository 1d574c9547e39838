"""Annotated frames on disk: extended XYZ and LAMMPS dumps for OVITO, H5MD for analysis."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import ase
import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from propensity.errors import InputError, PropensityError
from propensity.files import check_writable, replacing
from propensity.hdf5 import writing
from propensity.locks import alone
from propensity.predictor import Predictor
from propensity.provenance import facts, plain, without
from propensity.trajectory.dump import format_dump
from propensity.trajectory.extxyz import format_xyz
from propensity.trajectory.frame import Frame
from propensity.trajectory.h5md import H5MD

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
    ".traj": "traj",
}
_FLAG = "propensity_out_of_distribution"
_STALE = re.compile(rf"propensity(_std)?(_t[0-9.e+-]+)?|propensities(_std)?|{_FLAG}")


class Writer(Protocol):
    """What every format offers: the work on a frame, which any thread or machine may do, and its place in the
    file.
    """

    def prepare(self, frame: Frame, types: np.ndarray, columns: dict[str, np.ndarray]) -> Any:
        """What a frame with its types 0..n−1 and the columns of a predictor becomes."""

    def append(self, prepared: Any) -> None:
        """Write what ``prepare`` gave."""


@contextmanager
def open_writer(path: str | Path, predictor: Predictor, overwrite: bool = True) -> Iterator[Writer]:
    """Yield a writer of the format that the extension of ``path`` names.

    What is written appears at ``path`` when the block ends without an error, and not at all otherwise.

    Parameters
    ----------
    path
        Where the output appears.
    predictor
        Whose columns and provenance are written.
    overwrite
        Replace what is at ``path``.

    Returns
    -------
    Iterator[Writer]
        As a context manager.

    Raises
    ------
    InputError
        For an unknown extension, or a file that may not be replaced.
    PropensityError
        When the file can't be written, or another process is writing it.
    """
    path = Path(path)
    format = FORMATS.get(path.suffix.lower())
    if format is None:
        raise InputError(f"output {path} has no known extension: choose from {' '.join(FORMATS)}.")
    check_writable(path)
    with _alone(path), replacing(path) as temporary:
        if not overwrite and path.exists():
            raise InputError(f"output {path} exists: choose another name, or overwrite it (--overwrite).")
        try:
            if format == "h5md":
                with writing(temporary) as (file, check):
                    writer = H5MD(file, predictor, check)
                    yield writer
                    writer.finish()
            elif format == "traj":
                # Half a second of imports, for this format alone.
                from ase.io.trajectory import TrajectoryWriter

                with TrajectoryWriter(str(temporary), "w") as stream:
                    yield _Traj(stream, predictor)
            elif format == "extxyz":
                with temporary.open("w", encoding="utf-8") as stream:
                    yield _ExtXYZ(stream, predictor)
            else:
                with temporary.open("w", encoding="utf-8") as stream:
                    dump = _Dump(stream, predictor)
                    yield dump
                with replacing(path.with_name(path.name + ".json")) as beside:
                    beside.write_text(json.dumps(dump.said(), indent=1, ensure_ascii=False) + "\n", "utf-8")
        except OSError as error:
            raise PropensityError(
                f"{path} can't be written ({error.strerror or error}): free some space or choose another"
                " folder."
            ) from None


def _alone(path: Path) -> AbstractContextManager[None]:
    """Of two that write one output the later would win unseen."""
    return alone(
        path.with_name(f".{path.name}.lock"),
        f"another process is writing {path}: wait until it is done, or choose another name.",
    )


class _Stream:
    """A stream of frames; what travels to another machine can prepare and not append."""

    def __init__(self, stream: Any, predictor: Predictor) -> None:
        self._stream, self._facts = stream, facts(predictor)

    def append(self, prepared: Any) -> None:
        """Write a frame."""
        self._stream.write(prepared)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stream": None}


class _ExtXYZ(_Stream):
    def prepare(self, frame: Frame, types: np.ndarray, columns: dict[str, np.ndarray]) -> str:
        return format_xyz(_annotated(frame, types, columns, self._facts))


class _Traj(_Stream):
    """ASE's own format, which keeps no columns but those that it knows: ours go to ``info``."""

    def prepare(self, frame: Frame, types: np.ndarray, columns: dict[str, np.ndarray]) -> ase.Atoms:
        atoms = _annotated(frame, types, columns, self._facts)
        atoms.info |= columns
        return atoms


def _annotated(
    frame: Frame, types: np.ndarray, columns: dict[str, np.ndarray], known: dict[str, Any]
) -> ase.Atoms:
    """Atoms of a frame with its columns, and with what was said of them in ``info``."""
    atoms = _atoms(frame, types) if frame.atoms is None else frame.atoms
    atoms.arrays = {name: a for name, a in atoms.arrays.items() if not _STALE.fullmatch(name)} | columns
    said = {key: value for key, value in frame.info.items() if str(key).startswith("propensity_")}
    atoms.info = without(atoms.info) | known | said
    return atoms


def _atoms(frame: Frame, types: np.ndarray) -> ase.Atoms:
    """ASE's view of a frame of another format, with names of columns that OVITO knows."""
    atoms = ase.Atoms(_elements(frame, types), frame.positions, cell=frame.cell, pbc=frame.pbc)
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


def _elements(frame: Frame, types: np.ndarray) -> np.ndarray:
    """Atomic numbers, which extended XYZ asks for: the file's own, else H, He, ... by type as ASE does."""
    for labels in frame.labels.values():
        if labels.dtype.kind in "iuf":
            continue
        names, which = np.unique(labels.astype(str), return_inverse=True)
        if all(name in atomic_numbers for name in names):
            return np.array([atomic_numbers[name] for name in names])[which]
    given = frame.arrays.get("type")
    usable = (
        given is not None
        and given.dtype.kind in "iu"
        and given.min() > 0
        and given.max() < len(chemical_symbols)
    )
    return given if usable and given is not None else types + 1


class _Dump(_Stream):
    """LAMMPS dump; its format has no place for remarks: the flag of a frame is a column, the rest is JSON."""

    def __init__(self, stream: Any, predictor: Predictor) -> None:
        super().__init__(stream, predictor)
        self._times = predictor.times
        self._frames = self._negative = 0
        self._doubtful: list[int] = []

    def said(self) -> dict[str, Any]:
        """What is said of the columns and of the frames."""
        return {
            **plain(self._facts),
            "n_frames": self._frames,
            "negative_predictions": self._negative,
            "frames_out_of_distribution": self._doubtful,
        }

    def prepare(
        self, frame: Frame, types: np.ndarray, columns: dict[str, np.ndarray]
    ) -> tuple[str, int, dict[str, Any]]:
        scalars: dict[str, np.ndarray] = {}
        for name, array in columns.items():
            if array.ndim == 1:
                scalars[name] = array
            elif len(self._times) > 1:
                stem = name.replace("propensities", "propensity")
                scalars |= {f"{stem}_t{t:g}": array[:, k] for k, t in enumerate(self._times)}
        scalars[_FLAG] = np.full(len(frame), int(frame.info.get(_FLAG, False)))
        return format_dump(frame, scalars, types, drop=_STALE), frame.number, frame.info

    def append(self, prepared: tuple[str, int, dict[str, Any]]) -> None:
        text, number, info = prepared
        self._stream.write(text)
        self._frames += 1
        self._negative += int(info.get("propensity_negative", 0))
        if info.get(_FLAG):
            self._doubtful.append(number)
