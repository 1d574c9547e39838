"""Training of the network: options, cached graphs, the Lightning loop and what a run leaves on disk."""

from propensity.training.config import TrainingConfig
from propensity.training.fit import fit_network

__all__ = ["TrainingConfig", "fit_network"]
