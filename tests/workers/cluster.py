"""Clusters for tests: a scheduler and workers as processes of their own, with or without the package."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: In front of a program: a Python that has not heard of the package.
WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "propensity":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""
#: The same program with the package in another version.
OTHER = "import propensity.version\npropensity.version.__version__ = '0.0.7'\n"
SCHEDULER = "from distributed.cli.dask_scheduler import main; main(sys.argv[1:])"
WORKER = "from distributed.cli.dask_worker import main; main(sys.argv[1:])"


class Cluster:
    """Processes that end with the test."""

    def __init__(self, folder: Path) -> None:
        pytest.importorskip("distributed")
        self.folder, self.processes = folder, []
        file = folder / "scheduler.json"
        self.scheduler = self._start(
            WITHOUT + SCHEDULER,
            "--port",
            0,
            "--no-dashboard",
            "--host",
            "127.0.0.1",
            "--scheduler-file",
            file,
        )
        self.wait_for(file.exists)
        import json

        self.wait_for(lambda: file.read_text().strip().endswith("}"))
        self.address = json.loads(file.read_text())["address"]

    def worker(self, name: str, before: str = "", threads: int = 1, **environment: str) -> subprocess.Popen:
        """A worker in this process's Python, after some lines."""
        return self._start(
            before + WORKER,
            self.address,
            *("--name", name, "--nthreads", threads, "--no-nanny", "--no-dashboard"),
            *("--local-directory", self.folder / name),
            **environment,
        )

    def _start(self, program: str, *arguments: object, **environment: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", "import sys\n" + program, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / f"log{len(self.processes)}").open("w"),
        )
        self.processes.append(process)
        return process

    @staticmethod
    def wait_for(condition, seconds: float = 120) -> None:
        """Wait for what will happen, however loaded the machine is."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "nothing happened"
            time.sleep(0.02)

    def close(self) -> None:
        """Kill everything."""
        for process in self.processes:
            process.kill()
            process.wait()
