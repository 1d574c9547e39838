"""Running many trajectories at once: each is cut into pieces that are stored as they finish."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from propensity.errors import PropensityError
from propensity.simulate.engine import Engine, Leg, LegResult, Microstate, run_legs
from propensity.simulate.model import LiquidModel
from propensity.simulate.physics import scattering, species_temperatures
from propensity.simulate.pieces import MICROSTATE, Piece, PieceStore, pack_microstate, unpack_microstate
from propensity.workers.pool import Pool, worker_died

#: Particle-steps of one piece, about half an hour of one core: what a kill can cost at most.
_PIECE = 4_000_000_000


def piece_length(n_particles: int) -> int:
    """Steps of one piece; a function of nothing else, so that it is the same at every resume."""
    return max(1000, _PIECE // n_particles)


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Dynamics from one point in phase space, in one or more pieces.

    Parameters
    ----------
    key
        Its name in the store.
    begin
        Gives the first microstate; called only when needed, by when earlier trajectories are stored.
    keep
        ``"displacements"`` stores the norm of each particle's displacement at the frames, ``"microstate"``
        only where it ended.
    """

    key: str
    begin: Callable[[], Microstate]
    model: LiquidModel
    ensemble: Literal["nve", "nvt", "minimise"]
    keep: Literal["displacements", "microstate"]
    steps: int = 0
    timestep: float = 0.005
    frames: tuple[int, ...] = ()
    temperature: tuple[float, float] | None = None
    wavenumber: float = 7.25
    iterations: int = 100_000


