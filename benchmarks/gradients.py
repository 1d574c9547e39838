"""How far rounding moves the gradients of a training step on 4096 particles: the worst parameters, relative.

python -m benchmarks.gradients [cuda]

In float64, parameters are moved by as much as float32 rounds: where a ReLU of an edge flips, gradients jump.
"""

from __future__ import annotations

import copy
import sys

import torch

from benchmarks.common import liquid, network
from propensity.graph import build_graph


def gradients(graph, kernel, dtype, noise=0.0):
    """Output and gradients of every parameter, with the same dropout and targets each time."""
    device = graph.edge_vec.device.type
    net, graph = network(device, kernel).to(dtype).train(), copy.copy(graph)
    graph.edge_vec = graph.edge_vec.to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            factor = 1 + noise * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.mul_(factor.to(parameter))
    torch.manual_seed(3)
    output = net(graph)
    target = torch.randn(output.shape, generator=torch.Generator().manual_seed(2)).to(output)
    (output - target).square().mean().backward()
    found = {name: parameter.grad.double() for name, parameter in net.named_parameters()}
    return {"output": output.detach().double()} | found


def compare(what, found, expected):
    distance = {name: float((found[name] - value).norm() / value.norm()) for name, value in expected.items()}
    output = distance.pop("output")
    worst = sorted(distance.items(), key=lambda item: -item[1])[:3]
    print(
        f"| {what} | {output:.1e} | {', '.join(f'{value:.1e} {name}' for name, value in worst)} |", flush=True
    )


if __name__ == "__main__":
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    graph = build_graph(liquid(), 2.0, device=device)
    exact, fast = ("reference", "triton") if device == "cuda" else ("cpu", "cpu")
    expected = gradients(graph, exact, torch.float64)
    print("| | output | worst gradients |")
    for noise in (1e-9, 1e-8, 1e-7):
        compare(
            f"float64, parameters moved by {noise:.0e}",
            gradients(graph, exact, torch.float64, noise),
            expected,
        )
    single = gradients(graph, fast, torch.float32)
    compare(f"{fast} in float32 against float64", single, expected)
    if device == "cuda":
        reference = gradients(graph, "reference", torch.float32)
        compare("reference in float32 against float64", reference, expected)
        compare("triton against reference, both float32", single, reference)
