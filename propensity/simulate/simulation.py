"""One call that makes a data set, or goes on with one that was interrupted."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from propensity.documents import read_json
from propensity.errors import InputError, PropensityError
from propensity.files import check_writable, replacing
from propensity.sample import Sample
from propensity.simulate import equilibration as eq
from propensity.simulate.engine import Engine, Leg, run_legs
from propensity.simulate.given import given_microstate
from propensity.simulate.physics import maxwell_boltzmann
from propensity.simulate.pieces import PieceStore, check_identity
from propensity.simulate.progress import Progress, estimate, plural
from propensity.simulate.runner import Runner, piece_length
from propensity.simulate.settings import SimulationSettings
from propensity.simulate.starts import first_lattice
from propensity.simulate.units import Units
from propensity.simulate.workflow import RELAX_ITERATIONS, Workflow
from propensity.workers.opening import on_stderr, open_pool
from propensity.workers.pool import WAIT, Pool
from propensity.workers.remote import package_version

#: Steps of the trial that measures the speed, at least.
_TRIAL = 200
#: Bytes of the frames of one call's legs.
_MEMORY = 4_000_000_000


def simulate_propensities(
    settings: SimulationSettings,
    output: str | Path,
    engine: Engine,
    *,
    given: Sequence[Sample] = (),
    workers: int | None = None,
    scheduler: Any = None,
    wait: float = WAIT,
    estimate_only: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Make a data set of isoconfigurational propensities.

    Finished pieces are kept in ``<output>.work`` and finished structures in ``<output>.parts`` until the data
    set is whole; called again after an interruption with the same settings, it goes on from them.  The report
    goes
    to ``<output>.report.json``.

    Parameters
    ----------
    settings
        What to make.
    output
        The data set, ``.h5``.
    engine
        Who integrates, from :func:`propensity.simulate.make_engine`.
    given
        Structures to label instead of melting new ones; see :func:`propensity.simulate.with_given`.
    workers, scheduler
        Local processes, or a Dask cluster: the address of its scheduler or an open ``distributed.Client``.
    wait
        Seconds to wait where no worker of the cluster can work.
    estimate_only
        Say what it would cost and return.
    quiet
        Print nothing.

    Returns
    -------
    dict
        Report: τ_α, energies, pressure, tests of ageing, energy drift, kinetic temperatures, noise ceiling.

    Raises
    ------
    PropensityError
        One sentence, whatever goes wrong; what had finished by then is kept.
    InputError
        When the output is a data set of other settings.
    """
    from propensity.data import StoreWriter
    from propensity.data.store.reader import SUFFIXES
    from propensity.data.store.writer import forget_lock

    output = Path(output)
    if output.suffix.lower() not in SUFFIXES:
        raise InputError(f"-o {output}: a data set is an HDF5 file, so let its name end in .h5.")
    work = output.with_name(output.name + ".work")
    check_writable(output)
    identity = settings.identity() | {"engine": engine.name}
    if output.exists() and not estimate_only:
        report = finished_report(output, identity)
        forget_lock(output)
        if work.exists():
            PieceStore(work, identity).remove()
        if not quiet:
            print(f"{output} is complete: nothing to do.")
        return report
    store = None if estimate_only else PieceStore(work, identity)
    try:
        once = getattr(engine, "one_a_process", False)
        cluster = {"wait": wait, "say": _silent if quiet else on_stderr, "once_a_process": once}
        with open_pool(workers, scheduler, engine.cores, EngineCheck(engine), **cluster) as pool:
            masses, speed, preparing, engine_name = _try_out(settings, engine, pool, given)
            with Progress(speed, not quiet, pool.at_once) as progress:
                pool.say = progress.say
                progress.say(_title(settings))
                progress.say(f"{engine_name} on {pool.name}")
                for line in estimate(settings, speed, pool.at_once(), preparing):
                    progress.say(line)
                if store is None:
                    return {}
                runner = Runner(
                    engine,
                    pool,
                    store,
                    piece_length(settings.n_particles),
                    progress.advance,
                    _at_once(settings, engine),
                )
                flow = Workflow(settings, runner, store, masses, progress.say, progress.phase, given)
                if given:
                    flow.take_given()
                else:
                    flow.sample(flow.equilibrate(flow.prepare()))
                job = {"simulate": identity}
                with StoreWriter(output, n_expected=settings.structures, job=job) as writer:
                    flow.ensembles(writer.done(), writer.add)
                    report = {"engine": engine_name, "versions": _versions(pool, engine_name), **flow.report}
                    with replacing(report_path(output)) as path:
                        path.write_text(json.dumps(report, indent=1), "utf-8")
                for line in report_in_words(report, settings):
                    progress.say(line)
        if not output.exists():
            raise PropensityError(f"{output} lacks structures that were lost: run the same command again.")
        store.remove()
        return report
    except KeyboardInterrupt:
        if store is not None and not quiet:
            print(f"stopped: the same command goes on from what is kept in {work}.", file=sys.stderr)
        raise
    finally:
        if store is not None:
            store.close()


