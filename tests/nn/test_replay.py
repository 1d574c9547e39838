"""Predictions of a trajectory come from a recording, and are those of the network called for each frame."""

import copy
import gc
import weakref

import numpy as np
import pytest
import torch

from propensity.errors import InputError
from propensity.estimators.card import Card
from propensity.estimators.inputs import Inputs
from propensity.estimators.ranges import training_range
from propensity.estimators.se3gnn import SE3Estimator
from propensity.graph import Graph
from propensity.neighbours import neighbour_list, numba_cells
from propensity.nn import SE3GNN, replay
from propensity.nn import recording as recorded
from propensity.nn.kernels.triton.geometry import LISTED, TritonGeometry
from propensity.structure import Structure
from tests.interpreter import patch_once
from tests.nn.test_cuda_graph import run_again

patch_once()

gpu = pytest.mark.gpu
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def frame(n=300, seed=0, side=None):
    """Particles on a jittered lattice, so that none coincide; two species."""
    random = np.random.default_rng(seed)
    per_side = int(np.ceil(n ** (1 / 3)))
    side = side or (n / 1.2) ** (1 / 3)
    sites = np.stack(np.mgrid[:per_side, :per_side, :per_side], -1).reshape(-1, 3)[:n] * (side / per_side)
    return Structure(sites + random.uniform(-0.2, 0.2, (n, 3)), random.integers(0, 2, n), side)


def with_offset(structure):
    """The same as an energy minimum of a sort, which says where its thermal positions are."""
    rng = np.random.default_rng(len(structure))
    return structure.at_minimum(structure.positions + rng.uniform(-0.1, 0.1, structure.positions.shape))


#: Networks by what they see.
SEEN = {
    "thermal": {},
    "both": {"offset_scale": 0.1},
    "thermal layers": {"offset_scale": 0.1, "thermal_layers": 1},
    "scalars": {"n_extra": 1},
}


def estimator_of(device="cuda", **options):
    torch.manual_seed(0)
    network = SE3GNN(2, 3, l_max=1, n_layers=2, readout="species", **options).to(device)
    recipe = {"potential_energy": "lj/cut", "mean": [-3.0, -4.0], "std": [3.0, 4.0]}
    card = Card(
        kind="se3gnn",
        name="tiny",
        config=network.config,
        species=("A", "B"),
        cutoff=2.0,
        times=(1.0, 10.0, 100.0),
        default_time_index=2,
        target_mean=[[0.0] * 3] * 2,
        target_std=[[1.0] * 3] * 2,
        input_positions="both" if options.get("offset_scale") else "thermal",
        scalar_recipe=recipe if options.get("n_extra") else {},
    )
    network.train()
    for seed in range(3):
        seen = frame(seed=seed)
        network(Inputs(card).graph(with_offset(seen) if network.offset_scale else seen, device=device))
    return SE3Estimator(network, card)


def called(estimator, structure):
    with torch.no_grad():
        return estimator._outputs(structure)


def recordings(estimator):
    return replay._RECORDINGS[estimator.network].held


def test_nothing_is_recorded_on_a_cpu():
    estimator = estimator_of("cpu")
    for seed in range(3):
        estimator.predict(frame(seed=seed))
    assert estimator.network not in replay._RECORDINGS


class Search:
    """Neighbours found by the list for processors, in place of the kernels of a GPU."""

    def __init__(self, positions, frame, bins):
        cell = frame[:9].view(3, 3).numpy()
        structure = Structure(positions.numpy().copy(), np.zeros(len(positions), int), cell)
        self.edges = neighbour_list(structure, float(frame[18]) ** 0.5)
        closest, counts = numba_cells.nearest(structure, float(frame[18]) ** 0.5)
        _, within = numba_cells.nearest(structure, float(frame[22]) ** 0.5)
        self.closest, self.counts = torch.from_numpy(np.minimum(closest, 9.0)), torch.from_numpy(counts).int()
        self.within = torch.from_numpy(within).int()
        self.rows, self.order = torch.from_numpy(np.cumsum([0, *counts])), None

    def fill(self, edge_index, edge_vec):
        n = self.edges[0].shape[1]
        edge_index[:, :n], edge_vec[:n] = self.edges


