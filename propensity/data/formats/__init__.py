"""Readers of the layouts in which the field publishes labelled structures, one file each."""

from __future__ import annotations

from propensity.data.formats.base import Format
from propensity.registry import Registry

#: Name → layout; the first that recognises a file reads it.
FORMATS: Registry[Format] = Registry(
    "format",
    {
        "store": "propensity.data.store.format:FORMAT",
        "bapst": "propensity.data.formats.bapst:FORMAT",
        "npz": "propensity.data.formats.npz:FORMAT",
        "glassbench": "propensity.data.formats.glassbench:FORMAT",
        "botan": "propensity.data.formats.botan:FORMAT",
    },
)
