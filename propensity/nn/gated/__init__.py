"""The gated network: equivariant, mirror-symmetric, and reading several views of one structure at once."""

from propensity.nn.gated.graph import GatedGraph, gated_graph, join_gated_graphs, moved_graph
from propensity.nn.gated.learning import Hyperparameters, Learner
from propensity.nn.gated.network import GatedNetwork
from propensity.nn.gated.stack import Labelled

__all__ = [
    "GatedGraph",
    "GatedNetwork",
    "Hyperparameters",
    "Labelled",
    "Learner",
    "gated_graph",
    "join_gated_graphs",
    "moved_graph",
]
