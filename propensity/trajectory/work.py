"""The work on a frame, wherever it is done: its propensities and its text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch

from propensity.errors import DataError, InputError
from propensity.predictor import Predictor
from propensity.provenance import of_frame, without
from propensity.trajectory.frame import Frame
from propensity.trajectory.pipeline import in_order
from propensity.trajectory.writers import Writer
from propensity.travelling import TravellingPredictor
from propensity.workers.opening import open_pool

#: Particles and frames of one call to a cluster: the network takes longer over them than they travel.
_PARTICLES, _FRAMES = 50_000, 8
#: Calls in flight at the least, so that a cluster which grows with its queue does.
_LEAST = 16


@dataclass(frozen=True)
class DoneFrame:
    """A frame ready to be written."""

    number: int
    types: np.ndarray
    propensities: np.ndarray
    prepared: Any
    doubtful: bool


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
    doubtful = bool(frame.info.get("propensity_out_of_distribution"))
    return DoneFrame(frame.number, structure.types, columns["propensities"], prepared, doubtful)


def annotate_frames(
    recipe: TravellingPredictor, writer: Writer, frames: list[Frame]
) -> tuple[list[DoneFrame], DataError | None]:
    """The same for several frames in a worker of a cluster, up to one that can't be predicted."""
    torch.set_num_threads(1)  # a thread of a worker is one core
    predictor, done = recipe.predictor(), []
    for frame in frames:
        try:
            done.append(annotate_frame(predictor, writer, frame))
        except DataError as error:
            return done, error
    return done, None


def annotated_on_cluster(
    frames: Iterator[Frame],
    predictor: Predictor,
    writer: Writer,
    scheduler: Any,
    wait: float,
    say: Callable[[str], None],
) -> Iterator[DoneFrame]:
    """Frames from the workers of a Dask cluster, in order."""
    first = next(frames, None)
    if first is None:
        return
    recipe = TravellingPredictor.of(predictor)
    size = max(1, min(_FRAMES, _PARTICLES // len(first)))
    with open_pool(None, scheduler, wait=wait, say=say) as pool:
        results = in_order(
            _batches(chain([first], frames), size),
            lambda batch: pool.submit(annotate_frames, recipe, writer, batch),
            lambda: max(2 * pool.at_once(), _LEAST),
            lambda future: pool.wait([future]),
        )
        for done, error in results:
            yield from done
            if error is not None:
                raise error


def _batches(frames: Iterator[Frame], size: int) -> Iterator[list[Frame]]:
    """Lists of ``size`` frames; those before one that can't be read come before what reading it raises."""
    batch: list[Frame] = []
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
