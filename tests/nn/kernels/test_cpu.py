"""What is particular to the CPU kernel: its order of edges, threads and generated code."""

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from propensity.nn import SE3GNN
from propensity.nn.kernels.cpu import rows as cpu_rows
from propensity.nn.kernels.cpu import slots as cpu_slots
from propensity.nn.kernels.cpu.geometry import geometry_of
from propensity.nn.kernels.cpu.norms import normalise, normalise_backward
from propensity.nn.layout import ConvolutionLayout
from propensity.threads import share
from tests.nn.kernels.graphs import random_graph


def network_of(l_max=1, kernel="cpu", **options):
    torch.manual_seed(1)
    return SE3GNN(2, 3, l_max=l_max, n_layers=2, kernel=kernel, **options)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("window", [16, 16384])
@pytest.mark.parametrize(("n", "n_edges", "degree"), [(1, 0, 0), (3, 1, 0), (50, 400, 70), (16, 100, 0)])
def test_every_edge_has_one_slot(monkeypatch, n, n_edges, degree, window):
    monkeypatch.setattr(cpu_slots, "WINDOW", window)
    graph = random_graph(n, n_edges, degree_of_first=degree)
    slots = cpu_slots.make_slots(graph.edge_index, n)
    lane = np.arange(slots.n) % cpu_slots.LANES
    row = np.arange(slots.n) // cpu_slots.LANES
    live = (slots.live[row] >> lane & 1).astype(bool)
    tile = np.searchsorted(slots.start, row, side="right") - 1
    assert sorted(slots.edge_of_slot[live]) == list(range(n_edges))
    assert np.array_equal(slots.idle.numpy(), np.flatnonzero(~live))
    source, destination = graph.edge_index.numpy()[:, slots.edge_of_slot[live]]
    assert np.array_equal(slots.source[live], source)
    assert np.array_equal(slots.node[tile * cpu_slots.LANES + lane][live], destination)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-6)])
@pytest.mark.parametrize("l_max", range(6))
def test_geometry_is_that_of_torch(l_max, dtype, tolerance):
    """Two ways to the harmonics and the basis: with a gradient and without."""
    graph, radial = random_graph(20, 70, dtype=dtype), network_of(n_basis=14).convolutions[0].radial
    slots = cpu_slots.make_slots(graph.edge_index, 20)
    found = geometry_of(slots, graph.edge_vec, radial, l_max)
    expected = geometry_of(slots, graph.edge_vec.requires_grad_(), radial, l_max)
    torch.testing.assert_close(found.harmonics, expected.harmonics.detach(), rtol=0, atol=10 * tolerance)
    live = torch.ones(slots.n, dtype=torch.bool).index_fill(0, slots.idle, False).view(-1, 1, cpu_slots.LANES)
    error = torch.where(live, found.basis - expected.basis.detach(), 0)
    assert float(error.abs().max()) < 20 * tolerance
    assert found.harmonics[0, 0, 0] == 1 and float(found.basis.abs().max()) > 0.5


@pytest.mark.parametrize("shape", [(4, 2, 4, 3), (0, 2, 4, 3), (1, 1, 1, 0), (16, 2, 16, 4)], ids=str)
def test_groups_cover_every_path_once(shape):
    layout = ConvolutionLayout(*shape)
    found = cpu_rows.groups(layout)
    starts = cpu_rows.weight_order(layout)
    assert sorted(starts) == list(range(layout.n_comb))
    paths = [path for group in found for path in group]
    own = [replace(path, weight=starts[path.weight]) for path in paths]
    assert sorted(own, key=layout.paths.index) == list(layout.paths)
    assert [path.weight for path in paths] == np.cumsum([0, *(path.channels for path in paths[:-1])]).tolist()
    for group in found:
        sums = sum(path.channels * (2 * path.l_out + 1) for path in group)
        assert sums <= cpu_rows.GROUP or len(group) == 1
        assert len({path.l_in for path in group}) == 1 or shape != (4, 2, 4, 3) or group is found[0]


def gradients(graph):
    network = network_of()
    graph.edge_vec.requires_grad_()
    graph.edge_vec.grad = None
    torch.manual_seed(2)
    output = network(graph)
    output.square().sum().backward()
    return [output.detach(), graph.edge_vec.grad, *(p.grad for p in network.parameters())]


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("blocks", [1, 3, 16, 64])
def test_shared_work_is_done_once(threads, blocks, n_threads):
    threads(n_threads)
    done = []
    share(lambda first, last, n, found: found.append((first, last, n)), blocks, done)
    assert [k for first, last, _ in sorted(done) for k in range(first, last)] == list(range(blocks))
    assert {n for *_, n in done} == {blocks}
    if 1 < n_threads < blocks // 4:
        assert max(last - first for first, last, _ in sorted(done)[-3:]) <= 2


def test_same_bits_on_any_number_of_threads(threads):
    graph = random_graph(1500, 6000, dtype=torch.float32)  # more tiles than blocks
    found = []
    for n in (1, 2, 5):
        threads(n)
        found.append(gradients(graph))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("l_max", [1, 3])
