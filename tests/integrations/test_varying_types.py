"""Types that change in time are noticed where MDAnalysis doesn't read them."""

from __future__ import annotations

import MDAnalysis
import numpy as np
import pytest

from propensity.errors import InputError
from propensity.integrations.mdanalysis import PropensityAnalysis
from tests.conftest import make_liquid

MAP = {"1": "A", "2": "B"}


def dump(path, swapped):
    """Three frames; in the last one two particles have swapped their types."""
    liquid = make_liquid()
    text = []
    for frame in range(3):
        types = liquid.types + 1
        if swapped and frame == 2:
            i, j = np.flatnonzero(types == 1)[0], np.flatnonzero(types == 2)[0]
            types[[i, j]] = types[[j, i]]
        edge = liquid.cell[0, 0]
        order = np.random.default_rng(frame).permutation(len(liquid))
        text += ["ITEM: TIMESTEP", str(frame), "ITEM: NUMBER OF ATOMS", "120", "ITEM: BOX BOUNDS pp pp pp"]
        text += [f"0 {edge}"] * 3 + ["ITEM: ATOMS id type x y z"]
        text += [f"{k + 1} {types[k]} {' '.join(map(str, liquid.positions[k]))}" for k in order]
    path.write_text("\n".join(text) + "\n")
    return str(path)


def universe(path, **options):
    return MDAnalysis.Universe(path, format="LAMMPSDUMP", topology_format="LAMMPSDUMP", dt=1.0, **options)


def test_swaps_are_refused_with_the_way_to_read_them(tmp_path, tiny_model):
    path = dump(tmp_path / "swap.dump", swapped=True)
    with pytest.raises(InputError, match=r"between frames 0 and 2.*additional_columns=\[\"type\"\]"):
        PropensityAnalysis(universe(path), tiny_model, species_map=MAP)
    PropensityAnalysis(universe(path, additional_columns=["type"]), tiny_model, species_map=MAP)


def test_a_dump_without_swaps_passes(tmp_path, tiny_model):
    path = dump(tmp_path / "same.dump", swapped=False)
    PropensityAnalysis(universe(path), tiny_model, species_map=MAP)


def test_gsd(tmp_path, tiny_model):
    gsd = pytest.importorskip("gsd.hoomd")
    liquid = make_liquid()
    with gsd.open(tmp_path / "swap.gsd", "w") as file:
        for types in (liquid.types, 1 - liquid.types):
            frame = gsd.Frame()
            frame.particles.N, frame.particles.types = len(liquid), ["A", "B"]
            frame.particles.typeid, frame.particles.position = types, liquid.positions - liquid.cell[0, 0] / 2
            frame.configuration.box = [*np.diag(liquid.cell), 0, 0, 0]
            file.append(frame)
    with pytest.raises(InputError, match="propensity annotate"):
        PropensityAnalysis(MDAnalysis.Universe(str(tmp_path / "swap.gsd")), tiny_model)
