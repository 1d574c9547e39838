"""The store among the formats that :func:`propensity.data.open_dataset` knows."""

from __future__ import annotations

from propensity.data.formats.base import Format
from propensity.data.store.reader import SUFFIXES, store_entries

FORMAT = Format(
    suffixes=SUFFIXES,
    recognises=lambda path, keys: path.suffix.lower() in SUFFIXES,
    entries=lambda paths, name, labels: store_entries(paths[0]),
)
