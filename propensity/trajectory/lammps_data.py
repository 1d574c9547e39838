"""LAMMPS data files, known by their content: one frame with its box, corner, names of types and images.

https://docs.lammps.org/read_data.html.  MDAnalysis knows neither type labels nor the corner of the box, and
takes only files called .data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TextIO

import numpy as np

from propensity.errors import DataError
from propensity.trajectory.frame import Frame, LaterFrame, with_distinct_ids
from propensity.trajectory.text import Cut, Lines, floats, head, particle_count

#: Columns of the section Atoms by atom style; the coordinates follow, unless named.
_STYLES = {
    "atomic": "id type",
    "charge": "id type q",
    "molecular": "id mol type",
    "bond": "id mol type",
    "angle": "id mol type",
    "full": "id mol type q",
    "sphere": "id type diameter density",
    "ellipsoid": "id type ellipsoidflag density",
    "dipole": "id type q x y z mux muy muz",
    "hybrid": "id type x y z",
}
_SECTION = re.compile(r"[A-Z][A-Za-z]*( [A-Z][A-Za-z]*)*( Coeffs)?")
_HEADER = re.compile(r"\s*\d+\s+atoms\s*(#.*)?$")
_BOX = re.compile(r"\s*\S+\s+\S+\s+(\S+\s+)?(xlo xhi|avec)\b")


def is_lammps_data(path: Path) -> bool:
    """Whether a file is one, by its header: a number of atoms and a box, after a line of any text."""
    try:
        lines = head(path, 60)[1:]
    except DataError:
        return False
    return any(map(_HEADER.match, lines)) and any(map(_BOX.match, lines))


def later_data(
    stream: TextIO, start: int = 0, stop: int | None = None, step: int = 1
) -> Iterator[LaterFrame]:
    """Yield the one frame of a data file, if it is asked for.

    Raises
    ------
    DataError
        When it is broken or cut short.
    """
    if start == 0:
        yield LaterFrame(0, partial(_read, Lines(stream)))


def _read(lines: Lines) -> Frame:
    title = lines.read()
    header, section, note = _header(lines)
    n = particle_count(header.get("atoms", ""))
    if n == 0:
        raise DataError("it has no particles")
    names: dict[str, str] = {}
    rows: list[str] = []
    velocities: list[str] = []
    style = note
    while section:
        if section == "Atoms":
            rows, style = _rows(lines, n), note
        elif section == "Velocities":
            velocities = _rows(lines, n)
        elif section == "Atom Type Labels":
            pairs = (row.split(None, 1) for row in _rows(lines, particle_count(header.get("atom types", ""))))
            names = {number: name.strip() for number, name in pairs}
        section, note = _next_section(lines)
    if not rows:
        raise DataError("it has no section Atoms")
    return _frame(title, header, rows, style, names, velocities)


def _header(lines: Lines) -> tuple[dict[str, str], str, str]:
    """Values by keyword, and the first section with its note."""
    found: dict[str, str] = {}
    for line in iter(lines.read, ""):
        text, _, note = line.partition("#")
        text = text.strip()
        if _SECTION.fullmatch(text):
            return found, text, note.strip()
        match = re.match(r"((?:[-+.\deE]+\s+)+)(\S.*)", text)
        if match:
            found[match[2].strip()] = match[1].strip()
    raise Cut("the file ends inside the header")


def _next_section(lines: Lines) -> tuple[str, str]:
    """The next section with its note, the lines of others passed over; empty at the end of the file."""
    for line in iter(lines.read, ""):
        text, _, note = line.partition("#")
        if _SECTION.fullmatch(text.strip()):
            return text.strip(), note.strip()
    return "", ""


def _rows(lines: Lines, n: int) -> list[str]:
    line = lines.read()
    if line.strip():
        raise DataError(f"an empty line is missing before {line.strip()[:60]!r}")
    found = lines.rows(n, 0, None, what="lines of a section")
    if any(not row.strip() for row in found):
        raise Cut("a section is shorter than its header says")
    behind = lines.read()
    text = behind.partition("#")[0].strip()
    if _SECTION.fullmatch(text):
        lines.put_back(behind)
    elif text:
        raise DataError(f"a section of {n} lines by its header goes on with {text[:60]!r}")
    return [row.partition("#")[0] for row in found]


def _frame(
    title: str,
    header: dict[str, str],
    rows: list[str],
    style: str,
    names: dict[str, str],
    velocities: list[str],
) -> Frame:
    table = [row.split() for row in rows]
    columns = _columns(style, len(table[0]))
    if any(len(row) not in (len(columns), len(columns) + 3) for row in table):
        raise DataError(f"particles of atom style {style or 'atomic'} have {len(columns)} columns, or 3 more")
    column = {name: [row[k] for row in table] for k, name in enumerate(columns)}
    ids = np.array(column["id"], dtype=np.int64)
    numbers = {name: number for number, name in names.items()}
    labels = np.array([names.get(t, t) for t in column["type"]])
    types = [numbers.get(t, t) for t in column["type"]]
    arrays = with_distinct_ids({"id": ids})
    known = all(t.isdecimal() for t in types)
    if known:
        arrays["type"] = np.array(types, dtype=np.int64)
    for name in columns:
        if name not in ("id", "type", "x", "y", "z"):
            arrays[name] = np.array(column[name], dtype=np.int64 if name == "mol" else float)
    if len(table[0]) == len(columns) + 3:
        arrays["image"] = np.array([row[-3:] for row in table], dtype=np.int64)
    if velocities:
        moving = np.loadtxt(velocities, ndmin=2)
        order = np.argsort(moving[:, 0])
        where = order[np.searchsorted(moving[order, 0], ids).clip(max=len(order) - 1)]
        if not np.array_equal(moving[where, 0], ids):
            raise DataError("Velocities are of other particles than Atoms")
        arrays["velocities"] = moving[where, 1:4]
    origin, cell = _cell(header)
    positions = floats([column[x] for x in "xyz"]).T
    step = re.search(r"timestep = (\d+)", title)
    found = {"type": arrays["type"]} if known else {}
    if names:
        found["typelabel"] = labels
    return Frame(
        0,
        positions,
        cell,
        np.ones(3, bool),
        found,
        arrays,
        step=int(step[1]) if step else None,
        origin=origin,
    )


def _columns(style: str, width: int) -> list[str]:
    """Names of the columns of the section Atoms, without images."""
    name = style.split()[0] if style else ""
    if name in _STYLES:
        columns = _STYLES[name].split()
        return columns if "x" in columns else [*columns, "x", "y", "z"]
    if name:
        raise DataError(f"atom style {name!r} is unknown: write a dump instead")
    if width in (5, 8):
        return ["id", "type", "x", "y", "z"]
    raise DataError("its section Atoms doesn't say the atom style: write it as 'Atoms # atomic'")


def _cell(header: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Origin and cell vectors, shape (3, 3), of an orthogonal, restricted or general triclinic box."""

    def numbers(key: str, default: str | None = None) -> np.ndarray:
        if key not in header and default is None:
            raise DataError(f"its header lacks {key!r}")
        return np.array(header.get(key, default or "").split(), dtype=float)

    if "avec" in header:
        return numbers("abc origin", "0 0 0"), np.stack([numbers(key) for key in ("avec", "bvec", "cvec")])
    bounds = np.stack([numbers(f"{x}lo {x}hi") for x in "xyz"])
    if (bounds[:, 1] <= bounds[:, 0]).any():
        raise DataError(f"its box ends at {bounds[:, 1].tolist()} and begins at {bounds[:, 0].tolist()}")
    xy, xz, yz = numbers("xy xz yz", "0 0 0")
    cell = np.diag(bounds[:, 1] - bounds[:, 0]) + np.array([[0, 0, 0], [xy, 0, 0], [xz, yz, 0]])
    return bounds[:, 0], cell
