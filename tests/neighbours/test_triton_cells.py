"""The Triton neighbour list finds exactly the edges of matscipy's; without a GPU in Triton's interpreter."""

import numpy as np
import pytest
import torch

from propensity.errors import InputError
from propensity.neighbours import available, nearest_neighbours, neighbour_list, numba_cells, triton_cells
from propensity.structure import Structure
from tests.interpreter import patch_once
from tests.neighbours.test_cells import CELLS, edges

patch_once()

GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
DEVICES = ["cpu", pytest.param("cuda", marks=GPU)]


@pytest.fixture(params=DEVICES)
def device(request):
    if "triton" not in available(request.param):
        pytest.skip("Triton cannot run here (it needs TRITON_INTERPRET=1 without a GPU)")
    return request.param


def compare(structure, cutoff, device):
    expected = edges(structure, cutoff, "matscipy")
    found = edges(structure, cutoff, "triton", device)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-9)
    return len(found)


def liquid(n, cell, pbc=True, seed=0):
    random = np.random.default_rng(seed)
    positions = (random.random((n, 3)) * 1.6 - 0.3) @ cell
    return Structure(positions, np.zeros(n, int), cell, pbc)


@pytest.mark.parametrize("cell", [CELLS["cubic"], CELLS["triclinic"]], ids=["cubic", "triclinic"])
@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 0, 1)], ids=str)
def test_same_edges(cell, pbc, device):
    assert compare(liquid(40, cell, np.array(pbc, bool)), 1.7, device) > 40


def test_same_edges_in_an_open_cluster(device):
    assert compare(liquid(25, CELLS["left-handed"], False), 1.9, device) > 7


def test_pairs_at_the_cutoff_are_out(device):
    """Sites of a lattice: many distances are the cutoff itself, in the cell and across its boundary."""
    sites = np.random.default_rng(3).permutation(np.stack(np.mgrid[:7, :7, :7], -1).reshape(-1, 3))[:40]
    structure = Structure(sites.astype(float), np.zeros(40, int), 7.0)
    assert compare(structure, 2.0, device) > compare(structure, 2.0 - 1e-12, device) - 1
    assert compare(structure, 2.0 + 1e-12, device) > compare(structure, 2.0, device)


def test_faces_and_far_images(device):
    """Particles on the cell's faces, a rounding error outside, and a thousand cells away."""
    structure = Structure(
        np.array(
            [[0.0, 0, 0], [-1e-17, 0, 1], [6, 3, 6 - 1e-15], [1 + 6000.0, 1, -6e3], [5.5, 6e3 + 0.5, 0]]
        ),
        np.zeros(5, int),
        6.0,
    )
    assert compare(structure, 1.9, device) > 3


def test_crowded_bins(device):
    random = np.random.default_rng(4)
    positions = np.concatenate([random.random((25, 3)), [[5.0, 5, 5], [8.9, 8.9, 8.9]]])
    assert compare(Structure(positions, np.zeros(27, int), 9.0), 2.5, device) > 25 * 24


def test_positions_column_by_column(device):
    """As numpy leaves them after some operations."""
    structure = liquid(20, CELLS["cubic"])
    columns = Structure(np.asfortranarray(structure.positions), structure.types, structure.cell)
    assert columns.positions.strides[0] == 8
    assert compare(columns, 1.9, device) == compare(structure, 1.9, device)


@pytest.mark.parametrize("cutoff", [2.1, 4.0])
def test_cells_below_three_cutoffs_are_left_to_torch(cutoff, device):
    structure = liquid(12, CELLS["cubic"] / 7 * 6)
    assert compare(structure, cutoff, device) > 10


def test_no_neighbours(device):
    structure = Structure(np.array([[0.0, 0, 0], [5, 5, 5]]), np.zeros(2, int), 10.0)
    assert compare(structure, 2.0, device) == 0


@pytest.mark.parametrize("side", [10.0, 5.0])
def test_coincident_particles_are_refused(side, device):
    positions = np.array([[1.0, 1, 1], [3, 3, 3], [1, 1, 1 + side]])
    with pytest.raises(InputError, match=r"particles (0 and 2|2 and 0) coincide"):
        neighbour_list(Structure(positions, np.zeros(3, int), side), 2.0, device=device, backend="triton")


