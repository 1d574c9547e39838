"""All stages with an engine whose answers are known: an ideal gas."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from propensity.errors import InputError, PropensityError
from propensity.simulate import make_engine, register_engine
from propensity.simulate.pieces import PieceStore
from propensity.simulate.runner import Runner
from propensity.simulate.workflow import Workflow
from propensity.workers.pool import LocalPool
from tests.simulate.helpers import FreeFlight, small_settings


def run_flow(folder, settings, engine, length=10**9, stages=3):
    store = PieceStore(folder, settings.identity())
    samples, lines = {}, []
    with ThreadPoolExecutor(2) as executor:
        runner = Runner(engine, LocalPool(executor, 1), store, length)
        flow = Workflow(settings, runner, store, np.ones(2), lines.append, lambda name, total: None)
        try:
            flow.sample(flow.equilibrate(flow.prepare()))
            flow.ensembles(set(), lambda s: samples.update({s.name: s}))
        finally:
            store.close()
    return flow, samples, (folder / "stored.log").read_text().split()


def test_an_ideal_gas(tmp_path):
    settings = small_settings(n_particles=400, runs=16, temperature=0.8)
    flow, samples, _ = run_flow(tmp_path / "w", settings, FreeFlight())
    assert len(samples) == 3
    times = np.array(settings.times)
    speed = np.sqrt(8 * 0.8 / np.pi)
    for sample in samples.values():
        np.testing.assert_allclose(sample.propensities.mean(axis=0), speed * times, rtol=0.02)
        np.testing.assert_allclose(sample.squared_displacement.mean(axis=0), 3 * 0.8 * times**2, rtol=0.04)
        np.testing.assert_allclose(sample.fs, np.exp(-0.5 * (7.25 * times) ** 2 * 0.8), atol=0.02)
        np.testing.assert_allclose(sample.halves.mean(axis=0), sample.propensities, rtol=1e-12)
        np.testing.assert_allclose(sample.inherent_positions, sample.structure.positions)
        assert sample.n_runs == 16 and sample.temperature == 0.8 and sample.species == ("A", "B")
    # F_s falls to 1/e where q² T t² / 2 = 1; a gas without a thermostat stays as hot as it was molten.
    assert flow.tau_alpha == pytest.approx(np.sqrt(2 / settings.model.melt) / 7.25, rel=0.05)
    # Structures 0 and 2 come from one melt.
    groups = [samples[flow.name(i)].group for i in range(3)]
    assert groups[0] == groups[2] != groups[1]
    # All particles are alike: displacements tell nothing of the other half of the runs.
    assert not (np.array(flow.report["noise_ceiling"]) > 0.4).any()
    np.testing.assert_allclose(flow.report["runs"]["kinetic_temperatures"], 0.8, rtol=0.05)


def test_pieces_join_to_the_same_trajectory(tmp_path):
    settings = small_settings()
    _, whole, _ = run_flow(tmp_path / "a", settings, FreeFlight())
    _, cut, stored = run_flow(tmp_path / "b", settings, FreeFlight(), length=70)
    assert "structures/0000/run0000/5" in stored
    for name, sample in whole.items():
        np.testing.assert_allclose(cut[name].propensities, sample.propensities, rtol=1e-5)
        np.testing.assert_allclose(cut[name].fs, sample.fs, rtol=1e-9)


def test_engines_get_batches(tmp_path):
    engine = FreeFlight()
    run_flow(tmp_path / "w", small_settings(), engine)
    assert max(engine.batches) == 3


def test_a_failure_keeps_what_was_finished_and_names_the_piece(tmp_path):
    class Fails(FreeFlight):
        def run(self, legs):
            if len(self.batches) > 12:
                raise PropensityError("out of luck.")
            return super().run(legs)

    settings = small_settings()
    with pytest.raises(PropensityError, match=r"^(chains|structures)/.*: out of luck\.$"):
        run_flow(tmp_path / "w", settings, Fails())
    before = set((tmp_path / "w" / "stored.log").read_text().split())
    _, samples, stored = run_flow(tmp_path / "w", settings, FreeFlight())
    assert before and len(stored) == len(set(stored)) and before < set(stored) and len(samples) == 3


def test_other_failures_are_one_sentence(tmp_path):
    class Breaks(FreeFlight):
        def run(self, legs):
            raise ZeroDivisionError("division by zero")

    with pytest.raises(PropensityError, match="ZeroDivisionError"):
        run_flow(tmp_path / "w", small_settings(), Breaks())


def test_liquid_that_never_equilibrates(tmp_path):
    class Frozen(FreeFlight):
        def _run(self, leg):
            still = replace(leg.microstate, velocities=0 * leg.microstate.velocities)
            return super()._run(replace(leg, microstate=still))

    with pytest.raises(PropensityError, match=r"not equilibrated after a time of 40.*--max-equilibration"):
        run_flow(tmp_path / "w", small_settings(max_equilibration=60.0), Frozen())


@pytest.mark.parametrize("end", [0.1, np.nan, np.inf])
def test_energy_drift_is_refused(tmp_path, end):
    class Drifts(FreeFlight):
        def _run(self, leg):
            result = super()._run(leg)
            if leg.ensemble != "nve":
                return result
            return replace(result, potential=np.repeat([0.0, end], len(result.potential))[::2])

    with pytest.raises(InputError, match=r"run000\d: the energy per particle drifts by .*--timestep"):
        run_flow(tmp_path / "w", small_settings(), Drifts())


def test_engines_are_found_by_name():
    register_engine("free-flight", FreeFlight)
    assert isinstance(make_engine("free-flight"), FreeFlight)
    assert make_engine("lammps", ranks=2).cores == 2
    with pytest.raises(InputError, match="engine 'lamps' is unknown"):
        make_engine("lamps")
