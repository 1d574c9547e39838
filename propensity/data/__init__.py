"""Labelled structures: readers, the compact store, times and splits."""

from propensity.data.dataset import Dataset, from_samples
from propensity.data.opening import open_dataset
from propensity.data.selection import in_units, select_by_state_point, select_times
from propensity.data.splits import Split, make_split
from propensity.data.store.writer import StoreWriter
from propensity.sample import Sample

__all__ = [
    "Dataset",
    "Sample",
    "Split",
    "StoreWriter",
    "from_samples",
    "in_units",
    "make_split",
    "open_dataset",
    "select_by_state_point",
    "select_times",
]