class Runner:
    """Keep workers busy with trajectories.

    Parameters
    ----------
    engine
        Who integrates.
    pool
        Local processes or a cluster, of which as many calls are in flight as it asks for at the moment.
    store
        Where finished pieces go.
    advance
        Told the steps of each finished piece, and whether it was found in the store.
    length
        Steps of one piece.
    batch
        Legs of one call; None takes what the engine likes.
    """

    def __init__(
        self,
        engine: Engine,
        pool: Pool,
        store: PieceStore,
        length: int,
        advance: Callable[[int, bool], None] = lambda steps, found: None,
        batch: int | None = None,
    ) -> None:
        self.engine, self.pool, self.store = engine, pool, store
        self.length, self.advance, self.batch = length, advance, batch or engine.batch_size
        #: Seconds that engines have worked so far, all of them together.
        self.busy = 0.0

    def run(
        self,
        sequences: Sequence[Sequence[Trajectory]],
        finished: Callable[[Trajectory], None] = lambda trajectory: None,
    ) -> None:
        """Run sequences of trajectories side by side, each sequence in its order.

        Raises
        ------
        PropensityError
            The first failure, after everything that had finished by then is stored.
        """
        waiting = [self._legs(sequence, finished) for sequence in sequences]
        waiting.reverse()
        flying: dict[Future[Any], list[tuple[_Work, Iterator[_Work]]]] = {}

        def fill() -> None:
            slots = self.pool.slots()
            while waiting and len(flying) < slots:
                batch: list[tuple[_Work, Iterator[_Work]]] = []
                while waiting and len(batch) < self.batch:
                    iterator = waiting.pop()
                    work = next(iterator, None)
                    if work is not None:
                        batch.append((work, iterator))
                if batch:
                    future = self.pool.submit(run_legs, self.engine, [work.leg for work, _ in batch])
                    flying[future] = batch

        try:
            while waiting or flying:
                fill()
                failure: PropensityError | None = None
                found = []
                for future in self.pool.wait(flying):
                    batch = flying.pop(future)
                    try:
                        found.append((batch, self._result(future, batch[0][0].key)))
                    except PropensityError as error:
                        failure = failure or error
                if not failure:
                    fill()  # workers go on while results are stored
                for batch, results in found:
                    for (work, iterator), result in zip(batch, results, strict=True):
                        self.store.save(work.key, reduce_result(work, result))
                        self.advance(work.leg.steps, False)
                        self.busy += result.seconds
                        waiting.append(iterator)
                if failure:
                    raise failure
        finally:
            for future in flying:
                future.cancel()

    def result(self, trajectory: Trajectory) -> dict[str, np.ndarray]:
        """Arrays of a finished trajectory: those of its pieces one after another, and the last microstate."""
        parts = [self.store.load(f"{trajectory.key}/{i}") for i in range(self._count(trajectory))]
        names = [n for n in parts[-1] if not n.startswith(MICROSTATE) and n != "temperatures"]
        try:
            joined = {name: np.concatenate([part[name] for part in parts]) for name in names}
        except ValueError as error:
            raise PropensityError(
                f"pieces of {trajectory.key} don't fit together ({error}): delete {parts[0].path.parent} and"
                " run the same command again."
            ) from None
        last = {name: value for name, value in parts[-1].items() if name not in joined}
        return Piece(parts[-1].path, joined | last)

    def microstate(self, trajectory: Trajectory) -> Microstate:
        """Where a finished trajectory ended."""
        return unpack_microstate(self.store.load(f"{trajectory.key}/{self._count(trajectory) - 1}"))

    def _count(self, trajectory: Trajectory) -> int:
        return max(1, -(-trajectory.steps // self.length))

    def _legs(
        self, sequence: Sequence[Trajectory], finished: Callable[[Trajectory], None]
    ) -> Iterator[_Work]:
        """Yield the pieces that are not stored, each once the one before is."""
        for trajectory in sequence:
            origin: Microstate | None = None
            for i in range(self._count(trajectory)):
                first, last = i * self.length, min((i + 1) * self.length, trajectory.steps)
                key = f"{trajectory.key}/{i}"
                if key in self.store:
                    self.advance(last - first, True)
                    continue
                origin = origin or trajectory.begin()
                microstate = (
                    origin if i == 0 else unpack_microstate(self.store.load(f"{trajectory.key}/{i - 1}"))
                )
                leg = Leg(
                    microstate=microstate,
                    model=trajectory.model,
                    ensemble=trajectory.ensemble,
                    steps=last - first,
                    timestep=trajectory.timestep,
                    frames=tuple(f - first for f in trajectory.frames if first < f <= last),
                    temperature=_part(trajectory, first, last),
                    sample_every=max(1, min(100, trajectory.steps // 200)),
                    iterations=trajectory.iterations,
                )
                yield _Work(key, leg, origin, trajectory, last == trajectory.steps)
            finished(trajectory)

    def _result(self, future: Future[Any], key: str) -> list[LegResult]:
        try:
            return cast("list[LegResult]", future.result())
        except PropensityError as error:
            raise type(error)(f"{key}: {error}") from None
        except BrokenProcessPool:
            raise PropensityError(f"{key}: {worker_died()}") from None
        except Exception as error:  # whatever came back from the worker
            text = " ".join(str(error).split())[:300]
            raise PropensityError(f"{key}: a worker failed ({type(error).__name__}: {text}).") from error


@dataclass(frozen=True, eq=False)
class _Work:
    key: str
    leg: Leg
    origin: Microstate
    trajectory: Trajectory
    last: bool


def reduce_result(work: _Work, result: LegResult) -> dict[str, np.ndarray]:
    """What is worth storing of a piece."""
    trajectory, end = work.trajectory, result.microstate
    assert end.masses is not None
    model = trajectory.model
    first = work.origin.types == 0
    distances = np.linalg.norm(result.frames - work.origin.positions, axis=2)
    arrays = {
        "fs": scattering(distances[:, first], trajectory.wavenumber, model.dimension),
        "potential": result.potential,
        "kinetic": result.kinetic,
        "pressure": result.pressure,
        "residual_force": np.array([result.residual_force]),
        "temperatures": species_temperatures(
            end.velocities, end.masses, end.types, model.dimension, len(model.species), model.constants
        ),
    }
    if trajectory.keep == "displacements":
        arrays["displacements"] = distances.astype(np.float32)
    if trajectory.keep == "microstate" or not work.last:
        arrays |= pack_microstate(end)
    return arrays


def _part(trajectory: Trajectory, first: int, last: int) -> tuple[float, float] | None:
    """Thermostat's temperatures at the ends of a piece of a linear ramp."""
    if trajectory.temperature is None:
        return None
    start, stop = trajectory.temperature
    slope = (stop - start) / max(1, trajectory.steps)
    return start + slope * first, start + slope * last
