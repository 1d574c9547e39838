"""Open any trajectory as a stream of frames: LAMMPS dump, extended XYZ, GSD, and all of ASE and
MDAnalysis.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from propensity.errors import DataError, InputError
from propensity.trajectory.dump import read_dump
from propensity.trajectory.frame import Frame, reading
from propensity.trajectory.libraries import (
    from_atoms,
    labels_of,
    open_ase,
    open_gsd,
    open_mdanalysis,
    open_universe,
)
from propensity.trajectory.stream import Frames

if TYPE_CHECKING:
    import ase

_DUMP = {".dump", ".lammpsdump", ".lammpstrj"}
_XYZ = {".xyz", ".extxyz"}
_COMPRESSED: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def open_trajectory(
    path: str | Path,
    topology: str | Path | None = None,
    *,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
) -> Frames:
    """Open a trajectory; frames outside ``start:stop:step`` are skipped.

    Parameters
    ----------
    path
        LAMMPS text dump (known by its first line or extension; ``.gz``, ``.bz2`` and ``.xz`` too),
        extended XYZ, GSD, or anything that ASE or MDAnalysis reads.
    topology
        File that names the particles where the trajectory doesn't (XTC, TRR, DCD, ...); MDAnalysis
        reads both.
    start, stop, step
        Frames to read, as in a slice; none may be negative.

    Raises
    ------
    DataError
        When the file doesn't exist, or its format is unknown or needs a topology.
    InputError
        When the range of frames makes no sense.
    """
    path = Path(path)
    for file in [path] if topology is None else [path, Path(topology)]:
        if not file.exists():
            raise DataError(f"{file} doesn't exist: give the path of a trajectory.")
        if file.is_dir():
            raise DataError(f"{file} is a folder: give the path of one trajectory.")
    if start < 0 or step < 1 or (stop is not None and stop <= start):
        raise InputError(
            f"frames {start}:{'' if stop is None else stop}:{step} are none: give 0 ≤ start < stop and step"
            " ≥ 1."
        )
    suffix = _suffix(path)
    if suffix in _DUMP or _first_line(path).startswith("ITEM:"):
        frames = _open_text(path, read_dump, start, stop, step)
        return frames if topology is None else _with_species(frames, Path(topology))
    if suffix == ".gsd":
        return open_gsd(path, start, stop, step)
    if topology is not None:
        return open_mdanalysis(path, Path(topology), start, stop, step)
    if suffix in _XYZ:
        return _open_text(path, _read_xyz, start, stop, step)
    return open_ase(path, start, stop, step) or open_mdanalysis(path, None, start, stop, step)


def _with_species(frames: Frames, topology: Path) -> Frames:
    """Name the particles of dumps without types by their ids in a topology."""
    known = open_universe(topology, None).atoms
    labels, ids = labels_of(known), np.asarray(known.ids)
    order = np.argsort(ids)

    def named(frame: Frame) -> Frame:
        if frame.labels:
            return frame
        with reading(frame.number):
            if "id" not in frame.arrays:
                raise DataError("it has neither types nor ids")
            rows = order[np.searchsorted(ids, frame.arrays["id"], sorter=order).clip(max=len(ids) - 1)]
            if not np.array_equal(ids[rows], frame.arrays["id"]):
                raise DataError(f"it has particles that {topology} lacks")
        frame.labels = {name: column[rows] for name, column in labels.items()}
        return frame

    frames.map(named)
    return frames


def _suffix(path: Path) -> str:
    name = Path(path.stem) if path.suffix in _COMPRESSED else path
    return name.suffix.lower()


def _text(path: Path) -> tuple[TextIO, Any]:
    """Text stream, and the raw stream below whose position says how much is read."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise DataError(f"{path} can't be opened ({error.strerror}).") from None
    opener = _COMPRESSED.get(path.suffix)
    return io.TextIOWrapper(raw if opener is None else opener(raw), errors="replace"), raw


def _first_line(path: Path) -> str:
    stream, raw = _text(path)
    with raw, stream:
        try:
            return stream.readline(80)
        except (OSError, EOFError, lzma.LZMAError, zlib.error):
            raise DataError(f"{path} is not a readable {path.suffix} file: decompress it to see.") from None


def _open_text(path: Path, read: Any, start: int, stop: int | None, step: int) -> Frames:
    stream, raw = _text(path)

    def frames() -> Iterator[Frame]:
        with raw, closing(stream):
            yield from read(stream, start, stop, step)

    return Frames(frames(), None, raw, path.stat().st_size)


def _read_xyz(stream: TextIO, start: int, stop: int | None, step: int) -> Iterator[Frame]:
    """Frames of an XYZ file; ASE parses each, but its own reader scans the whole file first."""
    number = 0
    while stop is None or number < stop:
        wanted = number >= start and (number - start) % step == 0
        with reading(number):
            first = stream.readline()
            if not first.strip():
                return
            if not first.strip().isdigit():
                raise DataError(f"the number of atoms reads {first.strip()[:40]!r}")
            n = int(first)
            lines = [first, *islice(stream, n + 1)] if wanted else []
            if wanted and len(lines) < n + 2:
                raise DataError(f"the file ends after {max(0, len(lines) - 2)} of {n} particles")
            frame = from_atoms(_parse_xyz(lines), number) if wanted else None
        if frame is None:
            for _ in islice(stream, n + 1):
                pass
        else:
            yield frame
        number += 1


def _parse_xyz(lines: list[str]) -> ase.Atoms:
    """Atoms of one frame; particles called A, B or 1, 2 instead of by elements keep that as ``type``."""
    from ase.io.extxyz import read_xyz

    try:
        return next(read_xyz(io.StringIO("".join(lines)), 0))
    except KeyError:
        comment = lines[1].rstrip("\n").replace("species:S:1", "type:S:1", 1)
        if "Properties=" not in comment:
            comment += " Properties=type:S:1:pos:R:3"
        return next(read_xyz(io.StringIO("".join([lines[0], comment + "\n", *lines[2:]])), 0))