def test_inference_is_exact_in_float64(l_max):
    """No table: only rounding parts inference from the reference."""
    graph, network = random_graph(40, 600, degree_of_first=50), network_of(l_max).double()
    with torch.no_grad():
        network.train()(graph)
        network.eval()
        found, layers = network(graph), network.hidden(graph)
        network.kernel = "reference"
        torch.testing.assert_close(found, network(graph), rtol=1e-12, atol=1e-12)
        for a, b in zip(layers, network.hidden(graph), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_gradient_of_extra_scalars():
    graph, network = random_graph(9, 40), network_of(2, n_extra=3).double().eval()
    graph.scalars.requires_grad_()
    found = []
    for kernel in ("cpu", "reference"):
        network.kernel = kernel
        found.append(torch.autograd.grad(network(graph).square().sum(), graph.scalars)[0])
    assert found[1].abs().max() > 1e-3
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


def test_several_threads_predict_at_once():
    graphs = [random_graph(100, 900, seed, torch.float32) for seed in range(6)]
    network = network_of().eval()
    with torch.inference_mode():
        expected = [network(graph) for graph in graphs]

    def predict(graph):
        with torch.inference_mode():
            return network(graph)

    with ThreadPoolExecutor(3) as pool:
        assert all(torch.equal(a, b) for a, b in zip(expected, pool.map(predict, graphs), strict=True))


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_dropout_keeps_its_share(p):
    radial = network_of(dropout=p).convolutions[0].radial.train()
    kept = radial.dropout_mask(torch.empty(40000, 1))
    assert kept.dtype == torch.bool and kept.shape == (40000, 16)
    # Five standard deviations of the mean of 640,000 draws.
    assert float(kept.double().mean()) == pytest.approx(1 - p, abs=5 * (p * (1 - p) / kept.numel()) ** 0.5)
    assert not torch.equal(kept, radial.dropout_mask(torch.empty(40000, 1)))


@pytest.mark.parametrize("p", [0.5, 0.25, 0.1])
@pytest.mark.parametrize("hidden", [16, 37])
def test_the_loops_keep_what_the_mask_keeps(p, hidden):
    graph = random_graph(50, 400, degree_of_first=70)
    radial = network_of(dropout=p, radial_hidden=hidden).convolutions[0].radial.train()
    slots = cpu_slots.make_slots(graph.edge_index, 50)
    draws = radial.dropout_draws(400)
    bits = slots.bits(draws, hidden).reshape(-1, hidden)
    lane, row = np.arange(slots.n) % cpu_slots.LANES, np.arange(slots.n) // cpu_slots.LANES
    live = (slots.live[row] >> lane & 1).astype(bool)
    kept = (bits[row] >> lane[:, None] & 1).astype(bool)
    assert np.array_equal(kept[live], draws.mask(hidden).numpy()[slots.edge_of_slot[live]])
    assert not kept[~live].any() and kept[live].any() and not kept[live].all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_batch_norm_is_e3nn_s(training, dtype, tolerance):
    torch.manual_seed(3)
    theirs, x = network_of(3).norms[0].to(dtype).train(training), torch.randn(200, 64, dtype=dtype)
    with torch.no_grad():
        for tensor in (theirs.weight, theirs.bias, theirs.running_mean, theirs.running_var):
            tensor.uniform_(0.5, 1.5)
    ours, joining = copy.deepcopy(theirs), np.random.default_rng(0).random((201, 3))
    first = theirs(x.requires_grad_())
    first.sin().sum().backward()
    table = np.vstack([x.detach(), np.zeros(64)]).astype(x.detach().numpy().dtype)
    out = np.zeros((201, 67), table.dtype)
    normed = normalise(ours, table, joining.astype(table.dtype), out)
    found = normalise_backward(ours, normed, np.cos(out))
    for a, b in [
        (out[:-1, :64], first),
        (found.x[:-1], x.grad),
        (found.weight, theirs.weight.grad),
        (found.bias, theirs.bias.grad),
        (ours.running_mean, theirs.running_mean),
        (ours.running_var, theirs.running_var),
    ]:
        torch.testing.assert_close(torch.as_tensor(a), b.detach(), rtol=tolerance, atol=20 * tolerance)
    assert not out[-1].any() and not found.x[-1].any()
    assert np.array_equal(out[:-1, 64:], joining[:-1].astype(table.dtype))


def test_predictions_see_every_change_of_the_parameters():
    """Those too that a tensor's version doesn't count, as of fused optimisers."""
    graph, network = random_graph(40, 600), network_of().double().eval()
    with torch.no_grad():
        before = network(graph)
        network.convolutions[0].mix[0].data.mul_(2)
        found, network.kernel = network(graph), "reference"
        assert not torch.allclose(found, before)
        torch.testing.assert_close(found, network(graph), rtol=1e-11, atol=1e-12)


def test_backward_twice_and_two_graphs_at_once():
    """Memory that serves again is not taken from who still holds it."""
    network, graphs = network_of(dropout=0.0).eval(), [random_graph(40, 600, seed) for seed in (1, 2)]
    network.double()
    alone = [torch.autograd.grad(network(graph).sum(), network.parameters()) for graph in graphs]
    outputs = [network(graph).sum() for graph in graphs]
    for output, expected in zip(outputs, alone, strict=True):
        for _ in range(2):
            found = torch.autograd.grad(output, network.parameters(), retain_graph=True)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
