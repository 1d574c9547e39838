"""Predict the dynamical propensity of every particle of a glass-forming liquid from one snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from propensity.version import __version__ as __version__

#: Public name → module; imported on first use, so that ``import propensity`` stays instant.
_PUBLIC = {
    "Predictor": "propensity.predictor",
    "PropensityAnalysis": "propensity.integrations.mdanalysis",
    "PropensityCalculator": "propensity.integrations.ase",
    "Structure": "propensity.structure",
    "build_graph": "propensity.graph",
    "inherent_structure": "propensity.physics.quench",
    "load_model": "propensity.estimators.storage",
    "open_dataset": "propensity.data",
    "save_model": "propensity.estimators.storage",
}

__all__ = [
    "Predictor",
    "PropensityAnalysis",
    "PropensityCalculator",
    "Structure",
    "build_graph",
    "inherent_structure",
    "load_model",
    "open_dataset",
    "save_model",
]

if TYPE_CHECKING:
    from propensity.data import open_dataset
    from propensity.estimators.storage import load_model, save_model
    from propensity.graph import build_graph
    from propensity.integrations.ase import PropensityCalculator
    from propensity.integrations.mdanalysis import PropensityAnalysis
    from propensity.physics.quench import inherent_structure
    from propensity.predictor import Predictor
    from propensity.structure import Structure


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        import importlib

        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'propensity' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
