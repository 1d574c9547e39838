"""Every kernel computes what the e3nn reference computes: outputs and all gradients, dropout included."""

import copy
import gc
import weakref

import pytest
import torch

from propensity.errors import InputError
from propensity.graph import build_graph
from propensity.nn import SE3GNN
from propensity.nn.kernels import available_kernels
from propensity.nn.kernels.triton import plan
from tests.conftest import make_liquid
from tests.nn.kernels.graphs import GRAPHS, random_graph

TOLERANCE = {torch.float64: (1e-11, 1e-10), torch.float32: (1e-5, 1e-4)}
KERNELS = [("cpu", torch.float64), ("cpu", torch.float32), ("triton", torch.float32)]


def needs(kernel, dtype):
    if kernel not in available_kernels("cpu", dtype):
        pytest.skip(f"kernel {kernel!r} cannot run here (Triton needs TRITON_INTERPRET=1 without a GPU)")


def passes(network, kernel, graph, train, moved=True):
    """Output and gradients with respect to positions and every parameter, and what training leaves behind;
    without those of positions as in a training, unless they are ``moved``.
    """
    network = copy.deepcopy(network).train(train)
    network.kernel = kernel
    graph = copy.copy(graph)
    graph.edge_vec = graph.edge_vec.clone().requires_grad_(moved)
    graph.thermal_edge_vec = graph.thermal_edge_vec.clone().requires_grad_(moved)
    graph.thermal_offset = graph.thermal_offset.clone().requires_grad_(moved)
    torch.manual_seed(5)
    output = network(graph)
    torch.sum(output * torch.linspace(-1, 2, output.numel()).to(output).view_as(output)).backward()
    found = {"output": output.detach()}
    if moved:
        found["positions"] = graph.edge_vec.grad
    if moved and network.offset_scale:
        found["thermal_offset"] = graph.thermal_offset.grad
    if moved and network.thermal is not None:
        found["thermal positions"] = graph.thermal_edge_vec.grad
    found |= {f"gradient of {name}": value.grad for name, value in network.named_parameters()}
    return found | {name: value.double() for name, value in network.named_buffers()}


def compare(network, kernel, graph, train=True, moved=True):
    dtype = graph.edge_vec.dtype
    network = network.to(dtype)
    expected, found = (passes(network, name, graph, train, moved) for name in ("reference", kernel))
    for name, value in expected.items():
        near, far = TOLERANCE[dtype]
        tolerance = near if name == "output" else far
        # A gradient that rounding makes of an exact zero says nothing: compare with the largest of all.
        scale = max(
            float(value.norm()), 1e-3 * max(float(v.norm()) for k, v in expected.items() if "gradient" in k)
        )
        assert value.shape == found[name].shape
        assert float((value - found[name]).norm()) <= tolerance * scale + 1e-30, name


def network_of(l_max=1, **options):
    torch.manual_seed(1)
    return SE3GNN(2, 3, l_max=l_max, n_layers=2, **options)


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize(("kernel", "dtype"), KERNELS)
def test_graphs(kernel, dtype, graph, train):
    needs(kernel, dtype)
    graph = graph(dtype)
    # Particles that are all alike leave the batch norm nothing but rounding to normalise.
    train = train and (len(graph.edge_vec) > 1 or (dtype == torch.float64 and len(graph.types) > 1))
    compare(network_of(), kernel, graph, train)


@pytest.mark.parametrize("channels", [3, 4, 8])
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(("kernel", "dtype"), KERNELS)
def test_a_training_asks_for_no_gradients_of_positions(kernel, dtype, train, channels):
    needs(kernel, dtype)
    compare(network_of(channels=channels), kernel, random_graph(9, 30, dtype=dtype), train, moved=False)


def test_sums_shared_between_programs(monkeypatch):
    """As for large l_max: paths whose sums lie together are summed by different programs."""
    needs("triton", torch.float32)
    monkeypatch.setattr(plan, "MAX_SUMS", 6)
    network = network_of(channels=2, radial_hidden=12)
    assert len(plan.Plan(network.convolutions[-1].layout).groups) > 2
    compare(network, "triton", random_graph(6, 20, dtype=torch.float32))


@pytest.mark.parametrize("l_max", range(5))
def test_every_l_max_on_cpu(l_max):
    compare(network_of(l_max), "cpu", random_graph(7, 20))


