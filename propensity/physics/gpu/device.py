"""Where kernels run: CUDA devices through CuPy and NVRTC, or the same source as C++ (for tests)."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from propensity.errors import MissingDependencyError, PropensityError
from propensity.physics.gpu.layout import Variant

_PARTS = ("common.cuh", "cells.cuh", "deal.cuh", "lists.cuh", "pair.cuh", "md.cuh", "fire.cuh")
_INSTALL = "pip install 'propensity[gpu]'"
#: Oldest architecture with the instructions that kernels use.
_OLDEST = 70
#: Blocks of a cluster, on the architectures from one on and before another that can.
_CLUSTERS, _CLUSTERED, _NO_MORE = 16, 90, 110
#: Blocks of a cluster that need leave, and the attribute of a function that gives it.
_PORTABLE, _LEAVE = 8, 14


class Program(Protocol):
    """Compiled kernels of one variant on one device."""

    def launch(self, kernel: Literal["md", "fire"], args: np.ndarray, teams: int) -> None:
        """Run a kernel with ``teams`` blocks and wait for its end; ``args`` has dtype ``layout.ARGS``."""
        ...


class Device(Protocol):
    """Arrays (numpy or CuPy, as ``xp``) and programs of one device."""

    @property
    def warp(self) -> int:
        """Threads that run in step."""
        ...

    xp: Any
    name: str
    multiprocessors: int
    shared_block: int
    shared_all: int
    #: Most blocks that can share one system.
    clusters: int

    def program(self, variant: Variant) -> Program:
        """Compile a variant, or take it from the cache."""
        ...

    def free_memory(self) -> int:
        """Bytes."""
        ...

    def active(self) -> AbstractContextManager[Any]:
        """Within this context arrays are made on the device."""
        ...


def source(variant: Variant, host: bool = False) -> str:
    """Source of the kernels of one variant: its macros, then the files of ``kernels/``."""
    folder = resources.files("propensity.physics.gpu") / "kernels"
    macros = "".join(f"#define {name} {value}\n" for name, value in variant.macros.items())
    parts = (("host.cuh",) if host else ()) + _PARTS
    return macros + "\n".join((folder / name).read_text("utf-8") for name in parts)


class CudaDevice:
    """A CUDA device.

    Raises
    ------
    MissingDependencyError
        Without CuPy.
    PropensityError
        Without a CUDA device of this number, or one that is too old.
    """

    warp: int = 32

    def __init__(self, number: int = 0) -> None:
        cupy = _cupy()
        count = device_count()
        if number >= count:
            raise PropensityError(
                f"there is no CUDA device {number} here ({count} found): check nvidia-smi or use LAMMPS."
            )
        self.number, self.xp = number, cupy
        with cupy.cuda.Device(number):
            p = cupy.cuda.runtime.getDeviceProperties(number)
        self.capability = 10 * p["major"] + p["minor"]
        self.name = p["name"].decode()
        if self.capability < _OLDEST:
            raise PropensityError(
                f"{self.name} has compute capability {self.capability / 10:.1f} and the GPU engine needs "
                f"{_OLDEST / 10:.1f}: use --engine lammps."
            )
        self.multiprocessors = p["multiProcessorCount"]
        self.shared_block = p["sharedMemPerBlockOptin"]
        self.shared_all = p["sharedMemPerMultiprocessor"]
        self.clusters = _CLUSTERS if _CLUSTERED <= self.capability < _NO_MORE else 1
        self._programs: dict[Variant, _CudaProgram] = {}

    def program(self, variant: Variant) -> Program:
        """Compile with NVRTC; CuPy keeps the binary in ~/.cupy/kernel_cache."""
        if variant not in self._programs:
            self._programs[variant] = _CudaProgram(self, variant)
        return self._programs[variant]

    def active(self) -> AbstractContextManager[Any]:
        """Make this the current device of the thread."""
        context: AbstractContextManager[Any] = self.xp.cuda.Device(self.number)
        return context

    def free_memory(self) -> int:
        """Bytes that are free or held by CuPy's pool unused."""
        free, _ = self.xp.cuda.runtime.memGetInfo()
        return int(free + self.xp.get_default_memory_pool().free_bytes())


