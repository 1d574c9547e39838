"""The gated network: equivariant, mirror-symmetric, and reading several views of one structure at once."""

from propensity.nn.gated.graph import GatedGraph, gated_graph, join_gated_graphs, moved_graph
from propensity.nn.gated.network import GatedNetwork

__all__ = ["GatedGraph", "GatedNetwork", "gated_graph", "join_gated_graphs", "moved_graph"]
