"""One convolution by every library that accelerates such products.

    python -m benchmarks.peers [--channels 4 8 16 32 64] [--l-max 1 2 3] [--only propensity ...]

Σ_j w_ij · (Y(r_ij) ⊗ h_j): gather, tensor product with weights of each edge, sum over neighbours; the
input has as many further scalars as channels, so that every path (38 at l_max 3) has as many channels,
which is what cuEquivariance's kernel takes.  Gradients are those of features and weights.
"""

from __future__ import annotations

import argparse
import time
import warnings

import torch

from benchmarks.common import cuda_graph, liquid, milliseconds, network
from propensity.graph import build_graph
from propensity.nn.kernels.reference import _harmonics, _tensor_product
from propensity.nn.kernels.triton import kernel as triton_kernel
from propensity.nn.kernels.triton.edge_pass import convolve, edge_gradients, sum_by_source
from propensity.nn.kernels.triton.shapes import shapes_of
from propensity.nn.layout import ConvolutionLayout


class Problem:
    """Inputs, and what e3nn makes of them."""

    def __init__(self, channels=4, l_max=3, device="cuda"):
        torch.manual_seed(0)
        self.layout = layout = ConvolutionLayout(channels, channels, channels, l_max)
        self.structure = liquid()
        self.graph = build_graph(self.structure, 2.0, device=device)
        self.source, self.destination = (t.contiguous() for t in self.graph.edge_index)
        self.n, n_edges = len(self.structure), len(self.source)
        self.features = torch.randn(self.n, layout.dim_in + layout.n_scalars, device=device)
        # Positive, since the network's ReLU is part of its own kernel.
        self.weights = 0.1 + torch.rand(n_edges, layout.n_comb, device=device)
        self.harmonics = _harmonics(l_max, torch.float32, torch.device(device))(self.graph.edge_vec)
        self.product = _tensor_product(layout, torch.float32, torch.device(device))
        self.cotangent = torch.randn(self.n, self.product.irreps_out.dim, device=device)


def with_gradients(function, problem, *tensors, cotangent=None):
    """Forward, and forward with gradients of ``tensors``, as two functions without arguments."""
    leaves = [t.detach().clone().requires_grad_() for t in tensors]
    cotangent = problem.cotangent if cotangent is None else cotangent

    def both():
        output = function(*leaves)
        return output, *torch.autograd.grad(output, leaves, cotangent)

    def forward():
        with torch.no_grad():
            return function(*tensors)

    return forward, both


def e3nn(problem):
    def convolution(features, weights):
        messages = problem.product(features[problem.source], problem.harmonics, weights)
        return messages.new_zeros(problem.n, messages.shape[1]).index_add(0, problem.destination, messages)

    forward, both = with_gradients(convolution, problem, problem.features, problem.weights)
    return forward, both, lambda results: results


def cuequivariance(problem):
    import cuequivariance as cue
    import cuequivariance_torch as cuet

    channels, orders = problem.layout.channels, range(problem.layout.l_max + 1)
    product = cuet.ChannelWiseTensorProduct(
        cue.Irreps("SO3", "+".join(f"{channels}x{l}" for l in (*orders, 0))),
        cue.Irreps("SO3", "+".join(map(str, orders))),
        [cue.SO3(l) for l in orders],
        layout=cue.ir_mul,
        shared_weights=False,
        internal_weights=False,
        device=problem.features.device,
        method="uniform_1d",
    )
    print(f"| cuEquivariance: method {product.f.method!r} in {type(product.f.m).__name__} |")

    rows = torch.empty(problem.n, 1, device=problem.features.device)

    def swapped(tensor, irreps, inverse=False):
        """Its own layout, (ir, mul), from (mul, ir) of e3nn, so that it need not transpose."""
        parts = torch.split(tensor, [ir.dim * mul for mul, ir in irreps], 1)
        shape = [(ir.dim, mul) if inverse else (mul, ir.dim) for mul, ir in irreps]
        return torch.cat(
            [p.view(-1, *s).transpose(1, 2).flatten(1) for p, s in zip(parts, shape, strict=True)], 1
        )

    def convolution(features, weights):
        # What product(...) calls, less a copy from the host that cannot be recorded.
        (output,) = product.f(
            [weights, features, problem.harmonics],
            input_indices={1: problem.source},
            output_indices={0: problem.destination},
            output_shapes={0: rows},
        )
        return output

    forward, both = with_gradients(
        convolution,
        problem,
        swapped(problem.features, product.irreps_in1),
        problem.weights,
        cotangent=swapped(problem.cotangent, product.irreps_out),
    )

    def like_e3nn(results):
        output, features, weights = results
        return (
            swapped(output, product.irreps_out, True),
            swapped(features, product.irreps_in1, True),
            weights,
        )

    return forward, both, like_e3nn