@pytest.mark.parametrize("l_max", [0, 2, 3, pytest.param(4, marks=pytest.mark.slow)])
def test_every_l_max_in_triton(l_max):
    needs("triton", torch.float32)
    # The interpreter takes the edges of a particle one after another, at hundreds of lines each.
    compare(network_of(l_max), "triton", random_graph(4, 8, dtype=torch.float32))


@pytest.mark.parametrize(
    "options",
    [
        {"channels": 1},
        {"channels": 3, "radial_hidden": 5},
        {"channels": 6},
        {"channels": 12},
        {"n_extra": 3, "dropout": 0.0},
        {"n_basis": 19},
        {"offset_scale": 0.4, "channels": 3},
        {"offset_scale": 0.4, "thermal_layers": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize(("kernel", "dtype"), [KERNELS[0], KERNELS[2]])
def test_sizes(kernel, dtype, options):
    needs(kernel, dtype)
    compare(network_of(**options), kernel, random_graph(6, 18, dtype=dtype))


@pytest.mark.parametrize("kernel", ["cpu", "triton"])
@pytest.mark.parametrize("options", [{}, {"offset_scale": 0.3}, {"offset_scale": 0.3, "thermal_layers": 1}])
def test_inference_without_gradients(kernel, options):
    needs(kernel, torch.float32)
    graph = random_graph(12, 60, dtype=torch.float32)
    network = network_of(2, **options)
    with torch.no_grad():
        network.train()
        network(graph)
        network.eval()
        expected, found = (
            (setattr(network, "kernel", name), network(graph))[1] for name in ("reference", kernel)
        )
        assert float((expected - found).norm() / expected.norm()) < 1e-5
        # The folded parameters follow the network when it changes.
        network.convolutions[0].radial.linear_out.weight.mul_(1.5)
        network.norms[1].running_var.mul_(2)
        expected, found = (
            (setattr(network, "kernel", name), network(graph))[1] for name in ("reference", kernel)
        )
        assert float((expected - found).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize("kernel", ["cpu", "triton"])
def test_same_numbers_every_time(kernel):
    needs(kernel, torch.float32)
    graph = GRAPHS["batch"](torch.float32)
    first, second = passes(network_of(), kernel, graph, True), passes(network_of(), kernel, graph, True)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kernel", ["cpu", "triton"])
def test_layers_and_edge_order(kernel):
    """hidden() gives every layer as e3nn does, and edges may come in any order."""
    needs(kernel, torch.float32)
    graph = random_graph(9, 30, dtype=torch.float32)
    network = network_of().eval()
    network.kernel = "reference"
    expected = network.hidden(graph)
    network.kernel = kernel
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    graph.edge_index, graph.edge_vec = graph.edge_index[:, order], graph.edge_vec[order]
    for a, b in zip(expected, network.hidden(graph), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", ["cpu", "triton"])
def test_gradients_of_earlier_layers(kernel):
    """A loss may read any layers of hidden(): those after them get no gradient."""
    needs(kernel, torch.float32)
    graph, found = random_graph(9, 30, dtype=torch.float32), {}
    torch.manual_seed(1)
    network = SE3GNN(2, 3, l_max=1, n_layers=3, dropout=0.0).train()
    for name in ("reference", kernel):
        copied = copy.deepcopy(network)
        copied.kernel = name
        first, second, _ = copied.hidden(graph)
        (first.square().sum() + second.sin().sum()).backward()
        found[name] = {key: value.grad for key, value in copied.named_parameters()}
    largest = max(float(value.norm()) for value in found["reference"].values() if value is not None)
    for key, value in found["reference"].items():
        assert (value is None) == (found[kernel][key] is None), key
        if value is not None:
            assert float((value - found[kernel][key]).norm()) <= 1e-4 * max(
                float(value.norm()), 1e-3 * largest
            ), key


def steady(network):
    """The same with radial biases that rounding does not turn the sign of.

    Of millions of ReLUs some lie so near zero that float32 decides on them by chance: on 6000 edges at l_max
    5, and on 3000 of 32 channels, gradients of the reference itself in float32 and in float64 differ by up to
    10⁻³.
    """
    for convolution in network.convolutions:
        bias = convolution.radial.linear_out.bias.data
        bias.copy_(torch.where(torch.rand_like(bias) < 0.5, -4.0, 4.0))
    return network


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("moved", [True, False], ids=["positions", "training"])
@pytest.mark.parametrize("l_max", range(6))
def test_every_l_max_on_a_gpu(l_max, moved):
    graph = random_graph(300, 6000, dtype=torch.float32).to("cuda")
    compare(steady(network_of(l_max)).cuda(), "triton", graph, moved=moved)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("l_max", "channels"), [(3, 8), (2, 16), (3, 32), (1, 64), (2, 48)])
def test_wide_layers_on_a_gpu(l_max, channels):
    graph = random_graph(40, 400, dtype=torch.float32).to("cuda")
    compare(steady(network_of(l_max, channels=channels)).cuda(), "triton", graph)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("l_max", "channels"), [(0, 4), (1, 1), (2, 3), (3, 4), (3, 8), (2, 16), (5, 4)])
def test_inference_on_a_gpu(l_max, channels):
    """Of particles with few and many neighbours, and none."""
    graph = random_graph(3000, 60000, dtype=torch.float32).to("cuda")
    network = network_of(l_max, channels=channels).cuda()
    with torch.no_grad():
        network.train()
        network(graph)
        network.eval()
        network.kernel = "reference"
        expected = network(graph)
        network.kernel = "triton"
        found = network(graph)
    assert float((found - expected).norm()) <= TOLERANCE[torch.float32][0] * float(expected.norm())


def test_edges_that_lead_nowhere_change_nothing():
    """Recordings pad graphs to one size with edges of particle N, which does not exist."""
    needs("triton", torch.float32)
    graph, network = random_graph(7, 20, dtype=torch.float32), network_of(dropout=0.0)
    padded = copy.copy(graph)
    padded.edge_index = torch.nn.functional.pad(graph.edge_index, (0, 150), value=7)
    padded.edge_vec = torch.nn.functional.pad(graph.edge_vec, (0, 0, 0, 150), value=1.0)
    expected, found = passes(network, "triton", graph, True), passes(network, "triton", padded, True)
    found["positions"] = found["positions"][:20]
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("kernel", ["cpu", "triton"])
def test_inference_mode_then_training(kernel):
    """Lightning validates in inference mode, where tensors count no versions and cannot be saved for
    backward."""
    needs(kernel, torch.float32)
    network = network_of()
    network.kernel = kernel
    kept = random_graph(6, 18, dtype=torch.float32)
    with torch.inference_mode():
        network.eval()
        network(kept)
        network(random_graph(6, 18, dtype=torch.float32))
    network.train()
    network(kept).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


@pytest.mark.parametrize("kernel", ["cpu", "triton"])
def test_graphs_are_let_go(kernel):
    """What a kernel keeps for a graph goes when the graph goes."""
    needs(kernel, torch.float32)
    network = network_of().train()
    network.kernel = kernel
    graph = random_graph(6, 18, dtype=torch.float32)
    vectors = weakref.ref(graph.edge_vec)
    network(graph).sum().backward()
    del graph
    gc.collect()
    assert vectors() is None


def test_cpu_kernel_leaves_the_threads_of_torch_alone():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        network = SE3GNN(l_max=1, n_layers=2, kernel="cpu")
        network(build_graph(make_liquid(), 2.0)).sum().backward()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_envelope_on_cpu(dtype):
    """With gradients, and in the one pass of inference."""
    graph, network = random_graph(7, 20, dtype=dtype), network_of(2, envelope=True).to(dtype)
    compare(network, "cpu", graph)
    network.eval()
    with torch.no_grad():
        found, expected = (setattr(network, "kernel", k) or network(graph) for k in ("cpu", "reference"))
        assert float((found - expected).norm() / expected.norm()) < (
            1e-5 if dtype == torch.float32 else 1e-12
        )
        sharp = network_of(2).to(dtype).eval()
        sharp.load_state_dict(network.state_dict())
        assert float((sharp(graph) - expected).norm() / expected.norm()) > 1e-2


def test_triton_refuses_an_envelope():
    needs("triton", torch.float32)
    network = network_of(envelope=True, kernel="triton")
    with pytest.raises(InputError, match="kernel 'triton' has no envelope"):
        network(random_graph(7, 20, dtype=torch.float32))
