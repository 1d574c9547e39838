"""Scores of a model: Pearson correlation pooled and per structure, confidence intervals, the noise
ceiling.
"""

from propensity.evaluation.scores import Evaluation, evaluate
from propensity.evaluation.states import evaluate_states
from propensity.statistics import bootstrap, moments, noise_ceiling, pearson

__all__ = ["Evaluation", "bootstrap", "evaluate", "evaluate_states", "moments", "noise_ceiling", "pearson"]
