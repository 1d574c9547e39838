"""Labelled structures: readers, the compact store, splits and targets."""

from propensity.data.sample import Sample

__all__ = ["Sample"]
