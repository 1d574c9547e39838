"""What estimators share whose numbers are the weights of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from torch import nn

from propensity.errors import InputError
from propensity.estimators.base import Estimator
from propensity.estimators.card import Card
from propensity.estimators.storage import load_model

if TYPE_CHECKING:
    from typing_extensions import Self

Network = TypeVar("Network", bound=nn.Module)


class NetworkEstimator(Estimator, Generic[Network]):
    """Network, card and the constants that turn its outputs into propensities."""

    network: Network

    def __init__(self, network: Network, card: Card) -> None:
        self.network, self.card = network.eval(), card

    @classmethod
    def to_begin_with(cls, model: str) -> Self:
        """Trained model whose weights a training starts from; raises InputError for one of another kind."""
        other = load_model(model)
        if not isinstance(other, cls):
            raise InputError(
                f"init is {model!r}, a model of kind {other.card.kind!r}: give one of kind {cls.kind!r}."
            )
        return other

    def arrays(self) -> dict[str, np.ndarray]:
        """State dict of the network as numpy arrays."""
        return {name: tensor.detach().cpu().numpy() for name, tensor in self.network.state_dict().items()}

    def to(self, device: Any = None, dtype: Any = None, kernel: str | None = None) -> Self:
        """Move the network; where it has one implementation only, ``kernel`` is not looked at."""
        self.network.to(device=device, dtype=dtype)
        return self
