"""Domain by domain, layer by layer: the numbers of one pass."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from propensity.cli.main import main
from propensity.devices import all_gpus
from propensity.errors import InputError, PropensityError, PropensityWarning
from propensity.estimators import ranges
from propensity.graph import build_graph
from propensity.neighbours import neighbour_list, triton_cells
from propensity.neighbours.domains import Domains
from propensity.nn import SE3GNN, resident, walk
from propensity.nn.resident import Resident
from propensity.predictor import Predictor
from propensity.structure import Structure
from tests.conftest import make_liquid

CELLS = {
    "cube": np.diag([9.0, 9.0, 9.0]),
    "triclinic": np.array([[11.0, 0, 0], [3, 9, 0], [-2, 4, 10]]),
    "long": np.diag([30.0, 5.0, 4.0]),
    "small": np.diag([3.0, 3.0, 3.0]),
}


def liquid_in(cell: np.ndarray, pbc: object = True) -> Structure:
    liquid = make_liquid(int(1.2 * np.linalg.det(cell)))
    return Structure(liquid.positions / liquid.cell[0, 0] @ cell + 7.3, liquid.types, cell, pbc)


@pytest.mark.parametrize("pbc", [True, [True, False, True], False], ids=str)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("per_domain", [60, 300])
def test_edges_of_all_domains_are_those_of_the_whole(cell, pbc, per_domain):
    structure = liquid_in(CELLS[cell], pbc)
    domains, found = Domains(structure, 1.6, per_domain), []
    for number in range(len(domains)):
        domain = domains.domain(number, "cpu", torch.float64)
        particles = domains.order[domain.places]
        assert bool((domain.edge_index[1] < max(domain.n_own, 1)).all())
        source, destination = particles[domain.edge_index.numpy()]
        found.append(np.column_stack([destination, source, domain.edge_vec.numpy().round(6) + 0.0]))
    index, vectors = neighbour_list(structure, 1.6)
    expected = np.column_stack([index[1], index[0], vectors.numpy().round(6) + 0.0])
    joined = np.concatenate(found)
    assert joined.shape == expected.shape
    assert np.allclose(joined[np.lexsort(joined.T)], expected[np.lexsort(expected.T)], atol=2e-6)
    assert sorted(domains.order.tolist()) == list(range(len(structure)))
    if cell == "triclinic" and per_domain == 60:
        assert domains.shape.min() >= 2 and domains.shape.max() >= 3


def network_of(dtype: torch.dtype = torch.float64, **options: object) -> SE3GNN:
    torch.manual_seed(1)
    options = {"l_max": 1, "n_layers": 3, "cutoff": 1.6, "dropout": 0.0, "kernel": "reference", **options}
    network = SE3GNN(2, 2, **options).train()
    if not network.offset_scale and not network.n_extra:
        network(build_graph(make_liquid(), 1.6))
    return network.to(dtype).eval()


@pytest.mark.parametrize("devices", [None, ["cpu", "cpu"]], ids=["one", "two"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_one_pass(dtype, tolerance, devices):
    structure, network = liquid_in(CELLS["triclinic"]), network_of(dtype)
    with torch.no_grad():
        expected = network(build_graph(structure, 1.6, dtype=dtype)).numpy()
    found = walk.walked(network, structure, per_domain=60, devices=devices)
    assert found.dtype == expected.dtype
    assert np.abs(found - expected).max() < tolerance * max(1.0, np.abs(expected).max())
    assert expected.std() > 0.01


@pytest.mark.parametrize(
    "options",
    [
        {"n_layers": 1},
        {"n_extra": 2},
        {"offset_scale": 0.1},
        {"offset_scale": 0.1, "thermal_layers": 2},
        {"readout": "species", "envelope": True},
    ],
    ids=str,
)
def test_all_that_a_network_may_see(options):
    structure, network = liquid_in(CELLS["cube"]), network_of(**options)
    rng = np.random.default_rng(0)
    scalars = rng.normal(size=(len(structure), 2)) if "n_extra" in options else None
    if "offset_scale" in options:
        structure = structure.at_minimum(structure.positions + 0.05 * rng.normal(size=(len(structure), 3)))
    graph = build_graph(structure, 1.6, dtype=torch.float64)
    if scalars is not None:
        graph.scalars = torch.from_numpy(scalars)
    if "offset_scale" in options:
        graph.thermal_offset = torch.from_numpy(structure.thermal_offset)
        moved = structure.with_positions(structure.positions + structure.thermal_offset)
        there = build_graph(moved, 1.6, dtype=torch.float64)
        graph.thermal_edge_index, graph.thermal_edge_vec = there.edge_index, there.edge_vec
    with torch.no_grad():
        expected = network(graph).numpy()
    found = walk.walked(network, structure, scalars, per_domain=100, devices=["cpu", "cpu"])
    assert np.abs(found - expected).max() < 1e-12 * max(1.0, np.abs(expected).max())


def test_fast_kernel():
    pytest.importorskip("numba")
    structure, network = liquid_in(CELLS["cube"]), network_of(torch.float32, kernel="cpu")
    with torch.no_grad():
        expected = network(build_graph(structure, 1.6)).numpy()
    assert np.abs(walk.walked(network, structure, per_domain=100) - expected).max() < 1e-5


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_predictor_walks_above_its_bound_and_says_so(tiny_model, monkeypatch, tmp_path):
    from propensity.trajectory import annotate

    structure = liquid_in(CELLS["cube"])
    predictor = Predictor(tiny_model, device="cpu", dtype="float64", kernel="reference")
    expected, before = predictor.predict(structure), ranges.measure(structure, 1.5)
    assert not predictor.by_domains(len(structure))
    calls, walked = [], walk.walked
    monkeypatch.setattr(walk, "LARGEST", 500)
    monkeypatch.setattr(ranges, "LARGEST", 500)
    monkeypatch.setattr(walk, "walked", lambda *a, **k: calls.append(1) or walked(*a, **k))
    assert predictor.by_domains(len(structure))
    assert np.abs(predictor.predict(structure) - expected).max() < 1e-12 and calls
    after = ranges.measure(structure, 1.5)
    assert np.array_equal(after.neighbours, before.neighbours)
    assert np.allclose(after.nearest, before.nearest, rtol=1e-12)
    import ase
    import ase.io

    atoms = ase.Atoms(numbers=structure.types + 1, positions=structure.positions, cell=structure.cell, pbc=1)
    ase.io.write(tmp_path / "in.extxyz", atoms)
    said: list[str] = []
    mapped = Predictor(tiny_model, device="cpu", species_map={"H": "A", "He": "B"})
    annotate(tmp_path / "in.extxyz", tmp_path / "out.extxyz", mapped, say=said.append)
    assert said == [f"{len(structure)} particles: predicted domain by domain, so that memory is bounded"]
    command = ["annotate", str(tmp_path / "in.extxyz"), "-o", str(tmp_path / "two.extxyz"), "-q"]
    command += ["-m", str(tiny_model), "--species-map", "H=A,He=B", "--device", "cpu,cpu"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    one, two = (ase.io.read(tmp_path / name).arrays for name in ("out.extxyz", "two.extxyz"))
    (column,) = [name for name in one if name.startswith("propensity") and one[name].ndim][:1]
    assert np.allclose(one[column], two[column], atol=1e-5)


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_devices_share_the_domains(tiny_model):
    structure = liquid_in(CELLS["cube"])
    alone, shared = (Predictor(tiny_model, device="cpu", dtype="float64") for _ in range(2))
    assert shared.spread("cpu", "cpu") is shared and shared.by_domains(10)
    assert np.abs(shared.predict(structure) - alone.predict(structure)).max() < 1e-12
    with pytest.raises(InputError, match="'gpu7' is unknown"):
        alone.spread("cpu", "gpu7")
    with pytest.raises(InputError, match="a bapst model is not predicted by domains"):
        Predictor("bapst-t044-s09", device="cpu").spread("cpu")


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_all_gpus_share_by_themselves_what_is_too_large_for_one(tiny_model, monkeypatch, tmp_path):
    """Two CPUs stand in for the GPUs, of which one is said to be too small."""
    from propensity.trajectory import annotate

    structure = liquid_in(CELLS["cube"])
    alone = Predictor(tiny_model, device="cpu", dtype="float64").predict(structure)
    monkeypatch.setattr("propensity.predictor.all_gpus", lambda device: ("cpu", "cpu"))
    monkeypatch.setattr(walk, "LARGEST", 500)
    found, walked = [], walk.walked
    monkeypatch.setattr(walk, "walked", lambda *a, **k: found.append(k["devices"]) or walked(*a, **k))
    predictor = Predictor(tiny_model, device="cpu", dtype="float64", species_map={"H": "A", "He": "B"})
    assert np.abs(predictor.predict(structure) - alone).max() < 1e-12 and found == [()]
    monkeypatch.setattr(resident, "suffices", lambda network, n, edges: n < 600 and edges > 0)
    assert predictor.shared_by(500) == () and predictor.shared_by(10**8) == ("cpu", "cpu")
    assert np.abs(predictor.predict(structure) - alone).max() < 1e-12
    assert found == [(), ("cpu", "cpu")]
    import ase
    import ase.io

    atoms = ase.Atoms(numbers=structure.types + 1, positions=structure.positions, cell=structure.cell, pbc=1)
    ase.io.write(tmp_path / "in.extxyz", atoms)
    said: list[str] = []
    annotate(tmp_path / "in.extxyz", tmp_path / "out.extxyz", predictor, say=said.append)
    assert said == [
        f"{len(structure)} particles: predicted domain by domain on cpu, cpu, so that memory is bounded"
    ]


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_what_does_not_fit_walks_by_itself_and_says_so(tiny_model, monkeypatch, tmp_path):
    """Memory runs out in one pass, and in domains that are too large."""
    structure, walk_layers = liquid_in(CELLS["cube"]), walk._all_layers
    expected = Predictor(tiny_model, device="cpu", dtype="float64").predict(structure)
    predictor, tried = Predictor(tiny_model, device="cpu", dtype="float64"), []

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def narrow(networks, seen, scalars, per_domain):
        tried.append(per_domain)
        return walk_layers(networks, seen, scalars, per_domain) if per_domain < 5000 else full()

    monkeypatch.setattr(predictor.estimators[0], "_outputs", full)
    monkeypatch.setattr(walk, "_all_layers", narrow)
    n = len(structure)
    assert not predictor.by_domains(n)
    with pytest.warns(PropensityWarning, match=f"has not the memory for {n} particles in one pass"):
        found = predictor.predict(structure)
    assert np.abs(found - expected).max() < 1e-12 and len(tried) == 3 and tried[-1] == tried[0] // 16
    assert predictor.by_domains(n) and not predictor.by_domains(n - 1)
    monkeypatch.setattr(walk, "_all_layers", full)
    with pytest.raises(PropensityError, match=f"not enough memory for {n} particles: use device='cpu'"):
        predictor.predict(structure)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
@pytest.mark.parametrize(
    ("n", "room"), [(300_000, 0.3), (512_000, 1.0), (300_000, 8.0)], ids=["small", "large", "enough"]
)
def test_a_gpu_with_too_little_memory_walks_by_itself(tiny_model, n, room):
    """The limit is torch's own, which every allocation of this process meets."""
    structure = make_liquid(n)
    expected = Predictor(tiny_model, device="cuda:0").predict(structure)
    predictor = Predictor(tiny_model, device="cuda:0")
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + room * 2**30) / total)
    try:
        found = predictor.predict(structure)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert predictor.by_domains(len(structure)) == (room < 8)
    assert np.nanmax(np.abs(found - expected)) < 1e-5 * np.nanstd(expected)


