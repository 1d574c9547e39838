"""The surface that every model shares, from the equivariant network to a ridge regression."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from pydantic import BaseModel

from propensity.defaults import with_own_defaults
from propensity.errors import InputError, PropensityWarning
from propensity.estimators.card import Card
from propensity.estimators.inputs import check_dimension, check_types
from propensity.estimators.likeness import Extremes, check_finite, doubts, measured
from propensity.structure import Structure

if TYPE_CHECKING:
    import torch
    from typing_extensions import Self

    from propensity.estimators.features import TracedFeatures
    from propensity.sample import Sample


def with_checks(compute: Callable[[Any, Structure], np.ndarray]) -> Callable[[Any, Structure], np.ndarray]:
    """``predict`` that refuses or names structures which are unlike those of the training.

    Parameters
    ----------
    compute
        A class's own ``predict``.

    Returns
    -------
    Callable
        The same with the checks before and after it.
    """

    @wraps(compute)
    def predict(self: Estimator, structure: Structure) -> np.ndarray:
        check_types(structure, self.card.species)
        check_dimension(self.card, structure)
        found = measured(self.card, structure)
        known = self.__dict__.setdefault("_warned", set())
        for topic, message in doubts(self.card, structure, found=found).items():
            if topic not in known:
                known.add(topic)
                warnings.warn(message, PropensityWarning, stacklevel=2)
        propensities = compute(self, structure)
        check_finite(self.card, structure.types, propensities)
        return propensities

    return predict


class Ready(NamedTuple):
    """Propensities that were there at once, and their extremes where these are known.

    Parameters
    ----------
    propensities
        In σ, shape (N, n_times).
    extremes
        Smallest and largest of them at each time; None: not known.
    """

    propensities: np.ndarray
    extremes: Extremes | None = None


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
        fit, predict, many = (vars(cls).get(name) for name in ("fit", "predict", "unchecked_many"))
        if isinstance(fit, classmethod):
            cls.fit = classmethod(with_own_defaults(fit.__func__))  # type: ignore[assignment]
        if predict is not None:
            cls.unchecked = with_own_defaults(predict)  # type: ignore[method-assign]
            cls.predict = with_checks(cls.unchecked)  # type: ignore[assignment, method-assign]
        if many is not None:
            cls.unchecked_many = with_own_defaults(many)  # type: ignore[method-assign]

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

        Returns
        -------
        Self
            Fitted, with a card that says what it was trained on.
        """

    @abstractmethod
    def predict(self, structure: Structure) -> np.ndarray:
        """Propensities of each particle at the times of the card, float64, shape (N, n_times), in σ_AA.

        Whatever a class computes here, it is asked for structures of its species and dimension only.

        Parameters
        ----------
        structure
            What the model sees (its ``card.input_positions``), in σ_AA.

        Returns
        -------
        numpy.ndarray
            NaN for species that the model cannot score.

        Raises
        ------
        InputError
            For species or a dimension that the model doesn't know, particles that overlap, and structures of
            which none of the neighbourhoods is like any in training.
        PropensityError
            When predictions are NaN or infinite.

        Warns
        -----
        PropensityWarning
            Once for each way in which structures differ from those of the training.
        """

    def at_once(self, structure: Structure, meanwhile: Callable[[], None] = lambda: None) -> Ready | None:
        """What :meth:`unchecked` gives, where that takes less than to look at the structure first.

        Parameters
        ----------
        structure
            As for :meth:`predict`.
        meanwhile
            May be called while a device computes.

        Returns
        -------
        Ready or None
            With what :meth:`unchecked` gives; None where it must be computed.
        """
        return None

    def unchecked(self, structure: Structure) -> np.ndarray:
        """:meth:`predict` for callers that have checked the structure and check the result, as
        :class:`propensity.Predictor` does.

        Parameters
        ----------
        structure
            As for :meth:`predict`.

        Returns
        -------
        numpy.ndarray
            As :meth:`predict`, whatever it is.
        """
        raise NotImplementedError

    def by_domains(self, n_particles: int) -> bool:
        """Whether so many particles are predicted domain by domain, in less memory.

        Parameters
        ----------
        n_particles
            Of a structure.

        Returns
        -------
        bool
            False: in one pass.
        """
        return False

    @property
    def listed_to(self) -> float | None:
        """Cutoff of the list that :meth:`predict` makes of the structure itself, in σ_AA; None: of none."""
        return None

    def traced(self, structure: Structure, steps: torch.Tensor) -> torch.Tensor:
        """Propensities in σ_AA, shape (N, n_times), as autograd follows them when thermal positions take
        ``steps``, shape (N, 3).

        Minima and cage states are held: see :func:`propensity.estimators.gradients.kept`.

        Parameters
        ----------
        structure
            As for :meth:`predict`.
        steps
            Displacements of the thermal positions in σ_AA, with ``requires_grad`` where wanted.

        Returns
        -------
        torch.Tensor
            Differentiable in ``steps``.

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

        Returns
        -------
        TracedFeatures
            Arrays with a row for each particle, and what the columns are.

        Raises
        ------
        InputError
            Where the model has none.
        """
        raise InputError(f"a {self.kind} model has no features: choose a network (se3gnn or gated).")

    def unchecked_many(self, structures: Sequence[Structure]) -> list[np.ndarray]:
        """Of each structure what :meth:`unchecked` gives; networks read many small ones at once.

        Parameters
        ----------
        structures
            Of any sizes.

        Returns
        -------
        list[numpy.ndarray]
            In the order of the structures.
        """
        return [self.unchecked(structure) for structure in structures]

    def reach(self, structure: Structure) -> float | None:
        """Distance in σ_AA beyond which nothing changes the prediction of a particle.

        None where the model doesn't know it, and the whole structure is needed.

        Parameters
        ----------
        structure
            As for :meth:`predict`.

        Returns
        -------
        float or None
            In σ_AA.
        """
        return None

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """Everything learned, by name, to be stored as safetensors.

        Returns
        -------
        dict[str, numpy.ndarray]
            Name → array, each of a numeric dtype.
        """

    @classmethod
    @abstractmethod
    def restore(cls, card: Card, arrays: dict[str, np.ndarray]) -> Self:
        """Rebuild from a card and the arrays of :meth:`arrays`.

        Parameters
        ----------
        card
            As it was stored.
        arrays
            As they were stored.

        Returns
        -------
        Self
            Predicts the same bits as the one that was stored, on the same machine.
        """

    def to(self, device: Any = None, dtype: Any = None, kernel: str | None = None) -> Self:
        """Move to a device, precision or kernel where the estimator has such a thing; otherwise do
        nothing.

        Parameters
        ----------
        device
            ``"cpu"``, ``"cuda"``, ...; None: as it is.
        dtype
            ``torch.float32`` or ``torch.float64``; None: as it is.
        kernel
            Name of a kernel, see :mod:`propensity.nn.kernels`; None: as it is.

        Returns
        -------
        Self
            The estimator itself.
        """
        return self