def only_real_edges(network):
    """Drop the room beyond the edges, since the reference knows no particle that does not exist."""

    def shortened(module, args):
        (graph,) = args
        fields = {}
        for name, field, value in graph.tensors():
            if field.of_edges:
                index = graph.edge_index if "E" in field.shape else graph.thermal_edge_index
                value = value.narrow(field.axis, 0, int((index[1] < len(graph.types)).sum()))
            fields[name] = value
        return (Graph(**fields),)

    network.register_forward_pre_hook(shortened)


@pytest.fixture
def on_a_processor(monkeypatch):
    """Have a replay call again what was recorded."""
    monkeypatch.setattr(recorded, "record", run_again)
    monkeypatch.setattr(recorded, "_tables", lambda network: [])
    monkeypatch.setattr(replay.triton_cells, "search", Search)


@pytest.mark.usefixtures("on_a_processor")
@pytest.mark.parametrize("seen", list(SEEN))
def test_what_a_recording_reads_is_what_the_network_is_given(seen):
    estimator = estimator_of("cpu", kernel="reference", **SEEN[seen])
    only_real_edges(estimator.network)
    recording = None
    for seed in range(3):
        structure = frame(seed=seed, side=6.3 + 0.02 * seed)
        structure = with_offset(structure) if estimator.network.offset_scale else structure
        there = recorded.Seen(structure, Inputs(estimator.card).scalars(structure))
        grid = replay.triton_cells.grid_of(structure.cell, 2.0, len(structure), 1.3)
        told = []
        with torch.no_grad():
            recording = recording or recorded.Recording(estimator.network, there, grid)
            found, low, high, around = recording(there, grid[0], told.append)
        assert told == [around]
        np.testing.assert_array_equal([low, high], [found.min(axis=0), found.max(axis=0)])
        squared, count = numba_cells.nearest(structure, 1.3)
        np.testing.assert_array_equal(around.squared, squared)
        np.testing.assert_array_equal(around.count, count)
        np.testing.assert_allclose(found, called(estimator, structure), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("on_a_processor")
def test_what_happens_meanwhile_and_what_is_out_of_date():
    """Host work runs beside the device; an error there costs no recording, and weights that have changed no
    wrong number.
    """
    estimator, structure, told = estimator_of("cpu", kernel="reference"), frame(), []
    network = estimator.network
    only_real_edges(network)
    held = replay._Recordings(network)
    grid = replay.triton_cells.grid_of(structure.cell, 2.0, len(structure))

    def outputs(meanwhile=told.append, only_held=False):
        with torch.no_grad():
            return held.outputs(network, structure, None, grid, only_held, meanwhile)

    assert outputs() is None and not told  # the first of its size
    for k in (1, 2):
        np.testing.assert_allclose(outputs().outputs, called(estimator, structure), rtol=1e-4, atol=1e-5)
        assert len(told) == k
    (recording,) = held.held.values()
    with pytest.raises(ZeroDivisionError):
        outputs(lambda around: 1 / 0)
    assert list(held.held.values()) == [recording]
    with torch.no_grad():
        network.readout.weight.mul_(2)
    assert outputs(only_held=True) is None
    assert list(held.held.values()) == []
    assert outputs() is not None
    np.testing.assert_allclose(outputs().outputs, called(estimator, structure), rtol=1e-4, atol=1e-5)
    network.readout.weight.data = network.readout.weight.data * 0.5  # where it lay lives on in the recording
    told.clear()
    assert outputs(only_held=True) is None and not told


@pytest.mark.usefixtures("on_a_processor")
def test_outputs_become_labels_on_the_way():
    """By the card of the moment; those of species without training are NaN, and so are the extremes."""
    estimator, structure = estimator_of("cpu", kernel="reference"), frame()
    only_real_edges(estimator.network)
    card = {
        "target_mean": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
        "target_std": [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]],
    }
    grid = replay.triton_cells.grid_of(structure.cell, 2.0, len(structure))
    recording = None
    for more in ({}, card, {**card, "trained_species": ("A",)}):
        estimator.card = estimator.card.model_copy(update=more)
        with torch.no_grad():
            recording = recording or recorded.Recording(
                estimator.network, recorded.Seen(structure, None), grid
            )
            found = recording(recorded.Seen(structure, None), grid[0], scale=estimator._scale())
        expected = estimator._propensities(structure, called(estimator, structure))
        np.testing.assert_allclose(found.outputs, expected, rtol=1e-5, atol=1e-5)
        assert np.isnan(found.low).all() == np.isnan(found.high).all() == ("trained_species" in more)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[gpu, needs_gpu])])