def test_room_for_more_or_fewer_edges(device):
    """What a recording needs: a fixed number of rows, of which only those found are written."""
    from propensity.neighbours import triton_cells

    structure = liquid(12, CELLS["cubic"])
    frame, bins = triton_cells.grid_of(structure.cell, 1.9, 12)
    found = triton_cells.search(
        torch.from_numpy(structure.positions).to(device), torch.from_numpy(frame).to(device), bins
    )
    n_edges = int(found.summary()[0])
    exact = neighbour_list(structure, 1.9, device=device, backend="triton", dtype=torch.float32)
    assert exact[0].shape == (2, n_edges)
    for room in (n_edges + 7, n_edges - 3):
        index = torch.full((2, room + 1), 12, dtype=torch.int64, device=device)[:, :room].contiguous()
        vectors = torch.ones(room + 1, 3, device=device)
        found.fill(index, vectors[:room])
        kept = min(room, n_edges)
        assert torch.equal(index[:, :kept], exact[0][:, :kept])
        assert torch.equal(vectors[:kept], exact[1][:kept])
        assert bool((index[:, kept:] == 12).all()) and bool((vectors[kept:] == 1).all())


@pytest.mark.parametrize("compared", [0, 40, 8192])
def test_particles_are_sorted_by_their_neighbours(compared, device, monkeypatch):
    """Where each is compared with all others, too, which saves what sorts them."""
    monkeypatch.setattr(triton_cells, "COMPARED", compared)
    structure = liquid(40, CELLS["triclinic"])
    frame, bins = triton_cells.grid_of(structure.cell, 1.7, 40)
    found = triton_cells.search(
        torch.from_numpy(structure.positions).to(device), torch.from_numpy(frame).to(device), bins
    )
    counts = found.counts.cpu().numpy()
    np.testing.assert_array_equal(found.rows.cpu().numpy(), [0, *np.cumsum(counts)])
    bin_of, number = found.particles.cpu().numpy()
    assert np.all(np.diff(bin_of * 40 + number) > 0)
    np.testing.assert_array_equal(
        found.starts.cpu().numpy(), np.searchsorted(bin_of, np.arange(np.prod(bins) + 1))
    )
    if compared:
        np.testing.assert_array_equal(found.order.cpu().numpy(), np.argsort(-counts, kind="stable"))
    else:
        assert found.order is None
    assert compare(structure, 1.7, device) > 40


def test_only_where_it_runs():
    with pytest.raises(InputError, match="cannot run on meta"):
        neighbour_list(liquid(3, CELLS["cubic"]), 1.0, device="meta", backend="triton")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 1, 0), (0, 0, 0)], ids=str)
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("n", [151, 4096])
def test_same_edges_on_a_gpu(cell, pbc, n):
    scale = (n / 100) ** (1 / 3)
    assert "triton" in available("cuda")
    structure = liquid(n, cell * scale, np.array(pbc, bool))
    assert compare(structure, 1.7, "cuda") > 100
    first, second = (neighbour_list(structure, 1.7, device="cuda") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 0, 1)], ids=str)
@pytest.mark.parametrize("cutoff", [0.6, 1.7])
def test_nearest_neighbours_without_a_list(pbc, cutoff, device):
    """Distances and numbers are those that the list for processors finds."""
    structure = liquid(40, CELLS["triclinic"], np.array(pbc, bool))
    squared, count = triton_cells.counted(structure, cutoff, torch.device(device))
    expected, counts = numba_cells.nearest(structure, cutoff)
    np.testing.assert_allclose(squared, expected, rtol=1e-12)
    np.testing.assert_array_equal(count, counts)
    assert (counts == 0).any() or cutoff > 1
    assert triton_cells.counted(liquid(40, np.eye(3)), 0.6, torch.device(device)) is None


def test_neighbours_within_a_radius_are_counted_beside_those_within_the_cutoff(device):
    structure = liquid(40, CELLS["triclinic"])
    frame, bins = triton_cells.grid_of(structure.cell, 1.7, 40, 1.1)
    found = triton_cells.search(
        torch.from_numpy(structure.positions).to(device), torch.from_numpy(frame).to(device), bins
    )
    for held, cutoff in ((found.counts, 1.7), (found.within, 1.1)):
        np.testing.assert_array_equal(held.cpu().numpy(), numba_cells.nearest(structure, cutoff)[1])
    assert 0 < int(found.within.sum()) < int(found.counts.sum())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("cell", [np.eye(3), CELLS["triclinic"]], ids=["small", "triclinic"])
def test_nearest_neighbours_on_a_gpu_are_those_on_a_cpu(cell):
    structure = liquid(40, cell)
    for found, expected in zip(
        nearest_neighbours(structure, 0.6, "cuda"), nearest_neighbours(structure, 0.6), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    twice = structure.with_positions(
        np.where(np.arange(40)[:, None] == 3, structure.positions[5], structure.positions)
    )
    with pytest.raises(InputError, match="coincide"):
        nearest_neighbours(twice, 0.6, "cuda")
