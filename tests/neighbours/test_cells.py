"""The neighbour lists for any cell find exactly the edges of matscipy's."""

import numpy as np
import pytest
import torch

from propensity.errors import InputError
from propensity.neighbours import available, nearest_neighbours, neighbour_list, torch_cells
from propensity.structure import Structure

CELLS = {
    "cubic": np.eye(3) * 7.0,
    "orthorhombic": np.diag([5.0, 8.0, 11.0]),
    "triclinic": np.array([[6.0, 0.0, 0.0], [2.5, 7.0, 0.0], [-1.5, 2.0, 6.5]]),
    "sheared": np.array([[5.0, 0.0, 0.0], [4.5, 5.0, 0.0], [4.0, 3.0, 5.0]]),
    "left-handed": np.array([[0.0, 6.0, 0.0], [6.0, 0.0, 0.0], [0.0, 0.0, 6.0]]),
}


def edges(structure, cutoff, backend, device="cpu"):
    index, vectors = (t.cpu() for t in neighbour_list(structure, cutoff, backend=backend, device=device))
    assert bool((index[1, 1:] >= index[1, :-1]).all()), "edges are sorted by destination"
    rows = np.concatenate([index.T.numpy(), vectors.numpy()], axis=1)
    return rows[np.lexsort(np.round(rows, 6).T[::-1])]


def compare(structure, cutoff):
    expected = edges(structure, cutoff, "matscipy")
    for backend in ("torch", "numba"):
        found = edges(structure, cutoff, backend)
        assert found.shape == expected.shape, backend
        np.testing.assert_allclose(found, expected, atol=1e-9, err_msg=backend)
    distance, count = nearest_neighbours(structure, cutoff)
    near = np.full(len(structure), np.inf)
    np.minimum.at(near, expected[:, 1].astype(int), np.linalg.norm(expected[:, 2:], axis=1))
    np.testing.assert_allclose(distance, near, rtol=1e-12)
    assert count.tolist() == np.bincount(expected[:, 1].astype(int), minlength=len(structure)).tolist()
    return len(expected)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 1, 0), (0, 0, 0)], ids=str)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_same_edges(cell, pbc):
    random = np.random.default_rng(0)
    positions = (random.random((150, 3)) * 1.6 - 0.3) @ cell
    assert compare(Structure(positions, np.zeros(150, int), cell, np.array(pbc, bool)), 1.7) > 100


@pytest.mark.parametrize("cutoff", [0.4, 1.0, 2.3, 4.1])
@pytest.mark.parametrize("cell", [CELLS["cubic"] / 7, CELLS["triclinic"] / 4], ids=["cubic", "triclinic"])
def test_several_images_of_a_small_cell(cell, cutoff):
    random = np.random.default_rng(1)
    compare(Structure(random.random((4, 3)) @ cell, np.zeros(4, int), cell), cutoff)


def test_one_particle_sees_its_images():
    structure = Structure(np.zeros((1, 3)), np.zeros(1, int), 1.0)
    assert compare(structure, 1.2) == 6


def test_no_neighbours():
    structure = Structure(np.array([[0.0, 0, 0], [5, 5, 5]]), np.zeros(2, int), 10.0)
    assert compare(structure, 2.0) == 0


def test_far_apart_in_the_open():
    structure = Structure(
        np.array([[0.0, 0, 0], [1, 0, 0], [1e6, 0, 0]]), np.zeros(3, int), np.zeros(3), False
    )
    assert compare(structure, 2.0) == 2


def test_chunks_make_no_difference(monkeypatch):
    random = np.random.default_rng(2)
    structure = Structure(random.random((200, 3)) * 6, np.zeros(200, int), 6.0)
    whole = neighbour_list(structure, 1.5, backend="torch")
    monkeypatch.setattr(torch_cells, "CHUNK", 500)
    parts = neighbour_list(structure, 1.5, backend="torch")
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_make_no_difference(threads):
    structure = Structure(np.random.default_rng(3).random((500, 3)) * 9, np.zeros(500, int), 9.0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = neighbour_list(structure, 1.5, backend="numba")
        torch.set_num_threads(threads)
        together = neighbour_list(structure, 1.5, backend="numba")
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("backend", ["torch", "numba", "matscipy"])
@pytest.mark.parametrize("apart", [0.0, 5e-5, 9.99995], ids=["same", "close", "across the boundary"])
def test_coincident_particles_are_named(backend, apart):
    positions = np.array([[0.0, 3, 3], [5, 5, 5], [apart, 3, 3]])
    with pytest.raises(InputError, match=r"particles (0 and 2|2 and 0) coincide"):
        neighbour_list(Structure(positions, np.zeros(3, int), 10.0), 2.0, backend=backend)


def test_registry():
    # Triton can run there in its interpreter.
    assert [name for name in available("cpu") if name != "triton"] == ["numba", "matscipy", "torch"]
    with pytest.raises(InputError, match=r"did you mean|choose from"):
        neighbour_list(Structure(np.zeros((1, 3)), np.zeros(1, int), 5.0), 1.0, backend="torhc")
