"""Scores of a model: Pearson correlation pooled and per structure, confidence intervals, the noise
ceiling.
"""

from propensity.evaluation.scores import Evaluation, evaluate
from propensity.evaluation.state_points import evaluate_state_points
from propensity.statistics import bootstrap, moments, noise_ceiling, pearson

__all__ = [
    "Evaluation",
    "bootstrap",
    "evaluate",
    "evaluate_state_points",
    "moments",
    "noise_ceiling",
    "pearson",
]
