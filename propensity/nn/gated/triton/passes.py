"""One pass through consecutive layers, forward and backward: launches of the kernels.

Sums over neighbours of all but the last layers are made anew going backward, and none of edges and channels
is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch

from propensity.nn.gated.layer import GatedLayer
from propensity.nn.gated.triton.products import Product, find_gradients
from propensity.nn.gated.triton.sizes import Parameters, Sizes, name_of, rounded
from propensity.nn.streams import Lane

#: Neighbours that a program takes at a time, its warps and how many reads it has on the way: sums, their
#: gradient, and that of what is sent.
MEET, MEET_GRADIENT, SUM_SLOTS = (16, 1, 2), (16, 1, 2), (8, 1, 2)
#: Layers whose sums over neighbours are kept for the way back; the others' are made anew.
KEPT = 1
#: Rows of a program, numbers that it takes at a time, its warps and how many reads it has on the way.
MIX, MIX_GRADIENT = (64, 64, 4, 3), (64, 64, 4, 2)
#: Particles of a program that finds invariants, and its warps.
INVARIANTS = (8, 4)
#: Particles of a program that updates them, invariants that it takes at a time, and its warps.
ROWS, CHUNK, WARPS = 16, 64, 4


class Edges(NamedTuple):
    """Neighbours (N, K), slots in which each is a neighbour (N, K), and how many are real (N,)."""

    neighbours: torch.Tensor
    reverse: torch.Tensor
    counts: torch.Tensor


class Weights(NamedTuple):
    """Radial functions (N, B, R) and harmonics (N, 9, R) in one view; zeros where no neighbour is."""

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


class Pass:
    """Buffers of a pass, (layers, N, ·), and its launches."""

    def __init__(self, task: Run) -> None:
        from propensity.nn.gated.triton import (
            edges,
            invariants,
            meet,
            meet_gradient,
            mix,
            send,
            update,
            weights,
        )

        self.task, self.count = task, len(task.layers)
        self.sizes, self.widths = Sizes(task.layers[0], ROWS), task.layers[0].widths
        modules = edges, invariants, meet, meet_gradient, mix, send, update, weights
        self.kernels: Any = SimpleNamespace(**{k: v for m in modules for k, v in vars(m).items()})

    def empty(self, *shape: int, half: bool = False) -> torch.Tensor:
        """Room on the device, of the type of features or of operands."""
        dtype = self.task.half if half else torch.float32
        return torch.empty(shape, dtype=dtype, device=self.task.edges.counts.device)

    def forward(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Features after all layers, of those before and parameters; what :meth:`backward` reads is kept."""
        features, self.given = tensors[:3], tensors[3:]
        w, count, n = self.widths, self.count, len(features[0])
        self.n, size = n, len(Parameters._fields)
        operands = _as_operands(self.given, self.task.half)
        self.parameters = [Parameters(*operands[k * size : (k + 1) * size]) for k in range(count)]
        self.scalars = [features[0], *self.empty(count, n, w.scalars)]
        self.vectors = [features[1], *self.empty(count, n, 3, w.vectors)]
        self.quadrupoles = features[2]
        self.sent = self.empty(count, n, self.sizes.sent, half=True)
        self.new = self.empty(count, n, w.scalars, half=True)
        self.vectors_met = self.empty(count, n, 3, w.vectors)
        self.quadrupoles_met = self.empty(count, n, 5, w.quadrupoles)
        self.factors_v = self.empty(count, n, 3, 3 * w.products, half=True)
        self.factors_q = self.empty(count, n, 5, 3 * w.products, half=True)
        kept = self.sizes.told, w.hidden, w.vectors + w.quadrupoles
        self.kept = [self.empty(count, n, width, half=True) for width in kept]
        many = n * (6 * self.sizes.both + 3 * self.sizes.wide)
        self.met = [self.empty(many, half=True) for _ in range(min(KEPT, count))]
        self.kernels.send[(-(-n // ROWS),)](
            features[:2], self._sending_first(), self.sent[0], n, **self._sending()
        )
        for k in range(count):
            self._meet(k)
            self._mix(k)
            after = self.empty(n, 5, w.quadrupoles)
            self._update(k, after)
            self.quadrupoles = after
        return self.scalars[-1], self.vectors[-1], after

    def _meet(self, k: int) -> None:
        """Sums over neighbours of layer k."""
        sizes, edges, (radial, angular) = self.sizes, self.task.edges, self.task.weights[k]
        block, warps, stages = MEET
        self.kernels.meet[(self.n, 3 + bool(sizes.edges["CURVED"]))](
            self.sent[k],
            (edges.neighbours, radial, angular, edges.counts),
            (edges.neighbours.shape[1], radial.shape[2]),
            self._met(k),
            KB=block,
            num_warps=warps,
            num_stages=stages,
            **sizes.edges,
        )

    def _met(self, k: int) -> torch.Tensor:
        """Where those of layer k are."""
        return self.met[k % len(self.met)]

    def _mix(self, k: int) -> None:
        rows, chunk, warps, stages = MIX
        self.kernels.mix_sums[(self._parts(rows),)](
            self._met(k),
            self.parameters[k].mixing,
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
        more = {"ROWS": ROWS, "CHUNK": CHUNK, "num_warps": WARPS, "DROPS": self.task.kept is not None}
        return self.sizes.update | more | {"HALF": name_of(self.task.half)}

    def _sending(self) -> dict[str, Any]:
        return self.sizes.send | {"ROWS": ROWS, "num_warps": WARPS, "HALF": name_of(torch.float32)}

    def _sending_first(self) -> tuple[torch.Tensor, ...]:
        """What is sent to the first layer is found in float32: it costs nothing there."""
        return tuple(self.given[:3])

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
            there.sending,
        )

    def _standard(self, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        standard = self.task.layers[k].standard
        return standard.mean, standard.std

    def _mask(self, k: int) -> torch.Tensor:
        return self.scalars[0] if self.task.kept is None else self.task.kept[k]

    def backward(self, grads: list[torch.Tensor]) -> list[torch.Tensor]:
        """Gradients of the features before, then of all parameters.

        Those of weights are found beside what the layer before waits for, which must not write over what they
        read: results of a layer lie in one of two places in turn.
        """
        count, n = self.count, self.n
        found = torch.empty(sum(p.numel() for p in self.given), device=grads[0].device)
        of_sent = self.empty(3, n, self.sizes.sent, half=True)
        places, beside = [self._rows(), self._rows()], Lane(grads[0].device)
        at = found.numel()
        for k in reversed(range(count)):
            rows, of_next = places[k % 2], None if k + 1 == count else of_sent[(k + 1) % 3]
            beside.finish(k + 2)
            grads = self._update_gradient(k, grads, of_next, rows)
            slots = self._slots_gradient(k, self._mix_gradient(k, grads, rows))
            with beside.begin(k):
                if k < count - len(self.met):
                    self._meet(k)
                products = self._products(k, rows, of_next)
                size = sum(product.size for product in products)
                find_gradients(self.kernels, products, found[at - size : at], name_of(self.task.half))
                at -= size
            self._sum_slots(slots, of_sent[k % 3])
            del slots
        self.kernels.send_gradient[(-(-n // ROWS),)](
            of_sent[0], self._sending_first(), tuple(grads[:2]), n, **self._sending()
        )
        with beside.begin(-1):
            products = self._sent_products(0, of_sent[0])
            find_gradients(self.kernels, products, found[:at], name_of(self.task.half))
        beside.finish(-1)
        parts = found.split([p.numel() for p in self.given])
        return [*grads, *(part.view_as(p) for part, p in zip(parts, self.given, strict=True))]

    def _rows(self) -> SimpleNamespace:
        """Room for gradients of what matrices of a layer gave, as operands."""
        w, n = self.widths, self.n
        shapes = {
            "new": (w.scalars,),
            "vectors": (3, w.vectors),
            "quadrupoles": (5, w.quadrupoles),
            "factors_v": (3, 3 * w.products),
            "factors_q": (5, 3 * w.products),
            "hidden": (w.hidden,),
            "out": (w.scalars + w.vectors + w.quadrupoles,),
        }
        return SimpleNamespace(**{name: self.empty(n, *shape, half=True) for name, shape in shapes.items()})

    def _products(self, k: int, rows: SimpleNamespace, of_sent: torch.Tensor | None) -> list[Product]:
        """Of the weights of layer k and of what is sent to the next."""
        zero, one, two = self.sizes.met(self._met(k), self.n)
        return [
            Product(rows.new, zero),
            Product(rows.vectors, one),
            Product(rows.quadrupoles, two),
            Product(rows.factors_v, self.vectors_met[k]),
            Product(rows.factors_q, self.quadrupoles_met[k]),
            Product(rows.hidden, self.kept[0][k], bias=True),
            Product(rows.out, self.kept[1][k], bias=True),
            *self._sent_products(k + 1, of_sent),
        ]

    def _sent_products(self, k: int, grad: torch.Tensor | None) -> list[Product]:
        if grad is None:
            return []
        w, n = self.widths, self.n
        of_vectors = grad[:, w.sent_scalars :].view(n, 3, w.sent_vectors)
        return [
            Product(grad[:, : w.sent_scalars], self.scalars[k], bias=True),
            Product(of_vectors, self.vectors[k]),
        ]

    def _update_gradient(
        self, k: int, grads: list[torch.Tensor], of_sent: torch.Tensor | None, rows: SimpleNamespace
    ) -> list[torch.Tensor]:
        """Gradients of features before layer k, its factors left out."""
        w, n = self.widths, self.n
        found = [self.empty(n, w.scalars), self.empty(n, 3, w.vectors), self.empty(n, 5, w.quadrupoles)]
        told = self.empty(n, self.sizes.told, half=True)
        self.kernels.update_gradient[(-(-n // ROWS),)](
            (self.vectors_met[k], self.quadrupoles_met[k]),
            self._used(k),
            self._mask(k),
            (self.kept[1][k], self.kept[2][k]),
            (*grads, rows.new if of_sent is None else of_sent),
            (*found, told, rows.hidden, rows.out),
            n,
            SENDS=of_sent is not None,
            **self._constants(),
        )
        block, warps = INVARIANTS
        self.kernels.invariants_gradient[(-(-n // block),)](
            self._before(k),
            self._standard(k),
            self.kept[0][k],
            told,
            tuple(found),
            (rows.new, rows.factors_v, rows.factors_q),
            n,
            ROWS=block,
            num_warps=warps,
            **self.sizes.invariants,
        )
        return found

    def _mix_gradient(self, k: int, grads: list[torch.Tensor], rows: SimpleNamespace) -> torch.Tensor:
        """Gradient of the sums over neighbours; those of vectors and quadrupoles get that of factors."""
        sizes, n = self.sizes, self.n
        grad_met = self.empty(n * (6 * sizes.both + 3 * sizes.wide), half=True)
        block, chunk, warps, stages = MIX_GRADIENT
        self.kernels.mix_sums_gradient[(self._parts(block),)](
            (rows.new, *grads[1:], rows.factors_v, rows.factors_q),
            self.parameters[k].mixing,
            (grad_met, rows.vectors, rows.quadrupoles),
            n,
            ROWS=block,
            CHUNK=chunk,
            num_warps=warps,
            num_stages=stages,
            **sizes.mix,
        )
        return grad_met

    def _slots_gradient(self, k: int, grad_met: torch.Tensor) -> torch.Tensor:
        """Gradient of what each neighbour sent to layer k."""
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
        return grad_slots

    def _sum_slots(self, grad_slots: torch.Tensor, out: torch.Tensor) -> None:
        """Gradient of what particles sent."""
        edges, width = self.task.edges, self.sizes.sent
        block, warps, stages = SUM_SLOTS
        self.kernels.sum_slots[(self.n,)](
            grad_slots,
            edges.reverse,
            edges.counts,
            edges.neighbours.shape[1],
            out,
            WIDTH=width,
            WP=rounded(width),
            KB=block,
            num_warps=warps,
            num_stages=stages,
        )
