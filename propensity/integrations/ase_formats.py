"""What ASE reads at import: the formats that this package adds to ``ase.io``; nothing heavy."""

from __future__ import annotations

from ase.utils.plugins import ExternalIOFormat

#: ``ase.io.read("data.h5", ":", format="propensity-store")``: entry point of the group ``ase.ioformats``.
#: Without an extension of its own, since .h5 may hold anything.
STORE = ExternalIOFormat(
    desc="Labelled structures of propensity (HDF5)",
    code="+S",
    module="propensity.integrations.ase_store",
)
