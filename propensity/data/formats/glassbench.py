"""Reader of GlassBench (Jung et al., arXiv:2311.14752; doi:10.5281/zenodo.10118191), in 3D and 2D.

``N4096T0.44_1.npz`` holds a structure with its propensities ``md_prop`` (T, N) at all times of its
temperature, ``N1290T0.30_151_tc05.npz`` one with its runs ``positions`` (runs, N, 2) at one of them.
"""

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
from propensity.dimension import in_space
from propensity.errors import DataError
from propensity.sample import Sample

#: Dimension and temperature → number after ``tc`` → time.
TIMES = {
    (3, "0.44"): dict(enumerate((0.13, 1.3, 13.0, 130.0, 412.0, 1300.0, 4120.0, 1.3e4, 4.12e4, 1.3e5), 1)),
    (3, "0.50"): dict(enumerate((0.108, 0.434, 2.17, 6.86, 21.7, 68.6, 217.0, 686.0, 2170.0, 6860.0), 1)),
    (3, "0.56"): dict(enumerate((0.104, 0.33, 0.99, 1.65, 5.2, 16.5, 52.0, 165.0, 520.0, 1650.0), 1)),
    (3, "0.64"): dict(enumerate((0.032, 0.1, 0.165, 0.52, 1.65, 5.2, 16.5, 52.0, 165.0, 520.0), 1)),
    (2, "0.30"): dict(enumerate((0.11, 1.25, 14.14, 158.7, 1782.0, 20000.0), 1)),
    (2, "0.23"): {5: 0.1, 10: 1.1, 15: 11.64, 20: 122.47, 25: 1288.41, 30: 13554.0, 35: 142587.0, 40: 1.5e6},
}
TAU_ALPHA = {"0.44": 4120.0, "0.30": 2200.0, "0.23": 918306.0}
#: Shape of the positions → edge of the box where a file holds none.
EDGES = {(4096, 3): 15.05658, (1290, 2): 32.8962}

_INHERENT = "initial_positions_inherent"
_NAME = re.compile(r"N\d+T(\d\.\d+)_(\d+)(?:_tc(\d+))?")


def read_glassbench(paths: Sequence[Path], name: str, split: str | None, group: str | None) -> Sample:
    """Propensities of one structure: ready ones, or averages over the runs of a file for each time.

    Raises
    ------
    DataError
        When a file is damaged, its times or box are not known, or files disagree on the structure.
    """
    path, first, match = paths[0], read_npz(paths[0]), _NAME.fullmatch(paths[0].stem)
    dimension = 2 if array(first, "initial_positions", path).shape[1:] == (2,) else 3
    x = array(first, "initial_positions", path, (None, dimension))
    types = array(first, "types", path, (len(x),), "iu").astype(np.int64) - 1
    if match is None or (dimension, match[1]) not in TIMES:
        known = ", ".join(f"T{temperature}" for d, temperature in TIMES if d == dimension)
        raise DataError(f"{path} doesn't say its times: name it as published, with {known} in its name.")
    times = TIMES[dimension, match[1]]
    edge = read_number(first, "box", path) or EDGES.get(x.shape)
    if edge is None:
        raise DataError(f"{path} has no box, and its {len(x)} particles are not all: add 'box', its edge.")
    if -1 in types:
        raise DataError(f"{path}: types are from 0 instead of from 1, as published: add 1.")
    if "md_prop" not in first:
        labels = average_files(paths, types, np.full(dimension, edge), partial(_time, times), wrapped=True)
    else:
        ready = array(first, "md_prop", path, (len(times), len(x))).T.astype(np.float64)
        labels = {"times": np.array([*times.values()]), "propensities": ready}
    return Sample(
        structure=structure_of(str(path), x, types, edge),
        name=name,
        inherent_positions=in_space(array(first, _INHERENT, path, x.shape)) if _INHERENT in first else None,
        temperature=float(match[1]),
        potential="KA2D" if dimension == 2 else "lj/cut force-shifted",
        tau_alpha=TAU_ALPHA.get(match[1]),
        split=split,
        group=group,
        source=f"{path.name} (GlassBench)",
        species=("A", "B", "C") if dimension == 2 else ("A", "B"),
        **labels,
    )


def _time(times: dict[int, float], path: Path, data: dict[str, np.ndarray]) -> float:
    code = path.stem.partition("_tc")[2]
    if not code or int(code) not in times:
        raise DataError(f"{path} doesn't say its time: end its name with _tc and one of {list(times)}.")
    return times[int(code)]


def _entry(paths: Sequence[Path], name: str) -> Entry:
    match, split = _NAME.fullmatch(paths[0].stem), split_of(paths[0])
    group = group_name(float(match[1]), int(match[2])) if match else None
    return Entry(name, partial(read_glassbench, tuple(paths), name, split, group), split, group)


FORMAT = Format(
    suffixes=(".npz",),
    # BOTAN calls the arrays of its runs alike, so the name of the file decides there.
    recognises=lambda path, keys: "md_prop" in keys or _NAME.fullmatch(path.stem) is not None,
    entries=lambda paths, name, labels: [_entry(paths, name)],
    siblings=structure_name,
)
