"""XYZ files of every dialect: extended ones, those of atooms and RUMD, and bare ones.

ASE reads each frame; here the particles' names are kept as they are written, whether they are elements, other
words or numbers, and the headers of other programs are translated.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import partial
from typing import TextIO

import numpy as np

from propensity.errors import DataError
from propensity.species import LABELS
from propensity.trajectory.frame import Frame, LaterFrame, naming_frame
from propensity.trajectory.libraries import from_atoms
from propensity.trajectory.text import Cut, Lines, at_most, go_on, particle_count

#: Columns of XYZ that ASE takes for elements.
_ELEMENTS = ("species", "symbols", "symbol")
#: Columns of atooms and RUMD → extended XYZ; others are numbers under their own name.
_COLUMNS = {
    "species": "species:S:1",
    "position": "pos:R:3",
    "pos": "pos:R:3",
    "velocity": "velo:R:3",
    "vel": "velo:R:3",
    "force": "forces:R:3",
    "type": "type:S:1",
    "x,y,z": "pos:R:3",
    "imx,imy,imz": "image:I:3",
    "vx,vy,vz": "velo:R:3",
    "fx,fy,fz": "forces:R:3",
}


def later_xyz(stream: TextIO, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[LaterFrame]:
    """Find the frames start, start + step, ... before ``stop``; others are skipped unparsed.

    Raises
    ------
    DataError
        At the first frame that is broken or cut short.
    """
    lines, number, parsed = Lines(stream), 0, True
    while stop is None or number < stop:
        wanted = number >= start and (number - start) % step == 0
        with naming_frame(number):
            # Behind a frame that was skipped unparsed, what it had too much is passed over.
            first = _next_frame(lines, strict=parsed)
            if not first:
                return
            frame = _read_frame(lines, first, number, wanted)
        if frame is not None:
            yield frame
        number, parsed = number + 1, wanted


def _next_frame(lines: Lines, strict: bool) -> str:
    """Line with the number of particles; empty at the end of the file.

    Empty lines before it are passed over, and any others unless ``strict``.
    """
    while line := lines.read():
        if _begins(line) >= 0 or (strict and line.strip()):
            return line
    return ""


#: A line that holds a number of particles, and so begins a frame.
_BEGIN = re.compile(r"^\s*\d+\s*$", re.MULTILINE)


def _begins(line: str) -> int:
    return 0 if line.strip().isdecimal() else -1


def _read_frame(lines: Lines, first: str, number: int, wanted: bool) -> LaterFrame | None:
    n = (particle_count if wanted else at_most)(first.strip())
    try:
        comment = _comment(lines, number)
        text = lines.text(n, number, _BEGIN, keep=wanted)
    except Cut:
        if wanted:
            raise
        return None
    if not wanted:
        return None
    if n == 0:
        raise DataError("it has no particles")
    read = partial(_parse, comment.strip(), text, number)
    return LaterFrame(number, read, read)


def _comment(lines: Lines, number: int) -> str:
    """Second line of a frame; where a number is there, it may be the first of another frame."""
    comment = lines.read()
    if _begins(comment) >= 0:
        following = lines.read()
        lines.put_back(following)
        if not re.fullmatch(r"\s*\S+(\s+[-+.\deE]+){2}.*\s*", following) or "=" in following:
            lines.put_back(comment)
            raise Cut(f"it is cut behind its number of particles, {go_on(number)}")
    return comment


def _parse(comment: str, text: str, number: int) -> Frame:
    rows = text.split("\n")
    from ase.io.extxyz import read_xyz as read_with_ase

    comment = _translated(comment, rows)
    match = re.search(r'Properties\s*=\s*("[^"]*"|\S+)', comment)
    given = match[1].strip('"') if match else "species:S:1:pos:R:3"
    columns = [list(c) for c in zip(*(iter(given.split(":")),) * 3, strict=True)]
    width = sum(int(c[2]) for c in columns)
    fields = [row.split() for row in rows]
    for k, row in enumerate(fields):
        if len(row) < width or (match and len(row) > width):
            raise DataError(f"{width} columns are named and line {k + 1} of {len(rows)} has {len(row)}")
    _refuse_directions(comment)
    if any("_" in row for row in rows):
        _refuse_underscores(columns, fields)
    labels = _labels(columns, fields)
    properties = ":".join(":".join(c) for c in columns)
    comment = (
        comment.replace(match[0], f"Properties={properties}")
        if match
        else f"{comment} Properties={properties}".strip()
    )
    (atoms,) = read_with_ase(io.StringIO("\n".join([str(len(rows)), comment, *rows]) + "\n"), 0)
    frame = from_atoms(atoms, number)
    if labels:
        frame.labels = labels | {k: v for k, v in frame.labels.items() if k not in ("symbol", *labels)}
    return frame


def _refuse_underscores(columns: list[list[str]], fields: list[list[str]]) -> None:
    """Raise where a number is written as 1_000, which Python would read."""
    kinds = [c[1] for c in columns for _ in range(int(c[2]))]
    for row in fields:
        for kind, word in zip(kinds, row, strict=False):
            if kind in "RI" and "_" in word:
                raise DataError(f"{word!r} is no number")


def _refuse_directions(comment: str) -> None:
    """Raise where pbc isn't letters that ASE knows; it would take any others for periodic."""
    match = re.search(r'\bpbc\s*=\s*("[^"]*"|\'[^\']*\'|\S+)', comment)
    words = match[1].strip("\"'[]{}").replace(",", " ").split() if match else []
    if any(word.lower() not in ("t", "f", "true", "false", "1", "0") for word in words):
        raise DataError(f"its pbc is {match[1] if match else ''}: write T or F for each direction")


