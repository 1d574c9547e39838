"""scikit-learn: any kind of model as an estimator to be cloned, searched and cross-validated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.errors import InputError
from propensity.estimators.kinds import ESTIMATORS, estimator_class
from propensity.estimators.options import read_options
from propensity.extras import explained

with explained():
    from sklearn.base import BaseEstimator
    from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from typing_extensions import Self

    from propensity.estimators.base import Estimator
    from propensity.sample import Sample
    from propensity.structure import Structure


class PropensityRegressor(BaseEstimator):  # type: ignore[misc]
    """A model of the package as scikit-learn knows estimators: ``clone``, ``cross_val_score``, grid searches.

    An element of ``X`` is a whole structure, not a particle: particles of one configuration know of each
    other, so no split may part them.  Labels belong to their structures, so ``y`` is left out.

    Parameters
    ----------
    kind
        ``"ridge"``, ``"softness"``, ``"energy"``, ``"density"``, ``"se3gnn"``, ``"gated"`` or ``"bapst"``.
    **options
        Options of ``fit`` of that kind, by name, as ``propensity train --model KIND --help`` lists them;
        those that are not given have their defaults.

    Attributes
    ----------
    model_ : Estimator
        After :meth:`fit`; :func:`propensity.save_model` stores it.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from propensity import PropensityRegressor, open_dataset
    >>> samples = list(open_dataset("examples/ka_T0.56.h5"))                    # doctest: +SKIP
    >>> cross_val_score(PropensityRegressor("energy"), samples, cv=5)           # doctest: +SKIP
    """

    def __init__(self, kind: str = "ridge", **options: Any) -> None:
        self.kind = kind
        self._options = options

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Kind and options that were given.

        Parameters
        ----------
        deep
            Without meaning here: no parameter is an estimator.

        Returns
        -------
        dict
            By name.
        """
        return {"kind": self.kind, **self._options}

    def set_params(self, **params: Any) -> Self:
        """Change some of them.

        Parameters
        ----------
        **params
            ``kind`` or options by name.

        Returns
        -------
        Self
            The estimator itself.

        Raises
        ------
        InputError
            For an option that the kind doesn't have.
        """
        kind = params.pop("kind", self.kind)
        options = {**self._options, **params}
        _checked(kind, options)
        self.kind, self._options = kind, options
        return self

    def fit(self, X: Sequence[Sample], y: None = None) -> Self:
        """Learn from labelled structures.

        Parameters
        ----------
        X
            Samples, as of :func:`propensity.open_dataset`, with equal times and species.
        y
            None: samples have their labels.

        Returns
        -------
        Self
            With ``model_``.

        Raises
        ------
        InputError
            For labels apart from their structures, and unknown kinds or options.
        """
        structures = _several(X, y)
        options = _checked(self.kind, self._options)
        cls = estimator_class(self.kind)
        more: dict[str, Any] = {"progress": False} if cls.resumable else {}
        self.model_: Estimator = cls.fit(structures, options=options, **more)
        self.n_structures_ = len(structures)
        return self

    def predict(self, X: Sequence[Sample | Structure]) -> list[np.ndarray]:
        """Propensities of each structure.

        Parameters
        ----------
        X
            Samples, or structures as the model sees them (its ``input_positions``).

        Returns
        -------
        list[numpy.ndarray]
            Float64, shape (N, n_times) each; NaN for species that the model was not trained on.
        """
        check_is_fitted(self, "model_")
        return [self.model_.predict(self._seen(one)) for one in _several(X)]

    def score(self, X: Sequence[Sample], y: None = None) -> float:
        """Pearson's ρ, pooled over the particles of a species; the mean over species and times.

        Parameters
        ----------
        X
            Samples that the model was not fitted to.
        y
            None.

        Returns
        -------
        float
            At most the noise ceiling, see :func:`propensity.evaluate`.
        """
        from propensity.evaluation import evaluate

        check_is_fitted(self, "model_")
        return float(np.nanmean(evaluate(self.model_, _several(X, y)).pooled))

    def _seen(self, one: Sample | Structure) -> Structure:
        from propensity.estimators.inputs import seen_structure
        from propensity.structure import Structure

        return one if isinstance(one, Structure) else seen_structure(one, self.model_.card)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")


def _checked(kind: str, options: dict[str, Any]) -> Any:
    """Typed options of a kind."""
    if kind not in ESTIMATORS:
        raise InputError(f"kind {kind!r} is unknown: choose from {sorted(ESTIMATORS)}.")
    cls = estimator_class(kind).options
    assert cls is not None
    return read_options(cls, options)  # type: ignore[type-var]


def _several(X: Any, y: Any = None) -> list[Any]:
    """Structures or samples as a list, without labels of their own."""
    if y is not None:
        raise InputError("y is given: leave it out, since samples have their own labels.")
    if not isinstance(X, Iterable):
        raise InputError(f"X is one {type(X).__name__}: give a list of them.")
    return list(X)
