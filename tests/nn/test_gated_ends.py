"""First features and the readout in the kernels of a GPU are those of torch, and so is every gradient."""

from __future__ import annotations

import pytest
import torch

from propensity.nn.gated import GatedGraph, GatedNetwork
from propensity.nn.gated.network import INPUTS, Passed
from propensity.nn.gated.triton.ends import answers_of, first_features
from tests.nn.test_gated_kernels import DEVICES, Times, needs_kernels
from tests.nn.test_gated_learning import WIDTHS

#: Particles: no multiple of those of a program.
N = 37


def network(device: str, inputs: str, guessed: int = 0) -> GatedNetwork:
    """One whose scales are random."""
    torch.manual_seed(0)
    views = ["thermal", "guessed"] if guessed else ["thermal"]
    found = GatedNetwork(views, inputs, n_outputs=3, readout=5, n_guessed=guessed, widths=WIDTHS)
    for name, buffer in found.named_buffers():
        if name.endswith(("std", "scale")):
            buffer.uniform_(0.5, 2.0)
    return found.to(device).train()


def graph_of(device: str, inputs: str) -> GatedGraph:
    """Species and inputs alone."""
    torch.manual_seed(1)
    vectors, quadrupoles, scalars = INPUTS[inputs](2)
    shapes = (N, 3, vectors), (N, 5, quadrupoles), (N, scalars)
    types = torch.randint(2, (N,), device=device)
    nothing = torch.zeros(N, 0, device=device)
    return GatedGraph(types, nothing, nothing, {}, *(torch.randn(*s, device=device) for s in shapes))


def gradients(results, leaves) -> list[torch.Tensor]:
    """Those of random sums of results; zeros where there are none."""
    torch.manual_seed(2)
    loss = sum((x * torch.randn_like(x)).sum() for x in results)
    return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)


def assert_near(found, expected) -> None:
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).detach().norm()) <= 1e-5 * float(b.detach().norm()) + 1e-6


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("device", DEVICES)
def test_first_features(device, inputs):
    needs_kernels(device)
    net, graph = network(device, inputs), graph_of(device, inputs)
    parameters = [p for name, p in net.named_parameters() if name.startswith(("embed", "in_"))]
    expected_raw, expected = net._first(graph)
    raw, found = first_features(net, graph, torch.float32)
    assert_near([raw, *found], [expected_raw, *expected])
    assert_near(gradients(found, parameters), gradients(expected, parameters))


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("guessed", [0, 2])
@pytest.mark.parametrize("device", DEVICES)
def test_readout(device, guessed, dropout):
    needs_kernels(device)
    net, graph = network(device, "thermal", guessed), graph_of(device, "thermal")
    torch.manual_seed(3)
    w = WIDTHS
    shapes = [(N, w["scalars"]), (N, 3, w["vectors"]), (N, 5, w["quadrupoles"])] + [(N, 3, guessed)] * bool(
        guessed
    )
    leaves = [torch.randn(*shape, device=device).requires_grad_() for shape in shapes]
    passed = Passed(torch.randn(N, 2, device=device), [tuple(leaves[:3])], leaves[3] if guessed else None)
    leaves += [net.hidden.weight, net.hidden.bias, net.out, net.bias]
    net.dropout.p = 0.4 * dropout
    torch.manual_seed(7)
    found = answers_of(net, passed, graph.types, torch.float32)
    if dropout:
        torch.manual_seed(7)
        shares = torch.empty(N, len(net.hidden.bias), device=device).bernoulli_(0.6).div_(0.6)
        net.dropout = Times(shares)
    expected = net.read_out(passed, graph.types)
    assert_near([found], [expected])
    assert_near(gradients([found], leaves), gradients([expected], leaves))


@pytest.mark.parametrize("device", DEVICES)
def test_many_rows(device):
    """Weights' gradients of more rows than a program takes at a time, strided and with a bias."""
    needs_kernels(device)
    from types import SimpleNamespace

    from propensity.nn.gated.triton import weights
    from propensity.nn.gated.triton.products import Product, find_gradients
    from propensity.nn.gated.triton.sizes import name_of

    torch.manual_seed(4)
    n = 200 if device == "cpu" else 3001
    grad = torch.randn(n, 3 * 5 + 70, device=device)
    products = [
        Product(grad[:, 15:], torch.randn(n, 66, device=device), bias=True),
        Product(grad[:, :15].view(n, 3, 5), torch.randn(n, 3, 4, device=device)),
    ]
    found = torch.empty(sum(product.size for product in products), device=device)
    find_gradients(SimpleNamespace(**vars(weights)), products, found, name_of(torch.float32))
    one, two = products
    expected = [one.grad.T @ one.read, one.grad.sum(0), two.grad.flatten(0, 1).T @ two.read.flatten(0, 1)]
    assert_near([found], [torch.cat([part.flatten() for part in expected])])
