"""From data sets of any format to one store: streaming, in parallel, resumable."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from propensity.data.entry import Entry
from propensity.data.further import FurtherRuns
from propensity.data.opening import open_dataset
from propensity.data.selection import TimesSpec, pick_times
from propensity.data.store.writer import StoreWriter
from propensity.errors import DataError, InputError, PropensityError
from propensity.numeric import positive
from propensity.sample import Sample

# Physics is imported where it is asked for: with torch and numba it takes each process three seconds.

#: Structures that are quenched together on a GPU.
_TOGETHER = 256
#: Called with (done, total) after each structure.
Progress = Callable[[int, int], None]


def convert(
    sources: Sequence[str | os.PathLike[str]],
    destination: str | os.PathLike[str],
    *,
    times: TimesSpec = "all",
    labels: str | None = None,
    length_scale: float | None = None,
    quench: bool | str = False,
    cage: bool = False,
    further: Sequence[str | os.PathLike[str]] = (),
    workers: int | None = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Gather data sets into one compact store.

    One structure a worker is in memory at a time.  Interrupted at any point, the same call goes on
    where it stopped; on a finished store it adds only what is new.

    Parameters
    ----------
    sources
        Anything that :func:`~propensity.data.open_dataset` opens.
    destination
        The store, ``.h5``.
    times
        As in :func:`~propensity.data.select_times`, but each structure keeps times of its own.
    labels
        As in :func:`~propensity.data.open_dataset`.
    length_scale
        Length of σ in the units of the sources, by which all lengths are divided; kept with the data.
    quench
        Give inherent positions to structures without, by
        :func:`propensity.physics.quench.with_inherent_structure`: in the potential that they name, or in the
        given one, such as ``"lammps:my.in"``.
    cage
        Give cage states to structures without, by :func:`propensity.physics.cage.with_cage_states`; minima
        are made first where there are none.
    further
        Data sets of further runs of structures with the same names, whose labels are averaged in, see
        :class:`propensity.data.further.FurtherRuns`.
    workers
        Processes; None: one a CPU.  More than one needs ``if __name__ == "__main__":`` in a script.
    overwrite
        Replace an existing store, and parts of an interrupted one, instead of going on.
    progress
        Called with (done, total).

    Returns
    -------
    pathlib.Path
        The store.

    Raises
    ------
    DataError
        When structures can't be read or quenched: the others are kept, and the same call tries those again.
    InputError
        For a destination, number of workers or length that can't be used.
    """
    destination = Path(destination)
    paths = [Path(source) for source in sources]
    if any(path.resolve() == destination.resolve() for path in paths):
        raise InputError(f"{destination} is a source and the destination: choose another name for the store.")
    if any(path.is_dir() and path.resolve() in destination.resolve().parents for path in paths):
        raise InputError(f"{destination} lies inside a source and would become part of it: put it elsewhere.")
    if isinstance(quench, str):
        from propensity.physics.kob_andersen import LAMMPS, by_lammps, check_potential

        check_potential(quench)
        if quench.startswith(LAMMPS):
            by_lammps("liquid")(quench.removeprefix(LAMMPS))
    dataset = open_dataset(paths, labels=labels)
    job: dict[str, Any] = {"sources": [str(path) for path in paths], "times": str(times), "labels": labels}
    if quench:  # absent otherwise, as from stores that are older than the option
        job["quench"] = quench
    if cage:
        job["cage"] = True
    more = FurtherRuns(further)
    if further:
        more.check(dataset.names)
        job["further"] = [str(path) for path in further]
    if length_scale is not None:
        job["length_scale"] = positive(
            length_scale, "length_scale", "the length of σ in the units of the data"
        )
    with StoreWriter(destination, job=job, overwrite=overwrite) as writer:
        done = writer.done()
        entries = [entry for entry in dataset.entries if entry.name not in done]
        total = len(dataset)
        finished = total - len(entries)
        failures: list[str] = []
        if progress:
            progress(finished, total)
        task = _Task(writer, times, length_scale, quench or cage, cage, more)
        for failure in _run(entries, task, workers):
            finished += 1
            if failure:
                failures.append(failure)
            if progress:
                progress(finished, total)
        if failures:
            kept = f"; the others are kept in {writer.parts}" if len(failures) < total else ""
            raise DataError(
                f"{len(failures)} of {total} structures can't be converted{kept}. Repair or remove the"
                f" file(s) and repeat the command. First: {failures[0]}"
            )
    return destination


