"""One pass through consecutive layers, forward and backward: launches of the kernels.

Sums over neighbours are made anew going backward, and none of edges and channels is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch

from propensity.nn.gated.layer import GatedLayer
from propensity.nn.gated.triton.sizes import Parameters, Sizes, rounded

#: Neighbours that a program takes at a time, its warps and how many reads it has on the way: sums, their
#: gradient, and that of what is sent.
MEET, MEET_GRADIENT, SUM_SLOTS = (16, 1, 2), (16, 1, 2), (8, 1, 2)
#: Rows of a program, numbers that it takes at a time, its warps and how many reads it has on the way.
MIX, MIX_GRADIENT = (64, 64, 4, 3), (64, 64, 4, 2)
#: Particles of a program that finds invariants, and its warps.
INVARIANTS = (8, 4)
#: Particles of a program that updates them, invariants that it takes at a time, and its warps.
ROWS, CHUNK, WARPS = 16, 64, 4
#: Parts of the particles for gradients of small weights.
PARTS = 32


class Edges(NamedTuple):
    """Neighbours (N, K), slots in which each is a neighbour (N, K), and how many are real (N,)."""

    neighbours: torch.Tensor
    reverse: torch.Tensor
    counts: torch.Tensor


class Weights(NamedTuple):
    """Radial functions (N, BP, R) and harmonics (N, 9, R) in one view; zeros where no neighbour is."""

    radial: torch.Tensor
    angular: torch.Tensor


@dataclass
class Run:
    """What layers need besides features and parameters; ``kept`` are the shares that dropout leaves of each
    hidden unit, (layers, N, H), where it leaves any out.
    """

    layers: Sequence[GatedLayer]
    weights: Sequence[Weights]
    edges: Edges
    half: torch.dtype
    kept: torch.Tensor | None = None


def _as_operands(tensors: Sequence[torch.Tensor], half: torch.dtype) -> Sequence[torch.Tensor]:
    """Tensors of another type, in one piece."""
    if half == torch.float32:
        return tensors
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).to(half)
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]


def _outer(grad: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
    """Gradient of a weight of each layer, (layers, OUT, IN), from that of what it gave, (layers, rows, OUT),
    and what it read: summed over parts of the rows, which run side by side.
    """
    count, rows, width = grad.shape
    parts = math.gcd(rows, PARTS)
    shape = count * parts, rows // parts
    found = grad.view(*shape, width).mT @ read.view(*shape, read.shape[2])
    return found.view(count, parts, *found.shape[1:]).sum(dim=1, dtype=torch.float32)


class Pass:
    """Buffers of a pass, (layers, N, ·), and its launches."""

    def __init__(self, task: Run, parameters: Sequence[torch.Tensor]) -> None:
        from propensity.nn.gated.triton import edges, invariants, meet, meet_gradient, mix, update

        self.task, self.count = task, len(task.layers)
        size = len(Parameters._fields)
        #: Those of the first layer as they are, and of all layers as operands.
        self.first = Parameters(*parameters[:size])
        operands = _as_operands(parameters, task.half)
        self.parameters = [Parameters(*operands[k * size : (k + 1) * size]) for k in range(self.count)]
        self.sizes, self.widths = Sizes(task.layers[0], ROWS), task.layers[0].widths
        modules = edges, invariants, meet, meet_gradient, mix, update
        self.kernels: Any = SimpleNamespace(**{k: v for m in modules for k, v in vars(m).items()})

    def empty(self, *shape: int, half: bool = False) -> torch.Tensor:
        """Room on the device, of the type of features or of operands."""
        dtype = self.task.half if half else torch.float32
        return torch.empty(shape, dtype=dtype, device=self.task.edges.counts.device)

    def forward(self, features: Sequence[torch.Tensor]) -> None:
        """Pass features through the layers, keeping what :meth:`backward` reads."""
        w, count, n = self.widths, self.count, len(features[0])
        self.n = n
        self.scalars = self.empty(count + 1, n, w.scalars)
        self.vectors = self.empty(count + 1, n, 3, w.vectors)
        self.scalars[0], self.vectors[0], self.quadrupoles = *features[:2], features[2]
        self.sent = self.empty(count, n, self.sizes.sent, half=True)
        self.new = self.empty(count, n, w.scalars, half=True)
        self.vectors_met = self.empty(count, n, 3, w.vectors)
        self.quadrupoles_met = self.empty(count, n, 5, w.quadrupoles)
        self.factors_v = self.empty(count, n, 3, 3 * w.products, half=True)
        self.factors_q = self.empty(count, n, 5, 3 * w.products, half=True)
        kept = self.sizes.told, w.hidden, w.vectors + w.quadrupoles
        self.kept = [self.empty(count, n, width, half=True) for width in kept]
        here = self.first
        scalars = torch.addmm(here.send_scalars_bias, features[0], here.send_scalars.T)
        vectors = (features[1] @ here.send_vectors.T).flatten(1)
        self.sent[0] = torch.cat([scalars, vectors], dim=1)
        for k in range(count):
            self._mix(k, self._meet(k))
            after = self.empty(n, 5, w.quadrupoles)
            self._update(k, after)
            self.quadrupoles = after

    def _meet(self, k: int) -> torch.Tensor:
        """Sums over neighbours of layer k."""
        sizes, edges, (radial, angular) = self.sizes, self.task.edges, self.task.weights[k]
        met = self.empty(self.n * (6 * sizes.both + 3 * sizes.wide), half=True)
        block, warps, stages = MEET
        self.kernels.meet[(self.n, 3 + bool(sizes.edges["CURVED"]))](
            self.sent[k],
            (edges.neighbours, radial, angular, edges.counts),
            (edges.neighbours.shape[1], radial.shape[2]),
            met,
            KB=block,
            num_warps=warps,
            num_stages=stages,
            **sizes.edges,
        )
        return met

    def _mix(self, k: int, met: torch.Tensor) -> None:
        rows, chunk, warps, stages = MIX
        self.kernels.mix_sums[(self._parts(rows),)](
            met,
            self.parameters[k][:5],
            (self.vectors[k], self.quadrupoles),
            self._before(k)[1:],
            self.n,
            ROWS=rows,
            CHUNK=chunk,
            num_warps=warps,
            num_stages=stages,
            **self.sizes.mix,
        )

    def _parts(self, rows: int) -> int:
        return sum(-(-m * self.n // rows) for m in (1, 3, 5))

    def _update(self, k: int, quadrupoles: torch.Tensor) -> None:
        """Features after layer k, and what is sent to the next."""
        block, warps = INVARIANTS
        self.kernels.invariants[(-(-self.n // block),)](
            self._before(k),
            self._standard(k),
            self.kept[0][k],
            self.n,
            ROWS=block,
            num_warps=warps,
            **self.sizes.invariants,
        )
        last = k + 1 == self.count
        self.kernels.update[(-(-self.n // ROWS),)](
            (self.kept[0][k], self.scalars[k], self.vectors_met[k], self.quadrupoles_met[k]),
            self._used(k),
            self._mask(k),
            (self.kept[1][k], self.kept[2][k]),
            (self.scalars[k + 1], self.vectors[k + 1], quadrupoles, self.sent[0 if last else k + 1]),
            self.n,
            SENDS=not last,
            **self._constants(),
        )

    def _constants(self) -> dict[str, Any]:
        import triton.language as tl

        half = {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16, torch.float32: tl.float32}
        more = {"ROWS": ROWS, "CHUNK": CHUNK, "num_warps": WARPS, "DROPS": self.task.kept is not None}
        return self.sizes.update | more | {"HALF": half[self.task.half]}

    def _before(self, k: int) -> tuple[torch.Tensor, ...]:
        """What invariants are made of: scalars, and what was mixed."""
        mixed = self.new, self.vectors_met, self.quadrupoles_met, self.factors_v, self.factors_q
        return self.scalars[k], *(part[k] for part in mixed)

    def _used(self, k: int) -> tuple[tuple[torch.Tensor, ...], ...]:
        """Parameters of an update, and of what is sent to the next layer."""
        here, there = self.parameters[k], self.parameters[min(k + 1, self.count - 1)]
        return (
            (here.first, here.first_bias),
            (here.second, here.second_bias),
            (there.send_scalars, there.send_scalars_bias, there.send_vectors),
        )

    def _standard(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        standard = self.task.layers[k].standard
        return standard.mean, standard.std

    def _mask(self, k: int) -> torch.Tensor:
        return self.scalars[0] if self.task.kept is None else self.task.kept[k]

    def backward(self, grads: list[torch.Tensor]) -> list[torch.Tensor | None]:
        """Gradients of the features before, then of all parameters."""
        w, count, n, sizes = self.widths, self.count, self.n, self.sizes
        widths = (
            (3, 3 * w.products),
            (5, 3 * w.products),
            (w.hidden,),
            (w.scalars + w.vectors + w.quadrupoles,),
        )
        rows = [self.empty(count, n, *width, half=True) for width in widths]
        grad_sent = self.empty(count, n, sizes.sent, half=True)
        mixed = [self.empty(count, *p.shape, half=True) for p in self.parameters[0][:3]]
        for k in reversed(range(count)):
            grads, new = self._update_gradient(k, grads, grad_sent[min(k + 1, count - 1)], rows)
            *of_sums, grad_met = self._mix_gradient(k, [new, *grads[1:], rows[0][k], rows[1][k]])
            self._sent_gradient(k, grad_met, grad_sent[k])
            del grad_met
            for out, g, met in zip(mixed, of_sums, sizes.met(self._meet(k), n), strict=True):
                torch.mm(g.flatten(0, -2).T, met, out=out[k])
            del met
        here = self.first
        scalars, vectors = grad_sent.split([w.sent_scalars, 3 * w.sent_vectors], dim=2)
        vectors = vectors.reshape(count, 3 * n, w.sent_vectors)
        grads[0] = torch.addmm(grads[0], scalars[0].float(), here.send_scalars)
        grads[1] = grads[1] + (vectors[0].float() @ here.send_vectors).view_as(grads[1])
        half = self.task.half
        of_vectors, of_quadrupoles, hidden, out = rows
        found = [
            *(part.float() for part in mixed),
            _outer(of_vectors.flatten(1, 2), self.vectors_met.flatten(1, 2).to(half)),
            _outer(of_quadrupoles.flatten(1, 2), self.quadrupoles_met.flatten(1, 2).to(half)),
            _outer(hidden, self.kept[0]),
            hidden.sum(dim=1, dtype=torch.float32),
            _outer(out, self.kept[1]),
            out.sum(dim=1, dtype=torch.float32),
            _outer(scalars.contiguous(), self.scalars[:-1].to(half)),
            scalars.sum(dim=1, dtype=torch.float32),
            _outer(vectors, self.vectors[:-1].flatten(1, 2).to(half)),
        ]
        each = zip(*(part.unbind() for part in found), strict=True)
        return [*grads, *(p for layer in each for p in layer)]

    def _update_gradient(
        self, k: int, grads: list[torch.Tensor], grad_sent: torch.Tensor, rows: list[torch.Tensor]
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Gradients of features before layer k, its factors left out, and of new scalars."""
        w, n = self.widths, self.n
        found = [self.empty(n, w.scalars), self.empty(n, 3, w.vectors), self.empty(n, 5, w.quadrupoles)]
        new, told = self.empty(n, w.scalars, half=True), self.empty(n, self.sizes.told, half=True)
        of_vectors, of_quadrupoles, hidden, out = (part[k] for part in rows)
        self.kernels.update_gradient[(-(-n // ROWS),)](
            (self.vectors_met[k], self.quadrupoles_met[k]),
            self._used(k),
            self._mask(k),
            (self.kept[1][k], self.kept[2][k]),
            (*grads, grad_sent),
            (*found, told, hidden, out),
            n,
            SENDS=k + 1 < self.count,
            **self._constants(),
        )
        block, warps = INVARIANTS
        self.kernels.invariants_gradient[(-(-n // block),)](
            self._before(k),
            self._standard(k),
            self.kept[0][k],
            told,
            tuple(found),
            (new, of_vectors, of_quadrupoles),
            n,
            ROWS=block,
            num_warps=warps,
            **self.sizes.invariants,
        )
        return found, new

    def _mix_gradient(self, k: int, grads: list[torch.Tensor]) -> list[torch.Tensor]:
        """Gradients of new scalars, vectors and quadrupoles as operands, and of the sums over neighbours."""
        sizes, n = self.sizes, self.n
        grad_met = self.empty(n * (6 * sizes.both + 3 * sizes.wide), half=True)
        of_sums = [grads[0], *(torch.empty_like(g, dtype=self.task.half) for g in grads[1:3])]
        rows, chunk, warps, stages = MIX_GRADIENT
        self.kernels.mix_sums_gradient[(self._parts(rows),)](
            tuple(grads),
            self.parameters[k][:5],
            (grad_met, *of_sums[1:]),
            n,
            ROWS=rows,
            CHUNK=chunk,
            num_warps=warps,
            num_stages=stages,
            **sizes.mix,
        )
        return [*of_sums, grad_met]

    def _sent_gradient(self, k: int, grad_met: torch.Tensor, out: torch.Tensor) -> None:
        """Gradient of what particles sent to layer k."""
        sizes, edges, n, (radial, angular) = self.sizes, self.task.edges, self.n, self.task.weights[k]
        room = edges.neighbours.shape[1]
        grad_slots = self.empty(n, room, sizes.sent, half=True)
        block, warps, stages = MEET_GRADIENT
        self.kernels.meet_gradient[(n, 2)](
            grad_met,
            (radial, angular, edges.counts),
            (room, radial.shape[2]),
            grad_slots,
            KB=block,
            num_warps=warps,
            num_stages=stages,
            **sizes.edges,
        )
        block, warps, stages = SUM_SLOTS
        self.kernels.sum_slots[(n,)](
            grad_slots,
            edges.reverse,
            edges.counts,
            room,
            out,
            WIDTH=sizes.sent,
            WP=rounded(sizes.sent),
            KB=block,
            num_warps=warps,
            num_stages=stages,
        )
