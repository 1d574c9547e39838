"""The gated network behind the surface that all models share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from propensity.errors import InputError
from propensity.estimators.base import Estimator
from propensity.estimators.card import Card
from propensity.estimators.inputs import check_types
from propensity.nn.gated import GatedNetwork, gated_graph
from propensity.structure import Structure

if TYPE_CHECKING:
    from propensity.sample import Sample


class GatedEstimator(Estimator):
    """Network, card and the constants that turn its outputs into propensities."""

    kind = "gated"

    def __init__(self, network: GatedNetwork, card: Card) -> None:
        self.network, self.card = network.eval(), card

    def fit(self, train: Sequence[Sample], valid: Sequence[Sample] = (), **options: Any) -> GatedEstimator:
        """Not trained through here."""
        raise InputError(
            f"models of kind {self.kind!r} are trained by benchmarks/train_gated.py: see docs/training.md."
        )

    @torch.no_grad()
    def predict(self, structure: Structure) -> np.ndarray:
        """See :meth:`propensity.estimators.base.Estimator.predict`."""
        check_types(structure, self.card.species)
        network = self.network
        graph = gated_graph(
            structure, network.cutoff, network.states, network.inputs,
            device=network.bias.device, dtype=network.bias.dtype,
        )  # fmt: skip
        standardised = network(graph).cpu().double().numpy()
        mean, std = np.array(self.card.target_mean), np.array(self.card.target_std)
        return standardised * std[structure.types] + mean[structure.types]

    def arrays(self) -> dict[str, np.ndarray]:
        """State dict of the network in half precision, which predictions don't feel."""
        return {
            name: tensor.detach().cpu().numpy().astype(np.float16 if tensor.ndim > 1 else np.float32)
            for name, tensor in self.network.state_dict().items()
        }

    @classmethod
    def restore(cls, card: Card, arrays: dict[str, np.ndarray]) -> GatedEstimator:
        """Rebuild the network from its card and state dict."""
        network = GatedNetwork(**card.config)
        network.load_state_dict(
            {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
        )
        return cls(network, card)

    def to(self, device: Any = None, dtype: Any = None, kernel: str | None = None) -> GatedEstimator:
        """Move the network."""
        self.network.to(device=device, dtype=dtype)
        return self
