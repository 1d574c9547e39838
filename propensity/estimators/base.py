"""The surface that every model shares, from the equivariant network to a ridge regression."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel

from propensity.defaults import with_own_defaults
from propensity.errors import InputError
from propensity.estimators.card import Card
from propensity.structure import Structure

if TYPE_CHECKING:
    import torch
    from typing_extensions import Self

    from propensity.estimators.features import TracedFeatures
    from propensity.sample import Sample


class Estimator(ABC):
    """A model that predicts the propensity of each particle; ``fit`` and ``predict`` as in scikit-learn."""

    kind: ClassVar[str]
    #: Typed options of :meth:`fit`, a pydantic model; ``propensity train`` makes flags of them.
    options: ClassVar[type[BaseModel] | None] = None
    #: Whether :meth:`fit` takes ``folder``, ``resume`` (go on from the checkpoints there) and ``progress``.
    resumable: ClassVar[bool] = False
    card: Card

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in ("fit", "predict"):
            own = vars(cls).get(name)
            if isinstance(own, classmethod):
                setattr(cls, name, classmethod(with_own_defaults(own.__func__)))
            elif own is not None:
                setattr(cls, name, with_own_defaults(own))

    @classmethod
    @abstractmethod
    def fit(
        cls, train: Sequence[Sample], valid: Sequence[Sample] = (), options: Any = None, **values: Any
    ) -> Self:
        """Make an estimator that has learned from samples.

        Parameters
        ----------
        train
            Labelled structures with equal times and species.
        valid
            Structures by which training may be followed.
        options
            One of the class's own ``options``.
        **values
            Or their fields by name.
        """

    @abstractmethod
    def predict(self, structure: Structure) -> np.ndarray:
        """Propensities of each particle at the times of the card, float64, shape (N, n_times), in σ_AA."""

    def traced(self, structure: Structure, steps: torch.Tensor) -> torch.Tensor:
        """Propensities in σ_AA, shape (N, n_times), as autograd follows them when thermal positions take
        ``steps``, shape (N, 3).

        Minima and cage states are held: see :func:`propensity.estimators.gradients.kept`.

        Raises
        ------
        InputError
            Where the model has no gradient.
        """
        raise InputError(f"a {self.kind} model has no gradient: choose a network (se3gnn, gated or bapst).")

    def features(self, structure: Structure, layer: int | None, steps: torch.Tensor | None) -> TracedFeatures:
        """What the network has made of each particle: invariants before the readout, or all after a layer.

        Parameters
        ----------
        structure
            As for :meth:`predict`.
        layer
            Count of the layer, from 0; negative ones count from the end; None: before the readout.
        steps
            As for :meth:`traced`; None where no gradient is wanted.

        Raises
        ------
        InputError
            Where the model has none.
        """
        raise InputError(f"a {self.kind} model has no features: choose a network (se3gnn or gated).")

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Everything learned, by name, to be stored as safetensors."""

    @classmethod
    @abstractmethod
    def restore(cls, card: Card, arrays: dict[str, np.ndarray]) -> Self:
        """Rebuild from a card and the arrays of :meth:`arrays`."""

    def to(self, device: Any = None, dtype: Any = None, kernel: str | None = None) -> Self:
        """Move to a device, precision or kernel where the estimator has such a thing; otherwise do
        nothing.
        """
        return self