def openequivariance(problem, deterministic=True):
    import openequivariance as oeq

    product = problem.product
    instructions = [
        (i.i_in1, i.i_in2, i.i_out, i.connection_mode, i.has_weight) for i in product.instructions
    ]
    convolution = oeq.TensorProductConv(
        oeq.TPProblem(
            product.irreps_in1,
            product.irreps_in2,
            product.irreps_out,
            instructions,
            shared_weights=False,
            internal_weights=False,
        ),
        deterministic=deterministic,
    )
    reverse = reverse_edges(problem) if deterministic else None

    def call(features, weights):
        return convolution(features, problem.harmonics, weights, problem.destination, problem.source, reverse)

    forward, both = with_gradients(call, problem, problem.features, problem.weights)
    return forward, both, lambda results: results


def reverse_edges(problem):
    """For each edge from j to i the place of that from i to j."""
    there = problem.destination * problem.n + problem.source
    ordered, order = torch.sort(there)
    return order[torch.searchsorted(ordered, problem.source * problem.n + problem.destination)]


def openequivariance_atomic(problem):
    return openequivariance(problem, deterministic=False)


def ours(problem):
    """The network's kernels, which find the harmonics themselves; weights come in the order that each pass
    reads."""
    layout = problem.layout
    net = network("cuda", "triton", layout.l_max).eval()
    with torch.no_grad():
        geometry = triton_kernel.KERNEL.prepare(problem.graph, net.convolutions[-1])
    geometry.by_source, geometry.destination  # noqa: B018 (made once for all layers)
    shapes = shapes_of(layout, problem.features.device)
    n, cp, n_edges = problem.n, shapes.cp, len(problem.source)
    hidden = shapes.pack_features(problem.features[:, : layout.dim_in]).contiguous()
    scalars = shapes.pack_scalars(problem.features[:, layout.dim_in :]).contiguous()
    ahead = torch.nn.functional.pad(problem.weights, (0, 1))[:, shapes.maps.weights].contiguous()
    block = shapes.warp
    padded = torch.nn.functional.pad(ahead, (0, 0, 0, -n_edges % block))
    back = padded.view(-1, block, shapes.pq, cp * 4).transpose(1, 2).contiguous()
    grad_sums = _packed_sums(shapes, problem.cotangent)
    residual = torch.zeros_like(hidden)

    def forward():
        return convolve(shapes, geometry, hidden, scalars, ahead, False, slice(0, n))

    def both(back=back):
        sums = forward()
        grad_edges, _ = edge_gradients(shapes, geometry, hidden, scalars, back, grad_sums, False)
        return sums, sum_by_source(shapes, geometry, grad_edges, residual), back

    def once():
        return both(back.clone())

    def like_e3nn(results):
        sums, grad_hidden, grad_weights = results
        weights = grad_weights.transpose(1, 2).reshape(-1, shapes.pq * cp * 4)[
            :n_edges, shapes.maps.weights_back
        ]
        return _unpacked_sums(shapes, sums, n), shapes.unpack_features(grad_hidden), weights

    return forward, both, like_e3nn, once


def _sum_blocks(shapes, sums, n):
    """For each l_out, sums as (N, m, quads of paths, channels, slot)."""
    plan, cp = shapes.plan, shapes.cp
    for l in range(shapes.layout.l_max + 1):
        first, last = (plan.first_sum(k) * cp * 4 * n for k in (l, l + 1))
        yield l, sums[first:last].view(n, 2 * l + 1, plan.quads_of(l), cp, 4)


