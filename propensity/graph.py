"""The graph that networks read: every field declared once, and the edges of a structure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import torch

from propensity.errors import DataError
from propensity.neighbours import neighbour_list

if TYPE_CHECKING:
    from propensity.structure import Structure


@dataclass(frozen=True)
class Field:
    """One tensor of a graph: N particles, E edges, E′ edges between thermal positions.

    Parameters
    ----------
    shape
        Sizes by letter or number; one of them is N, E or E′.
    is_float
        Whether it has the precision of the network, else int64.
    unit
        Of its values.
    meaning
        What it holds.
    """

    shape: tuple[str | int, ...]
    is_float: bool
    unit: str
    meaning: str

    @property
    def axis(self) -> int:
        """Axis along which graphs are joined: that of particles or edges."""
        return next(k for k, size in enumerate(self.shape) if size in ("N", "E", "E′"))

    @property
    def of_edges(self) -> bool:
        """Whether it belongs to edges rather than to particles."""
        return self.shape[self.axis] != "N"

    @property
    def is_index(self) -> bool:
        """Whether it counts particles, and so shifts where graphs are joined."""
        return self.of_edges and not self.is_float


#: Every tensor that a graph may hold, by name.
FIELDS: dict[str, Field] = {
    "types": Field(("N",), False, "", "Species."),
    "edge_index": Field((2, "E"), False, "", "Source j and destination i, sorted by destination."),
    "edge_vec": Field(("E", 3), True, "σ", "r_j − r_i under the periodic boundaries."),
    "thermal_offset": Field(("N", 3), True, "σ", "From inherent to thermal positions, as an input."),
    "thermal_edge_index": Field((2, "E′"), False, "", "Edges between thermal positions."),
    "thermal_edge_vec": Field(("E′", 3), True, "σ", "r_j − r_i of thermal positions."),
    "scalars": Field(("N", "n_extra"), True, "1", "Scalars beside the species, standardised."),
    "labels": Field(("N", "T"), True, "1", "Propensities, standardised for each species."),
    "state_point": Field(("N",), False, "", "Number of the state point, where one model learns several."),
    "trained": Field(("N",), True, "1", "1 where the loss counts, 0 elsewhere."),
    "offset_label": Field(("N", 3), True, "σ", "Thermal offset as a label of thermal input."),
}


class Graph:
    """Particles and directed edges between those closer than a cutoff; fields as in :data:`FIELDS`.

    Types and edges are always there, all else where the model or the loss wants it (``"scalars" in graph``).
    :meth:`to_pyg` makes a ``torch_geometric.data.Data`` of it, which this class is not since importing that
    package takes longer than a prediction.

    Parameters
    ----------
    **fields
        Tensors by name.

    Raises
    ------
    AttributeError
        For a tensor that isn't declared.
    """

    types: torch.Tensor
    edge_index: torch.Tensor
    edge_vec: torch.Tensor
    thermal_offset: torch.Tensor
    thermal_edge_index: torch.Tensor
    thermal_edge_vec: torch.Tensor
    scalars: torch.Tensor
    labels: torch.Tensor
    state_point: torch.Tensor
    trained: torch.Tensor
    offset_label: torch.Tensor

    def __init__(self, **fields: torch.Tensor) -> None:
        for name, value in fields.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: torch.Tensor) -> None:
        if name not in FIELDS:
            raise AttributeError(f"a graph has no field {name!r}: declare it in propensity.graph.FIELDS.")
        super().__setattr__(name, value)

    def __contains__(self, name: str) -> bool:
        return name in self.__dict__

    def __getitem__(self, name: str) -> torch.Tensor:
        return cast("torch.Tensor", getattr(self, name))

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}={list(value.shape)}" for name, _, value in self.tensors())
        return f"Graph({shapes})"

    @property
    def num_nodes(self) -> int:
        """Number of particles."""
        return len(self.types)

    def to(self, *args: Any, **kwargs: Any) -> Graph:
        """Every tensor by :meth:`torch.Tensor.to`, in a graph of its own.

        Parameters
        ----------
        *args, **kwargs
            Device and dtype, as of :meth:`torch.Tensor.to`.

        Returns
        -------
        Graph
            The original stays.
        """
        return Graph(**{name: value.to(*args, **kwargs) for name, _, value in self.tensors()})

    def pin_memory(self) -> Graph:
        """Every tensor in memory from which copies to a device don't wait.

        Returns
        -------
        Graph
            The original stays.
        """
        return Graph(**{name: value.pin_memory() for name, _, value in self.tensors()})

    def to_pyg(self) -> Any:
        """``torch_geometric.data.Data`` of the same tensors, which that package joins as it should.

        Returns
        -------
        torch_geometric.data.Data
            It shares memory with the graph.
        """
        return _data_class()(num_nodes=self.num_nodes, **{name: value for name, _, value in self.tensors()})

    def tensors(self) -> Iterator[tuple[str, Field, torch.Tensor]]:
        """Name, declaration and values of every field that is there.

        Returns
        -------
        Iterator
            In the order of :data:`FIELDS`.
        """
        for name, field in FIELDS.items():
            if name in self:
                yield name, field, self[name]

    @property
    def n_edges(self) -> int:
        """Number of edges: the larger one, where there are thermal edges too."""
        return max(value.shape[field.axis] for _, field, value in self.tensors() if field.is_index)

    def check(self) -> None:
        """Compare all fields with their declarations.

        Raises
        ------
        DataError
            With the first whose shape or dtype differs.
        """
        sizes: dict[str, int] = {"N": len(self.types)}
        for name, field, value in self.tensors():
            same = len(value.shape) == len(field.shape) and value.is_floating_point() == field.is_float
            for size, there in zip(field.shape, value.shape, strict=False):
                same &= there == (sizes.setdefault(size, there) if isinstance(size, str) else size)
            if not same:
                raise DataError(
                    f"graph field {name} has shape {tuple(value.shape)} and dtype {value.dtype}: declared is"
                    f" {field.shape} with {sizes}, {'float' if field.is_float else 'int64'}."
                )

    def between_thermal_positions(self) -> Graph:
        """The same particles with their thermal edges in place of the others.

        Returns
        -------
        Graph
            Shares its tensors with this one.
        """
        fields = {
            "types": self.types,
            "edge_index": self.thermal_edge_index,
            "edge_vec": self.thermal_edge_vec,
        }
        more: dict[str, Any] = {"scalars": self.scalars} if "scalars" in self else {}
        return Graph(**fields, **more)


@cache
def _data_class() -> Any:
    from torch_geometric.data import Data

    class GraphData(Data):  # type: ignore[misc]
        """A graph as ``torch_geometric`` sees it."""

        def __cat_dim__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
            """Axis along which a field is joined."""
            return FIELDS[key].axis if key in FIELDS else super().__cat_dim__(key, value, *args, **kwargs)

        def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
            """What is added to a field of the graph after this one."""
            if key not in FIELDS:
                return super().__inc__(key, value, *args, **kwargs)
            return self.num_nodes if FIELDS[key].is_index else 0

    return GraphData


def join_graphs(graphs: Sequence[Graph]) -> Graph:
    """One graph of several, particle after particle; a single one is returned as it is.

    Parameters
    ----------
    graphs
        With the same fields.

    Returns
    -------
    Graph
        Numbers of particles count on from graph to graph.
    """
    if len(graphs) == 1:
        return graphs[0]
    joined = Graph()
    for name, field, _ in graphs[0].tensors():
        parts, shift = [], 0
        for graph in graphs:
            parts.append(graph[name] + shift if shift else graph[name])
            shift += graph.num_nodes if field.is_index else 0
        setattr(joined, name, torch.cat(parts, dim=field.axis))
    return joined


def build_graph(
    structure: Structure,
    cutoff: float,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    backend: str = "auto",
) -> Graph:
    """Graph of all directed pairs closer than ``cutoff``: ``types``, ``edge_index`` and ``edge_vec``.

    Parameters
    ----------
    structure
        Particles and cell.
    cutoff
        Range of the edges in σ.
    device, dtype
        Of the tensors.
    backend
        Neighbour list, see :mod:`propensity.neighbours`.

    Returns
    -------
    Graph
        Without edges of a particle to its own image in the same cell, but with several images where the
        cell is smaller than twice the cutoff.

    Raises
    ------
    InputError
        When two particles coincide, since the direction between them is undefined.
    """
    edge_index, edge_vec = neighbour_list(structure, cutoff, device=device, dtype=dtype, backend=backend)
    types = torch.from_numpy(structure.types).to(edge_index.device)
    return Graph(types=types, edge_index=edge_index, edge_vec=edge_vec)
