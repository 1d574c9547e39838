"""Labelled structures: readers, the compact store, splits and targets."""

from propensity.data.dataset import Dataset, from_samples
from propensity.data.opening import open_dataset
from propensity.data.sample import Sample
from propensity.data.store import StoreWriter

__all__ = ["Dataset", "Sample", "StoreWriter", "from_samples", "open_dataset"]
