"""Annotate a trajectory frame by frame, in memory that doesn't grow with the number of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from propensity.errors import DataError, InputError
from propensity.numeric import whole
from propensity.predictor import Predictor
from propensity.trajectory.frame import Frame
from propensity.trajectory.pipeline import in_order, threads_side_by_side
from propensity.trajectory.readers import open_trajectory
from propensity.trajectory.stream import Frames
from propensity.trajectory.summary import PropensitySummary
from propensity.trajectory.work import (
    DoneFrame,
    annotate_frame,
    annotated_by_processes,
    annotated_on_cluster,
    naming,
)
from propensity.trajectory.writers import Writer, open_writer
from propensity.workers.pool import WAIT

#: Particles above which the threads work within a frame, whose memory is then needed once.
LARGE = 50_000


class BrokenFrameError(DataError):
    """A frame could not be annotated; ``summary`` is of those before it, which are saved."""

    def __init__(self, message: str, summary: PropensitySummary) -> None:
        super().__init__(message)
        self.summary = summary


class AnnotationInterrupted(KeyboardInterrupt):
    """Ctrl-C; ``summary`` is of the frames before it, which are saved.

    Parameters
    ----------
    summary
        Of the frames that are saved.
    """

    def __init__(self, summary: PropensitySummary) -> None:
        super().__init__()
        self.summary = summary


def annotate(
    trajectory: str | Path,
    output: str | Path,
    predictor: Predictor,
    topology: str | Path | None = None,
    *,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    workers: int | None = None,
    overwrite: bool = True,
    scheduler: Any = None,
    wait: float = WAIT,
    say: Callable[[str], None] = lambda line: None,
    box: float | Sequence[float] | None = None,
    progress: Callable[[Frames, PropensitySummary], None] | None = None,
) -> PropensitySummary:
    """Write every frame of a trajectory with its propensities.

    Parameters
    ----------
    trajectory, topology, start, stop, step, box
        See :func:`propensity.trajectory.open_trajectory`.
    output
        Extended XYZ, LAMMPS dump or HDF5 by extension; it appears when all is written.
    predictor
        Model or committee, with its species map and length scale.
    workers
        Frames in work at once: on as many threads where the device is the CPU, else by as many processes
        that share the device.  None: one a thread of torch on a CPU, or one where frames are so large
        (``LARGE``) that threads within them pay, and one on a GPU.  Reading and writing go on beside them.
    overwrite
        Replace an existing output; False refuses (as ``propensity annotate`` does without ``--overwrite``).
    scheduler
        Dask cluster that does the work instead: the address of its scheduler or an open
        ``distributed.Client``.  Workers need neither the trajectory nor the models; the order of frames is
        kept, and what a worker has not given back when it dies is done by another.
    wait, say
        Seconds to wait where no worker of the cluster can work, and who is told meanwhile; also told where
        frames are so large that they are predicted domain by domain.
    progress
        Called after each frame.

    Returns
    -------
    PropensitySummary
        Mean, smallest and largest propensity per species and time.

    Raises
    ------
    BrokenFrameError
        At a frame that can't be read or predicted, after the frames before it were saved.
    AnnotationInterrupted
        At Ctrl-C, likewise.
    DataError
        When there is no frame to annotate.
    InputError
        For an output, range of frames or number of workers that can't be used.
    PropensityError
        When another process is writing the output.
    """
    if not isinstance(predictor, Predictor):
        raise InputError(f"predictor is {predictor!r}: give a Predictor, which has model and species map.")
    if workers is not None:
        workers = whole(workers, "workers", 1)
    if scheduler is not None and workers is not None:
        raise InputError("workers are threads of this machine and scheduler is a cluster: give one.")
    frames = open_trajectory(trajectory, topology, start=start, stop=stop, step=step, box=box)
    if Path(output).exists() and Path(output).samefile(trajectory):
        raise InputError(f"output {output} is the trajectory itself: give another name.")
    summary = PropensitySummary(predictor.species, predictor.times)
    failure: BaseException | None = None
    with open_writer(output, predictor, overwrite) as writer:
        try:
            if scheduler is not None:
                ready = annotated_on_cluster(frames, predictor, writer, scheduler, wait, say)
            elif predictor.device.type != "cpu" and (workers or 1) > 1:
                ready = annotated_by_processes(frames, predictor, writer, workers or 1)
            else:
                ready = _annotated(iter(frames), predictor, writer, workers, say)
            for done in ready:
                with naming(done.number):
                    writer.append(done.prepared)
                summary.merge(done.summary)
                if progress is not None:
                    progress(frames, summary)
        except (DataError, KeyboardInterrupt) as error:
            failure = error
            if not summary.n_frames:
                raise
        if not summary.n_frames:
            raise DataError(f"{trajectory} has no frame in {start}:{'' if stop is None else stop}:{step}.")
    if isinstance(failure, DataError):
        saved = f"the {summary.n_frames} frame(s) before it are in {output}."
        raise BrokenFrameError(f"{str(failure).rstrip('.')}; {saved}", summary)
    if failure is not None:
        raise AnnotationInterrupted(summary)
    return summary


def _annotated(
    frames: Iterator[Frame],
    predictor: Predictor,
    writer: Writer,
    workers: int | None,
    say: Callable[[str], None],
) -> Iterator[DoneFrame]:
    """Predict and format frames on threads, in order."""
    first = next(frames, None)
    if first is None:
        return
    if predictor.by_domains(len(first)):
        devices = predictor.shared_by(len(first))
        where = f" on {', '.join(devices)}" if len(devices) > 1 else ""
        say(f"{len(first)} particles: predicted domain by domain{where}, so that memory is bounded")
    side_by_side = workers or _side_by_side(len(first), predictor)
    with threads_side_by_side(side_by_side) as submit:
        yield from in_order(
            chain([first], frames),
            lambda frame: submit(annotate_frame, predictor, writer, frame),
            lambda: side_by_side + 2,
        )


def _side_by_side(n_particles: int, predictor: Predictor) -> int:
    if predictor.device.type != "cpu" or n_particles > LARGE:
        return 1
    return torch.get_num_threads()
