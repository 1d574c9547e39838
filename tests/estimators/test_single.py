"""Minima and cage states start from the same numbers, whatever the precision of a program's positions."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from propensity import inherent_structure
from propensity.estimators.inputs import prepared
from propensity.estimators.single import in_single_precision
from propensity.structure import Structure
from tests.conftest import make_liquid

CARD = SimpleNamespace(cage_recipe={"temperature": 0.5, "radii": [0.25, 0.45], "steps": 310})


def test_cage_states_are_the_same_from_either_precision_and_any_image():
    """Without the rounding, differences of 1e-13 grow tenfold every few dozen steps."""
    liquid = inherent_structure(make_liquid(420), "lj/cut", force=1.0)
    random = np.random.default_rng(0)
    inside = liquid.positions - np.floor(liquid.positions / np.diag(liquid.cell)) * np.diag(liquid.cell)
    given = {
        "double": (inside, liquid.cell),
        "single": (inside.astype(np.float32), liquid.cell.astype(np.float32)),
        "elsewhere": (inside + random.integers(-2, 3, inside.shape) @ liquid.cell, liquid.cell),
    }
    found = {
        name: prepared(in_single_precision(Structure(x, liquid.types, cell)), CARD, "lj/cut")
        for name, (x, cell) in given.items()
    }
    first = found.pop("double")
    for name, other in found.items():
        assert np.array_equal(other.positions, first.positions), name
        assert np.array_equal(other.cage.offset, first.cage.offset), name
        assert np.allclose(other.thermal_offset, first.thermal_offset, rtol=0, atol=1e-12), name
    noisy = Structure(inside + 1e-13 * random.normal(size=inside.shape), liquid.types, liquid.cell)
    assert np.abs(prepared(noisy, CARD, "lj/cut").cage.offset - first.cage.offset).max() > 1e-5


def test_what_has_a_cage_state_or_an_open_side_stays_as_it_is():
    liquid = make_liquid(420)
    free = Structure(liquid.positions + 40.0, liquid.types, liquid.cell, [True, True, False])
    assert in_single_precision(free) is free
    wrapped = in_single_precision(Structure(liquid.positions + 1e6, liquid.types, liquid.cell))
    assert wrapped.positions.min() > -1e-6 and wrapped.positions.max() < liquid.cell.max() + 1e-6
