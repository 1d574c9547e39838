"""npz sets of any liquid: named species, a cell for each structure, planar positions."""

from __future__ import annotations

import numpy as np
import pytest

from propensity.data import open_dataset
from propensity.errors import DataError

C, N = 4, 60


def arrays(seed=0, **changes):
    rng = np.random.default_rng(seed)
    values = {
        "positions": rng.uniform(0, 5, (C, N, 3)),
        "types": np.arange(N) % 3,
        "box": np.array(5.0),
        "times": np.array([1.0, 10.0]),
        "propensity": rng.uniform(0.1, 1, (C, 2, N)),
    }
    return {**values, **changes}


def written(path, **changes):
    np.savez(path, **arrays(**changes))
    return path


@pytest.mark.parametrize(
    ("names", "expected"),
    [(None, ("A", "B", "C")), (["small one", "large", "x"], ("small one", "large", "x"))],
)
def test_any_number_of_named_species(tmp_path, names, expected):
    more = {} if names is None else {"species": np.array(names)}
    dataset = open_dataset(written(tmp_path / "own.npz", **more))
    assert [sample.species for sample in dataset] == [expected] * C


@pytest.mark.parametrize("sizes", [False, True])
def test_one_type_is_part_of_a_mixture_or_has_sizes(tmp_path, sizes):
    more = {"diameters": np.linspace(0.7, 1.5, N)} if sizes else {}
    path = written(tmp_path / "own.npz", types=np.zeros(N, int), **more)
    (first, *_) = open_dataset(path)
    assert first.species == (("A",) if sizes else ("A", "B"))


def test_a_cell_for_each_structure(tmp_path):
    edges = np.linspace(5, 8, C)
    for box in (
        np.repeat(edges[:, None], 3, axis=1),
        np.eye(3) * edges[:, None, None],
    ):
        dataset = open_dataset(written(tmp_path / "own.npz", box=box))
        assert [sample.structure.density for sample in dataset] == pytest.approx((N / edges**3).tolist())


def test_three_structures_and_three_vectors_are_told_apart(tmp_path):
    three = {key: value[:3] for key, value in arrays().items() if key in ("positions", "propensity")}
    vectors = np.array([[5.0, 0, 0], [1, 6, 0], [0, 0, 7]])
    (first, *_) = open_dataset(written(tmp_path / "a.npz", **three, box=vectors))
    assert np.array_equal(first.structure.cell, vectors)
    edges = np.array([[5.0, 6, 7], [8, 8, 8], [9, 9, 9]])
    structures = [
        sample.structure for sample in open_dataset(written(tmp_path / "b.npz", **three, box=edges))
    ]
    assert [np.diag(s.cell).tolist() for s in structures] == edges.tolist()


def test_planar_positions(tmp_path):
    rng = np.random.default_rng(1)
    path = written(tmp_path / "flat.npz", positions=rng.uniform(0, 5, (C, N, 2)))
    for sample in open_dataset(path):
        assert sample.structure.dimension == 2 and sample.structure.density == pytest.approx(N / 25)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"box": np.ones((7, 3))}, r"box has shape \(7, 3\)"),
        ({"species": np.array(["A", "B"])}, r"types go up to 2, but species names only"),
        ({"positions": np.zeros((C, N, 4))}, r"positions ha.* shape"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        open_dataset(written(tmp_path / "own.npz", **change))[0]
