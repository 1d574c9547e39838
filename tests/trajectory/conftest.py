"""Trajectories of the same four frames in many formats, by the libraries that own them."""

from __future__ import annotations

import warnings
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest

from propensity.predictor import Predictor
from tests.conftest import make_liquid

LAMMPS = Path(__file__).parents[1] / "fixtures" / "lammps"
#: Of the mapped labels in each format.
MAPS = {
    "dump": {1: "A", 2: "B"},
    "extxyz": {"Ni": "A", "P": "B"},
    "xyz.gz": {"Ni": "A", "P": "B"},
    "traj": {"Ni": "A", "P": "B"},
    "gsd": None,
    "xtc": {"NA": "A", "PB": "B"},
    "dcd": {"NA": "A", "PB": "B"},
}


@pytest.fixture
def frames():
    """Four structures of the same 120 particles, which share their types and cell."""
    first = make_liquid(seed=1)
    rng = np.random.default_rng(5)
    return [
        first,
        *(first.with_positions(first.positions + 0.03 * rng.normal(size=(120, 3))) for _ in range(3)),
    ]


@pytest.fixture
def predictor(tiny_model):
    return Predictor(tiny_model, dtype="float64", species_map={1: "A", 2: "B"})


def to_atoms(structure) -> ase.Atoms:
    symbols = np.array(["Ni", "P"])[structure.types]
    return ase.Atoms(symbols, structure.positions, cell=structure.cell, pbc=structure.pbc)


def write_dump(path: Path, frames, types=None, origin=-3.25) -> Path:
    """Columns in odd order, particles in an order of their own in each frame."""
    rng = np.random.default_rng(2)
    with path.open("w") as stream:
        for k, frame in enumerate(frames):
            kinds = frame.types if types is None else types[k]
            edge = frame.cell[0, 0]
            stream.write(
                f"ITEM: TIMESTEP\n{100 * k}\nITEM: NUMBER OF ATOMS\n{len(frame)}\nITEM: BOX BOUNDS pp pp pp\n"
            )
            stream.write(f"{origin!r} {float(origin + edge)!r}\n" * 3)
            stream.write("ITEM: ATOMS vx id z y x ix iy iz type c_pe\n")
            for i in rng.permutation(len(frame)):
                x, y, z = (float(v) for v in frame.positions[i] + origin)
                stream.write(f"0.5 {i + 1} {z!r} {y!r} {x!r} 0 -1 2 {kinds[i] + 1} -6.25\n")
    return path


def universe(frames, scale=1.0):
    """MDAnalysis's view of the frames, in units of ``scale`` per σ."""
    import MDAnalysis

    result = MDAnalysis.Universe.empty(120, 1, atom_resindex=np.zeros(120, int), trajectory=True)
    names = np.array(["NA", "PB"])[frames[0].types]
    result.add_TopologyAttr("names", names)
    result.add_TopologyAttr("types", np.array(["1", "2"])[frames[0].types])
    for attribute, value in (("resnames", ["LIQ"]), ("resids", [1]), ("masses", np.ones(120))):
        result.add_TopologyAttr(attribute, value)
    positions = np.stack([frame.positions for frame in frames]).astype(np.float32) * scale
    edge = frames[0].cell[0, 0] * scale
    boxes = np.tile(np.array([edge, edge, edge, 90, 90, 90], np.float32), (len(frames), 1))
    result.load_new(positions, dimensions=boxes)
    return result


def write(folder: Path, kind: str, frames) -> tuple[Path, Path | None, float]:
    """Return trajectory, topology if needed, and the length of σ in the file."""
    path = folder / f"t.{kind}"
    if kind == "dump":
        return write_dump(path, frames), None, 1.0
    if kind in ("extxyz", "traj", "xyz.gz"):
        ase.io.write(path, [to_atoms(f) for f in frames], format="traj" if kind == "traj" else "extxyz")
        return path, None, 1.0
    if kind == "gsd":
        hoomd = pytest.importorskip("gsd.hoomd")
        with hoomd.open(str(path), "w") as file:
            for k, frame in enumerate(frames):
                snapshot = hoomd.Frame()
                snapshot.configuration.step = 100 * k
                snapshot.configuration.box = [*np.diag(frame.cell), 0, 0, 0]
                snapshot.particles.N = len(frame)
                snapshot.particles.types = ["A", "B"]
                snapshot.particles.typeid = frame.types
                snapshot.particles.position = frame.positions - np.diag(frame.cell) / 2
                file.append(snapshot)
        return path, None, 1.0
    scale = 1.0 if kind == "dcd" else 10.0  # XTC keeps 0.01 Å, so a good σ there is 1 nm.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        u = universe(frames, scale)
        u.atoms.write(path, frames="all")
        topology = folder / "top.gro"
        u.atoms.write(topology)
    return path, topology, scale