class _CudaProgram:
    def __init__(self, device: CudaDevice, variant: Variant) -> None:
        cupy = device.xp
        self.cupy, self.variant = cupy, variant
        try:
            self.module = cupy.RawModule(
                code=source(variant), options=("-std=c++17",), enable_cooperative_groups=variant.grid
            )
            self.kernels = {name: self.module.get_function(name) for name in ("md", "fire")}
        except cupy.cuda.compiler.CompileException as error:
            raise PropensityError(
                f"the kernels don't compile for {device.name} ({str(error).strip().splitlines()[-1][:200]}): "
                "report this, and use --engine lammps."
            ) from None
        self.bytes = variant.shared_bytes()
        for kernel in self.kernels.values():
            kernel.max_dynamic_shared_size_bytes = self.bytes
            if variant.cluster > _PORTABLE:
                cupy.cuda.driver.funcSetAttribute(kernel.kernel.ptr, _LEAVE, 1)
        self.args = self.module.get_global("A")

    def launch(self, kernel: Literal["md", "fire"], args: np.ndarray, teams: int) -> None:
        """Run and wait."""
        cupy = self.cupy
        held = np.ascontiguousarray(args)
        self.args.copy_from_host(ctypes.c_void_p(held.ctypes.data), held.nbytes)
        try:
            self.kernels[kernel]((teams,), (self.variant.threads,), (), shared_mem=self.bytes)
            cupy.cuda.get_current_stream().synchronize()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise PropensityError(f"the CUDA device stopped: {error}.") from None


class HostDevice:
    """The kernels compiled as C++, one thread a block: slow, for tests of the very source that GPUs run.

    Parameters
    ----------
    clusters
        Most blocks that share one system.

    Raises
    ------
    MissingDependencyError
        Without a C++ compiler.
    """

    warp: int = 1
    multiprocessors = 1
    shared_block = shared_all = 1 << 30
    xp: Any = np
    name = "C++ on the host"

    def __init__(self, clusters: int = 1) -> None:
        self.clusters = clusters
        compiler = (
            os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
        )
        if compiler is None:
            raise MissingDependencyError("the host build of the kernels needs a C++ compiler, such as g++.")
        self.compiler = compiler

    def program(self, variant: Variant) -> Program:
        """Compile into a folder of this process."""
        return _HostProgram(_compiled(self.compiler, source(variant, host=True)), variant.cluster)

    def active(self) -> AbstractContextManager[Any]:
        """Nothing to do."""
        return nullcontext()

    def free_memory(self) -> int:
        """Plenty."""
        return 1 << 34


class _HostProgram:
    def __init__(self, path: Path, blocks: int) -> None:
        self.library, self.blocks = ctypes.CDLL(str(path)), blocks

    def launch(self, kernel: Literal["md", "fire"], args: np.ndarray, teams: int) -> None:
        """Run; the only team does all the work, each of its blocks in a thread."""
        held = np.ascontiguousarray(args)
        symbol = ctypes.c_char.in_dll(self.library, "A")
        ctypes.memmove(ctypes.addressof(symbol), held.ctypes.data, held.nbytes)

        def block(number: int) -> None:
            self.library.become(number)
            getattr(self.library, kernel)()

        with ThreadPoolExecutor(self.blocks) as pool:
            list(pool.map(block, range(self.blocks)))


@lru_cache(maxsize=1)
def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="propensity-kernels-")


def _compiled(compiler: str, text: str) -> Path:
    folder = Path(_scratch().name)
    library = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.so"
    if not library.exists():
        code = library.with_suffix(".cpp")
        code.write_text(text, "utf-8")
        words = [compiler, "-std=c++17", "-O2", "-fPIC", "-shared", "-w", "-o", str(library), str(code)]
        words += shlex.split(os.environ.get("CXXFLAGS", ""))
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            raise PropensityError(f"{compiler} can't compile the kernels: {done.stderr.strip()[:300]}")
    return library


def device_count() -> int:
    """CUDA devices that CuPy can see; 0 without a driver.

    Raises
    ------
    MissingDependencyError
        Without CuPy.
    """
    cupy = _cupy()
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError:
        return 0


def gpu_available() -> bool:
    """Whether ``--engine auto`` takes the GPU."""
    try:
        return device_count() > 0
    except MissingDependencyError:
        return False


@lru_cache(maxsize=1)
def best_device() -> Device | None:
    """The first CUDA device, or None where kernels can't run."""
    try:
        return cuda_device() if gpu_available() else None
    except PropensityError:
        return None


@lru_cache(maxsize=8)
def cuda_device(number: int = 0) -> CudaDevice:
    """The device of this number, once a process."""
    return CudaDevice(number)


def _cupy() -> Any:
    try:
        import cupy
    except Exception:  # a broken installation raises many things
        raise MissingDependencyError(
            f"the GPU engine needs CuPy: {_INSTALL}, or use --engine lammps."
        ) from None
    return cupy


def out_of_memory(error: Exception, device: Device) -> Exception:
    """The error itself, or one sentence when a device's memory ran out."""
    if type(error).__name__ == "OutOfMemoryError":
        return PropensityError(
            f"{device.name} has too little memory ({device.free_memory() / 2**30:.1f} GiB free): simulate "
            "fewer systems at once with a smaller --batch."
        )
    return error