def _unpacked_sums(shapes, sums, n):
    blocks = dict(_sum_blocks(shapes, sums, n))
    return torch.cat(
        [
            blocks[p.l_out][:, :, p.rank // 4, :, p.rank % 4].transpose(1, 2).flatten(1)
            for p in shapes.plan.paths
        ],
        1,
    )


def _packed_sums(shapes, rows):
    n = len(rows)
    sums = rows.new_zeros(n * shapes.sums)
    blocks, start = dict(_sum_blocks(shapes, sums, n)), 0
    for p in shapes.plan.paths:
        width = shapes.cp * (2 * p.l_out + 1)
        part = rows[:, start : start + width].view(n, shapes.cp, -1).transpose(1, 2)
        blocks[p.l_out][:, :, p.rank // 4, :, p.rank % 4] = part
        start += width
    return sums


def kernels_of(function):
    """Names of the kernels that take most of the time."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        function()
        torch.cuda.synchronize()
    spent: dict[str, float] = {}
    for event in profiled.events():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            spent[event.name] = spent.get(event.name, 0) + event.time_range.elapsed_us()
    return ", ".join(
        f"{name[:60]} {us:.0f} µs" for name, us in sorted(spent.items(), key=lambda x: -x[1])[:3]
    )


def timed(function):
    """Milliseconds of a replay of ``function``, or of a call where it cannot be recorded."""
    function()
    try:
        return milliseconds(cuda_graph(function)), ""
    except Exception as error:
        torch.cuda.synchronize()
        return milliseconds(function), f" (launched from Python: {str(error).splitlines()[0][:60]})"


IMPLEMENTATIONS = {
    "e3nn": e3nn,
    "cuEquivariance": cuequivariance,
    "OpenEquivariance, deterministic": openequivariance,
    "OpenEquivariance, atomic": openequivariance_atomic,
    "propensity": ours,
}


def compare_peers(channels=4, l_max=3, names=tuple(IMPLEMENTATIONS)):
    """Rows of one width, each a library."""
    problem = Problem(channels, l_max)
    layout = problem.layout
    print(
        f"convolution, l_max {l_max}, {channels} channels: {problem.n} particles, {len(problem.source)}"
        f" edges, {layout.n_comb} weights an edge, float32",
        flush=True,
    )
    expected, base = None, None
    for name in names:
        row = None
        try:
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                row = compared(IMPLEMENTATIONS[name], problem, expected)
        except Exception as error:
            print(f"| {name} | {type(error).__name__}: {str(error)[:200]!r} |", flush=True)
        torch.cuda.empty_cache()
        if row is None:
            continue
        results, one, two, note, wrong, kernels, ready = row
        expected, base = expected or results, base or (one, two)
        print(
            f"| {layout.l_max} | {channels} | {name} | {one:.3f} | {base[0] / one:.1f}× | {two:.3f}{note} |"
            f" {base[1] / two:.1f}× | differs by {wrong} | ready after {ready - start:.1f} s |"
            f"\n    {kernels}",
            flush=True,
        )


def compared(make, problem, expected):
    """Results, milliseconds forward and with gradients, a note, distances, kernels, and when it was ready."""
    forward, both, like_e3nn, *once = make(problem)
    results = [t.detach() for t in like_e3nn((once[0] if once else both)())]
    torch.cuda.synchronize()
    ready = time.perf_counter()
    # Features first, then scalars: ours has no gradient of the latter, which are constants in the network.
    wrong = [
        float((a - b[:, : a.shape[1]]).norm() / b[:, : a.shape[1]].norm())
        for a, b in zip(results, expected or results, strict=True)
    ]
    (one, note), (two, note2) = timed(forward), timed(both)
    return results, one, two, note or note2, ", ".join(f"{w:.0e}" for w in wrong), kernels_of(both), ready


def main():
    """A table of widths."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    parser.add_argument("--l-max", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=IMPLEMENTATIONS, default=list(IMPLEMENTATIONS))
    options = parser.parse_args()
    print(torch.__version__, torch.cuda.get_device_name())
    for l_max in options.l_max:
        for channels in options.channels:
            compare_peers(channels, l_max, tuple(options.only))


if __name__ == "__main__":
    main()
