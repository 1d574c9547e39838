"""What the user sees: the cost before starting, and the time left while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from propensity.simulate import equilibration as eq
from propensity.simulate.settings import SimulationSettings

#: Seconds until the first line of a stage where there is no bar; later lines are up to a minute apart.
FIRST_LINE = 5.0


def duration(seconds: float) -> str:
    """Seconds in words: ``45 s``, ``12 min``, ``3.4 h``, ``5.1 days``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    days = seconds / 86400
    return f"{days:.1f} days" if days < 1000 else f"{days / 365.25:.3g} years"


def short_count(number: float) -> str:
    """Short form of a large count: ``24.0 M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


def plural(number: int, word: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def run_steps(settings: SimulationSettings) -> int:
    """Steps of all isoconfigurational runs."""
    return settings.structures * settings.runs * settings.steps[-1]


def preparation_steps(settings: SimulationSettings, tau: float) -> int:
    """Steps of melting, cooling, equilibration and sampling when τ_α is ``tau``."""
    each = (
        settings.melt_time
        + settings.cool_time
        + eq.expected_time(tau, settings.equilibration, settings.model.constants.time)
    )
    between = (settings.structures - settings.chains) * settings.equilibration * tau
    return int((settings.chains * each + between) / settings.timestep)


def estimate(
    settings: SimulationSettings, speed: float, workers: int, preparing: float | None = None
) -> list[str]:
    """Lines that say what a data set will cost.

    Parameters
    ----------
    settings
        Of the data set.
    speed
        Steps per second of one run.
    workers
        Runs at once.
    preparing
        Steps per second of one run while there are as many as chains; None: the same.
    """

    def cost(steps: float, speed: float = speed) -> str:
        return f"{short_count(steps)} steps, {duration(steps / speed / workers)}"

    lines = [f"speed: {speed:.0f} steps/s a run, {workers} at once"]
    if not settings.start_from:
        short, long = settings.times[-1] / 10, settings.times[-1]
        lines.append(
            f"melting, cooling and equilibrating {plural(settings.chains, 'chain')}:"
            f" {cost(preparation_steps(settings, short), preparing or speed)} if tau_alpha is {short:.3g};"
            f" {cost(preparation_steps(settings, long), preparing or speed)} if it is {long:.3g}"
        )
    if settings.anneal:
        steps = settings.structures * settings.anneal / settings.timestep
        lines.append(
            f"annealing {plural(settings.structures, 'structure')} for {settings.anneal:g}:"
            f" {cost(steps, preparing or speed)}"
        )
    lines.append(
        f"{plural(settings.structures, 'structure')} × {settings.runs} runs to t = {settings.times[-1]:g}: "
        f"{cost(run_steps(settings))}"
    )
    return lines


class Progress:
    """A bar with the time left on a terminal; elsewhere a line now and then, and one at the end of a stage.

    Parameters
    ----------
    speed
        Steps per second of one worker, believed until some are measured.
    at_once
        Tells how many work at the moment; what is left follows it.
    """

    def __init__(self, speed: float, shown: bool = True, at_once: Callable[[], int] = lambda: 1) -> None:
        self.speed, self.shown, self.at_once = speed, shown, at_once
        self.name, self.total, self.done, self.here, self.found = "", 0, 0, 0, 0
        self.workers = at_once()
        self.began = self.stage = self.printed = time.monotonic()
        self.pause = FIRST_LINE
        self._bar: Any = None
        self._task: Any = None
        if shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[left]}"),
                console=Console(markup=False, emoji=False, stderr=True),
                transient=True,
            )

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._end_stage()
        if self._bar:
            self._bar.stop()

    def phase(self, name: str, total: int) -> None:
        """Begin a stage of ``total`` steps, and tell how long the one before took."""
        self._end_stage()
        self.name, self.total, self.done, self.here, self.found = name, total, 0, 0, 0
        self.began = self.stage = self.printed = time.monotonic()
        self.pause = FIRST_LINE
        if self._bar:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(name, total=max(1, total), left=self.left())

    def advance(self, steps: int, found: bool) -> None:
        """Count steps, those ``found`` finished without taking them for speed."""
        self.done += steps
        self.here += 0 if found else steps
        self.found += steps if found else 0
        self._follow()
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=self.done, left=self.left())
        elif self.shown and time.monotonic() - self.printed > self.pause:
            self.printed = time.monotonic()
            self.pause = min(2 * self.pause, 60.0)
            self.say(f"{self.name}: {self.done / max(1, self.total):.0%}, {self.left()}")

    def _end_stage(self) -> None:
        if self.name and self.done > self.found and not self._bar:
            self.say(f"{self.name}: done in {duration(time.monotonic() - self.stage)}")

    def _follow(self) -> None:
        """Begin to measure anew where the number of workers has changed."""
        now = self.at_once()
        if now == self.workers:
            return
        self.speed, self.here, self.began = self._speed(), 0, time.monotonic()
        self.workers = now
        self.say(f"{now} at once now: {self.left()}")

    def _speed(self) -> float:
        """Steps per second of one worker."""
        elapsed = time.monotonic() - self.began
        return self.here / elapsed / self.workers if self.here and elapsed > 1 else self.speed

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._bar:
            self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
        elif self.shown:
            print(line, file=sys.stderr, flush=True)

    def left(self) -> str:
        """Time left of this stage."""
        return f"{duration((self.total - self.done) / self._speed() / self.workers)} left"
