"""What a predictor says beside predictions: their gradients, and the features that they are read from."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from propensity.defaults import with_own_defaults
from propensity.errors import InputError, PropensityError
from propensity.estimators import gradients
from propensity.estimators.base import Estimator
from propensity.estimators.card import Card
from propensity.estimators.features import Features, joined
from propensity.estimators.gradients import Weights
from propensity.estimators.likeness import Likeness
from propensity.estimators.ranges import Distance
from propensity.structure import Structure


class Differentiation:
    """Gradients and features, a part of :class:`propensity.Predictor`."""

    estimators: list[Estimator]
    card: Card
    device: torch.device
    dtype: torch.dtype
    length_scale: float
    default_time_index: Any
    is_committee: Any
    _selected: np.ndarray
    _warning: threading.Lock
    _likeness: WeakKeyDictionary[Structure, Likeness]

    @abstractmethod
    def _seen(self, structure: Structure) -> Structure:
        """What the model sees of a structure, in σ."""

    @abstractmethod
    def _check_like_training(self, structure: Structure) -> tuple[dict[str, str], Distance | None]:
        """Doubts about a structure in σ, and its distance from the training set."""

    def gradient(self, structure: Structure, weights: Weights) -> np.ndarray:
        """Gradient of a number made of the predictions with respect to thermal positions, shape (N, 3).

        Where particles lie in a plane, so does it.

        Parameters
        ----------
        structure
            As for :meth:`predict`; minima and cage states are held, whether it brings them or ``potential``
            made them.
        weights
            The number is Σ_it w_it p_it with weights w of shape (N, n_times), or (N,) at the default time;
            or any function of the predictions p, from a torch tensor (N, n_times) to one of one number.

        Returns
        -------
        ndarray
            Float64, in the units of the structure.

        Raises
        ------
        InputError
            As :meth:`predict`; for weights that can't be used; for models without gradient, or that see
            nothing of thermal positions.
        """
        return self.value_and_gradient(structure, weights)[1]

    @with_own_defaults
    def value_and_gradient(self, structure: Structure, weights: Weights) -> tuple[float, np.ndarray]:
        """The number itself and its gradient, see :meth:`gradient`."""
        gradients.kept(self.card)
        reduced = self._checked(structure)
        with enough_memory(self.device, len(structure), self.card.cutoff):
            return gradients.value_and_gradient(
                self.estimators,
                reduced,
                weights,
                selected=self._selected,
                default=self.default_time_index,
                length_scale=self.length_scale,
                like=torch.empty(0, dtype=self.dtype, device=self.device),
            )

    @with_own_defaults
    def features(self, structure: Structure, layer: int | None = None) -> Features:
        """What the network has made of each particle: invariants before the readout, or all of a layer.

        Parameters
        ----------
        structure
            As for :meth:`predict`.
        layer
            Count of a layer from 0 (-1 is the last), after which the equivariant features are wanted; None
            for the invariants that the readout maps to propensities.

        Returns
        -------
        Features
            ``values`` (N, n) with ``names`` and ``irreps``; those of a committee's networks side by side.

        Raises
        ------
        InputError
            As :meth:`predict`; for models without features and layers that there are not.
        """
        reduced = self._checked(structure)
        members = []
        with torch.no_grad(), enough_memory(self.device, len(structure), self.card.cutoff):
            for estimator in self.estimators:
                values, names, irreps = estimator.features(reduced, layer, None)
                members.append(Features(values.cpu().double().numpy(), names, irreps))
        return joined(members)

    @with_own_defaults
    def feature_gradient(
        self, structure: Structure, weights: Weights, layer: int | None = None
    ) -> np.ndarray:
        """Gradient of a number made of the features of one model, shape (N, 3), as :meth:`gradient`.

        Parameters
        ----------
        structure, layer
            As for :meth:`features`.
        weights
            Of the features' shape (N, n), or a function of them.
        """
        if self.is_committee:
            raise InputError(
                f"{len(self.estimators)} models have features of their own: load one of them alone."
            )
        gradients.kept(self.card)
        reduced = self._checked(structure)
        with enough_memory(self.device, len(structure), self.card.cutoff):
            return gradients.feature_gradient(
                self.estimators[0],
                reduced,
                weights,
                layer,
                length_scale=self.length_scale,
                like=torch.empty(0, dtype=self.dtype, device=self.device),
            )

    def _checked(self, structure: Structure) -> Structure:
        """What the model sees, compared with the training set; its likeness is kept."""
        reduced = self._seen(structure)
        reasons, found = self._check_like_training(reduced)
        likeness = Likeness(reasons) if found is None else Likeness(reasons, found.outside, found.nearest)
        with self._warning:
            self._likeness.setdefault(structure, likeness)
        return reduced


@contextmanager
def enough_memory(device: torch.device, n: int, cutoff: float | None) -> Iterator[None]:
    """Say in one sentence that memory ran out."""
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise PropensityError(
            f"{device} has not enough memory for {n} particles: use device='cpu'."
        ) from None
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        raise PropensityError(
            f"not enough memory for {n} particles at the cutoff {cutoff}: use a larger machine, or a model of"
            " a shorter range."
        ) from None
