"""LAMMPS text dumps, read and written frame by frame with every column, box and boundary kept.

MDAnalysis drops columns, boundaries, origins and types that vary in time; ASE turns types into
elements: neither can hand a dump back with columns added.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import TextIO

import numpy as np
from ase.geometry import complete_cell

from propensity.errors import DataError
from propensity.trajectory.decimals import plain_numbers
from propensity.trajectory.frame import VECTORS, Frame, LaterFrame, naming_frame, with_distinct_ids
from propensity.trajectory.table import format_rows, integers_only
from propensity.trajectory.text import Cut, Lines, at_most, floats, go_on, particle_count

#: Coordinates in order of preference: columns, and whether they are fractions of the cell.
_COORDINATES = (
    (("x", "y", "z"), False),
    (("xu", "yu", "zu"), False),
    (("xs", "ys", "zs"), True),
    (("xsu", "ysu", "zsu"), True),
)
_INTEGERS = {"id", "type", "mol", "proc", "procp1", "ix", "iy", "iz"}
#: Columns that name the species, read as they are written.
_LONGEST = 64
_NAMES = ("type", "typelabel", "element", "name", "label")


def read_dump(stream: TextIO, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
    """Yield the frames start, start + step, ... before ``stop``; others are skipped unparsed.

    Raises
    ------
    DataError
        At the first frame that is broken or cut short.
    """
    return (later.frame() for later in later_dump(stream, start, stop, step))


def later_dump(
    stream: TextIO, start: int = 0, stop: int | None = None, step: int = 1
) -> Iterator[LaterFrame]:
    """The same frames, found and not yet taken apart.

    Raises
    ------
    DataError
        At the first frame that is cut short.
    """
    lines, number, parsed = Lines(stream), 0, True
    while stop is None or number < stop:
        wanted = number >= start and (number - start) % step == 0
        frame = None
        with naming_frame(number):
            try:
                header = _read_header(lines, number, strict=parsed)
                if not header:
                    return
                n = (particle_count if wanted else at_most)(_entry(header, "ITEM: NUMBER OF ATOMS"))
                text = lines.text(n, number, _BEGIN, keep=wanted)
                read = partial(_parse, number, header, text, n)
                frame = LaterFrame(number, read, read) if wanted else None
            except Cut:
                if wanted:
                    raise
        if frame is not None:
            yield frame
        number, parsed = number + 1, wanted


#: Where another frame begins; one that was appended after a cut starts anywhere in a line.
_BEGIN = re.compile("ITEM:")


def _begins(line: str) -> int:
    """Where in a line another frame begins, −1 if none does."""
    return line.find("ITEM:")


def _read_header(lines: Lines, number: int, strict: bool) -> list[str]:
    """Lines up to and including ``ITEM: ATOMS ...``; none at the end of the file.

    Empty lines before it are passed over, and what a frame that was skipped has too much unless ``strict``.
    """
    header: list[str] = []
    for line in iter(lines.read, ""):
        text = line.strip()
        if not header and (not text or (not strict and not text.startswith("ITEM:"))):
            continue
        if not text.startswith("ITEM:"):
            raise DataError(f"expected a line 'ITEM: ...' and found {text[:60]!r}")
        if text in header:
            lines.put_back(line)
            raise Cut(f"it is cut inside its header, {go_on(number)}")
        header.append(text)
        if text.startswith("ITEM: ATOMS"):
            return header
        for _ in range(3 if text.startswith("ITEM: BOX") else 1):
            line = lines.read()
            at = _begins(line)
            if at >= 0:
                lines.put_back(line[at:])
                break
            header.append(line.strip())
    if header:
        raise Cut("the file ends inside the header")
    return header


def _entry(header: list[str], key: str) -> str:
    """Line after the one that starts with ``key``."""
    for line, following in pairwise(header):
        if line.startswith(key):
            return following
    raise DataError(f"its header lacks {key!r}")


def _parse(number: int, header: list[str], text: str, n: int) -> Frame:
    if n == 0:
        raise DataError("it has no particles")
    names = header[-1].split()[2:]
    at = next((k for k, line in enumerate(header) if line.startswith("ITEM: BOX BOUNDS")), None)
    if at is None:
        raise DataError("its header lacks the box")
    origin, cell = _cell(header[at], header[at + 1 : at + 4])
    twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if twice is not None:
        raise DataError(f"its column {twice!r} is there twice")
    table = with_distinct_ids(_table(names, text, n))
    step = _step(_entry(header, "ITEM: TIMESTEP"))
    time = float(header[header.index("ITEM: TIME") + 1]) if "ITEM: TIME" in header else None
    pbc = _periodic(header[at])
    labels = {key: table[key] for key in _NAMES if key in table}
    for columns, scaled in _COORDINATES:
        if all(name in table for name in columns):
            positions = _numbers({name: table.pop(name) for name in columns})
            if scaled:
                positions = origin + positions @ cell
            break
    else:
        raise DataError(f"there are no coordinates among its columns {names}")
    for name, components in VECTORS.items():
        if all(component in table for component in components):
            table[name] = np.stack([table.pop(component) for component in components], axis=1)
    return Frame(
        number, positions, cell, pbc, labels, table, step=step, time=time, origin=origin, text=(header, text)
    )


def _numbers(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Coordinates, shape (N, 3)."""
    for name, column in columns.items():
        if column.dtype.kind == "U":
            raise DataError(f"its column {name!r} begins with {str(column[0])!r}, which is no number")
    return np.stack(list(columns.values()), axis=1).astype(float)


