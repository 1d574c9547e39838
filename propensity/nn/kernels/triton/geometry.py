"""Edges in the order of the kernels, and what layers and passes share of them."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.utils.weak import WeakIdKeyDictionary

from propensity.nn.kernels.reference import _harmonics
from propensity.nn.kernels.triton.shapes import shapes_of
from propensity.nn.radial import bessel_basis

if TYPE_CHECKING:
    from propensity.graph import Graph
    from propensity.nn.convolution import Convolution

#: Intervals of the table of radial weights over 0 ≤ r ≤ r_c.
TABLE = 16384
#: Edges that a program describes.
BLOCK = 128

#: Where to read the order by source of a graph, by its ``edge_index``, that is not to be sorted for it: a
#: recording copies there what was sorted once for each structure.
GIVEN: Any = WeakIdKeyDictionary()
#: Where the edges of each particle of a graph begin, and particles from many edges to few, by its
#: ``edge_index``, where the search for neighbours has found them.
LISTED: Any = WeakIdKeyDictionary()


def sorted_by_source(source: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Offsets of each of n sources, shape (n+1,), and the edges sorted by source, (E,), int32."""
    ordered, order = torch.sort(source.int(), stable=True)
    marks = torch.arange(n + 1, device=source.device, dtype=torch.int32)
    return torch.searchsorted(ordered, marks, out_int32=True), order.int()


class TritonGeometry:
    """Edges sorted by destination, and where each particle's edges lie, by destination and by source."""

    def __init__(self, graph: Graph, convolution: Convolution) -> None:
        radial = convolution.radial
        self.radial, self.l_max = radial, convolution.layout.l_max
        vectors = graph.edge_vec.to(radial.linear_in.weight.dtype)
        if not (vectors.requires_grad and torch.is_grad_enabled()):
            # Geometries are kept as long as the graph's own tensor lives, so they must not hold on to it.
            vectors = vectors.detach()
        source, destination = graph.edge_index
        self.n, self._by_source = len(graph.types), GIVEN.get(graph.edge_index)
        if not _is_sorted(destination):
            order = torch.argsort(destination, stable=True)
            source, destination, vectors = source[order], destination[order], vectors[order]
        self.vectors, self.source = vectors, source.int()
        self._destination = destination
        self.rows, self.order = LISTED.get(graph.edge_index) or _rows(destination, self.n)
        #: Number of edges; more may follow that lead to no particle, so that shapes can stay the same.
        self.count = self.rows[-1:]
        self._kernels = shapes_of(convolution.layout, vectors.device).kernels

    @cached_property
    def edges(self) -> torch.Tensor:
        """Unit vector and place in the table of each edge, shape (E, 4)."""
        return self._described(False)[0]

    @cached_property
    def destination(self) -> torch.Tensor:
        """Destination of each edge."""
        return cast("torch.Tensor", self._destination.int())

    @cached_property
    def by_source(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Offsets of each source and the edges sorted by source."""
        given = self._by_source
        return sorted_by_source(self.source, self.n) if given is None else given

    @cached_property
    def basis(self) -> torch.Tensor:
        """Radial basis of each edge, shape (E, n_basis)."""
        if not self.vectors.requires_grad:
            self.edges, basis = self._described(True)
            return basis
        length = torch.linalg.vector_norm(self.vectors, dim=1)
        return bessel_basis(length, self.radial.n_basis, self.radial.cutoff)

    def _described(self, with_basis: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each edge: unit vector and place in the table; radial basis, if asked for."""
        n, n_basis, cutoff = len(self.vectors), self.radial.n_basis, self.radial.cutoff
        edges = self.vectors.new_empty(n, 4)
        basis = self.vectors.new_empty(n, n_basis) if with_basis else edges
        if n:
            self._kernels.describe_edges[(-(-n // BLOCK),)](
                self.vectors.detach().contiguous(),
                edges,
                basis,
                n,
                TABLE / cutoff,
                math.pi / cutoff,
                math.sqrt(2 / cutoff),
                BASIS=with_basis,
                B=BLOCK,
                NB=n_basis,
                NBP=1 << (n_basis - 1).bit_length(),
            )
        return edges, basis

    @cached_property
    def harmonics(self) -> torch.Tensor | None:
        """Spherical harmonics, wanted only for gradients with respect to positions."""
        if not (self.vectors.requires_grad and torch.is_grad_enabled()):
            return None
        return cast(
            "torch.Tensor | None",
            _harmonics(self.l_max, self.vectors.dtype, self.vectors.device)(self.vectors),
        )


def _rows(destination: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the edges of each of n particles begin, (n + 1,), and particles from many edges to few, (n,)."""
    marks = torch.arange(n + 1, device=destination.device, dtype=torch.int32)
    rows = torch.searchsorted(destination.contiguous(), marks.long(), out_int32=True)
    degree = rows[1:] - rows[:-1]
    # Particles of like degree share a program; sorting within windows keeps neighbours close in memory.
    return rows, torch.argsort((marks[:-1] // 16384) * (1 << 20) - degree).int()


def _is_sorted(destination: torch.Tensor) -> bool:
    """True on a GPU without looking, since looking would wait for it: graphs are built sorted."""
    return destination.is_cuda or bool((destination[1:] >= destination[:-1]).all())
