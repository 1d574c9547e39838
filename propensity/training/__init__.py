"""Training of the network: options, cached graphs, the Lightning loop and what a run leaves on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from propensity.estimators.training_config import TrainingConfig
from propensity.extras import explained

__all__ = ["TrainingConfig", "fit_network"]

if TYPE_CHECKING:
    from propensity.training.fit import fit_network


def __getattr__(name: str) -> Any:
    # Lightning takes seconds to import: only a training needs it.
    if name == "fit_network":
        with explained():
            from propensity.training.fit import fit_network

        return fit_network
    raise AttributeError(f"module 'propensity.training' has no attribute {name!r}")