def _run(entries: list[Entry], task: _Task, workers: int | None) -> Iterator[str | None]:
    """Convert entries, yielding for each what went wrong or None."""
    if task.quench:
        from propensity.physics.gpu.device import best_device

        if best_device() is not None:
            yield from _run_on_gpu(entries, task)
            return
    workers = min(workers or os.cpu_count() or 1, len(entries))
    if workers <= 1:
        yield from map(task, entries)
        return
    # Processes started afresh: forking beside the threads of a progress bar can deadlock.
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker) as pool:
        queue = iter(entries)
        # Few tasks in flight, so that an interruption waits for little.
        with _interrupts_held():
            pending: set[Future[str | None]] = {pool.submit(task, e) for e in islice(queue, 2 * workers)}
        try:
            while pending:
                ready, pending = wait(pending, return_when=FIRST_COMPLETED)
                pending |= {pool.submit(task, entry) for entry in islice(queue, len(ready))}
                for future in ready:
                    yield future.result()
        except BrokenProcessPool:
            raise PropensityError(
                "a process that converts died (out of memory, or a crash): the structures that were done are"
                f" in {task.writer.parts}, and the same command goes on from them (fewer --workers take less"
                " memory)."
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _run_on_gpu(entries: list[Entry], task: _Task) -> Iterator[str | None]:
    """Convert entries a few hundred at a time, their quenches together."""
    for first in range(0, len(entries), _TOGETHER):
        loaded = [task.load(entry) for entry in entries[first : first + _TOGETHER]]
        yield from map(task.add, task.prepared(loaded))


def _completed(
    loaded: list[Sample | PropensityError],
    lacks: Callable[[Sample], bool],
    complete: Callable[[list[Sample]], Sequence[Sample | PropensityError]],
) -> list[Sample | PropensityError]:
    """Complete those samples that lack something, together."""
    out = list(loaded)
    todo = {i: s for i, s in enumerate(loaded) if isinstance(s, Sample) and lacks(s)}
    for i, result in zip(todo, complete(list(todo.values())), strict=True):
        out[i] = result
    return out


class _Task:
    """Load one entry and add it; pickles into workers."""

    def __init__(
        self,
        writer: StoreWriter,
        times: TimesSpec,
        length_scale: float | None,
        quench: bool | str,
        cage: bool,
        more: FurtherRuns,
    ) -> None:
        self.more = more
        self.writer, self.times, self.length_scale = writer, times, length_scale
        self.quench, self.cage = quench, cage

    def __call__(self, entry: Entry) -> str | None:
        return self.add(self.prepared([self.load(entry)])[0])

    def prepared(self, loaded: list[Sample | PropensityError]) -> list[Sample | PropensityError]:
        """Minima and cage states where they lack; errors stay where they are."""
        if self.quench:
            from propensity.physics.quench import with_inherent_structures

            potential = self.quench if isinstance(self.quench, str) else None
            minima = partial(with_inherent_structures, potential=potential)
            loaded = _completed(loaded, lambda s: s.inherent_positions is None, minima)
        if self.cage:
            from propensity.physics.cage import with_cage_states

            loaded = _completed(loaded, lambda s: s.cage is None, with_cage_states)
        return loaded

    def load(self, entry: Entry) -> Sample | PropensityError:
        """Read and convert; a failure is returned, not raised."""
        try:
            sample = pick_times(self.more.added(entry.load()), self.times)
        except PropensityError as error:
            return error
        try:
            return sample if self.length_scale is None else sample.in_units_of(self.length_scale)
        except InputError as error:  # of a structure, which does not know its name
            return InputError(f"{entry.name}: {error}")
        except PropensityError as error:
            return error

    def add(self, sample: Sample | PropensityError) -> str | None:
        """Store a sample, or say what went wrong with it."""
        if isinstance(sample, PropensityError):
            return str(sample)
        # Trouble with writing is everybody's and ends the run.
        self.writer.add(sample)
        return None


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Delay Ctrl-C; processes started meanwhile never see it (it reaches all of a terminal), only we do."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
