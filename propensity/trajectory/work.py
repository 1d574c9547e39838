"""The work on a frame, wherever it is done: its propensities and its text."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from propensity.errors import DataError, InputError, PropensityWarning
from propensity.predictor import Predictor
from propensity.provenance import of_frame, without
from propensity.trajectory.frame import Frame, LaterFrame
from propensity.trajectory.pipeline import in_order
from propensity.trajectory.stream import Frames
from propensity.trajectory.summary import PropensitySummary
from propensity.trajectory.writers import Writer
from propensity.travelling import TravellingPredictor
from propensity.workers.opening import open_pool
from propensity.workers.pool import Pool

#: Particles and frames of one call to a cluster: the network takes longer over them than they travel.
_PARTICLES, _FRAMES = 50_000, 8
#: Calls in flight at the least, so that a cluster which grows with its queue does.
_LEAST = 16


@dataclass(frozen=True)
class DoneFrame:
    """A frame ready to be written."""

    number: int
    summary: PropensitySummary
    prepared: Any


@contextmanager
def naming(number: int) -> Iterator[None]:
    """Name the frame in errors of its structure."""
    try:
        yield
    except InputError as error:
        raise DataError(f"frame {number}: {error}") from None


def annotate_frame(predictor: Predictor, writer: Writer, frame: Frame) -> DoneFrame:
    """Predict a frame and prepare it for a writer."""
    with naming(frame.number):
        structure = frame.structure(predictor.species, predictor.species_map)
        columns = predictor.columns(structure)
        frame.info = without(frame.info) | of_frame(predictor.known_likeness(structure))
        prepared = writer.prepare(frame, structure.types, columns)
    summary = PropensitySummary(predictor.species, predictor.times)
    doubtful = bool(frame.info.get("propensity_out_of_distribution"))
    summary.add(structure.types, columns["propensities"], doubtful)
    return DoneFrame(frame.number, summary, prepared)


def annotate_frames(
    recipe: TravellingPredictor, writer: Writer, frames: list[Frame | LaterFrame]
) -> tuple[list[DoneFrame], DataError | None]:
    """The same for several frames in another process, up to one that can't be read or predicted."""
    torch.set_num_threads(1)  # a thread of a worker is one core
    predictor, done = recipe.predictor(), []
    for item in frames:
        try:
            frame = item.frame() if isinstance(item, LaterFrame) else item
            done.append(annotate_frame(predictor, writer, frame))
        except DataError as error:
            return done, error
    return done, None


def _made_ready(recipe: TravellingPredictor) -> None:
    """Load the models in a process of this machine, whose warnings are those of the first."""
    warnings.simplefilter("ignore", PropensityWarning)
    recipe.predictor()


def annotated_by_processes(
    frames: Frames, predictor: Predictor, writer: Writer, workers: int
) -> Iterator[DoneFrame]:
    """Frames from processes of this machine that share a device, in order; the first is done here.

    Text is taken apart by the processes, and files with random access are read by them.
    """
    found = frames.later()
    first = next(found, None)
    if first is None:
        return
    frame, recipe = first.frame(), TravellingPredictor.of(predictor)
    with open_pool(workers, None) as pool:
        for _ in range(workers):
            pool.submit(_made_ready, recipe)
        yield annotate_frame(predictor, writer, frame)
        yield from _from_pool(pool, (later.to_go() for later in found), len(frame), recipe, writer)


def annotated_on_cluster(
    frames: Frames,
    predictor: Predictor,
    writer: Writer,
    scheduler: Any,
    wait: float,
    say: Callable[[str], None],
) -> Iterator[DoneFrame]:
    """Frames from the workers of a Dask cluster, in order."""
    found = iter(frames)
    first = next(found, None)
    if first is None:
        return
    recipe = TravellingPredictor.of(predictor)
    with open_pool(None, scheduler, wait=wait, say=say) as pool:
        yield from _from_pool(pool, chain([first], found), len(first), recipe, writer)


def _from_pool(
    pool: Pool,
    frames: Iterator[Frame | LaterFrame],
    n_particles: int,
    recipe: TravellingPredictor,
    writer: Writer,
) -> Iterator[DoneFrame]:
    size = max(1, min(_FRAMES, _PARTICLES // n_particles))
    results = in_order(
        _batches(frames, size),
        lambda batch: pool.submit(annotate_frames, recipe, writer, batch),
        lambda: max(2 * pool.at_once(), _LEAST),
        lambda future: pool.wait([future]),
    )
    for done, error in results:
        yield from done
        if error is not None:
            raise error


def _batches(frames: Iterator[Frame | LaterFrame], size: int) -> Iterator[list[Frame | LaterFrame]]:
    """Lists of ``size`` frames; those before one that can't be read come before what reading it raises."""
    batch: list[Frame | LaterFrame] = []
    try:
        for frame in frames:
            batch.append(frame)
            if len(batch) == size:
                yield batch
                batch = []
    except DataError:
        if batch:
            yield batch
        raise
    if batch:
        yield batch
