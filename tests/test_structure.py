"""What a structure accepts, what it rejects and in which words."""

from __future__ import annotations

import numpy as np
import pytest

from propensity.errors import InputError
from propensity.structure import Structure

POSITIONS = np.array([[0.1, 0.2, 0.3], [1.0, 1.0, 1.0]])


def test_cell_as_number_edges_or_vectors_is_the_same():
    vectors = Structure(POSITIONS, [0, 1], np.diag([2.0, 2.0, 2.0]))
    for cell in (2.0, [2.0, 2.0, 2.0]):
        assert np.array_equal(Structure(POSITIONS, [0, 1], cell).cell, vectors.cell)


def test_density_and_composition():
    structure = Structure(POSITIONS, [0, 1], 2.0)
    assert structure.density == pytest.approx(0.25)
    assert structure.composition(3).tolist() == [0.5, 0.5, 0.0]
    assert Structure(POSITIONS, [0, 1], 2.0, pbc=[True, True, False]).density is None


def test_density_of_a_left_handed_cell_is_positive():
    assert Structure(POSITIONS, [0, 1], [[0, 2, 0], [2, 0, 0], [0, 0, 2]]).density == pytest.approx(0.25)


def test_scaling_multiplies_every_length():
    scaled = Structure(POSITIONS, [0, 1], 2.0).scaled(2.5)
    assert np.allclose(scaled.positions, 2.5 * POSITIONS)
    assert np.allclose(scaled.cell, np.eye(3) * 5.0)


@pytest.mark.parametrize("factor", [0, -1, np.nan, np.inf])
def test_scaling_by_a_nonsense_factor_is_refused(factor):
    with pytest.raises(InputError, match=r"positive finite"):
        Structure(POSITIONS, [0, 1], 2.0).scaled(factor)


def test_structure_does_not_share_memory_with_its_input():
    positions, cell = POSITIONS.copy(), np.eye(3) * 2
    structure = Structure(positions, [0, 1], cell)
    positions += 1
    cell += 1
    assert np.array_equal(structure.positions, POSITIONS)
    assert np.array_equal(structure.cell, np.eye(3) * 2)


def with_value(value):
    positions = POSITIONS.copy()
    positions[1, 2] = value
    return positions


@pytest.mark.parametrize(
    ("positions", "types", "cell", "pbc", "message"),
    [
        (with_value(np.nan), [0, 1], 2.0, True, "1 particle.*NaN or infinite.*particle 1"),
        (with_value(np.inf), [0, 1], 2.0, True, "NaN or infinite"),
        (np.zeros((0, 3)), [], 2.0, True, "empty"),
        (np.zeros((2, 4)), [0, 1], 2.0, True, r"shape \(2, 4\)"),
        (np.zeros(3), [0], 2.0, True, r"shape \(3,\)"),
        ([[0, 0, "x"]], [0], 2.0, True, "can't be read as numbers"),
        ([[0, 0, 0], [1, 1]], [0, 1], 2.0, True, "can't be read as numbers"),
        (POSITIONS, [0], 2.0, True, "for 2 particles"),
        (POSITIONS, [0, 1, 1], 2.0, True, "for 2 particles"),
        (POSITIONS, [[0], [1]], 2.0, True, "for 2 particles"),
        (POSITIONS, [0.0, 1.0], 2.0, True, "dtype float64"),
        (POSITIONS, ["A", "B"], 2.0, True, "give integers"),
        (POSITIONS, [0, -1], 2.0, True, "smallest type is -1"),
        (POSITIONS, [0, 1], [1.0, 2.0], True, r"cell has shape \(2,\)"),
        (POSITIONS, [0, 1], np.zeros((2, 3)), True, r"cell has shape \(2, 3\)"),
        (POSITIONS, [0, 1], [1.0, 2.0, np.nan], True, "cell has NaN"),
        (POSITIONS, [0, 1], 0.0, True, "singular"),
        (POSITIONS, [0, 1], [[1, 0, 0], [2, 0, 0], [0, 0, 1]], True, "singular"),
        (POSITIONS, [0, 1], [[1, 0, 0], [0, 1, 0], [1, 1, 1e-12]], True, "singular"),
        (POSITIONS, [0, 1], [[2, 0, 0], [4, 0, 0], [0, 0, 0]], [True, True, False], "singular"),
        (POSITIONS, [0, 1], 2.0, [True, False], "pbc has shape"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(positions, types, cell, pbc, message):
    with pytest.raises(InputError, match=message) as error:
        Structure(positions, types, cell, pbc)
    assert "\n" not in str(error.value)


def test_open_directions_need_no_cell_vector():
    assert not Structure(POSITIONS, [0, 1], 0.0, False).pbc.any()
    assert Structure(POSITIONS, [0, 1], [2.0, 2.0, 0.0], [True, True, False]).volume is None


@pytest.mark.parametrize("diameters", [None, [1.0, 0.9]])
def test_other_positions_make_the_structure_that_the_constructor_makes(diameters):
    given = dict(types=[0, 1], cell=[[2, 0, 0], [0.5, 2, 0], [0, 0, 3]], pbc=[True, True, False])
    first = Structure(POSITIONS, **given, diameters=diameters, thermal_offset=0.1 * POSITIONS)
    moved, made = first.with_positions(2 * POSITIONS), Structure(2 * POSITIONS, **given, diameters=diameters)
    for name, value in vars(made).items():
        other = getattr(moved, name)
        assert (other is None and value is None) or np.array_equal(other, value), name
    assert vars(moved).keys() == vars(made).keys()
    moved.types[0] = 1
    moved.cell[0, 0] = 9
    assert first.types[0] == 0 and first.cell[0, 0] == 2


@pytest.mark.parametrize(
    ("positions", "words"),
    [
        (POSITIONS[:1], "2 particles|for 1 particles"),
        ([[np.nan, 0, 0], [1, 1, 1]], "NaN"),
        (np.float32([[1e9, 0, 0], [1, 1, 1]]), "last digit"),
        (np.ma.masked_equal(POSITIONS, 1.0), "masked"),
        ([["a", "b", "c"], ["d", "e", "f"]], "numbers"),
    ],
)
def test_other_positions_are_checked(positions, words):
    with pytest.raises(InputError, match=words):
        Structure(POSITIONS, [0, 1], 2.0).with_positions(positions)


@pytest.mark.parametrize("pbc", [True, (True, True, False)])
def test_length_of_sigma_is_judged_by_neighbours_and_not_by_the_box(pbc):
    """A droplet of which half has left by each of the faces, in a box that is empty for the most part."""
    grid = np.stack(np.meshgrid(*[np.arange(8.0)] * 3), -1).reshape(-1, 3) - 3.5
    droplet = Structure(grid, np.zeros(512, int), 40.0, pbc)
    assert np.allclose(droplet.in_units_of(1.1).cell, droplet.cell / 1.1)
    if droplet.is_periodic:
        for length in (1e3, 1e-3):
            with pytest.raises(InputError, match=r"σ apart where σ is .* some 1\."):
                droplet.in_units_of(length)
    alone = Structure([[1.0, 2.0, 3.0]], [0], 40.0, pbc)
    assert len(alone.in_units_of(1.1)) == 1
