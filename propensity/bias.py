"""A bias on the mean propensity of a group: its energy and forces, for whatever moves the particles."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from propensity.errors import InputError, PropensityWarning
from propensity.estimators.gradients import kept
from propensity.numeric import refuse_masked
from propensity.structure import checked_structure

if TYPE_CHECKING:
    from propensity.estimators.card import Card
    from propensity.predictor import Predictor
    from propensity.structure import Structure

#: From the mean propensity q, a tensor of one number, to the energy U(q), another one.
Form = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Linear:
    """U(q) = λ·q: a constant pull, towards low propensity for λ > 0.

    Parameters
    ----------
    strength
        λ, an energy over a length.
    """

    strength: float

    def __post_init__(self) -> None:
        _finite(strength=self.strength)

    def __call__(self, mean: torch.Tensor) -> torch.Tensor:
        """Energy at a mean propensity."""
        return self.strength * mean


@dataclass(frozen=True)
class Harmonic:
    """U(q) = k/2·(q − q₀)²: a spring to a mean propensity.

    Parameters
    ----------
    stiffness
        k, an energy over a length squared; not negative.
    centre
        q₀, a length.

    Raises
    ------
    InputError
        For a negative stiffness, which would push away from the centre without end.
    """

    stiffness: float
    centre: float

    def __post_init__(self) -> None:
        _finite(stiffness=self.stiffness, centre=self.centre)
        if self.stiffness < 0:
            raise InputError(
                f"stiffness is {self.stiffness:g}, which pushes away from the centre without end: give zero"
                " or more, or a function of the mean propensity."
            )

    def __call__(self, mean: torch.Tensor) -> torch.Tensor:
        """Energy at a mean propensity."""
        return self.stiffness / 2 * (mean - self.centre) ** 2


@dataclass(frozen=True, eq=False)
class Biased:
    """What a bias does to one configuration.

    Parameters
    ----------
    energy
        U(q), in the units of its form.
    forces
        −∇U, shape (N, 3).
    mean
        q, the mean propensity of the group at the time.
    propensities
        Predictions from which it was made, shape (N, n_times).
    """

    energy: float
    forces: np.ndarray
    mean: float
    propensities: np.ndarray


class Bias:
    """U(q) of the mean propensity q of a group of particles at one time.

    Parameters
    ----------
    predictor
        Of a model with a gradient, see :meth:`propensity.Predictor.gradient`, with what it holds.
    form
        :class:`Linear`, :class:`Harmonic`, or a function from q, a torch tensor, to the energy.
    time
        One of the predictor's; None: the model's default.

    Raises
    ------
    InputError
        For a model without gradient, a form that is no function, or a time that there is not.

    Warns
    -----
    PropensityWarning
        When the energy is not conserved: at the jumps of a sharp cutoff, at the steps in forces that
        rectifiers leave, or where minima are held.
    """

    def __init__(self, predictor: Predictor, form: Form, time: float | None = None) -> None:
        from propensity.model_options import chosen_times

        if not hasattr(predictor, "value_and_gradient"):
            raise InputError(f"predictor is a {type(predictor).__name__}: give a Predictor.")
        kept(predictor.card)
        if not callable(form):
            raise InputError(
                f"form is {form!r}: give Linear(λ), Harmonic(k, q0) or a function of the mean propensity."
            )
        if (reason := roughness(predictor.card)) is not None:
            warnings.warn(f"{reason}.", PropensityWarning, stacklevel=3)
        self.predictor, self.form = predictor, form
        index = [predictor.default_time_index] if time is None else chosen_times(predictor.times, time)
        if len(index) != 1:
            raise InputError(f"time is {time}: a bias acts on the propensity at one time.")
        self.index = int(index[0])

    def __call__(self, structure: Structure, group: Sequence[int] | np.ndarray | None = None) -> Biased:
        """Energy and forces for a structure.

        Parameters
        ----------
        structure
            As for :meth:`propensity.Predictor.predict`.
        group
            Booleans, shape (N,), or indices; None: all particles of the species that the model was trained
            on.

        Raises
        ------
        InputError
            For a group that is neither, has no particles, or some of which the model knows nothing.
        """
        checked_structure(structure)
        trained = self.predictor.card.trained_species or self.predictor.species
        known = np.isin(self.predictor.species, trained)[structure.types]
        chosen = known if group is None else in_group(group, len(structure))
        if not chosen.any():
            raise InputError("the group has no particles: give one that has some.")
        if (chosen & ~known).any():
            raise InputError(
                f"the group has particles of species that the model was not trained on: it knows"
                f" {list(trained)}."
            )
        places = torch.from_numpy(np.flatnonzero(chosen)).to(self.predictor.device)
        seen: list[torch.Tensor] = []

        def energy(propensities: torch.Tensor) -> torch.Tensor:
            mean = propensities[places, self.index].mean()
            seen.extend((mean.detach().clone(), propensities.detach()))  # a form may write to its argument
            return self.form(mean)

        value, gradient = self.predictor.value_and_gradient(structure, energy)
        mean, propensities = seen
        return Biased(value, -gradient, float(mean), propensities.cpu().double().numpy())


def in_group(group: Any, n: int) -> np.ndarray:
    """Which of n particles are in a group that is given by indices, or one boolean for each.

    Raises
    ------
    InputError
        For anything else, and indices that no particle has.
    """
    refuse_masked(group, "particles of the group")
    try:
        given = np.asarray(group)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"group can't be read ({error}): give indices, or one boolean for each of {n} atoms."
        ) from None
    if given.dtype == bool and given.shape == (n,):
        return given
    fits = given.dtype.kind in "iu" and given.ndim == 1
    if not fits or (given.size and not (given.min() >= 0 and given.max() < n)):
        raise InputError(
            f"group has shape {given.shape} and dtype {given.dtype} for {n} atoms: give indices 0 to"
            f" {n - 1}, or one boolean for each."
        )
    if len(np.unique(given)) < len(given):  # perhaps 0 and 1 that were meant as booleans
        raise InputError(f"group holds an index twice in {len(given)}: give each once, or booleans.")
    chosen = np.zeros(n, dtype=bool)
    chosen[given] = True
    return chosen


def form_of(words: Sequence[str]) -> Form:
    """Form from words, as in ``linear 100`` or ``harmonic 5000 0.3``.

    Raises
    ------
    InputError
        For anything else.
    """
    kinds: dict[str, tuple[Any, int]] = {"linear": (Linear, 1), "harmonic": (Harmonic, 2)}
    kind, *rest = words or [""]
    if kind not in kinds or len(rest) != kinds[kind][1]:
        raise InputError(f"bias is {' '.join(words)!r}: give 'linear λ' or 'harmonic k q0'.")
    try:
        numbers = [float(word) for word in rest]
    except ValueError:
        raise InputError(f"bias is {' '.join(words)!r}: {' and '.join(rest)} must be numbers.") from None
    make: Form = kinds[kind][0](*numbers)
    return make


def roughness(card: Card) -> str | None:
    """Why the energy of a bias by this model is not conserved; None where it is."""
    if card.input_positions != "thermal":
        return (
            f"the model {card.name} sees minima, which bias forces hold and dynamics don't: energy is not"
            " conserved, choose a model of thermal positions"
        )
    if card.kind == "bapst" or (card.kind == "se3gnn" and not card.config.get("envelope")):
        return (
            f"the model {card.name} has a sharp cutoff, at which the energy of a bias jumps: train one with"
            " --envelope, or better --model gated --inputs thermal --no-pair-force, where energy must be"
            " conserved"
        )
    if card.kind == "se3gnn":
        return (
            f"the model {card.name} has rectifiers, at which the forces of a bias have steps: energy wanders"
            " under a strong bias, train one with --model gated --inputs thermal --no-pair-force where it"
            " must be conserved"
        )
    return None


def _finite(**values: float) -> None:
    for name, value in values.items():
        try:
            is_finite = isinstance(value, numbers.Real) and np.isfinite(float(value))
        except OverflowError:  # of an integer
            is_finite = False
        if isinstance(value, bool) or not is_finite:
            raise InputError(f"{name} is {value!r}: give a finite number.")