def test_a_list_says_what_the_layers_would_sort_its_edges_for(device):
    if not replay.triton_cells.is_available(torch.device(device)):
        pytest.skip("Triton cannot run here (it needs TRITON_INTERPRET=1 without a GPU)")
    structure, convolution = frame(40, side=6.2), SE3GNN(2, 1, l_max=1, n_layers=1).convolutions[0]
    held, bins = replay.triton_cells.grid_of(structure.cell, 2.0, 40)
    there = (torch.from_numpy(array).to(device) for array in (structure.positions, held))
    found = replay.triton_cells.search(*there, bins)
    index = torch.full((2, 700), 40, dtype=torch.int64, device=device)
    vectors = torch.ones(700, 3, device=device)
    found.fill(index, vectors)
    types = torch.from_numpy(structure.types).to(device)
    graph = Graph(types=types, edge_index=index, edge_vec=vectors)
    plain = TritonGeometry(graph, convolution.to(device))
    LISTED[index] = found.rows, found.order
    listed = TritonGeometry(graph, convolution)
    assert listed.order is found.order
    assert torch.equal(listed.rows, plain.rows)
    degree = plain.rows.diff()
    assert torch.equal(degree[listed.order.long()], degree[plain.order.long()])
    assert sorted(listed.order.tolist()) == list(range(40))


@gpu
@needs_gpu
@pytest.mark.parametrize("seen", list(SEEN))
def test_frames_of_a_trajectory(seen):
    """Other positions, types and cells than those recorded; the first frame alone costs no recording."""
    estimator = estimator_of(**SEEN[seen])
    frames = [frame(seed=seed, side=6.3 + 0.02 * seed) for seed in range(6)]
    frames[3] = Structure(np.asfortranarray(frames[3].positions), frames[3].types, frames[3].cell)
    if estimator.network.offset_scale:
        frames = [with_offset(structure) for structure in frames]
    for k, structure in enumerate(frames):
        found = estimator.predict(structure)
        assert len(recordings(estimator)) == (k > 0)
        np.testing.assert_allclose(found, called(estimator, structure), rtol=1e-5, atol=1e-6)
    again = estimator.predict(frames[0])
    assert np.array_equal(again, estimator.predict(frames[0]))
    assert np.abs(again - found).max() > 1e-3


@gpu
@needs_gpu
@pytest.mark.parametrize("seen", ["thermal", "both"])
def test_neighbourhoods_are_measured_on_the_way(seen):
    """As on a processor, by recordings alone, and told once."""
    estimator = estimator_of(**SEEN[seen])
    frames = [frame(seed=seed, side=6.3 + 0.02 * seed) for seed in range(5)]
    if estimator.network.offset_scale:
        frames = [with_offset(structure) for structure in frames]
    known = training_range(frames, 2)
    estimator.card = estimator.card.model_copy(update={"training_range": known})
    for k, structure in enumerate(frames):
        ready = estimator.at_once(structure)
        assert (ready is None) == (k < 2)
        if ready is None:
            estimator.unchecked(structure)
            replay.measured_around(structure, known.radius)
            continue
        around = replay.measured_around(structure, known.radius)
        squared, count = numba_cells.nearest(structure, known.radius)
        np.testing.assert_allclose(around.squared, squared, rtol=1e-12)
        np.testing.assert_array_equal(around.count, count)
        assert replay.measured_around(structure, known.radius) is None
        np.testing.assert_allclose(ready.propensities, estimator.unchecked(structure), rtol=1e-6)
        np.testing.assert_array_equal(ready.extremes.low, ready.propensities.min(axis=0))


@gpu
@needs_gpu
def test_changed_parameters_are_seen():
    estimator = estimator_of()
    structure = frame()
    before = [estimator.predict(structure) for _ in range(3)][-1]
    with torch.no_grad():
        estimator.network.convolutions[1].mix[1].mul_(2)
    for _ in range(3):
        after = estimator.predict(structure)
        np.testing.assert_allclose(after, called(estimator, structure), rtol=1e-5, atol=1e-6)
    assert np.abs(after - before).max() > 1e-3
    other = estimator_of()
    other.network.load_state_dict({k: 0.9 * v for k, v in other.network.state_dict().items()})
    estimator.network.load_state_dict(other.network.state_dict())
    np.testing.assert_allclose(estimator.predict(structure), called(other, structure), rtol=1e-5, atol=1e-6)