def finished_report(output: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """Report of a data set that is already there and was made with the same settings; empty when lost.

    Parameters
    ----------
    output
        The data set, ``.h5``.
    identity
        Settings that say which data set it is.

    Returns
    -------
    dict
        As :func:`simulate_propensities` gives it.

    Raises
    ------
    InputError
        When it is something else.
    """
    from propensity.data.store.reader import store_provenance

    try:
        made_with = store_provenance(output)["job"]["simulate"]
    except (PropensityError, KeyError):
        raise InputError(
            f"{output} exists and wasn't made by simulate: choose another -o or delete it."
        ) from None
    check_identity(made_with, identity, str(output))
    path = report_path(output)
    report = read_json(path, "report") if path.exists() else {}
    return report if isinstance(report, dict) else {}


def report_path(output: Path) -> Path:
    """Where the report of a data set lies.

    Parameters
    ----------
    output
        The data set, ``.h5``.

    Returns
    -------
    pathlib.Path
        Beside it.
    """
    return output.with_name(output.name + ".report.json")


def report_in_words(report: dict[str, Any], settings: SimulationSettings) -> list[str]:
    """Report in words.

    Parameters
    ----------
    report
        From :func:`simulate_propensities`.
    settings
        Of the run.

    Returns
    -------
    list[str]
        Lines of text.
    """
    lines, units = [], settings.model.constants
    if "equilibration" in report:
        e = report["equilibration"]
        energy, pressure = ("{:.4f} ± {:.4f}".format(*e[key]) for key in ("potential_energy", "pressure"))
        lines.append(
            f"U/N = {energy}{_after(units.energy_name)}, P = {pressure}{_after(units.pressure_name)},"
            f" tau_alpha = {e['tau_alpha']:.4g}{_after(units.time_name)}"
        )
    if "annealing" in report:
        lines += _annealing_in_words(report["annealing"], units)
    r = report["runs"]
    kinetic = ", ".join(
        f"{t:.4g} ({s})" for s, t in zip(settings.model.species, r["kinetic_temperatures"], strict=True)
    )
    lines.append(
        f"energy drift per particle at most {abs(r['max_energy_drift']):.1e}; kinetic temperature {kinetic}; "
        f"inherent energy {r['inherent_energy']:.4f} with forces below {r['residual_force']:.0e}"
    )
    ceiling = " ".join("–" if np.isnan(c) else f"{c:.3f}" for c in report["noise_ceiling"])
    lines.append(f"noise ceiling of Pearson's correlation ({settings.model.species[0]}): {ceiling}")
    return lines


def _annealing_in_words(a: dict[str, Any], units: Units) -> list[str]:
    tau = a["tau_alpha"]
    energy, pressure = (
        f"{a[key][0]:.4f}" + ("" if a[key][1] is None else f" ± {a[key][1]:.4f}")
        for key in ("potential_energy", "pressure")
    )
    p, q = ("–" if a[key] is None else f"{a[key]:.2g}" for key in ("energy_p", "fs_p"))
    return [
        f"annealed for {2 * a['half']:g}: U/N by tenths " + " ".join(f"{e[0]:.4f}" for e in a["energies"]),
        f"second half: U/N = {energy}{_after(units.energy_name)}, P = {pressure}"
        + f"{_after(units.pressure_name)}, "
        + (f"F_s stays above 1/e for {a['half']:g}" if tau is None else f"tau_alpha = {tau:.4g}")
        + f"; halves differ by chance with p = {p} (energy), {q} (F_s)",
    ]


def _after(unit: str) -> str:
    """Unit behind a number, nothing in LJ units."""
    return f" {unit}" if unit else ""


def _title(settings: SimulationSettings) -> str:
    s, u = settings, settings.model.constants
    per = f" per {u.length_name}{'²' if s.model.dimension == 2 else '³'}" if u.length_name else ""
    where = plural(s.structures, "given structure" if s.start_from else "structure")
    return (
        f"{s.model.title}: N = {s.n_particles}, density {s.density:.5g}{per}, T = {s.temperature:g}"
        f"{_after(u.temperature_name)}, {where}, {plural(len(s.times), 'time')} from {s.times[0]:g} to"
        f" {s.times[-1]:g}{_after(u.time_name)}; units {u.name}, step {s.timestep:g}, thermostat"
        f" {s.model.damping:g}, melt {s.melt_time:g} and cool {s.cool_time:g}{_after(u.time_name)} from"
        f" {s.hottest:g}{_after(u.temperature_name)}"
    )


def _try_out(
    settings: SimulationSettings, engine: Engine, pool: Pool, given: Sequence[Sample]
) -> tuple[np.ndarray, float, float, str]:
    """Masses of the species, steps per second of runs and of chains, and the engine's name; shows early that
    all of it works.
    """
    model = settings.model
    name = pool.call(_describe, engine)
    start = given_microstate(given[0], model.dimension) if given else first_lattice(settings, 0)
    try:
        (rest,) = pool.call(run_legs, engine, [Leg(start, model, "minimise", iterations=RELAX_ITERATIONS)])
        masses = rest.microstate.masses
        assert masses is not None
        each = np.array([masses[start.types == s][0] for s in range(len(model.species))])
        if not np.array_equal(each[start.types], masses):
            raise InputError("particles of one species differ in mass: give one mass a type.")
        settings.check_step(each)
        v = maxwell_boltzmann(
            masses, settings.temperature, model.dimension, np.random.default_rng(0), model.constants
        )
        steps = max(_TRIAL, getattr(engine, "trial", 0) // settings.n_particles)
        leg = Leg(replace(rest.microstate, velocities=v), model, "nve", steps, settings.timestep)
        # A batch as large as those to come, since an engine of many systems is slow with one.
        numbers = [
            min(_at_once(settings, engine), k) for k in (settings.structures * settings.runs, settings.chains)
        ]
        seconds = [pool.call(run_legs, engine, [leg] * k)[-1].seconds for k in sorted(set(numbers))]
    except PropensityError as error:
        raise type(error)(
            f"the model {model.name} can't be run at density {settings.density:g}, temperature"
            f" {settings.temperature:g} and time step {settings.timestep:g}: {error}"
        ) from None
    fast, slow = (steps / max(s, 1e-6) for s in (seconds[-1], seconds[0]))
    return each, fast, slow, name


def _at_once(settings: SimulationSettings, engine: Engine) -> int:
    """Legs of one call: what the engine likes, as far as their frames fit a few gigabytes on the way back."""
    each = 24 * settings.n_particles * (max(len(settings.times), eq.FRAMES) + 4)
    return max(1, min(engine.batch_size, _MEMORY // each))


def _describe(engine: Engine) -> str:
    return engine.describe()


@dataclass(frozen=True)
class EngineCheck:
    """Versions of what a run needs, asked of every worker of a cluster.

    Parameters
    ----------
    engine
        Whose programs a worker needs.
    """

    engine: Engine

    def __call__(self) -> str:
        """Of the package and the engine."""
        return f"{package_version()}, {self.engine.describe()}"


def _versions(pool: Pool, engine_name: str) -> str:
    """What made the data: that of the workers, where they were asked."""
    return pool.versions or f"{package_version()}, {engine_name}"


def _silent(line: str) -> None:
    """Say nothing."""
