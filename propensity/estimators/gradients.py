"""Gradients of predictions with respect to positions: what they follow, and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from propensity.errors import InputError, PropensityError
from propensity.estimators.base import Estimator
from propensity.estimators.card import Card
from propensity.numeric import as_numbers
from propensity.structure import Structure

#: A weight for each particle at the default time, shape (N,), or for each at every time, shape (N, n_times);
#: or a function of the predictions, a tensor (N, n_times), to a tensor of one number.
Weights = Any


def kept(card: Card) -> str:
    """What a gradient of the model follows, in words.

    Raises
    ------
    InputError
        When nothing of it depends on thermal positions while minima are held, or when a part can't be
        followed.
    """
    if card.input_positions == "inherent":
        raise InputError(
            f"the model {card.name} sees the energy minimum alone, which doesn't move with small steps of the"
            " particles: choose a model of thermal or both positions."
        )
    if card.input_positions == "both":
        held = "minima and cage states" if card.cage_recipe else "minima"
        return f"thermal positions, in edges between them and in their offsets; {held} are held"
    if "potential_energy" in card.scalar_recipe:
        raise InputError(
            f"the model {card.name} reads the local potential energy of thermal positions, whose gradient is"
            " not taken: choose a model without potential_energy."
        )
    return "thermal positions, in all edges"


def value_and_gradient(
    estimators: Sequence[Estimator],
    structure: Structure,
    weights: Weights,
    *,
    selected: np.ndarray,
    default: int,
    length_scale: float,
    like: torch.Tensor,
) -> tuple[float, np.ndarray]:
    """A number made of the mean prediction of a committee, and its gradient, shape (N, 3).

    Parameters
    ----------
    estimators
        Of one card.
    structure
        In σ.
    weights
        See :data:`Weights`.
    selected, default
        Indices of the times that are predicted, and of the default one among them.
    length_scale
        Of σ in the units of predictions and of the gradient's positions.
    like
        A tensor of the device and precision that are wanted.

    Raises
    ------
    InputError
        For weights that can't be used, or a model without gradient.
    """
    kept(estimators[0].card)
    steps = torch.zeros(len(structure), 3, dtype=like.dtype, device=like.device, requires_grad=True)
    # A copy of the caller's mode: predictions run without gradients.
    with torch.inference_mode(False), torch.enable_grad():
        members = [estimator.traced(structure, steps / length_scale) for estimator in estimators]
        mean = torch.stack(members).mean(dim=0)[:, torch.from_numpy(selected).to(like.device)] * length_scale
        value = _number(mean, weights, default)
        (gradient,) = torch.autograd.grad(value, steps, allow_unused=True)
    return float(value.detach()), _array(gradient, steps, structure)


def feature_gradient(
    estimator: Estimator,
    structure: Structure,
    weights: Weights,
    layer: int | None,
    *,
    length_scale: float,
    like: torch.Tensor,
) -> np.ndarray:
    """Gradient, shape (N, 3), of a number made of features (N, n); ``weights`` have their shape, or are a
    function of them.
    """
    kept(estimator.card)
    steps = torch.zeros(len(structure), 3, dtype=like.dtype, device=like.device, requires_grad=True)
    with torch.inference_mode(False), torch.enable_grad():
        values = estimator.features(structure, layer, steps / length_scale).values
        value = _number(values, weights, None)
        (gradient,) = torch.autograd.grad(value, steps, allow_unused=True)
    return _array(gradient, steps, structure)


def _number(values: torch.Tensor, weights: Weights, default: int | None) -> torch.Tensor:
    """The number whose gradient is wanted."""
    if callable(weights):
        return _called(weights, values)
    shapes = f"{tuple(values.shape)}"
    if default is not None:
        shapes = f"{tuple(values.shape[:1])} for the default time or {shapes} for all"
    form = f"numbers of shape {shapes}, or a function of the predictions"
    array = as_numbers(weights, "weights", form)
    if default is not None and array.shape == values.shape[:1]:
        values = values[:, default]
    if array.shape != tuple(values.shape):
        raise InputError(f"weights have shape {array.shape}: give {form}.")
    if not np.isfinite(array).all():
        raise InputError("weights are NaN or infinite in places: give finite numbers.")
    given = torch.from_numpy(array).to(values)
    used = given != 0
    if bool(torch.isnan(values[used]).any()):
        raise InputError(
            "weights are not zero for particles of a species that the model was not trained on: leave them"
            " out."
        )
    return (torch.where(used, values, torch.zeros_like(values)) * given).sum()


def _called(function: Callable[[torch.Tensor], torch.Tensor], values: torch.Tensor) -> torch.Tensor:
    value = function(values)
    is_real = isinstance(value, torch.Tensor) and not value.is_complex()
    if not is_real or value.numel() != 1 or not value.requires_grad:
        found = tuple(value.shape) if is_real else getattr(value, "dtype", type(value).__name__)
        raise InputError(
            f"the function of the predictions gave {found}: it must return a torch tensor of one real number"
            " that was made from its argument."
        )
    if not bool(torch.isfinite(value)):
        raise InputError(
            f"the function of the predictions gave {float(value.detach())}: predictions are NaN for species"
            " that the model was not trained on, leave them out."
        )
    return value.reshape(())


def _array(gradient: torch.Tensor | None, steps: torch.Tensor, structure: Structure) -> np.ndarray:
    if gradient is None:
        return np.zeros(steps.shape)
    if not bool(torch.isfinite(gradient).all()):
        raise PropensityError(
            "the gradient is NaN or infinite: the structure is far outside of what the model knows."
        )
    found = gradient.detach().cpu().double().numpy()
    if structure.across is not None:  # networks that tell left from right have a slope there
        found[:, structure.across] = 0.0
    return found
