"""The search in numba: forces of the calculator, minima of ASE's L-BFGS."""

from __future__ import annotations

import ase
import numpy as np
import pytest
from ase.optimize import LBFGS

from propensity.errors import InputError
from propensity.lattice import minimum_image
from propensity.physics import quench
from propensity.physics.descent import descended_structure
from propensity.physics.kob_andersen import POTENTIALS, KobAndersen, pair_table
from propensity.physics.minimise import Search
from propensity.physics.quench import SETTINGS
from propensity.structure import Structure
from tests.conftest import make_liquid

SMOOTH = "lj/cut force-shifted"
CELLS = {
    "large": np.eye(3) * 7.0,
    "smaller than the cutoff": np.diag([2.2, 3.0, 6.0]),
    "sheared": np.array([[4.0, 0.0, 0.0], [1.7, 5.0, 0.0], [-1.5, 2.0, 4.5]]),
}


def calculated(structure, potential):
    atoms = ase.Atoms(structure.types + 1, structure.positions, cell=structure.cell, pbc=structure.pbc)
    atoms.calc = KobAndersen(potential)
    return atoms


@pytest.mark.parametrize("potential", POTENTIALS)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_forces_are_those_of_the_calculator(cell, potential):
    random = np.random.default_rng(0)
    n = 24
    # Far outside the cell as well: molecular dynamics leaves particles unwrapped.
    positions = random.random((n, 3)) @ cell + random.integers(-2, 3, (n, 3)) @ cell
    structure = Structure(positions, random.integers(0, 2, n), cell)
    search = Search(structure, pair_table(POTENTIALS[potential]), **SETTINGS)
    search._evaluate()
    expected = calculated(structure, potential).get_forces()
    np.testing.assert_allclose(search._forces, expected, rtol=1e-9, atol=1e-9 * abs(expected).max())


def test_minimum_is_that_of_ase():
    """By the same steps, with lists made anew on the way."""
    structure = make_liquid(400, seed=3)
    search = Search(structure, pair_table(True), **SETTINGS)
    first = search._list
    assert search.run(1e-7, 5000) < 1e-7
    assert search._list is not first
    atoms = calculated(structure, SMOOTH)
    assert LBFGS(atoms, logfile=None, **SETTINGS).run(fmax=1e-7, steps=5000)
    apart = minimum_image(search.positions - atoms.positions, structure.cell, structure.pbc)
    assert np.linalg.norm(apart, axis=1).max() < 1e-5


def test_a_minimum_stays_where_it_is():
    structure = make_liquid(120)
    search = Search(structure, pair_table(True), **SETTINGS)
    search.run(1e-6, 5000)
    again = Search(structure.with_positions(search.positions), pair_table(True), **SETTINGS)
    again.run(1e-6, 5000)
    np.testing.assert_array_equal(again.positions, search.positions)


def test_a_descent_ends_where_another_ends(monkeypatch):
    """With three times the error a step and another minimiser at the end, from thermal positions."""
    structure = quench.inherent_structure(make_liquid(200, seed=3), SMOOTH)
    shaken = 0.07 * np.random.default_rng(1).standard_normal((200, 3))
    structure = structure.with_positions(structure.positions + shaken)
    first = descended_structure(structure)
    monkeypatch.setattr(quench, "SETTINGS", {"maxstep": 0.2, "alpha": 250.0, "memory": 5})
    second = descended_structure(structure, error=3e-4)
    assert np.linalg.norm(first.positions - second.positions, axis=1).max() < 1e-3
    search = Search(first, pair_table(True), **SETTINGS)
    assert np.linalg.norm(search.forces(first.positions), axis=1).max() < 1.01 * quench.FORCE


def test_bad_descents_are_one_sentence():
    structure = make_liquid(60)
    with pytest.raises(InputError, match="potential is 'lennard'"):
        descended_structure(structure, "lennard")
    with pytest.raises(InputError, match="error is 0"):
        descended_structure(structure, error=0.0)
    with pytest.raises(InputError, match="periodic"):
        descended_structure(Structure(structure.positions, structure.types, structure.cell, pbc=False))
