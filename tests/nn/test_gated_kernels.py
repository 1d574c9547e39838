"""Layers of the gated network in the kernels of a GPU compute what they compute in torch: features, gradients
of features and of every parameter.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from propensity.nn.gated import GatedGraph, GatedNetwork
from propensity.nn.gated.learning import fix_scales
from propensity.nn.gated.stack import EqualExamples, Gather
from propensity.nn.gated.triton.layers import pass_layers
from propensity.nn.gated.triton.passes import Edges
from propensity.nn.gated.triton.passing import as_operands, fits
from tests.nn.test_gated_learning import WIDTHS, examples

#: Widths that fill no matrix, and those of `ka-cage`.
SIZES = {"odd": WIDTHS, "default": None}

gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
#: Triton's interpreter takes half a minute for a few particles.
DEVICES = [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=gpu)]


def needs_kernels(device: str) -> None:
    triton = pytest.importorskip("triton")
    if device == "cpu" and not triton.knobs.runtime.interpret:
        pytest.skip("Triton needs TRITON_INTERPRET=1 without a GPU")


def problem(
    device: str, n: int, *, views: tuple[str, ...] = ("thermal", "thermal"), **options
) -> tuple[GatedNetwork, GatedGraph]:
    """A network whose scales are fixed, and a graph as a training gathers it."""
    torch.manual_seed(0)
    some = examples((n, n), device)
    guessed = int("guessed" in views)
    network = GatedNetwork(views, "thermal", n_outputs=2, readout=5, n_guessed=guessed, **options).to(device)
    if network.guess is not None:
        nn.init.normal_(network.guess.weight)
        network.guess_scale += 0.02
    fix_scales(network, some)
    return network.train(), EqualExamples(some).batch(torch.tensor([1], device=device)).graph


def first_features(network: GatedNetwork, graph: GatedGraph) -> list[torch.Tensor]:
    torch.manual_seed(1)
    w, n = network.widths, len(graph.types)
    shapes = (n, w.scalars), (n, 3, w.vectors), (n, 5, w.quadrupoles)
    found = [torch.randn(*shape, device=graph.types.device).requires_grad_() for shape in shapes]
    # Scales that suit them: of numbers held at their limit rounding alone decides on the gradient.
    for layer in network.layers:
        layer.standard.measuring = True
    with torch.no_grad():
        in_torch(network, graph, found, torch.float32)
    for layer in network.layers:
        layer.standard.measuring = False
    return found


def in_torch(network, graph, features, dtype):
    """All layers as :class:`GatedLayer` has them."""
    radial, angular = network.geometry(graph, slice(0, len(graph.types)), "thermal", None)
    weights = (angular.to(dtype)[:, :, None] * radial.to(dtype)[:, None]).flatten(1, 2)
    with torch.autocast(graph.types.device.type, torch.bfloat16, enabled=dtype != torch.float32):
        for layer in network.layers:
            sent = layer.sent(features[0], features[1])
            features = layer(features, Gather.apply(sent, graph.neighbours, graph.reverse), weights)
    return features


def in_kernels(network, graph, features, dtype):
    """All layers in the kernels."""
    radial, angular = network.geometry(graph, slice(0, len(graph.types)), "thermal", None)
    weights = as_operands(radial, angular, dtype)
    edges = Edges(graph.neighbours, graph.reverse, graph.real.sum(dim=1).int())
    return pass_layers(list(network.layers), [weights] * len(network.layers), edges, tuple(features))


def results(network, features, after) -> dict[str, torch.Tensor]:
    """Features, and gradients of those before and of parameters."""
    random = torch.Generator().manual_seed(2)
    weights = [torch.randn(x.shape, generator=random).to(x.device) for x in after]
    loss = sum((x * w).sum() for x, w in zip(after, weights, strict=True))
    parameters = dict(network.layers.named_parameters())
    names = ["d scalars", "d vectors", "d quadrupoles", *parameters]
    gradients = torch.autograd.grad(loss, [*features, *parameters.values()])
    found = dict(zip(("scalars", "vectors", "quadrupoles"), after, strict=True))
    return {k: v.detach().double() for k, v in (found | dict(zip(names, gradients, strict=True))).items()}


def distances(network, graph, dtype, way) -> dict[str, float]:
    """Relative ones from float32 in torch."""
    features = first_features(network, graph)
    expected = results(network, features, in_torch(network, graph, features, torch.float32))
    found = results(network, features, way(network, graph, features, dtype))
    assert found.keys() == expected.keys()
    return {k: float((found[k] - v).norm() / v.norm()) for k, v in expected.items()}


@pytest.mark.slow
@pytest.mark.parametrize("curved", [True, False])
def test_layers_in_the_interpreter(curved):
    needs_kernels("cpu")
    network, graph = problem("cpu", 14, widths=WIDTHS, curved=curved)
    found = distances(network, graph, torch.float32, in_kernels)
    assert max(found.values()) < 1e-5, found


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("widths", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("curved", [True, False], ids=["curved", "flat"])
@pytest.mark.parametrize("n", [125, 1000])
class TestOnAGpu:
    def test_in_float32(self, n, curved, widths):
        network, graph = problem("cuda", n, widths=widths, curved=curved)
        found = distances(network, graph, torch.float32, in_kernels)
        assert max(found.values()) < 1e-4, found

    def test_in_half_precision(self, n, curved, widths):
        """As near to float32 as torch is."""
        network, graph = problem("cuda", n, widths=widths, curved=curved)
        ours, torchs = (distances(network, graph, torch.bfloat16, way) for way in (in_kernels, in_torch))
        assert max(ours.values()) < 0.05, ours
        for name, value in torchs.items():
            assert ours[name] < 3 * value + 1e-3, name


class Times(nn.Module):
    """What dropout does, with shares that are given."""

    p = 0.0

    def __init__(self, shares):
        super().__init__()
        self.shares = shares

    def forward(self, hidden):
        return hidden * self.shares


@pytest.mark.parametrize("device", DEVICES)
def test_dropout(device):
    needs_kernels(device)
    network, graph = problem(device, 14 if device == "cpu" else 300, widths=WIDTHS)
    for layer in network.layers:
        layer.dropout.p = 0.4
    features = first_features(network, graph)
    torch.manual_seed(7)
    found = results(network, features, in_kernels(network, graph, features, torch.float32))
    torch.manual_seed(7)
    shape = len(network.layers), len(graph.types), WIDTHS["hidden"]
    shares = torch.empty(shape, device=device).bernoulli_(0.6).div_(0.6)
    for layer, own in zip(network.layers, shares, strict=True):
        layer.dropout = Times(own)
    expected = results(network, features, in_torch(network, graph, features, torch.float32))
    for name, value in expected.items():
        assert float((found[name] - value).norm()) < 1e-4 * float(value.norm()), name


def answer(network, graph, half):
    """Prediction and gradients of a whole pass."""
    device = graph.types.device.type
    with torch.autocast(device, half or torch.bfloat16, enabled=half is not None):
        passed = network.passed(graph)
        out = network.read_out(passed, graph.types).float()
    loss = (out * torch.linspace(-1, 2, out.numel(), device=device).view_as(out)).sum()
    if passed.guess is not None:
        loss = loss + passed.guess.float().square().sum()
    gradients = torch.autograd.grad(
        loss, list(network.parameters()), materialize_grads=True, allow_unused=True
    )
    return out.detach(), torch.cat([g.flatten() for g in gradients])


@pytest.mark.parametrize(
    "views", [("thermal", "thermal"), ("thermal", "guessed", "guessed")], ids=["one", "guessed"]
)
@pytest.mark.parametrize("device", DEVICES)
def test_a_network(device, views, monkeypatch):
    """Its passes of half precision go through the kernels, and none of float32."""
    needs_kernels(device)
    half, near = (torch.float16, 5e-3) if device == "cpu" else (torch.bfloat16, 4e-2)
    calls = []
    monkeypatch.setattr(
        "propensity.nn.gated.triton.passing.pass_layers", lambda *a: calls.append(1) or pass_layers(*a)
    )
    network, graph = problem(device, 14 if device == "cpu" else 300, views=views, widths=WIDTHS)
    expected = answer(network, graph, None)
    assert not calls
    found = answer(network, graph, half)
    assert len(calls) == 1 + ("guessed" in views)
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).norm()) < near * float(b.norm())


@pytest.mark.parametrize("device", DEVICES)
def test_a_pass_goes_back_once(device):
    needs_kernels(device)
    network, graph = problem(device, 14, widths=WIDTHS)
    features = first_features(network, graph)
    after = in_kernels(network, graph, features, torch.float32)
    after[0].sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="go backward once"):
        after[0].sum().backward()


@pytest.mark.parametrize(
    ("capability", "hip", "expected"), [((8, 0), None, True), ((7, 5), None, False), ((9, 4), "6.4", False)]
)
def test_older_devices_train_in_torch(monkeypatch, capability, hip, expected):
    pytest.importorskip("triton")
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    real = SimpleNamespace(device=torch.device("cuda"), dtype=torch.float32)
    network = SimpleNamespace(standard_in=SimpleNamespace(measuring=False))
    assert fits(network, SimpleNamespace(real=real, reverse=0)) is expected
    assert not fits(network, SimpleNamespace(real=real, reverse=None))