def _labels(columns: list[list[str]], fields: list[list[str]]) -> dict[str, np.ndarray]:
    """Columns that name the particles otherwise than by elements, renamed in ``columns`` to what ASE leaves
    alone.
    """
    from ase.data import atomic_numbers

    taken = {c[0] for c in columns}
    labels: dict[str, np.ndarray] = {}
    at = 0
    for column in columns:
        name, kind, size = column[0], column[1], int(column[2])
        if name in _ELEMENTS and size == 1:
            names = np.array([row[at] for row in fields])
            if not all(label in atomic_numbers for label in set(names.tolist())):
                column[0] = next(word for word in ("type", "label", "particle") if word not in taken)
                labels[column[0]] = names.astype(np.int64) if kind == "I" else names
        elif name in LABELS and size == 1 and kind == "R":
            column[1] = "S"  # numbers that name are read as they are written
        at += size
    return labels


def _translated(comment: str, rows: list[str]) -> str:
    """Comment of atooms (``step:0 columns:species,position cell:9.4,9.4,9.4``) or of RUMD (``ioformat=2
    sim_box=RectangularSimulationBox,9.4,9.4,9.4 columns=type,x,y,z``) as one of extended XYZ.
    """
    if re.search(r"(Lattice|Properties)\s*=", comment):
        return comment
    facts = dict(re.findall(r"([\w-]+)[:=](\S+)", comment))
    edges = facts.pop("cell", None) or facts.pop("boxLengths", None)
    box = facts.get("sim_box", "").split(",")
    if edges is None and box[0] == "RectangularSimulationBox":
        edges = ",".join(box[1:])
        del facts["sim_box"]
    if edges is None and "columns" not in facts:
        return comment
    if edges is None and box[0]:
        raise DataError(f"its box is a {box[0]}: only rectangular ones are read from RUMD")
    words = [f"{key}={value}" for key, value in facts.items() if key != "columns"]
    columns = facts.get("columns", "species,position")
    for triple in ("x,y,z", "imx,imy,imz", "vx,vy,vz", "fx,fy,fz"):
        columns = re.sub(rf"(^|,){triple}(?=,|$)", rf"\1{triple.replace(',', '|')}", columns)
    names = [name.replace("|", ",") for name in columns.split(",")]
    words.append("Properties=" + ":".join(_COLUMNS.get(name, f"{name}:R:1") for name in names))
    if edges is not None:
        lengths = np.array([float(x) for x in edges.split(",")])
        if len(lengths) == 2:
            lengths = np.append(lengths, 1.0)
        first = next((k for k, name in enumerate(names) if _COLUMNS.get(name) == "pos:R:3"), None)
        words.append('Lattice="{} 0 0 0 {} 0 0 0 {}"'.format(*map(repr, lengths.tolist())))
        if first is not None and _centred(rows, names, first, lengths):
            words.append('Origin="{} {} {}"'.format(*(-lengths / 2).tolist()))
    return " ".join(words)


def _centred(rows: list[str], names: list[str], column: int, lengths: np.ndarray) -> bool:
    """Whether the particles lie around the origin, as in both programs, rather than between 0 and L."""
    at = sum(int(_COLUMNS.get(name, "::1").rpartition(":")[2]) for name in names[:column])
    positions = np.array([row.split()[at : at + 3] for row in rows], dtype=float)
    middle = positions.mean(axis=0)
    return bool(np.abs(middle).sum() < np.abs(middle - lengths / 2).sum())
