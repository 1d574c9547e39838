"""Sums over neighbours and their gradients: launches of the kernels of :mod:`.source`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from propensity.nn.kernels.triton.shapes import Shapes

if TYPE_CHECKING:
    from propensity.nn.kernels.triton.geometry import TritonGeometry

#: Threads of a program that sums over neighbours: small ones share the work more evenly.
SUM_THREADS = 32
#: Neighbours of a particle that are summed side by side, in training and where a kernel is a whole layer.
SLOTS, LAYER_SLOTS = 2, 4
#: The same for gradients, one thread for each edge and channel.
EDGE_THREADS = 128
#: The same where it makes radial weights as well.
MADE_THREADS = 32
#: Registers of a thread of these kernels, by l_max, where more warps are worth a few spills.
REGISTERS = {3: 128}
#: Numbers that a program of ``sum_by_source`` adds at a time.
COLUMNS = 128


def convolve(
    shapes: Shapes,
    geometry: TritonGeometry,
    before: torch.Tensor,
    scalars: torch.Tensor,
    radial: torch.Tensor | tuple[torch.Tensor, ...],
    table: bool,
    part: slice,
) -> torch.Tensor:
    """Sums of the particles in ``part``; ``radial`` is a table, radial weights of each edge, or what makes them:
    hidden units, ``affine``, weight as halves and bias.
    """
    n = part.stop - part.start
    sums = scalars.new_empty(n * shapes.sums)
    block, constants = _summing(shapes, radial, table, SLOTS)
    shapes.kernels.forward[(-(-n // block), len(shapes.plan.groups))](
        (before, scalars),
        geometry.edges,
        radial,
        (geometry.order[part], geometry.rows, geometry.source),
        sums,
        part.start,
        n,
        **constants,
    )
    return sums


def infer_layer(
    shapes: Shapes,
    geometry: TritonGeometry,
    before: torch.Tensor,
    scalars: torch.Tensor,
    table: torch.Tensor | tuple[torch.Tensor, ...],
    mixing: torch.Tensor,
    norm: tuple[torch.Tensor, ...],
) -> torch.Tensor:
    """Features after a layer without gradients; ``table`` is one of radial weights, or of hidden units with weight as
    halves and bias; ``norm`` are scale and shift.
    """
    after = scalars.new_empty(geometry.n, shapes.width)
    block, constants = _summing(shapes, table, True, LAYER_SLOTS)
    shapes.kernels.layer[(-(-geometry.n // block),)](
        (before, scalars),
        geometry.edges,
        table,
        (geometry.order, geometry.rows, geometry.source),
        mixing,
        norm,
        after,
        geometry.n,
        RESIDUAL=bool(shapes.layout.channels_in),
        **constants,
    )
    return after


def _summing(shapes: Shapes, radial: object, table: bool, slots: int) -> tuple[int, dict[str, int]]:
    """Particles of a program that sums over neighbours, and its constants."""
    slots = min(slots, max(SUM_THREADS // shapes.cp, 1))
    block = max(SUM_THREADS // (shapes.cp * slots), 1)
    return block, {
        "TABLE": table,
        "MADE": isinstance(radial, tuple),
        "B": block,
        "SLOTS": slots,
        "CP": shapes.cp,
        "DQ": shapes.dq,
        "PQ": shapes.pq,
        "NQ": shapes.nq,
        "num_warps": max(block * slots * shapes.cp // 32, 1),
    }


def edge_gradients(
    shapes: Shapes,
    geometry: TritonGeometry,
    before: torch.Tensor,
    scalars: torch.Tensor,
    weights: torch.Tensor,
    grad_sums: torch.Tensor,
    wants_harmonics: bool,
    makers: tuple[torch.Tensor, ...] = (),
    grad_units: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Gradients of the features that each edge read, (E, width), and of its harmonics, where they are wanted;
    those of ``weights`` take their place.  ``makers`` are what makes the weights where ``weights`` has none yet:
    hidden units, ``affine``, weight as halves, bias and ``weight_back`` in two parts; the hidden units' gradients go to ``grad_units``.
    """
    n_edges = len(geometry.edges)
    has_hidden = bool(shapes.layout.channels_in)
    grad_edges = weights.new_empty(n_edges, shapes.width) if has_hidden else before
    grad_harmonics = weights.new_empty(n_edges, shapes.plan.harmonics) if wants_harmonics else None
    if n_edges:
        block = max((MADE_THREADS if makers else EDGE_THREADS) // shapes.cp, 1)
        registers = None if torch.version.hip else REGISTERS.get(shapes.layout.l_max)
        limit = {"maxnreg": registers} if registers else {}
        shapes.kernels.backward[(-(-n_edges // block),)](
            (before, scalars),
            geometry.edges,
            (*makers, weights) if makers else weights,
            (geometry.source, geometry.destination),
            grad_sums,
            (
                grad_edges,
                before if grad_harmonics is None else grad_harmonics,
                before if grad_units is None else grad_units,
            ),
            geometry.count,
            geometry.n,
            HARMONICS=wants_harmonics,
            B=block,
            CP=shapes.cp,
            DQ=shapes.dq,
            PQ=shapes.pq,
            NQ=shapes.nq,
            EB=shapes.warp,
            MADE=bool(makers),
            num_warps=max(block * shapes.cp // 32, 1),
            **limit,
        )
    return grad_edges, grad_harmonics


def sum_by_source(
    shapes: Shapes, geometry: TritonGeometry, grad_edges: torch.Tensor, residual: torch.Tensor
) -> torch.Tensor:
    """Gradient of the features of each particle, shape (N, width): of its edges as a source, and the
    residual's.
    """
    offsets, order = geometry.by_source
    n, columns = geometry.n, 1 << (shapes.width - 1).bit_length()
    block = min(max(COLUMNS // columns, 1), 8)
    found = torch.empty_like(residual)
    shapes.kernels.sum_by_source[(-(-n // block),)](
        grad_edges,
        offsets,
        order,
        residual,
        found,
        n,
        B=block,
        W=columns,
        WIDTH=shapes.width,
        num_warps=max(min(block * columns // 128, 4), 1),
    )
    return found
