"""Open any trajectory as a stream of frames: LAMMPS dump, extended XYZ, GSD, and all of ASE and MDAnalysis."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count, islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from propensity.errors import DataError, InputError, MissingDependencyError
from propensity.trajectory.dump import read_dump
from propensity.trajectory.frame import Frame, reading

_DUMP = {".dump", ".lammpsdump", ".lammpstrj"}
_XYZ = {".xyz", ".extxyz"}
_COMPRESSED: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


class Frames:
    """Frames of a trajectory in order, read when asked for.

    Attributes
    ----------
    total : int or None
        Number of frames selected, where that is known without reading the file.
    done : float or None
        Fraction of the file that is read, for text files, whose number of frames isn't known.
    """

    def __init__(
        self, frames: Iterator[Frame], total: int | None = None, stream: Any = None, size: int = 0
    ) -> None:
        self._frames, self.total, self._stream, self._size = frames, total, stream, size

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def map(self, change: Callable[[Frame], Frame]) -> None:
        """Pass every frame through ``change`` as it is read."""
        self._frames = map(change, self._frames)

    @property
    def done(self) -> float | None:
        """Fraction of the file that is read, or None."""
        if self._stream is None or self._stream.closed or not self._size:
            return None
        return min(1.0, self._stream.tell() / self._size)


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
            f"frames {start}:{'' if stop is None else stop}:{step} are none: give 0 ≤ start < stop and step ≥ 1."
        )
    suffix = _suffix(path)
    if suffix in _DUMP or _first_line(path).startswith("ITEM:"):
        frames = _open_text(path, read_dump, start, stop, step)
        return frames if topology is None else _with_species(frames, Path(topology))
    if suffix == ".gsd":
        return _open_gsd(path, start, stop, step)
    if topology is not None:
        return _open_mdanalysis(path, Path(topology), start, stop, step)
    if suffix in _XYZ:
        return _open_text(path, _read_xyz, start, stop, step)
    return _open_ase(path, start, stop, step) or _open_mdanalysis(path, None, start, stop, step)


def _with_species(frames: Frames, topology: Path) -> Frames:
    """Name the particles of dumps without types by their ids in a topology."""
    known = _universe(topology, None).atoms
    labels, ids = _labels(known), np.asarray(known.ids)
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
    raw = path.open("rb")
    opener = _COMPRESSED.get(path.suffix)
    return io.TextIOWrapper(raw if opener is None else opener(raw), errors="replace"), raw


def _first_line(path: Path) -> str:
    stream, raw = _text(path)
    with raw, stream:
        try:
            return stream.readline(80)
        except (OSError, EOFError, lzma.LZMAError):
            raise DataError(f"{path} is not a readable {path.suffix} file: decompress it to see.") from None


def _open_text(path: Path, read: Any, start: int, stop: int | None, step: int) -> Frames:
    stream, raw = _text(path)

    def frames() -> Iterator[Frame]:
        with raw, closing(stream):
            yield from read(stream, start, stop, step)

    return Frames(frames(), None, raw, path.stat().st_size)


def _read_xyz(stream: TextIO, start: int, stop: int | None, step: int) -> Iterator[Frame]:
    """Frames of an XYZ file; ASE parses each, but its own reader scans the whole file first."""
    from ase.io.extxyz import read_xyz

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
            frame = _from_atoms(next(read_xyz(io.StringIO("".join(lines)), 0)), number) if wanted else None
        if frame is None:
            for _ in islice(stream, n + 1):
                pass
        else:
            yield frame
        number += 1


def _open_ase(path: Path, start: int, stop: int | None, step: int) -> Frames | None:
    """Frames by ASE; None when it doesn't know the format."""
    from ase.io import iread
    from ase.io.formats import UnknownFileTypeError, filetype, ioformats
    from ase.io.trajectory import Trajectory

    try:
        format = filetype(str(path))
    except (UnknownFileTypeError, OSError, UnicodeDecodeError):
        return None
    if format not in ioformats or format in (
        "gromacs",
        "proteindatabank",
        "lammps-data",
        "netcdftrajectory",
        "dcd",
    ):
        return None  # Formats whose boxes or species MDAnalysis knows better.
    if format == "traj":
        try:
            trajectory = Trajectory(str(path))
        except Exception as error:
            raise DataError(f"{path} is not a readable ASE trajectory ({_one_line(error)}).") from None
        numbers = range(len(trajectory))[start:stop:step]
        return Frames(_each(numbers, lambda k: _from_atoms(trajectory[k], k)), len(numbers))

    def frames() -> Iterator[Frame]:
        reader = iread(str(path), slice(start, stop, step), format=format)
        for number in count(start, step):
            with reading(number):
                atoms = next(reader, None)
            if atoms is None:
                return
            yield _from_atoms(atoms, number)

    return Frames(frames())


def _each(numbers: range, read: Callable[[int], Frame]) -> Iterator[Frame]:
    for number in numbers:
        with reading(number):
            frame = read(number)
        yield frame


def _from_atoms(atoms: Any, number: int) -> Frame:
    arrays = {k: v for k, v in atoms.arrays.items() if k not in ("positions", "numbers")}
    labels = {"symbol": np.array(atoms.get_chemical_symbols())}
    types = arrays.get("type", arrays.get("types"))
    labels = {**labels, "number": atoms.numbers} if types is None else {"type": types, **labels}
    if atoms.calc is not None and "forces" in atoms.calc.results:
        arrays["forces"] = atoms.calc.results["forces"]
    return Frame(number, atoms.positions, atoms.cell.array, atoms.pbc, labels, arrays, atoms=atoms)


