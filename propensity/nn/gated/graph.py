"""What the gated network reads: one table of neighbours, their vectors in every view, and inputs of each
particle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from propensity.errors import InputError
from propensity.neighbours import neighbour_list
from propensity.structure import Structure

#: States that edges may be seen in: thermal, inherent, and mean positions behind the widest wall.
VIEWS = ("thermal", "inherent", "cage")
#: Orthonormal symmetric traceless matrices are ordered xy, yz, xz, 2zz−xx−yy, xx−yy.
SIX = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


@dataclass
class GatedGraph:
    """N particles with up to K neighbours each, those within the cutoff in any of the views.

    Attributes
    ----------
    types : int64, (N,)
    neighbours : int64, (N, K); a particle itself where there are fewer
    real : float, (N, K): 1 where there is a neighbour
    vectors : view → float, (N, K, 3), r_j − r_i in that view
    vector_inputs, quadrupole_inputs, scalar_inputs : float, (N, 3, ·), (N, 5, ·), (N, ·)
    reverse, counts : int32, (N, K) and (N,), slots in which a particle is a neighbour, and how many it has,
        which stand first; in training only
    """

    types: torch.Tensor
    neighbours: torch.Tensor
    real: torch.Tensor
    vectors: dict[str, torch.Tensor]
    vector_inputs: torch.Tensor
    quadrupole_inputs: torch.Tensor
    scalar_inputs: torch.Tensor
    reverse: torch.Tensor | None = None
    counts: torch.Tensor | None = None


def gated_graph(
    structure: Structure,
    cutoff: float,
    views: Sequence[str],
    inputs: str = "cage",
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> GatedGraph:
    """Graph of a structure; ``inputs`` is ``"thermal"`` (none), ``"inherent"`` or ``"cage"``.

    Raises
    ------
    InputError
        When the structure lacks the thermal offset or the cage state that the views or inputs need.
    """
    offsets = _offsets(structure, {*views, inputs})
    neighbours, real, vectors = _neighbours(structure, cutoff, views, offsets, device, dtype)
    first = (torch.from_numpy(array).to(device=device, dtype=dtype) for array in _inputs(structure, inputs))
    types = torch.from_numpy(structure.types).to(device)
    return GatedGraph(types, neighbours, real, vectors, *first)


def moved_graph(graph: GatedGraph, structure: Structure, steps: torch.Tensor) -> GatedGraph:
    """The graph as autograd follows it when thermal positions take steps, shape (N, 3).

    Thermal vectors, thermal offsets and distances to the cages' centres follow; inherent and cage positions,
    the shapes of cages and the table of neighbours are held.
    """
    vectors, first, scalars = dict(graph.vectors), graph.vector_inputs, graph.scalar_inputs
    if "thermal" in vectors:
        apart = steps[graph.neighbours] - steps[:, None]
        vectors["thermal"] = vectors["thermal"] + apart * graph.real[..., None]
    if structure.thermal_offset is not None and first.shape[2]:
        offset = torch.from_numpy(structure.thermal_offset).to(steps) + steps
        cages = first.shape[2] - 1
        lengths = list(scalars[:, cages:].unbind(1))
        lengths[0] = torch.linalg.vector_norm(offset, dim=1)
        for k in range(cages):
            lengths[1 + 3 * k] = torch.linalg.vector_norm(first[..., 1 + k] - offset, dim=1)
        scalars = torch.cat([scalars[:, :cages], torch.stack(lengths, dim=1)], dim=1)
        first = torch.cat([-offset[..., None], first[..., 1:]], dim=2)
    return GatedGraph(
        graph.types, graph.neighbours, graph.real, vectors, first, graph.quadrupole_inputs, scalars
    )


def join_gated_graphs(graphs: Sequence[GatedGraph]) -> GatedGraph:
    """One graph of several, particle after particle; a single one is returned as it is."""
    if len(graphs) == 1:
        return graphs[0]
    width = max(graph.neighbours.shape[1] for graph in graphs)
    neighbours, shift = [], 0
    for graph in graphs:
        n, k = graph.neighbours.shape
        itself = torch.arange(n, device=graph.types.device)[:, None].expand(n, width - k)
        neighbours.append(torch.cat([graph.neighbours, itself], dim=1) + shift)
        shift += n

    def widened(tables: Sequence[torch.Tensor]) -> torch.Tensor:
        joined = tables[0].new_zeros(shift, width, *tables[0].shape[2:])
        first = 0
        for table in tables:
            joined[first : first + len(table), : table.shape[1]] = table
            first += len(table)
        return joined

    def joined(name: str) -> torch.Tensor:
        return torch.cat([getattr(graph, name) for graph in graphs])

    return GatedGraph(
        joined("types"),
        torch.cat(neighbours),
        widened([graph.real for graph in graphs]),
        {view: widened([graph.vectors[view] for graph in graphs]) for view in graphs[0].vectors},
        *(joined(f"{name}_inputs") for name in ("vector", "quadrupole", "scalar")),
    )


def _offsets(structure: Structure, needed: set[str]) -> dict[str, np.ndarray]:
    """From the positions of the structure to those of each view."""
    n = len(structure)
    if structure.thermal_offset is None:
        if needed - {"thermal"}:
            raise InputError(
                "the model sees more than thermal positions: give potential=... (--potential) and thermal"
                " positions, or a structure at its minimum (Structure.at_minimum)."
            )
        return {"thermal": np.zeros((n, 3))}
    offsets = {"thermal": structure.thermal_offset, "inherent": np.zeros((n, 3))}
    if structure.cage is not None:
        offsets["cage"] = structure.cage.offset[-1]
    elif "cage" in needed:
        raise InputError(
            "the model sees cage states: give potential=... (--potential) or a structure that has one"
            " (Structure.with_cage)."
        )
    return offsets


def _neighbours(
    structure: Structure,
    cutoff: float,
    views: Sequence[str],
    offsets: dict[str, np.ndarray],
    device: torch.device | str,
    dtype: torch.dtype,
) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    """Union of the neighbours in all views, as a table."""
    known: list[str] = []
    ends: list[torch.Tensor] = []
    steps: list[torch.Tensor] = []
    moved = {view: torch.from_numpy(offsets[view]).to(device) for view in views}
    for view in views:
        seen = structure.with_positions(structure.positions + offsets[view])
        index, vectors = neighbour_list(seen, cutoff, device=device, dtype=torch.float64)
        base = vectors - (moved[view][index[0]] - moved[view][index[1]])  # between the given positions
        new = torch.ones(len(base), dtype=torch.bool, device=base.device)
        for other in known:
            apart = base + moved[other][index[0]] - moved[other][index[1]]
            new &= torch.linalg.vector_norm(apart, dim=1) >= cutoff
        ends.append(index[:, new])
        steps.append(base[new])
        known.append(view)
    index, base = torch.cat(ends, dim=1), torch.cat(steps)
    order = torch.argsort(index[1], stable=True)
    index, base = index[:, order], base[order]
    n = len(structure)
    counts = torch.bincount(index[1], minlength=n)
    width = max(int(counts.max()), 1)
    first = torch.cumsum(counts, 0) - counts
    slot = torch.arange(len(base), device=base.device) - first[index[1]]
    neighbours = torch.arange(n, device=base.device)[:, None].repeat(1, width)
    real = torch.zeros(n, width, dtype=dtype, device=base.device)
    neighbours[index[1], slot], real[index[1], slot] = index[0], 1.0
    table = {}
    for view in views:
        table[view] = torch.zeros(n, width, 3, dtype=dtype, device=base.device)
        apart = base + moved[view][index[0]] - moved[view][index[1]]
        table[view][index[1], slot] = apart.to(dtype)
    return neighbours, real, table


def _inputs(structure: Structure, inputs: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors thermal → inherent and inherent → cage; shapes of the cages; logarithms of their mean-square
    radii, then lengths of the vectors, of thermal → cage and of the shapes.
    """
    n = len(structure)
    if inputs == "thermal":
        return np.zeros((n, 3, 0)), np.zeros((n, 5, 0)), np.zeros((n, 0))
    assert structure.thermal_offset is not None
    vectors, shapes, logarithms = [-structure.thermal_offset], [], []
    lengths = [np.linalg.norm(structure.thermal_offset, axis=1)]
    if inputs == "cage":
        assert structure.cage is not None
        for offset, covariance in zip(structure.cage.offset, structure.cage.covariance, strict=True):
            square = np.maximum(np.trace(covariance, axis1=1, axis2=2), 1e-4)
            shapes.append(_quadrupole(covariance) / square[:, None])
            vectors.append(offset)
            logarithms.append(np.log(square))
            lengths += [
                np.linalg.norm(offset - structure.thermal_offset, axis=1),
                np.linalg.norm(offset, axis=1),
                np.linalg.norm(shapes[-1], axis=1),
            ]
    quadrupoles = np.stack(shapes, axis=-1) if shapes else np.zeros((n, 5, 0))
    return np.stack(vectors, axis=-1), quadrupoles, np.stack([*logarithms, *lengths], axis=-1)


def _quadrupole(matrix: np.ndarray) -> np.ndarray:
    """Traceless part of symmetric matrices, (N, 5), of the same norm."""
    xx, yy, zz, xy, xz, yz = (matrix[:, a, b] for a, b in SIX)
    root = np.sqrt(0.5)
    return np.stack(
        [2 * root * xy, 2 * root * yz, 2 * root * xz, (2 * zz - xx - yy) / np.sqrt(6), (xx - yy) * root],
        axis=1,
    )
