"""Reader of the public data of BOTAN (Shiba et al. 2023): one npz a structure and time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from propensity.data.entry import Entry, structure_of
from propensity.data.formats.archive import array, read_npz, read_number
from propensity.data.formats.base import Format, split_of
from propensity.data.formats.npz import group_name
from propensity.data.formats.runs import average_files, structure_name
from propensity.errors import DataError
from propensity.sample import Sample

#: Number density of every configuration; the files hold no box.
DENSITY = 1.2
#: Edge for 4096 particles as stated by the authors, five digits.
EDGE_4096 = 15.05658
POTENTIAL = "lj/cut force-shifted"
#: Temperature → times tc01, tc02, ...; the seventh is τ_α.
TIMES = {0.44: (0.13, 1.3, 13.0, 130.0, 412.0, 1300.0, 4120.0)}

_NAME = re.compile(r"isoconfig_N(?P<n>\d+)T(?P<T>\d+\.\d+)_(?P<id>\d+)_tc(?P<tc>\d+)$")


def is_botan(keys: Sequence[str]) -> bool:
    """Whether an archive with these arrays is of this format."""
    return {"types", "initial_positions", "positions"} <= set(keys)


def botan_entry(paths: Sequence[Path], name: str) -> Entry:
    """One structure from its files, one for each time."""
    split = split_of(paths[0])
    match = _NAME.match(paths[0].stem)
    group = group_name(float(match["T"]), int(match["id"])) if match else None
    return Entry(name, partial(read_botan, tuple(paths), name, split), split, group)


def read_botan(paths: Sequence[Path], name: str, split: str | None = None) -> Sample:
    """Average the runs (unwrapped positions) of every file into one sample.

    The box follows from the density 1.2 (L = 15.05658 for 4096 particles) and the time from the file
    name, unless the archive holds arrays ``box`` and ``time``.

    Raises
    ------
    DataError
        When a file is damaged, its time is unknown, or files disagree on the structure.
    """
    first, match = read_npz(paths[0]), _NAME.match(paths[0].stem)
    temperature = float(match["T"]) if match else None
    initial = array(first, "initial_positions", paths[0], (None, 3))
    types = array(first, "types", paths[0], (len(initial),), "iu")
    box = _box(first, paths[0])
    known = TIMES.get(temperature) if temperature is not None else None
    return Sample(
        structure=structure_of(str(paths[0]), initial, types, box),
        **average_files(paths, types, box, _time),
        name=name,
        temperature=temperature,
        potential=POTENTIAL,
        tau_alpha=known[-1] if known else None,
        split=split,
        group=botan_entry(paths, name).group,
        source=f"{paths[0].name} (Shiba et al. 2023)",
    )


def _box(data: dict[str, np.ndarray], path: Path) -> np.ndarray:
    if "box" in data:
        box = array(data, "box", path)
        if box.shape not in ((), (3,)) or not np.isfinite(box).all() or box.min() <= 0:
            raise DataError(f"{path}: box is {str(box.tolist())[:80]} instead of three positive edges.")
        return np.broadcast_to(box.astype(float), (3,)).copy()
    n = len(data["initial_positions"])
    return np.full(3, EDGE_4096 if n == 4096 else (n / DENSITY) ** (1 / 3))


def _time(path: Path, data: dict[str, np.ndarray]) -> float:
    given = read_number(data, "time", path)
    if given is not None:
        return given
    match = _NAME.match(path.stem)
    known = TIMES.get(float(match["T"]), ()) if match else ()
    if match is None or not 1 <= int(match["tc"]) <= len(known):
        raise DataError(
            f"{path} doesn't say its time: name it as published (isoconfig_N4096T0.44_1_tc07.npz; known: T = "
            f"{', '.join(f'{t:g}' for t in TIMES)}, tc01 to tc07) or add an array 'time'."
        )
    return known[int(match["tc"]) - 1]


FORMAT = Format(
    suffixes=(".npz",),
    recognises=lambda path, keys: is_botan(keys),
    entries=lambda paths, name, labels: [botan_entry(paths, name)],
    siblings=structure_name,
)
