"""Predict the dynamical propensity of every particle of a glass-forming liquid from one snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from propensity.version import __version__

#: Public name → module; imported on first use, so that ``import propensity`` stays instant.
_PUBLIC = {
    "AnnotationInterrupted": "propensity.trajectory",
    "Annotator": "lammps_bridge",
    "Card": "propensity.estimators.card",
    "DataError": "propensity.errors",
    "Dataset": "propensity.data",
    "Estimator": "propensity.estimators.base",
    "InputError": "propensity.errors",
    "KobAndersenGuesser": "propensity.integrations.guesser",
    "MissingDependencyError": "propensity.errors",
    "Predictor": "propensity.predictor",
    "PropensityAnalysis": "propensity.integrations.mdanalysis",
    "PropensityBias": "propensity.integrations.bias",
    "PropensityCalculator": "propensity.integrations.ase",
    "PropensityError": "propensity.errors",
    "PropensityObserver": "propensity.integrations.ase",
    "PropensityRegressor": "propensity.integrations.sklearn",
    "PropensityWarning": "propensity.errors",
    "Sample": "propensity.sample",
    "Structure": "propensity.structure",
    "annotate": "propensity.trajectory",
    "build_graph": "propensity.graph",
    "cage_state": "propensity.physics.cage",
    "convert": "propensity.data.convert",
    "describe": "propensity.descriptors.describe",
    "evaluate": "propensity.evaluation",
    "fit_network": "propensity.training",
    "inherent_structure": "propensity.physics.quench",
    "load_demo": "propensity.demo",
    "load_lammps": "propensity.simulate.lammps_library",
    "load_model": "propensity.estimators.storage",
    "noise_ceiling": "propensity.statistics",
    "open_dataset": "propensity.data",
    "open_trajectory": "propensity.trajectory",
    "pearson": "propensity.statistics",
    "plot_propensity": "propensity.plotting",
    "propensity_modifier": "propensity.integrations.ovito",
    "save_model": "propensity.estimators.storage",
    "select_times": "propensity.data",
    "shipped_models": "propensity.estimators.storage",
    "simulate_propensities": "propensity.simulate.simulation",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:
    from lammps_bridge import Annotator as Annotator
    from propensity.data import Dataset as Dataset
    from propensity.data import open_dataset as open_dataset
    from propensity.data import select_times as select_times
    from propensity.data.convert import convert as convert
    from propensity.demo import load_demo as load_demo
    from propensity.descriptors.describe import describe as describe
    from propensity.errors import DataError as DataError
    from propensity.errors import InputError as InputError
    from propensity.errors import MissingDependencyError as MissingDependencyError
    from propensity.errors import PropensityError as PropensityError
    from propensity.errors import PropensityWarning as PropensityWarning
    from propensity.estimators.base import Estimator as Estimator
    from propensity.estimators.card import Card as Card
    from propensity.estimators.storage import load_model as load_model
    from propensity.estimators.storage import save_model as save_model
    from propensity.estimators.storage import shipped_models as shipped_models
    from propensity.evaluation import evaluate as evaluate
    from propensity.graph import build_graph as build_graph
    from propensity.integrations.ase import PropensityCalculator as PropensityCalculator
    from propensity.integrations.ase import PropensityObserver as PropensityObserver
    from propensity.integrations.bias import PropensityBias as PropensityBias
    from propensity.integrations.guesser import KobAndersenGuesser as KobAndersenGuesser
    from propensity.integrations.mdanalysis import PropensityAnalysis as PropensityAnalysis
    from propensity.integrations.ovito import propensity_modifier as propensity_modifier
    from propensity.integrations.sklearn import PropensityRegressor as PropensityRegressor
    from propensity.physics.cage import cage_state as cage_state
    from propensity.physics.quench import inherent_structure as inherent_structure
    from propensity.plotting import plot_propensity as plot_propensity
    from propensity.predictor import Predictor as Predictor
    from propensity.sample import Sample as Sample
    from propensity.simulate.lammps_library import load_lammps as load_lammps
    from propensity.simulate.simulation import simulate_propensities as simulate_propensities
    from propensity.statistics import noise_ceiling as noise_ceiling
    from propensity.statistics import pearson as pearson
    from propensity.structure import Structure as Structure
    from propensity.training import fit_network as fit_network
    from propensity.trajectory import AnnotationInterrupted as AnnotationInterrupted
    from propensity.trajectory import annotate as annotate  # type: ignore[no-redef]
    from propensity.trajectory import open_trajectory as open_trajectory


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        import importlib

        value = getattr(importlib.import_module(_PUBLIC[name]), name)
        # Names that are also files of the package must not turn into modules later.
        globals()[name] = value
        return value
    raise AttributeError(f"module 'propensity' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