def _step(text: str) -> int:
    """A time step: LAMMPS counts with 64 bits."""
    if not re.fullmatch(r"[-+]?\d+", text) or not -(2**63) <= int(text[:30]) < 2**63:
        raise DataError(f"its time step reads {text[:40]!r}")
    return int(text)


def _periodic(key: str) -> np.ndarray:
    """Periodic directions by the line above the box; all of them where it names none."""
    flags = [word for word in key.split()[3:] if word not in ("xy", "xz", "yz", "abc", "origin")]
    if not flags:
        return np.ones(3, bool)
    if len(flags) != 3 or any(not re.fullmatch("p|pp|[fsm]{1,2}", flag) for flag in flags):
        raise DataError(f"its boundaries read {' '.join(flags)[:40]!r} instead of three such as pp, ff or fs")
    return np.array([flag[0] == "p" for flag in flags])


def _cell(key: str, lines: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Origin and cell vectors of an orthogonal, restricted or general triclinic box."""
    bounds = floats([line.split() for line in lines])
    if bounds.shape not in ([(3, 4)] if "abc origin" in key else [(3, 2), (3, 3)]):
        raise DataError(f"its box has {bounds.shape[1]} numbers a line below {key[:40]!r}")
    if "abc origin" in key:
        return bounds[:, 3], bounds[:, :3]
    if bounds.shape[1] != 3 and "xy xz yz" in key:
        raise DataError("its box is triclinic and lacks the tilts")
    low, high = bounds[:, 0].copy(), bounds[:, 1].copy()
    xy, xz, yz = bounds[:, 2] if bounds.shape[1] == 3 else (0.0, 0.0, 0.0)
    # LAMMPS writes the bounding box of a triclinic cell.
    low[0] -= min(0.0, xy, xz, xy + xz)
    high[0] -= max(0.0, xy, xz, xy + xz)
    low[1] -= min(0.0, yz)
    high[1] -= max(0.0, yz)
    if (high <= low).any():
        raise DataError(f"its box ends at {high.tolist()} and begins at {low.tolist()}")
    return low, np.diag(high - low) + np.array([[0, 0, 0], [xy, 0, 0], [xz, yz, 0]])


def _table(names: list[str], text: str, n: int) -> dict[str, np.ndarray]:
    first = text[: text.find("\n")].split() if "\n" in text else text.split()
    if len(first) != len(names):
        raise ValueError(f"{len(names)} columns are named and {len(first)} found")
    if not set(names) & set(_NAMES[1:]):
        whole = [name in _INTEGERS for name in names]
        plain = plain_numbers(text, n, whole)
        if plain is not None:
            columns = zip(names, plain, whole, strict=True)
            return {name: column.astype(np.int64) if w else column for name, column, w in columns}
    kinds = {
        name: "i8" if name in _INTEGERS else _kind(text) for name, text in zip(names, first, strict=True)
    }
    for name in _NAMES:
        if name in kinds and (name != "type" or not integers_only(text, names.index("type"))):
            kinds[name] = f"U{_LONGEST}"
    dtype = np.dtype([(f"f{k}", kinds[name]) for k, name in enumerate(names)])
    data = np.loadtxt(io.StringIO(text), dtype=dtype, comments=None, ndmin=1)
    if len(data) != n:
        raise ValueError(f"{len(data)} of {n} lines hold data")
    table = {name: data[f"f{k}"] for k, name in enumerate(names)}
    for name in _NAMES:
        if name in table and table[name].dtype.kind == "U":
            if np.char.str_len(table[name]).max() >= _LONGEST:
                raise ValueError(f"a {name} has {_LONGEST} characters or more")
    return table


def _kind(text: str) -> str:
    try:
        float(text)
    except ValueError:
        return "U16"
    return "f8"


def format_dump(
    frame: Frame, columns: Mapping[str, np.ndarray], types: np.ndarray, drop: re.Pattern[str]
) -> str:
    """Text of one frame with ``columns``, each of shape (N,), after those that it had.

    A frame read from a dump keeps its lines to the letter, less columns whose names match ``drop``; any
    other gets ``id type x y z`` and its numeric arrays (``types``, from 0, where it has no type itself).
    """
    if frame.text is not None:
        header, text = frame.text
        names = header[-1].split()[2:]
        keep = [k for k, name in enumerate(names) if not drop.fullmatch(name)]
        if len(keep) < len(names):
            rows = map(str.split, text.split("\n"))
            text = "\n".join(" ".join(fields[k] for k in keep) for fields in rows)
        header = [*header[:-1], " ".join(["ITEM: ATOMS", *(names[k] for k in keep), *columns])]
        own, given = [], text
    else:
        kept = _own_columns(frame, types, drop)
        header = [*_header(frame), " ".join(["ITEM: ATOMS", *kept, *columns])]
        own, given = list(kept.values()), None
    return "\n".join(header) + "\n" + format_rows([*own, *columns.values()], rows=given)


def _own_columns(frame: Frame, types: np.ndarray, drop: re.Pattern[str]) -> dict[str, np.ndarray]:
    n = len(frame)
    own = {"id": np.arange(1, n + 1), "type": types + 1}
    for name in own:
        given = frame.arrays.get(name)
        if given is not None and given.dtype.kind in "iu" and given.min() > 0:
            own[name] = given
    own |= dict(zip("xyz", frame.positions.T, strict=True))
    for name, array in frame.arrays.items():
        if name in own or array.dtype.kind not in "iufb" or drop.fullmatch(name):
            continue
        array = array.astype(int) if array.dtype.kind == "b" else array
        safe = "_".join(name.split())
        if array.ndim == 1:
            own[safe] = array
        else:
            flat = array.reshape(n, -1)
            names = VECTORS.get(name) or [f"{safe}[{k + 1}]" for k in range(flat.shape[1])]
            own |= dict(zip(names, flat.T, strict=True))
    return own


def _header(frame: Frame) -> list[str]:
    cell, origin = frame.cell, np.zeros(3) if frame.origin is None else frame.origin
    missing = np.linalg.norm(cell, axis=1) == 0
    if missing.any():
        # Open directions without a cell vector: the extent of the particles.
        cell = complete_cell(cell)
        fractional = np.linalg.solve(cell.T, (frame.positions - origin).T).T
        low, high = fractional.min(axis=0), fractional.max(axis=0)
        origin = origin + np.where(missing, low, 0.0) @ cell
        cell = cell * np.where(missing, np.maximum(high - low, 1e-3), 1.0)[:, None]
    flags = " ".join("pp" if periodic else "ff" for periodic in frame.pbc)
    if np.abs(np.triu(cell, 1)).max() < 1e-12 and np.diag(cell).min() > 0:
        xy, xz, yz = cell[1, 0], cell[2, 0], cell[2, 1]
        low, high = origin.copy(), origin + np.diag(cell)
        tilted = any((xy, xz, yz))
        if tilted:
            low[:2] += min(0.0, xy, xz, xy + xz), min(0.0, yz)
            high[:2] += max(0.0, xy, xz, xy + xz), max(0.0, yz)
        tilts = [f" {tilt:.16g}" if tilted else "" for tilt in (xy, xz, yz)]
        bounds = [f"{lo:.16g} {hi:.16g}{tilt}" for lo, hi, tilt in zip(low, high, tilts, strict=True)]
        key = f"ITEM: BOX BOUNDS {'xy xz yz ' if tilted else ''}{flags}"
    else:
        # Any other orientation: LAMMPS's general triclinic box, so that no vector column must turn.
        bounds = [" ".join(f"{x:.16g}" for x in (*vector, o)) for vector, o in zip(cell, origin, strict=True)]
        key = f"ITEM: BOX BOUNDS abc origin {flags}"
    step = frame.number if frame.step is None else frame.step
    return ["ITEM: TIMESTEP", str(step), "ITEM: NUMBER OF ATOMS", str(len(frame)), key, *bounds]
