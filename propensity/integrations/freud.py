"""freud: systems and neighbour lists in and out, so that its order parameters stand beside propensities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from propensity.errors import InputError
from propensity.extras import explained
from propensity.graph import Graph, build_graph
from propensity.structure import Structure

if TYPE_CHECKING:
    import freud


def from_freud(system: Any, types: Any) -> Structure:
    """A structure of whatever freud computes on.

    Parameters
    ----------
    system
        ``(box, points)``, a ``freud.locality.AABBQuery`` or another neighbour query, or a frame of GSD,
        MDAnalysis or OVITO, as ``freud.locality.NeighborQuery.from_system`` takes them.
    types
        Species 0..n_species−1 in the order of the model, shape (N,).

    Returns
    -------
    Structure
        Two-dimensional for a box of freud that is.
    """
    with explained():
        from freud.locality import NeighborQuery
    query = NeighborQuery.from_system(system)
    box, points = query.box, np.asarray(query.points, dtype=np.float64)
    cell, periodic = np.asarray(box.to_matrix(), dtype=np.float64).T, np.array(box.periodic)
    if box.is2D:
        return Structure(points[:, :2], types, cell[:2, :2], periodic[:2])
    return Structure(points, types, cell, periodic)


def to_freud(structure: Structure) -> tuple[freud.box.Box, np.ndarray]:
    """Box and points, a system for every ``compute`` of freud.

    Parameters
    ----------
    structure
        With a box; a cell that is not triangular is turned (a left-handed one mirrored, too) until it is,
        which no distance notices.

    Returns
    -------
    box : freud.box.Box
    points : float32, (N, 3)
        Inside the box, whose centre is freud's origin.

    Raises
    ------
    InputError
        For a structure without a box.
    """
    with explained():
        from freud.box import Box
    own = structure.directions
    vectors = structure.cell[own]
    if not np.linalg.matrix_rank(vectors) == len(own):
        raise InputError(
            "the structure has no box, and freud needs one: give it a cell around its particles."
        )
    # Columns of freud's matrix are the vectors, and it is upper triangular.
    turn, matrix = np.linalg.qr(vectors.T)
    sign = np.sign(np.diag(matrix))
    turn, matrix = turn * sign, matrix * sign[:, None]
    full = np.zeros((3, 3))
    full[: len(own), : len(own)] = matrix
    box = Box.from_matrix(full, dimensions=len(own))
    box.periodic = tuple(bool(p) for p in (*structure.pbc[own], False)[:3])
    points = np.zeros((len(structure), 3))
    points[:, : len(own)] = structure.positions @ turn - 0.5 * matrix.sum(axis=1)
    return box, box.wrap(points.astype(np.float32))


def neighbours_to_freud(graph: Graph) -> freud.locality.NeighborList:
    """The edges of a network as a neighbour list: what a model sees is what an order parameter averages over.

    Parameters
    ----------
    graph
        As :func:`propensity.build_graph` makes it.

    Returns
    -------
    freud.locality.NeighborList
        Query points are the destinations of edges, points their sources.
    """
    with explained():
        from freud.locality import NeighborList
    source, destination = graph.edge_index.cpu().numpy()
    n = graph.num_nodes
    return NeighborList.from_arrays(n, n, destination, source, graph.edge_vec.cpu().numpy())


def graph_of(structure: Structure, neighbours: freud.locality.NeighborList, cutoff: float) -> Graph:
    """Graph of a neighbour list that freud has made, for networks and for torch_geometric.

    Parameters
    ----------
    structure
        The particles, as :func:`from_freud` gives them.
    neighbours
        All pairs within ``cutoff`` or more, such as ``AABBQuery(box, points).query(points, dict(r_max=2.0,
        exclude_ii=True)).toNeighborList()``; pairs beyond the cutoff are dropped.
    cutoff
        Of the model, in σ.

    Returns
    -------
    Graph
        As :func:`propensity.build_graph`, with freud's single precision.

    Raises
    ------
    InputError
        For a list of other particles, or one that lacks pairs within the cutoff.
    """
    pairs, vectors = np.asarray(neighbours[:]), np.asarray(neighbours.vectors)
    n = len(structure)
    if (neighbours.num_query_points, neighbours.num_points) != (n, n):
        raise InputError(
            f"the neighbour list is of {neighbours.num_query_points} and {neighbours.num_points} points and"
            f" the structure has {n} particles: query the same points."
        )
    near = np.asarray(neighbours.distances) < cutoff
    # Rounding may move a pair across the cutoff, and no more than that.
    lacking = build_graph(structure, cutoff * (1 - 1e-5)).n_edges - int(near.sum())
    if lacking > 0:
        raise InputError(
            f"the neighbour list lacks {lacking} pairs within {cutoff:g} σ: query with r_max={cutoff:g} or"
            " more and exclude_ii=True."
        )
    order = np.argsort(pairs[near, 0], kind="stable")
    destination, source = pairs[near][order].T.astype(np.int64)
    return Graph(
        types=torch.from_numpy(structure.types),
        edge_index=torch.from_numpy(np.stack([source, destination])),
        edge_vec=torch.from_numpy(vectors[near][order].astype(np.float32)),
    )
