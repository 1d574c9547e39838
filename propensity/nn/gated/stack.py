"""Labelled graphs where they are trained: one table each on the device, from which a step gathers a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from propensity.nn.gated.graph import GatedGraph, join_gated_graphs


@dataclass
class Labelled:
    """A graph and what is to be learned of its particles.

    Attributes
    ----------
    labels : float, (N, n_outputs), standardised
    vectors, scalars : float, (N, 3, ·) and (N, ·), labels of the auxiliary loss, standardised
    state_points : integer, (N,), that of the structure, where there are several
    """

    graph: GatedGraph
    labels: torch.Tensor
    vectors: torch.Tensor
    scalars: torch.Tensor
    state_points: torch.Tensor


#: Fields that hold a row a particle.
ROWS = ("labels", "vectors", "scalars", "state_points")


class AnyExamples:
    """Graphs of any sizes."""

    #: Whether batches of as many structures have equal shapes.
    uniform = False

    def __init__(self, examples: Sequence[Labelled]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, index: torch.Tensor) -> Labelled:
        """Some of them as one graph, particle after particle."""
        some = [self.examples[k] for k in index.tolist()]
        return Labelled(
            join_gated_graphs([example.graph for example in some]),
            *(torch.cat([getattr(x, name) for x in some]) for name in ROWS),
        )


class EqualExamples:
    """Graphs of equally many particles; a batch is gathered without a word from the processor."""

    uniform = True

    def __init__(self, examples: Sequence[Labelled]) -> None:
        graphs = [example.graph for example in examples]
        self._n = len(graphs[0].types)
        most = max(graph.neighbours.shape[1] for graph in graphs)
        self._width = width = -(-most // 8) * 8  # products of matrices like multiples of eight
        itself = torch.arange(self._n, device=graphs[0].types.device)[:, None]

        def wide(tables: Sequence[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
            out = tables[0].new_zeros(len(tables), self._n, width, *tables[0].shape[2:], dtype=dtype)
            for room, table in zip(out, tables, strict=True):
                room[:, : table.shape[1]] = table
            return out

        self._real = wide([graph.real for graph in graphs], torch.bool)
        self._neighbours = torch.where(
            self._real, wide([graph.neighbours for graph in graphs], torch.int32), itself.int()
        )
        self._reverse = torch.stack(
            [reverse_slots(*pair) for pair in zip(self._neighbours, self._real, strict=True)]
        )
        self._counts = self._real.sum(dim=2, dtype=torch.int32)
        self._vectors = {
            view: wide([graph.vectors[view] for graph in graphs], torch.float32) for view in graphs[0].vectors
        }
        self._types = torch.stack([graph.types for graph in graphs])
        self._inputs = [
            torch.stack([getattr(graph, f"{name}_inputs") for graph in graphs])
            for name in ("vector", "quadrupole", "scalar")
        ]
        self._labels = [torch.stack([getattr(x, name) for x in examples]) for name in ROWS]

    def __len__(self) -> int:
        return len(self._types)

    def batch(self, index: torch.Tensor) -> Labelled:
        """Those of an index, shape (B,), on the device, as one graph."""
        first = torch.arange(len(index), device=index.device, dtype=torch.int32)[:, None, None] * self._n

        def some(table: torch.Tensor) -> torch.Tensor:
            return table[index].flatten(0, 1)

        vectors, quadrupoles, scalars = (some(table) for table in self._inputs)
        return Labelled(
            GatedGraph(
                some(self._types),
                (self._neighbours[index] + first).flatten(0, 1),
                some(self._real).to(torch.float32),
                {view: some(table) for view, table in self._vectors.items()},
                vectors,
                quadrupoles,
                scalars,
                (self._reverse[index] + first * self._width).flatten(0, 1),
                some(self._counts),
            ),
            *(some(table) for table in self._labels),
        )


def reverse_slots(neighbours: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """For each particle the slots, i·K + k, in which it is a neighbour, int32, (N, K).

    Empty ones are filled by those in which it is its own, and not real.  Neighbours are mutual, so that there
    are as many as it has neighbours, and those stand first.
    """
    n, width = neighbours.shape
    slots = torch.arange(n * width, device=neighbours.device)
    used = real.flatten()
    order = torch.argsort(neighbours.flatten()[used], stable=True)
    counts = real.sum(dim=1)
    assert torch.equal(counts, torch.bincount(neighbours.flatten()[used], minlength=n)), (
        "neighbours are mutual"
    )
    first = torch.cumsum(counts, 0) - counts
    owner = torch.repeat_interleave(torch.arange(n, device=counts.device), counts)
    out = slots.view(n, width).clone()
    out[owner, torch.arange(len(owner), device=owner.device) - first[owner]] = slots[used][order]
    return out.int()


class Gather(torch.autograd.Function):
    """Rows of what particles send for each of their neighbours' slots, (N, K, ·).

    Its gradient is a sum over the slots in which a particle is a neighbour, in a fixed order and without
    atomic additions.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        sent: torch.Tensor,
        neighbours: torch.Tensor,
        reverse: torch.Tensor,
    ) -> torch.Tensor:
        """See the class."""
        ctx.save_for_backward(reverse)
        return _rows(sent, neighbours)

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor
    ) -> tuple[torch.Tensor, None, None]:
        """Gradient of what particles send."""
        (reverse,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return _rows(gradient.flatten(0, 1), reverse).sum(dim=1), None, None


def _rows(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """table[index] of a matrix: its rows are moved in words of eight bytes, where they consist of some."""
    if table.shape[1] * table.element_size() % 8:
        return table.index_select(0, index.flatten()).view(*index.shape, table.shape[1])
    words = table.contiguous().view(torch.int64)
    return words.index_select(0, index.flatten()).view(table.dtype).view(*index.shape, table.shape[1])
