"""Networks whose outputs are modes: the equivariant and the gated one."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from propensity.estimators.card import Card
from propensity.estimators.conditioned import ConditionedEstimator
from propensity.estimators.gated import GatedEstimator
from propensity.estimators.inputs import check_weights, in_parts
from propensity.estimators.se3gnn import SE3Estimator, check_inputs
from propensity.nn.network import SE3GNN
from propensity.structure import Structure

if TYPE_CHECKING:
    from typing_extensions import Self


class ConditionedSE3(ConditionedEstimator, SE3Estimator):
    """The equivariant network of several temperatures."""

    @classmethod
    def restore(cls, card: Card, arrays: dict[str, np.ndarray]) -> Self:
        """Rebuild from card and state dict."""
        check_weights(arrays)
        found = cls(SE3GNN(**card.config), card)
        found.check_network()
        check_inputs(card, found.network)
        found.network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        return found

    def folded(self, basis: torch.Tensor, card: Card) -> SE3Estimator:
        """See :meth:`ConditionedEstimator.folded`."""
        network = copy.deepcopy(self.network)
        for part in (network, network.thermal):
            if part is not None:
                part.readout = _folded(part.readout, basis)
                part.n_outputs = part.config["n_outputs"] = basis.shape[1]
        return SE3Estimator(network, card)

    def _scale(self) -> None:
        """None: outputs are modes, and the temperature is that of each structure."""

    def _propensities_of_many(
        self, structures: Sequence[Structure], standardised: np.ndarray
    ) -> list[np.ndarray]:
        """Each at its own temperature."""
        parts = in_parts(standardised, structures)
        return [self._propensities(*each) for each in zip(structures, parts, strict=True)]


class ConditionedGated(ConditionedEstimator, GatedEstimator):
    """The gated network of several temperatures."""

    @classmethod
    def restore(cls, card: Card, arrays: dict[str, np.ndarray]) -> Self:
        """Rebuild from card and state dict."""
        check_weights(arrays)
        found = super().restore(card, arrays)
        found.check_network()
        return found

    def folded(self, basis: torch.Tensor, card: Card) -> GatedEstimator:
        """See :meth:`ConditionedEstimator.folded`."""
        network = copy.deepcopy(self.network)
        with torch.no_grad():
            for name in ("out", "bias"):
                modes = getattr(network, name)
                setattr(network, name, torch.nn.Parameter(modes @ basis.to(modes)))
        network.n_outputs = network.config["n_outputs"] = basis.shape[1]
        return GatedEstimator(network, card)


def _folded(readout: torch.nn.Linear, basis: torch.Tensor) -> torch.nn.Linear:
    """Readout of times from one of modes: each species' rows times b_k(T, t)."""
    n_modes, n_times = basis.shape
    basis = basis.to(readout.weight)
    rows = readout.weight.detach().view(-1, n_modes, readout.in_features)
    shifts = readout.bias.detach().view(-1, n_modes)
    folded = torch.nn.Linear(readout.in_features, len(rows) * n_times).to(readout.weight)
    with torch.no_grad():
        folded.weight.copy_(torch.einsum("kt,ski->sti", basis, rows).reshape(-1, readout.in_features))
        folded.bias.copy_(torch.einsum("kt,sk->st", basis, shifts).reshape(-1))
    return folded