@pytest.mark.parametrize(("gpus", "name", "expected"), [(2, "cuda", 2), (2, "cuda:1", 0), (2, "cpu", 0)])
def test_a_device_chosen_by_its_number_stays_alone(gpus, name, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert all_gpus(torch.device(name)) == tuple(f"cuda:{k}" for k in range(expected))


@pytest.mark.parametrize("pbc", [True, [True, False, True], False], ids=str)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_features_that_stay_on_devices_give_the_same_numbers(cell, pbc, count):
    structure = liquid_in(CELLS[cell], pbc)
    network = network_of()
    expected = network(build_graph(structure, network.cutoff, dtype=torch.float64)).detach()
    copies = [copy.deepcopy(network) for _ in range(count)]
    found = Resident(copies, structure, {"types": torch.from_numpy(structure.types)}, per_domain=120)
    sizes = [len(part.own) for part in found.parts]
    assert sum(sizes) == len(structure)
    if cell == "long" and count == 2:
        assert found.grid.shape[0] >= 4 and max(sizes) < 0.7 * len(structure)
        assert all(len(part.order) <= len(structure) for part in found.parts)
    assert (found.run() - expected).abs().max() < 1e-11
    for part in found.parts:
        part.keeps, part.graphs = False, {}
    assert (found.run() - expected).abs().max() < 1e-11


@pytest.mark.slow  # Triton's interpreter takes its time
@pytest.mark.parametrize("cell", ["cube", "triclinic"])
def test_edges_by_the_kernels_of_a_gpu(cell):
    pytest.importorskip("triton")
    if not triton_cells.is_available(torch.device("cpu")):
        pytest.skip("Triton's interpreter is off")
    structure = liquid_in(0.6 * CELLS[cell])
    network = network_of(cutoff=1.0)
    whole = Resident([network], structure, {"types": torch.from_numpy(structure.types)}, per_domain=40)
    assert len(whole.grid) >= 4
    (part,) = whole.parts
    own, _, graph = whole.graph(part, 1)
    _, positions = whole._halo(part, 1, own)
    rows = []
    for index, vectors in (
        whole.searched(positions, own.stop - own.start, 1),
        (graph.edge_index, graph.edge_vec),
    ):
        found = np.column_stack([index.numpy().T, vectors.numpy().round(9)])
        rows.append(found[np.lexsort(found.T)])
    assert len(rows[0]) > 50 and np.allclose(*rows, atol=1e-8)


@pytest.mark.gpu
def test_all_gpus_give_the_numbers_of_one_pass(monkeypatch):
    """By the kernels; and by way of main memory, as where the features have no room."""
    structure, network = make_liquid(20_000), network_of(torch.float32, kernel="auto").to("cuda:0")
    with torch.no_grad():
        expected = network(build_graph(structure, network.cutoff, device="cuda:0")).cpu().numpy()
    devices = [f"cuda:{k}" for k in range(torch.cuda.device_count())]
    scale = np.abs(expected).max()
    monkeypatch.setattr(resident, "PER_DOMAIN", 3000)
    for some in (devices[:1], devices):
        assert resident.holds([network], len(structure))
        assert np.abs(walk.walked(network, structure, devices=some) - expected).max() < 1e-5 * scale
    monkeypatch.setattr(resident, "holds", lambda networks, n: False)
    assert np.abs(walk.walked(network, structure, per_domain=3000, devices=devices) - expected).max() < (
        1e-5 * scale
    )
