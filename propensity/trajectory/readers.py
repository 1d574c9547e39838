"""Open any trajectory as a stream of frames: LAMMPS dump, extended XYZ, GSD, and all of ASE and
MDAnalysis.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache, partial
from numbers import Integral
from pathlib import Path

import numpy as np

from propensity.errors import DataError, InputError
from propensity.files import regular
from propensity.trajectory.dump import later_dump
from propensity.trajectory.frame import Frame, naming_frame
from propensity.trajectory.h5md_reader import is_h5md, open_h5md
from propensity.trajectory.lammps_data import is_lammps_data, later_data
from propensity.trajectory.libraries import labels_of, open_ase, open_gsd, open_mdanalysis, open_universe
from propensity.trajectory.stream import Frames
from propensity.trajectory.text import COMPRESSED, ends_inside_a_line, head, open_frames
from propensity.trajectory.xyz import later_xyz

_DUMP = {".dump", ".lammpsdump", ".lammpstrj"}
_XYZ = {".xyz", ".extxyz"}


def open_trajectory(
    path: str | Path,
    topology: str | Path | None = None,
    *,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    box: float | Sequence[float] | None = None,
) -> Frames:
    """Open a trajectory; frames outside ``start:stop:step`` are skipped.

    Parameters
    ----------
    path
        LAMMPS text dump (known by its first line or extension) or data file (by its content), XYZ
        (extended, of atooms, of RUMD), GSD, H5MD, or anything that ASE or MDAnalysis reads; text may be
        compressed (gzip, bzip2, xz, zstd).
    topology
        File that names the particles where the trajectory doesn't (XTC, TRR, DCD, ...): a LAMMPS data
        file, or one that MDAnalysis reads.
    start, stop, step
        Frames to read, as in a slice; none may be negative.
    box
        Edges of the periodic box, three numbers or one, for files that hold none.

    Returns
    -------
    Frames
        To be iterated; opens the file at each pass.

    Raises
    ------
    DataError
        When the file doesn't exist, or its format is unknown or needs a topology.
    InputError
        When the range of frames makes no sense.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"trajectory is {path!r}: give the path of one file.")
    path = Path(path)
    for file in [path] if topology is None else [path, Path(topology)]:
        if not file.exists():
            raise DataError(f"{file} doesn't exist: give the path of a trajectory.")
        if file.is_dir():
            raise DataError(f"{file} is a folder: give the path of one trajectory.")
        regular(file)
    numbers = (start, step) if stop is None else (start, step, stop)
    whole = all(isinstance(number, Integral) for number in numbers)
    if not whole or start < 0 or step < 1 or (stop is not None and stop <= start):
        raise InputError(
            f"frames {start}:{'' if stop is None else stop}:{step} are none: give 0 ≤ start < stop and step"
            " ≥ 1."
        )
    frames = _open(path, topology, start, stop, step, boxed=box is None)
    if frames.read is not None:
        frames.reread_by(partial(_read_again, path.absolute(), topology, box is None))
    if box is not None:
        frames.map(partial(_put_into, _edges(box)))
    return frames


def _open(
    path: Path, topology: str | Path | None, start: int, stop: int | None, step: int, boxed: bool
) -> Frames:
    suffix = _suffix(path)
    if topology is None and is_h5md(path):
        return open_h5md(path, start, stop, step)
    if suffix == ".gsd":
        return open_gsd(path, start, stop, step, boxed)
    if suffix in _DUMP or head(path)[0].startswith("ITEM:"):
        frames = open_frames(path, later_dump, start, stop, step)
        return frames if topology is None else _with_species(frames, Path(topology))
    if topology is not None:
        known = _data(Path(topology)) or Path(topology)
        return _whole(path, open_mdanalysis(path, known, start, stop, step))
    if suffix in _XYZ:
        return open_frames(path, later_xyz, start, stop, step)
    if is_lammps_data(path):
        return open_frames(path, later_data, start, stop, step)
    frames = open_ase(path, start, stop, step) or open_mdanalysis(path, None, start, stop, step)
    return _whole(path, frames)


def _read_again(path: Path, topology: str | Path | None, boxed: bool, number: int) -> Frame:
    """Frame of a file with random access, in another process than the one that opened it first."""
    read = _opened_again(path, topology, boxed).read
    assert read is not None
    return read(number)


@lru_cache(maxsize=1)
def _opened_again(path: Path, topology: str | Path | None, boxed: bool) -> Frames:
    return _open(path, topology, 0, None, 1, boxed)


def _edges(box: float | Sequence[float]) -> np.ndarray:
    edges = np.asarray(box, dtype=float)
    if edges.shape not in ((), (3,)) or not np.isfinite(edges).all() or (edges <= 0).any():
        raise InputError(f"box is {box}: give three positive edges, or one for a cube.")
    return np.broadcast_to(edges, (3,))


def _put_into(edges: np.ndarray, frame: Frame) -> Frame:
    """Give a frame without a box a periodic one."""
    with naming_frame(frame.number):
        if np.any(frame.cell) and frame.pbc.any():
            raise DataError("it has a box of its own: leave box out")
        frame.cell, frame.pbc = np.diag(edges), np.ones(3, bool)
        if frame.atoms is not None:
            frame.atoms.set_cell(frame.cell)
            frame.atoms.set_pbc(True)
    return frame


def _whole(path: Path, frames: Frames) -> Frames:
    """Frames of a library's reader, the last refused where the file ends inside a line."""
    if ends_inside_a_line(path):
        frames.refuse_final("the file ends inside its last line, which has no line end: some may be missing")
    return frames


def _data(path: Path) -> Frame | None:
    """The frame of a LAMMPS data file; None for other files."""
    return next(iter(open_frames(path, later_data, 0, None, 1))) if is_lammps_data(path) else None


def _with_species(frames: Frames, topology: Path) -> Frames:
    """Name the particles of dumps without types by their ids in a topology."""
    known = _data(topology)
    if known is not None:
        labels = {name: column.astype(str) for name, column in known.labels.items()}
        ids = known.arrays["id"]
    else:
        atoms = open_universe(topology, None).atoms
        labels, ids = labels_of(atoms), np.asarray(atoms.ids)
    order = np.argsort(ids)

    frames.map(partial(_named, topology, ids, order, labels))
    return frames


def _named(
    topology: Path, ids: np.ndarray, order: np.ndarray, labels: dict[str, np.ndarray], frame: Frame
) -> Frame:
    if frame.labels:
        return frame
    with naming_frame(frame.number):
        if "id" not in frame.arrays:
            raise DataError("it has neither types nor ids")
        rows = order[np.searchsorted(ids, frame.arrays["id"], sorter=order).clip(max=len(ids) - 1)]
        if not np.array_equal(ids[rows], frame.arrays["id"]):
            raise DataError(f"it has particles that {topology} lacks")
    frame.labels = {name: column[rows] for name, column in labels.items()}
    return frame


def _suffix(path: Path) -> str:
    name = Path(path.stem) if path.suffix.lower() in COMPRESSED else path
    return name.suffix.lower()
