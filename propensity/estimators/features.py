"""What networks make of each particle, with a name for every number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch

from propensity.errors import InputError


class TracedFeatures(NamedTuple):
    """Features of one network as autograd follows them, shape (N, n), with names and irreps."""

    values: torch.Tensor
    names: tuple[str, ...]
    irreps: str


@dataclass(frozen=True, eq=False)
class Features:
    """Features of each particle.

    Parameters
    ----------
    values
        Float64, shape (N, n).
    names
        What each column is, n of them.
    irreps
        Behaviour under rotations in e3nn's notation, in the order of the columns: ``"4x0e+4x1e"`` are four
        scalars, then four vectors of three components each.
    """

    values: np.ndarray
    names: tuple[str, ...]
    irreps: str


def joined(members: Sequence[Features]) -> Features:
    """Features of the networks of a committee side by side, each name with the network's number."""
    if len(members) == 1:
        return members[0]
    return Features(
        np.concatenate([member.values for member in members], axis=1),
        tuple(f"{k}: {name}" for k, member in enumerate(members) for name in member.names),
        "+".join(member.irreps for member in members),
    )


def layer_index(layer: int, n_layers: int) -> int:
    """Count of a layer from the start.

    Raises
    ------
    InputError
        When there is no such layer.
    """
    if isinstance(layer, bool) or not isinstance(layer, Integral) or not -n_layers <= layer < n_layers:
        raise InputError(
            f"layer is {layer!r}: the network has {n_layers}, give 0 to {n_layers - 1}, or -1 for the last."
        )
    return layer % n_layers
