"""The stages of a data set: melt, cool, equilibrate, sample, isoconfigurational runs, inherent structures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from propensity.errors import PropensityError
from propensity.sample import Sample
from propensity.simulate import equilibration as eq
from propensity.simulate.engine import Microstate
from propensity.simulate.ensemble import check_drift, ensemble_sample
from propensity.simulate.given import given_microstate
from propensity.simulate.physics import first_peak, wrap
from propensity.simulate.pieces import PieceStore, pack_microstate, unpack_microstate
from propensity.simulate.runner import Runner, Trajectory
from propensity.simulate.settings import SimulationSettings
from propensity.simulate.starts import ANNEAL, MELT, RUN, first_lattice, with_velocities
from propensity.statistics import mean_and_error, noise_ceiling, pearson

#: Configurations from which the first peak of S(k) is taken.
PEAK_STRUCTURES = 8
#: Seconds of a stage's work that are worth telling.
LONG = 10.0
#: FIRE iterations that take particles off the lattice and apart, before melting.
RELAX_ITERATIONS = 200


class Workflow:
    """All stages for one set of settings, each resuming from what is stored.

    Parameters
    ----------
    settings
        What to make.
    runner, store
        Who works, and where pieces are.
    masses
        Of each species, shape (n_species,).
    say
        Receives lines of text for the user.
    phase
        Told the name and total steps of each stage.
    given
        Samples to label instead of melting new structures.
    """

    def __init__(
        self,
        settings: SimulationSettings,
        runner: Runner,
        store: PieceStore,
        masses: np.ndarray,
        say: Callable[[str], None],
        phase: Callable[[str, int], None],
        given: Sequence[Sample] = (),
    ) -> None:
        self.settings, self.runner, self.store = settings, runner, store
        self.masses, self.say, self.phase, self.given = masses, say, phase, given
        self.tau_alpha: float | None = None
        self.wavenumber = settings.wavenumber
        self.report: dict[str, Any] = {}

    # Stages

    def prepare(self) -> list[Trajectory]:
        """Melt and cool every chain; returns the trajectory that each ends with."""
        s = self.settings
        hot = s.hottest
        sequences = []
        for c in range(s.chains):
            key = f"chains/{c:03d}"
            relax = self._trajectory(
                f"{key}/relax", self._lattice(c), "minimise", iterations=RELAX_ITERATIONS
            )
            melt = self._trajectory(
                f"{key}/melt", self._kicked(relax, hot, c), "nvt", time=s.melt_time, temperature=(hot, hot)
            )
            cool = self._trajectory(
                f"{key}/cool", self._after(melt), "nvt", time=s.cool_time, temperature=(hot, s.temperature)
            )
            sequences.append([relax, melt, cool])
        self._run("melting and cooling", sequences)
        chains = [sequence[-1] for sequence in sequences]
        self._choose_wavenumber(self.runner.microstate(last) for last in chains)
        return chains

    def equilibrate(self, chains: list[Trajectory]) -> list[Trajectory]:
        """Run rounds of ten blocks until energy and F_s do not age.

        Raises
        ------
        PropensityError
            When the chains still age after ``max_equilibration``.
        """
        s = self.settings
        block, elapsed, number = eq.FIRST_BLOCK * s.model.constants.time, 0.0, 0
        while True:
            if elapsed + eq.BLOCKS * block > s.max_equilibration:
                raise PropensityError(
                    f"the liquid is not equilibrated after a time of {elapsed:g}, and the next round needs"
                    f" {eq.BLOCKS * block:g}: run the same command again with a larger --max-equilibration"
                    f" (now {s.max_equilibration:g}), or choose a higher --temperature."
                )
            steps = max(1, round(block / s.timestep))
            sequences = []
            for c, last in enumerate(chains):
                blocks: list[Trajectory] = []
                for b in range(eq.BLOCKS):
                    blocks.append(
                        self._trajectory(
                            f"chains/{c:03d}/round{number:02d}/block{b}",
                            self._after(blocks[-1] if blocks else last),
                            "nvt",
                            time=steps * s.timestep,
                            temperature=(s.temperature, s.temperature),
                            frames=eq.frame_steps(steps),
                        )
                    )
                sequences.append(blocks)
            self._run(f"equilibrating, blocks of {steps * s.timestep:.4g}", sequences)
            results = [[self.runner.result(t) for t in blocks] for blocks in sequences]
            fs = np.array([[r["fs"] for r in row] for row in results])
            energy = np.array([[r["potential"].mean() for r in row] for row in results])
            pressure = np.array([[r["pressure"].mean() for r in row] for row in results])
            times = np.array(eq.frame_steps(steps)) * s.timestep
            verdict = eq.judge(times, fs, energy, s.equilibration)
            elapsed += eq.BLOCKS * steps * s.timestep
            self.say(f"after {elapsed:.4g}: {verdict}")
            chains = [blocks[-1] for blocks in sequences]
            number += 1
            if verdict.equilibrated:
                break
            block = eq.next_block(verdict, s.equilibration)
        self.tau_alpha = verdict.tau_alpha
        self.report["equilibration"] = {
            "time": elapsed,
            "tau_alpha": verdict.tau_alpha,
            "energy_halves": verdict.energy,
            "energy_p": verdict.energy_p,
            "fs_p": verdict.fs_p,
            "potential_energy": mean_and_error(energy),
            "pressure": mean_and_error(pressure),
            "fs_times": times.tolist(),
            "fs": fs.mean(axis=(0, 1)).tolist(),
        }
        return chains

    def _choose_wavenumber(self, microstates: Iterable[Microstate]) -> None:
        """Wave number as given, or at the first peak of S(k) of the first few configurations."""
        if self.wavenumber is None:
            some = list(islice(microstates, PEAK_STRUCTURES))
            dimension = self.settings.model.dimension
            self.wavenumber = first_peak(
                [microstate.positions for microstate in some], some[0].box, dimension
            )
            how = "the first peak of S(k); --wavenumber sets another"
        else:
            how = "as given"
        unit = self.settings.model.constants.length_name
        self.say(f"q = {self.wavenumber:.4g}{f' {unit}⁻¹' if unit else ''} in F_s(q, t): {how}")
        self.report["wavenumber"] = self.wavenumber

    def sample(self, chains: list[Trajectory]) -> None:
        """Take the structures, those of one chain ``equilibration`` relaxation times apart."""
        s = self.settings
        assert self.tau_alpha is not None
        sequences: list[list[Trajectory]] = [[last] for last in chains]
        for i in range(s.chains, s.structures):
            sequence = sequences[i % s.chains]
            sequence.append(
                self._trajectory(
                    f"chains/{i % s.chains:03d}/sample{len(sequence)}",
                    self._after(sequence[-1]),
                    "nvt",
                    time=s.equilibration * self.tau_alpha,
                    temperature=(s.temperature, s.temperature),
                )
            )
        # Their first members are the ends of equilibration, which are stored.
        self._run("taking independent structures", [q[1:] for q in sequences])
        for i in range(s.structures):
            if f"structures/{i:04d}/start" not in self.store:
                end = self.runner.microstate(sequences[i % s.chains][i // s.chains])
                self._save_structure(i, end)

    def take_given(self) -> None:
        """Use given samples as structures, annealed where that is asked for."""
        begins = [self._given(i) for i in range(len(self.given))]
        self._choose_wavenumber(begin() for begin in begins)
        if self.settings.anneal:
            begins = self._annealed(begins)
        for i, begin in enumerate(begins):
            if f"structures/{i:04d}/start" not in self.store:
                self._save_structure(i, begin())

    def _annealed(self, begins: Sequence[Callable[[], Microstate]]) -> list[Callable[[], Microstate]]:
        """Keep structures at the temperature, as two halves that are compared."""
        s = self.settings
        steps = max(1, round(s.anneal / 2 / s.timestep))
        sequences: list[list[Trajectory]] = []
        for i, first in enumerate(begins):
            halves: list[Trajectory] = []
            for begin in (self._warm(first, i), lambda halves=halves: self.runner.microstate(halves[0])):
                key, ramp = f"chains/{i:03d}/anneal{len(halves)}", (s.temperature, s.temperature)
                frames, length = eq.frame_steps(steps), steps * s.timestep
                halves.append(self._trajectory(key, begin, "nvt", length, ramp, frames))
            sequences.append(halves)
        self._run("annealing", sequences)
        results = [[self.runner.result(t) for t in halves] for halves in sequences]
        fs, energy, pressure = (
            np.array([[r[name] for r in halves] for halves in results])
            for name in ("fs", "potential", "pressure")
        )
        record = eq.annealing(np.array(eq.frame_steps(steps)) * s.timestep, fs, energy, pressure)
        self.tau_alpha, self.report["annealing"] = record["tau_alpha"], record
        return [self._after(halves[1]) for halves in sequences]

    def ensembles(self, done: set[str], add: Callable[[Sample], None]) -> None:
        """Isoconfigurational runs and inherent structures; each structure is added once it is complete."""
        s = self.settings
        parts: dict[int, list[Trajectory]] = {}
        owner: dict[str, int] = {}
        left: dict[int, int] = {}
        for i in range(s.structures):
            if self.name(i) in done:
                continue
            key = f"structures/{i:04d}"
            inherent = self._trajectory(f"{key}/inherent", self._structure(i), "minimise")
            runs = [
                self._trajectory(
                    f"{key}/run{r:04d}",
                    self._velocities(i, r),
                    "nve",
                    time=s.steps[-1] * s.timestep,
                    frames=s.steps,
                    keep="displacements",
                )
                for r in range(s.runs)
            ]
            parts[i] = [inherent, *runs]
            left[i] = len(parts[i])
            owner |= {t.key: i for t in parts[i]}
        # Legs of a kind together, as an engine of many systems likes them.
        sequences = [[p[0]] for p in parts.values()] + [[t] for p in parts.values() for t in p[1:]]

        def finished(trajectory: Trajectory) -> None:
            i = owner[trajectory.key]
            if trajectory.ensemble == "nve":
                check_drift(self.runner.result(trajectory), s.temperature, trajectory.key, s.model.constants)
            left[i] -= 1
            if left[i] == 0:
                add(self._complete(i, parts[i]))

        self._run("isoconfigurational runs", sequences, finished)
        summaries = [self.store.load(f"structures/{i:04d}/summary") for i in range(s.structures)]
        self.report["runs"] = {
            "max_energy_drift": float(max((r["drift"] for r in summaries), key=abs)),
            "kinetic_temperatures": np.mean([r["temperatures"] for r in summaries], axis=0).tolist(),
            "inherent_energy": float(np.mean([r["inherent_energy"] for r in summaries])),
            "residual_force": float(max(r["residual_force"] for r in summaries)),
        }
        halves = np.concatenate([r["halves"] for r in summaries], axis=1)
        self.report["noise_ceiling"] = noise_ceiling(pearson(*halves), np.array(len(halves[0]))).tolist()

    def name(self, i: int) -> str:
        """Name of a structure, unique among data sets of other temperatures and seeds."""
        s = self.settings
        if self.given and s.anneal:
            return f"{self.given[i].name}-annealed-{s.model.name}-T{s.temperature:g}-seed{s.seed}"
        if self.given:
            return self.given[i].name
        return f"{s.model.name}-T{s.temperature:g}-seed{s.seed}-{i:04d}"

    # Parts

    def _complete(self, i: int, parts: list[Trajectory]) -> Sample:
        """Average the runs of a structure and store its summary."""
        s = self.settings
        given = self.given[i] if self.given else None
        inherent = self.runner.result(parts[0])
        sample, summary = ensemble_sample(
            settings=s,
            name=self.name(i),
            group=(
                (given.group or given.name)
                if given and s.anneal
                else given.group
                if given
                else f"{s.model.name}-T{s.temperature:g}-seed{s.seed}-chain{i % s.chains}"
            ),
            tau_alpha=given.tau_alpha if given and not s.anneal else self.tau_alpha,
            start=self._structure(i)(),
            inherent=self.runner.microstate(parts[0]),
            runs=(self.runner.result(t) for t in parts[1:]),
        )
        summary["inherent_energy"] = inherent["potential"][-1]
        summary["residual_force"] = inherent["residual_force"][-1]
        assert sample.halves is not None
        summary["halves"] = sample.halves[:, sample.structure.types == 0].astype(np.float32)
        self.store.save(f"structures/{i:04d}/summary", summary)
        return sample

    def _run(
        self,
        name: str,
        sequences: Sequence[Sequence[Trajectory]],
        finished: Callable[[Trajectory], None] = lambda trajectory: None,
    ) -> None:
        self.phase(name, sum(t.steps for sequence in sequences for t in sequence))
        busy, began = self.runner.busy, time.monotonic()
        self.runner.run(sequences, finished)
        busy, took = self.runner.busy - busy, time.monotonic() - began
        if busy > LONG:
            self.say(f"{name}: the engine worked {busy:.1f} s, all workers together, in {took:.1f} s")

    def _trajectory(
        self,
        key: str,
        begin: Callable[[], Microstate],
        ensemble: Any,
        time: float = 0.0,
        temperature: tuple[float, float] | None = None,
        frames: tuple[int, ...] = (),
        keep: Any = "microstate",
        iterations: int = 100_000,
    ) -> Trajectory:
        s = self.settings
        return Trajectory(
            key=key,
            begin=begin,
            model=s.model,
            ensemble=ensemble,
            keep=keep,
            steps=round(time / s.timestep),
            timestep=s.timestep,
            frames=frames,
            temperature=temperature,
            # Nothing is measured before it is chosen.
            wavenumber=self.wavenumber or 1.0,
            iterations=iterations,
        )

    def _lattice(self, chain: int) -> Callable[[], Microstate]:
        return lambda: first_lattice(self.settings, chain)

    def _after(self, trajectory: Trajectory) -> Callable[[], Microstate]:
        return lambda: self.runner.microstate(trajectory)

    def _given(self, i: int) -> Callable[[], Microstate]:
        def begin() -> Microstate:
            microstate = given_microstate(self.given[i], self.settings.model.dimension)
            return replace(microstate, masses=self.masses[microstate.types])

        return begin

    def _warm(self, begin: Callable[[], Microstate], i: int) -> Callable[[], Microstate]:
        return lambda: with_velocities(begin(), self.settings, self.settings.temperature, ANNEAL, i)

    def _kicked(self, relaxed: Trajectory, temperature: float, chain: int) -> Callable[[], Microstate]:
        return lambda: with_velocities(
            self.runner.microstate(relaxed), self.settings, temperature, MELT, chain
        )

    def _structure(self, i: int) -> Callable[[], Microstate]:
        return lambda: unpack_microstate(self.store.load(f"structures/{i:04d}/start"))

    def _velocities(self, i: int, run: int) -> Callable[[], Microstate]:
        temperature = self.settings.temperature
        return lambda: with_velocities(self._structure(i)(), self.settings, temperature, RUN, i, run)

    def _save_structure(self, i: int, microstate: Microstate) -> None:
        inside = wrap(microstate.positions, microstate.box)
        start = replace(microstate, positions=inside, velocities=np.zeros_like(inside))
        self.store.save(f"structures/{i:04d}/start", pack_microstate(start))
