"""Predict the dynamical propensity of every particle of a glass-forming liquid from one snapshot."""

__version__ = "0.1.0"
