"""Labels as networks learn them, of mean 0 and spread 1 for each species and time, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from propensity.errors import DataError
from propensity.estimators.card import Card

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class LabelScale:
    """Mean and spread of the labels of each species.

    Parameters
    ----------
    mean, std
        In σ, shape (n_species, n_times).
    known
        Species whose answers mean something, bool, shape (n_species,); the others become NaN.
    """

    mean: np.ndarray
    std: np.ndarray
    known: np.ndarray

    @classmethod
    def of(cls, card: Card) -> LabelScale:
        """That of a card; species outside the loss are known where its network is said to predict them."""
        everybody = bool(card.config.get("predicts_untrained", False))
        trained = card.trained_species or card.species
        known = np.array([everybody or name in trained for name in card.species])
        return cls(np.array(card.target_mean), np.array(card.target_std), known)

    def standardised(self, propensities: np.ndarray, types: np.ndarray) -> np.ndarray:
        """Labels for training from propensities in σ, both (N, n_times)."""
        return cast("np.ndarray", (propensities - self.mean[types]) / self.std[types])

    def propensities(self, standardised: np.ndarray, types: np.ndarray) -> np.ndarray:
        """Propensities in σ, float64, from what a network says, both (N, n_times)."""
        from propensity.estimators.passes import unscaled  # numba: only where it is needed

        if standardised.shape[1:] != self.mean.shape[1:] or types.max() >= len(self.mean):
            raise DataError(
                f"the card has means of shape {self.mean.shape}, and outputs are {standardised.shape} for"
                f" types up to {types.max()}."
            )
        found = np.empty(standardised.shape)
        unscaled(np.ascontiguousarray(standardised), types, self.mean, self.std, found)
        if not self.known.all():
            found[~self.known[types]] = np.nan
        return found

    def traced(self, standardised: torch.Tensor, types: np.ndarray) -> torch.Tensor:
        """:meth:`propensities` as autograd follows them."""
        import torch

        mean, std = (torch.from_numpy(x[types]).to(standardised) for x in (self.mean, self.std))
        known = torch.from_numpy(self.known[types]).to(standardised.device)
        return torch.where(known[:, None], standardised * std + mean, torch.nan)
