"""Particles on top of each other have no direction between them."""

from __future__ import annotations

import torch

from propensity.errors import InputError

#: Distance in σ below which two particles are the same up to rounding (also across a boundary, in float32).
COINCIDENT = 1e-4


def refuse_coincident(edge_index: torch.Tensor, edge_vec: torch.Tensor) -> None:
    """Raise InputError naming the closest pair if its distance is below ``COINCIDENT``."""
    squared = edge_vec.square().sum(dim=1)
    if len(squared) and bool(squared.min() < COINCIDENT**2):
        j, i = edge_index[:, int(squared.argmin())].tolist()
        raise InputError(
            f"particles {i} and {j} coincide (distance {float(squared.min()) ** 0.5:.2g}): remove one, "
            "the direction between them is undefined."
        )
