"""The SE(3)-equivariant graph network of Pezzicoli, Charpiat and Landes (arXiv:2211.03226)."""

from propensity.nn import e3nn_quirks as _first  # noqa: F401  # before anything else imports e3nn
from propensity.nn.network import SE3GNN

__all__ = ["SE3GNN"]
