"""LAMMPS as an engine: through its Python module, or a command of the user's own (MPI, KOKKOS)."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from propensity.errors import InputError, MissingDependencyError, PropensityError
from propensity.simulate import lammps_input
from propensity.simulate.engine import Leg, LegResult, flew_apart
from propensity.workers import processes

#: LAMMPS keeps globals of MPI: one instance a process at a time, whatever threads call.
_ONE_AT_A_TIME = threading.Lock()

#: What LAMMPS says where a step was too long; the last where no particle is left to divide by.
_FLEW_APART = re.compile(r"(Lost atoms|Non-numeric|Out of range atoms|Variable pe: Divide by 0)[^.(\n]*")

#: Suffix → commands that switch it on.
_SUFFIXES = {
    "opt": "suffix opt\n",
    "omp": "package omp 0\nsuffix omp\n",
    "gpu": "package gpu 0\nsuffix gpu\n",
    "intel": "package intel 0\nsuffix intel\n",
    "none": "",
}


@dataclass(frozen=True)
class LammpsEngine:
    """Run legs with LAMMPS; every leg is one input script, the same for both ways of running it.

    Parameters
    ----------
    exe
        Command of a LAMMPS binary, such as ``"lmp_mpi"`` or ``"srun lmp -k on g 1 -sf kk"``; None uses
        the Python module (on one rank) or the ``lmp`` beside it (on several).
    suffix
        Accelerated styles, which fall back to plain ones where there are none; ``"none"`` leaves them to the
        flags of
        ``exe``.  None means ``"opt"`` for the Python module and ``"none"`` for an ``exe``.
    ranks
        MPI ranks of one run, started with ``mpiexec -n``.
    """

    exe: str | None = None
    suffix: str | None = None
    ranks: int = 1
    batch_size: int = 1
    name: str = field(default="lammps", init=False)

    def __post_init__(self) -> None:
        if self.ranks < 1:
            raise InputError(f"--ranks is {self.ranks}: give 1 or more.")
        if self.suffix is None:
            object.__setattr__(self, "suffix", "opt" if self.exe is None else "none")
        if self.suffix not in _SUFFIXES:
            raise InputError(
                f"--suffix is {self.suffix!r}: choose from {', '.join(_SUFFIXES)}; KOKKOS needs flags, such"
                " as --lammps-exe 'lmp -k on g 1 -sf kk'."
            )

    @property
    def cores(self) -> int:
        """Processor cores that one run keeps busy."""
        return self.ranks

    @property
    def one_a_process(self) -> bool:
        """LAMMPS as a library keeps globals."""
        return self.exe is None and self.ranks == 1

    def run(self, legs: Sequence[Leg]) -> list[LegResult]:
        """Run each leg in turn.

        Raises
        ------
        PropensityError
            When LAMMPS stops with an error, with its message.
        """
        return [self._run(leg) for leg in legs]

    def describe(self) -> str:
        """Version of LAMMPS and how it is run; raises when it can't be."""
        if self.exe is None and self.ranks == 1:
            with _ONE_AT_A_TIME:
                lmp = _open(["-screen", "none", "-log", "none"])
                version = lmp.version()
                lmp.close()
            return f"LAMMPS {version} (Python module, suffix {self.suffix})"
        with processes.scratch_folder() as folder:
            (folder / "leg.in").write_text("print version:$(version)\n", "utf-8")
            self._execute(folder)
            found = re.search(r"version:(\d+)", (folder / "log.lammps").read_text("utf-8", "replace"))
        version = found[1] if found else "of unknown version"
        return f"LAMMPS {version} ({shlex.join(self.command())}, suffix {self.suffix})"

    def command(self) -> list[str]:
        """Words of the command that starts LAMMPS outside this process."""
        words = shlex.split(self.exe) if self.exe else [_beside_python("lmp", "pip install lammps[mpi]")]
        if not words:
            raise InputError("--lammps-exe is empty: give the command of a LAMMPS binary, such as lmp_mpi.")
        if self.ranks > 1:
            words = [_beside_python("mpiexec", "pip install mpich"), "-n", str(self.ranks), *words]
        if shutil.which(words[0]) is None:
            raise MissingDependencyError(
                f"{words[0]!r} is not a program on this machine: give --lammps-exe the path of a LAMMPS"
                " binary or leave it out to use the Python module."
            )
        return words

    def execute(self, folder: Path) -> None:
        """Run the input ``leg.in`` of a folder, in this process or by the command."""
        if self.exe is None and self.ranks == 1:
            self._in_process(folder)
        else:
            self._execute(folder)

    def _run(self, leg: Leg) -> LegResult:
        if leg.model.sizes is not None:
            raise InputError(
                f"{leg.model.name} has continuous sizes, for which LAMMPS has no interaction: use --engine"
                " swap."
            )
        with processes.scratch_folder() as folder:
            lammps_input.write(leg, folder, _SUFFIXES[str(self.suffix)])
            try:
                self.execute(folder)
            except PropensityError as error:
                said = _FLEW_APART.search(str(error))
                if said is None or leg.ensemble == "minimise":
                    raise
                raise flew_apart(leg, said[0].rstrip()) from None
            return lammps_input.read(leg, folder)

    def _in_process(self, folder: Path) -> None:
        with _ONE_AT_A_TIME:
            lmp = _open(["-log", str(folder / "log.lammps"), "-screen", "none"])
            try:
                with processes.stoppable(lmp.force_timeout):
                    lmp.file(str(folder / "leg.in"))
            except Exception as error:  # the module raises bare exceptions
                raise _failure(str(error)) from None
            finally:
                lmp.close()

    def _execute(self, folder: Path) -> None:
        words = [*self.command(), "-in", "leg.in", "-log", "log.lammps", "-screen", "none"]
        code, output = processes.run_program(words, folder)
        log = folder / "log.lammps"
        if code or not log.exists():
            raise _failure(output + (log.read_text("utf-8", "replace") if log.exists() else ""), words, code)


def _open(words: list[str]):  # type: ignore[no-untyped-def]
    from propensity.simulate.lammps_library import load_lammps

    try:
        return load_lammps(words)
    except MissingDependencyError:
        raise
    except Exception as error:  # the module raises bare exceptions
        raise _failure(str(error)) from None


def _failure(text: str, words: Sequence[str] = (), code: int = 0) -> PropensityError:
    """One line from whatever LAMMPS printed."""
    found = re.findall(r"ERROR[^\n:]*: *([^\n]*)", text)
    if found:
        message = re.sub(r"\s*\((?:src/|/|\.\.)[^()]*\)", "", found[0]).strip().rstrip(".")
        return PropensityError(f"LAMMPS stopped: {message}.")
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no output")
    if words:
        return PropensityError(
            f"{shlex.join(words)} failed ({f'code {code}, ' if code else 'no log, '}{last[:200]}): check that"
            " it is a LAMMPS binary that runs on this machine."
        )
    return PropensityError(f"LAMMPS stopped: {last[:300]}.")


def _beside_python(name: str, install: str) -> str:
    """Program of this Python environment, else of PATH."""
    local = Path(sys.prefix) / "bin" / name
    found = str(local) if local.exists() else shutil.which(name)
    if found is None:
        raise MissingDependencyError(
            f"the program {name} is needed and absent: {install}, or give --lammps-exe."
        )
    return found
