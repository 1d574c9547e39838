"""One list for the checks of a structure and all models: the same numbers, made once, and let go."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from propensity.errors import InputError
from propensity.neighbours import nearest_neighbours, neighbour_list, numba_cells
from propensity.neighbours.sharing import shared_list, sharing
from propensity.predictor import Predictor
from propensity.structure import Structure
from tests.conftest import make_liquid, make_tiny_model

SINGLE = torch.float32


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Cutoffs of the lists that were made."""
    cutoffs: list[float] = []
    build = numba_cells.build_and_measure
    monkeypatch.setattr(
        numba_cells,
        "build_and_measure",
        lambda s, cutoff, *more: cutoffs.append(cutoff) or build(s, cutoff, *more),
    )
    return cutoffs


@pytest.mark.parametrize("radius", [0.5, 1.5, 2.0])
def test_a_shared_list_is_the_same(radius, made):
    structure = make_liquid(300)
    distance, count = nearest_neighbours(structure, radius)
    index, vectors = neighbour_list(structure, 2.0, dtype=SINGLE)
    made.clear()
    with sharing(structure, 2.0, SINGLE):
        found = nearest_neighbours(structure, radius)
        assert np.array_equal(found[0], distance) and np.array_equal(found[1], count)
        for _ in range(2):
            again = neighbour_list(structure, 2.0, dtype=SINGLE)
            assert torch.equal(again[0], index) and torch.equal(again[1], vectors)
        assert made == [2.0]
        # Any other list is its own.
        assert len(neighbour_list(structure, 1.0, dtype=SINGLE)[1]) < len(vectors)
        assert neighbour_list(structure, 2.0)[1].dtype == torch.float64
        assert len(neighbour_list(make_liquid(200), 2.0, dtype=SINGLE)[1]) < len(vectors)
    assert shared_list(structure) is None


def test_coincident_particles_are_refused_within_it():
    structure = make_liquid(300)
    structure.positions[7] = structure.positions[3]
    with sharing(structure, 2.0, SINGLE), pytest.raises(InputError, match=r"(3 and 7|7 and 3)"):
        nearest_neighbours(structure, 1.5)


def test_no_list_is_made_of_what_is_no_liquid(made):
    """Of a hundred times the usual density, whose list would be a hundred times as long."""
    liquid = make_liquid(300)
    dense = Structure(liquid.positions / 5, liquid.types, liquid.cell / 5)
    with sharing(dense, 2.0, SINGLE):
        nearest_neighbours(dense, 0.5)
    assert not made


def test_a_committee_lists_once(tmp_path, made):
    names = [make_tiny_model(tmp_path / str(k), seed=k) for k in range(3)]
    structure = make_liquid(300)
    alone = [Predictor(name, device="cpu").predict(structure) for name in names]
    made.clear()
    together = Predictor(names, device="cpu").predict_committee(structure)
    assert made.count(2.0) == 1
    assert np.array_equal(together, np.stack(alone))