def _open_gsd(path: Path, start: int, stop: int | None, step: int) -> Frames:
    """Frames of HOOMD's GSD; MDAnalysis misreads the tilt of its boxes and takes types from the first frame."""
    try:
        import gsd.hoomd
    except ImportError:
        raise MissingDependencyError(
            'reading GSD needs the package gsd: pip install "propensity[gsd]".'
        ) from None
    try:
        trajectory = gsd.hoomd.open(str(path), "r")
    except Exception as error:  # gsd raises RuntimeError, OSError, ... by the kind of damage.
        raise DataError(f"{path} is not a readable GSD file ({_one_line(error)}).") from None
    numbers = range(len(trajectory))[start:stop:step]
    return Frames(_each(numbers, lambda k: _from_gsd(trajectory[k], k)), len(numbers))


def _from_gsd(snapshot: Any, number: int) -> Frame:
    particles, (lx, ly, lz, xy, xz, yz) = snapshot.particles, map(float, snapshot.configuration.box)
    flat = snapshot.configuration.dimensions == 2
    lz = lz or 1.0
    cell = np.array([[lx, 0, 0], [xy * ly, ly, 0], [xz * lz, yz * lz, lz]])
    names = np.array(particles.types, dtype=object)[particles.typeid]
    arrays = {
        "type": particles.typeid.astype(np.int64) + 1,
        "velocities": particles.velocity.astype(float),
        "image": particles.image.astype(np.int64),
    }
    return Frame(
        number, particles.position.astype(float), cell, np.array([True, True, not flat]),
        {"type": names}, arrays, step=int(snapshot.configuration.step), origin=-cell.sum(axis=0) / 2,
    )  # fmt: skip


def _universe(first: Path, second: Path | None) -> Any:
    import MDAnalysis

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return MDAnalysis.Universe(*map(str, filter(None, (first, second))), **_atom_style(first))
        except Exception as error:  # MDAnalysis raises whatever its parsers meet.
            raise DataError(_why_not(first, second, error)) from None


#: Columns of the section Atoms in LAMMPS data files, as MDAnalysis wants to be told them.
_ATOM_STYLES = {
    "atomic": "id type x y z", "charge": "id type charge x y z", "molecular": "id resid type x y z",
    "bond": "id resid type x y z", "angle": "id resid type x y z", "full": "id resid type charge x y z",
    "sphere": "id type diameter density x y z",
}  # fmt: skip


def _atom_style(path: Path) -> dict[str, str]:
    """Style that ``write_data`` notes after "Atoms #"; MDAnalysis guesses it by counting columns."""
    if path.suffix.lower() != ".data":
        return {}
    with path.open(errors="replace") as stream:
        note = next((line.partition("#")[2].strip() for line in stream if line.startswith("Atoms")), "")
    return {"atom_style": _ATOM_STYLES[note]} if note in _ATOM_STYLES else {}


def _open_mdanalysis(path: Path, topology: Path | None, start: int, stop: int | None, step: int) -> Frames:
    universe = _universe(path, None) if topology is None else _universe(topology, path)
    if not hasattr(universe, "trajectory"):
        raise DataError(f"{path} holds no positions: give a trajectory.")
    numbers = range(len(universe.trajectory))[start:stop:step]
    return Frames(_each(numbers, lambda k: _from_universe(universe, k)), len(numbers))


def _why_not(first: Path, second: Path | None, error: Exception) -> str:
    import MDAnalysis

    if second is not None:
        return f"{second} with topology {first} can't be opened ({type(error).__name__}: {_one_line(error)})."
    if first.suffix.lstrip(".").upper() in MDAnalysis._PARSERS:
        return f"{first} can't be read ({type(error).__name__}: {_one_line(error)})."
    if first.suffix.lstrip(".").upper() in MDAnalysis._READERS:
        return (
            f"{first} says nothing of the species: give a topology after it, "
            f"e.g. propensity annotate {first.name} topology.data -o out.extxyz."
        )
    return f"{first} has no format that ASE or MDAnalysis knows: convert it to a LAMMPS dump or extended XYZ."


def _from_universe(universe: Any, number: int) -> Frame:
    atoms, ts = universe.atoms, universe.trajectory[number]
    arrays: dict[str, np.ndarray] = {}
    if hasattr(atoms, "ids"):
        arrays["id"] = np.asarray(atoms.ids, dtype=np.int64)
    if ts.has_velocities:
        arrays["velocities"] = ts.velocities.astype(float)
    if ts.has_forces:
        arrays["forces"] = ts.forces.astype(float)
    boxed = ts.dimensions is not None
    cell = ts.triclinic_dimensions.astype(float) if boxed else np.zeros((3, 3))
    return Frame(
        number, ts.positions.astype(float), cell, np.full(3, boxed), _labels(atoms), arrays,
        step=int(ts.data["step"]) if "step" in ts.data else None, time=float(ts.time),
    )  # fmt: skip


def _labels(atoms: Any) -> dict[str, np.ndarray]:
    return {
        key: np.asarray(getattr(atoms, attribute), dtype=object)
        for key, attribute in (("type", "types"), ("name", "names"), ("element", "elements"))
        if hasattr(atoms, attribute)
    }


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or "no reason given"
