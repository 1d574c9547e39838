"""Frames by the libraries that own their formats: ASE, HOOMD's gsd and MDAnalysis."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from propensity.errors import DataError, MissingDependencyError
from propensity.predictor import COLUMNS
from propensity.species import LABELS
from propensity.trajectory.frame import Frame, LaterFrame, naming_frame
from propensity.trajectory.stream import Frames, numbered_frames


def open_ase(path: Path, start: int, stop: int | None, step: int) -> Frames | None:
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
        except Exception as error:  # ASE raises whatever its reader meets.
            raise DataError(f"{path} is not a readable ASE trajectory ({_one_line(error)}).") from None
        numbers = range(len(trajectory))[start:stop:step]
        n = len(trajectory)
        return numbered_frames(numbers, lambda k: from_atoms(trajectory[k], k), n - 1)

    def frames() -> Iterator[LaterFrame]:
        reader = iread(str(path), slice(start, stop, step), format=format)
        for number in count(start, step):
            with naming_frame(number):
                atoms = next(reader, None)
            if atoms is None:
                return
            yield LaterFrame(number, partial(from_atoms, atoms, number))

    return Frames(frames())


def from_atoms(atoms: Any, number: int) -> Frame:
    """Frame of ``ase.Atoms``."""
    arrays = {k: v for k, v in atoms.arrays.items() if k not in ("positions", "numbers")}
    types = arrays.get("type", arrays.get("types"))
    labels = {} if types is None else {"type": types}
    labels |= {k: arrays[k] for k in LABELS[2:] if k in arrays and arrays[k].dtype.kind in "iuUSO"}
    if atoms.numbers.any():
        labels["symbol"] = np.array(atoms.get_chemical_symbols())
        if types is None:
            labels["number"] = atoms.numbers
    # What .traj files keep beside the particles.
    held = {k: atoms.info[k] for k in COLUMNS if np.shape(atoms.info.get(k))[:1] == (len(atoms),)}
    arrays |= {k: np.asarray(v) for k, v in held.items()}
    if atoms.calc is not None and "forces" in atoms.calc.results:
        arrays["forces"] = atoms.calc.results["forces"]
    # Without elements there is nothing that ASE could write again.
    kept = atoms if atoms.numbers.any() else None
    return Frame(
        number,
        atoms.positions,
        atoms.cell.array,
        atoms.pbc,
        labels,
        arrays,
        dict(atoms.info),
        origin=_origin(atoms),
        atoms=kept,
    )


def _origin(atoms: Any) -> np.ndarray | None:
    """Corner of the cell, as OVITO writes it to extended XYZ and ASE keeps it elsewhere."""
    given = atoms.info.get("Origin", getattr(atoms, "_celldisp", None))
    origin = np.asarray(0.0 if given is None else given, dtype=float).ravel()
    return origin if origin.shape == (3,) and np.isfinite(origin).all() and origin.any() else None


def open_gsd(path: Path, start: int, stop: int | None, step: int, boxed: bool = True) -> Frames:
    """Frames of HOOMD's GSD, refused without a box if ``boxed``.

    MDAnalysis misreads the tilt of its boxes and takes types from the first frame.
    """
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

    size = path.stat().st_size

    def frame(k: int) -> Frame:
        # gsd makes up a unit box where none is stored; a frame without has that of the first.
        has = any(trajectory.file.chunk_exists(frame=i, name="configuration/box") for i in (k, 0))
        if boxed and not has:
            raise DataError("it has no box: give its edges by box")
        # Of each particle at least a position of 12 bytes is somewhere in the file.
        claimed = _gsd_count(trajectory.file, k)
        if claimed > size / 12:
            raise DataError(f"it claims {claimed} particles and the file has {size} bytes")
        return _from_gsd(trajectory[k], k, has)

    return numbered_frames(numbers, frame)


def _gsd_count(file: Any, number: int) -> int:
    """Particles that a frame claims, or else the first one."""
    for frame in (number, 0):
        if file.chunk_exists(frame=frame, name="particles/N"):
            return int(file.read_chunk(frame=frame, name="particles/N")[0])
    return 0


def _from_gsd(snapshot: Any, number: int, boxed: bool) -> Frame:
    particles, (lx, ly, lz, xy, xz, yz) = snapshot.particles, map(float, snapshot.configuration.box)
    flat = snapshot.configuration.dimensions == 2
    lz = lz or 1.0
    cell = np.array([[lx, 0, 0], [xy * ly, ly, 0], [xz * lz, yz * lz, lz]])
    if (particles.typeid >= len(particles.types)).any():
        raise DataError(f"its typeid {particles.typeid.max()} has no name among types {particles.types}")
    names = np.array(particles.types, dtype=object)[particles.typeid]
    arrays = {
        "type": particles.typeid.astype(np.int64) + 1,
        "velocities": particles.velocity.astype(float),
        "image": particles.image.astype(np.int64),
        "diameter": particles.diameter.astype(float),
    }
    return Frame(
        number,
        particles.position.astype(float),
        cell if boxed else np.zeros((3, 3)),
        np.array([True, True, not flat]) if boxed else np.zeros(3, bool),
        {"type": names},
        arrays,
        step=int(snapshot.configuration.step),
        origin=-cell.sum(axis=0) / 2 if boxed else None,
        dimension=2 if flat else 3,
    )


def open_universe(first: Path, second: Path | None) -> Any:
    """Universe of one or two files; raises DataError with the fix where there is one."""
    import MDAnalysis

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return MDAnalysis.Universe(*map(str, filter(None, (first, second))))
        except Exception as error:  # MDAnalysis raises whatever its parsers meet.
            raise DataError(_why_not(first, second, error)) from None


def open_mdanalysis(
    path: Path, topology: Path | Frame | None, start: int, stop: int | None, step: int
) -> Frames:
    """Frames by MDAnalysis; a topology may be a frame whose ids are in the order of the particles."""
    if isinstance(topology, Frame):
        universe = _universe_of(topology, path)
    else:
        universe = open_universe(path, None) if topology is None else open_universe(topology, path)
    if not hasattr(universe, "trajectory"):
        raise DataError(f"{path} holds no positions: give a trajectory.")
    n = len(universe.trajectory)
    numbers = range(n)[start:stop:step]
    return numbered_frames(numbers, lambda k: _from_universe(universe, k), n - 1)


def _universe_of(frame: Frame, path: Path) -> Any:
    """Universe of a trajectory whose particles are those of a frame, sorted by id as LAMMPS writes them."""
    import MDAnalysis

    order = np.argsort(frame.arrays["id"])
    universe = MDAnalysis.Universe.empty(len(frame))
    universe.add_TopologyAttr("ids", frame.arrays["id"][order])
    for attribute, labels in zip(("types", "names"), frame.labels.values(), strict=False):
        universe.add_TopologyAttr(attribute, labels[order].astype(str).astype(object))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return universe.load_new(str(path))
        except Exception as error:  # MDAnalysis raises whatever its readers meet.
            raise DataError(
                f"{path} can't be opened with its topology ({type(error).__name__}: {_one_line(error)})."
            ) from None


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
        number,
        ts.positions.astype(float),
        cell,
        np.full(3, boxed),
        labels_of(atoms),
        arrays,
        step=int(ts.data["step"]) if "step" in ts.data else None,
        time=float(ts.time),
    )


def labels_of(atoms: Any) -> dict[str, np.ndarray]:
    """What MDAnalysis knows that may name the species, by column."""
    return {
        key: np.asarray(getattr(atoms, attribute), dtype=object)
        for key, attribute in (("type", "types"), ("name", "names"), ("element", "elements"))
        if hasattr(atoms, attribute)
    }


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or "no reason given"
