"""Scores, their uncertainty and the label-noise ceiling."""