@gpu
@needs_gpu
def test_more_edges_than_there_is_room_for():
    estimator = estimator_of()
    loose = frame(seed=1, side=9.0)
    # Same box and so the same bins, but half as many edges again.
    dense = Structure(loose.positions * 0.8, loose.types, loose.cell)
    for structure in (loose, loose, loose, dense, dense, dense, loose):
        expected = called(estimator, structure)
        np.testing.assert_allclose(estimator.predict(structure), expected, rtol=1e-5, atol=1e-6)


@gpu
@needs_gpu
def test_coincident_particles_are_refused():
    estimator = estimator_of()
    structure = frame()
    for _ in range(3):
        expected = estimator.predict(structure)
    positions = structure.positions.copy()
    positions[17] = positions[5]
    with pytest.raises(InputError, match=r"particles (5 and 17|17 and 5) coincide"):
        estimator.predict(structure.with_positions(positions))
    for _ in range(3):
        np.testing.assert_allclose(estimator.predict(structure), expected, rtol=1e-5, atol=1e-6)


@gpu
@needs_gpu
def test_sizes_that_vary():
    """Alternating sizes are not recorded, and few recordings are kept of many sizes."""
    estimator = estimator_of()
    for n in (300, 320, 340) * 3:
        structure = frame(n)
        np.testing.assert_allclose(
            estimator.predict(structure), called(estimator, structure), rtol=1e-5, atol=1e-6
        )
    assert not recordings(estimator)
    for n in range(350, 350 + 3 * replay.KEPT):
        estimator.predict(frame(n))
        estimator.predict(frame(n, seed=1))
    gc.collect()
    held = torch.cuda.memory_allocated()
    assert len(recordings(estimator)) == replay.KEPT
    for n in range(400, 400 + 3 * replay.KEPT):
        estimator.predict(frame(n))
        estimator.predict(frame(n, seed=1))
    gc.collect()
    assert torch.cuda.memory_allocated() < 1.2 * held


@gpu
@needs_gpu
@pytest.mark.parametrize(
    "structure",
    [frame(40, side=5.0), Structure(frame().positions, frame().types, 0.0, False)],
    ids=["small cell", "open"],
)
@pytest.mark.filterwarnings("ignore:the structure has no periodic box")
def test_structures_without_a_recording(structure):
    estimator = estimator_of()
    for _ in range(3):
        np.testing.assert_allclose(
            estimator.predict(structure), called(estimator, structure), rtol=1e-5, atol=1e-6
        )


@gpu
@needs_gpu
def test_networks_without_a_recording():
    estimator = estimator_of()
    estimator.network.kernel = "reference"
    expected = [estimator.predict(frame()) for _ in range(3)]
    assert estimator.network not in replay._RECORDINGS
    estimator.network.kernel = "auto"
    for _ in range(3):
        np.testing.assert_allclose(estimator.predict(frame()), expected[0], rtol=1e-4, atol=1e-5)
    estimator.to(dtype=torch.float64)
    for _ in range(3):
        np.testing.assert_allclose(estimator.predict(frame()), expected[0], rtol=1e-4, atol=1e-5)


@gpu
@needs_gpu
def test_within_inference_mode_and_after():
    estimator = estimator_of()
    expected = called(estimator, frame())
    with torch.inference_mode():
        for _ in range(3):
            np.testing.assert_allclose(estimator.predict(frame()), expected, rtol=1e-5, atol=1e-6)
    for _ in range(2):
        np.testing.assert_allclose(estimator.predict(frame()), expected, rtol=1e-5, atol=1e-6)


@gpu
@needs_gpu
def test_estimators_are_copied_and_let_go():
    estimator = estimator_of()
    for _ in range(3):
        estimator.predict(frame())
    twin = copy.deepcopy(estimator)
    assert twin.network not in replay._RECORDINGS
    network = weakref.ref(estimator.network)
    del estimator
    gc.collect()
    assert network() is None
