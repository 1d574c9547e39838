"""From a structure to the graph that networks read."""

from __future__ import annotations

import torch
from torch_geometric.data import Data

from propensity.neighbours import neighbour_list
from propensity.structure import Structure


def build_graph(
    structure: Structure,
    cutoff: float,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    backend: str = "auto",
) -> Data:
    """Graph of all directed pairs closer than ``cutoff``, as ``torch_geometric`` data.

    Fields
    ------
    types : int64, (N,)
        Species of each particle.
    edge_index : int64, (2, E)
        Source j in row 0, destination i in row 1, sorted by destination; no self-edges to the same
        image, several images where the cell is smaller than twice the cutoff.
    edge_vec : float, (E, 3)
        r_j − r_i under the periodic boundaries, in σ.

    Raises
    ------
    InputError
        When two particles coincide, since the direction between them is undefined.
    """
    edge_index, edge_vec = neighbour_list(structure, cutoff, device=device, dtype=dtype, backend=backend)
    types = torch.from_numpy(structure.types).to(edge_index.device)
    return Data(types=types, edge_index=edge_index, edge_vec=edge_vec, num_nodes=len(structure))


def network_graph(
    structure: Structure,
    cutoff: float,
    thermal: bool = False,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Data:
    """Graph that a network reads: that of :func:`build_graph` and what its thermal offset adds.

    Further fields
    --------------
    thermal_offset : float, (N, 3)
        Vectors from the inherent to the thermal positions.
    thermal_edge_index : int64, (2, E′), and thermal_edge_vec : float, (E′, 3)
        Edges between the thermal positions, with ``thermal``.
    """
    graph = build_graph(structure, cutoff, device=device, dtype=dtype)
    if structure.thermal_offset is None:
        return graph
    graph.thermal_offset = torch.from_numpy(structure.thermal_offset).to(graph.edge_vec)
    if thermal:
        moved = structure.with_positions(structure.positions + structure.thermal_offset)
        found = build_graph(moved, cutoff, device=device, dtype=dtype)
        graph.thermal_edge_index, graph.thermal_edge_vec = found.edge_index, found.edge_vec
    return graph
