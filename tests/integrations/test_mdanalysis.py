"""The analysis behaves as MDAnalysis's do, with the numbers of the predictor, on every backend."""

from __future__ import annotations

import os
import pickle
import warnings
from functools import partial

import MDAnalysis
import numpy as np
import pytest
from packaging.version import Version

from propensity import Predictor, PropensityAnalysis, PropensityCalculator, Structure
from propensity.errors import DataError, InputError, PropensityError
from propensity.integrations.backends import ClusterBackend, ProcessesBackend
from tests.conftest import make_liquid, make_tiny_model
from tests.trajectory.conftest import LAMMPS, universe, write, write_dump
from tests.workers.cluster import Cluster

MAP = {1: "A", 2: "B"}


@pytest.fixture
def frames():
    first = make_liquid(seed=1)
    rng = np.random.default_rng(5)
    return [
        first,
        *(first.with_positions(first.positions + 0.03 * rng.normal(size=(120, 3))) for _ in range(4)),
    ]


@pytest.fixture
def u(frames):
    return universe(frames)


@pytest.fixture
def dumped(tmp_path, frames):
    """Universe on a LAMMPS dump, as users have."""
    path = write_dump(tmp_path / "t.lammpsdump", frames)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MDAnalysis.Universe(str(path), format="LAMMPSDUMP", dt=1.0)


@pytest.fixture
def expected(tiny_model, frames):
    predictor = Predictor(tiny_model, dtype="float64")
    return np.stack([predictor.predict(frame) for frame in frames])


def test_results_are_those_of_the_predictor(u, tiny_model, expected):
    analysis = PropensityAnalysis(u, tiny_model, species_map=MAP, dtype="float64").run()
    assert analysis.results.propensities.shape == (5, 120, 3)
    assert analysis.results.propensities.dtype == np.float64
    assert np.array_equal(analysis.results.propensity, analysis.results.propensities[:, :, 2])
    assert analysis.results.times.tolist() == [1, 10, 100]
    # Positions are float32 in MDAnalysis.
    assert np.abs((analysis.results.propensities - expected) / expected.std(axis=(0, 1))).max() < 1e-4


def test_the_same_float32_frame_gives_the_same_numbers_everywhere(u, tiny_model):
    """ASE = MDAnalysis = Predictor, bit by bit, once all see the same positions."""
    import ase

    analysis = PropensityAnalysis(u, tiny_model, species_map=MAP).run(stop=1)
    u.trajectory[0]
    types = (u.atoms.types == "2").astype(int)
    cell = u.trajectory.ts.triclinic_dimensions
    direct = Predictor(tiny_model).predict(Structure(u.atoms.positions, types, cell))
    atoms = ase.Atoms(types + 1, u.atoms.positions, cell=cell, pbc=True)
    calculator = PropensityCalculator(tiny_model, species_map=MAP)
    assert np.array_equal(analysis.results.propensities[0], direct)
    assert np.array_equal(calculator.get_property("propensities", atoms), direct)


def test_a_lammps_dump_whose_particles_are_shuffled(dumped, tiny_model, expected):
    analysis = PropensityAnalysis(dumped, tiny_model, species_map=MAP, dtype="float64").run()
    assert np.abs((analysis.results.propensities - expected) / expected.std(axis=(0, 1))).max() < 1e-3


@pytest.mark.parametrize("selection", [{"start": 1, "stop": 5, "step": 2}, {"frames": [3, 0]}])
def test_frames_are_selected_as_usual(selection, u, tiny_model):
    everything = PropensityAnalysis(u, tiny_model, species_map=MAP).run().results.propensities
    analysis = PropensityAnalysis(u, tiny_model, species_map=MAP).run(**selection)
    assert np.array_equal(analysis.results.propensities, everything[analysis.frames])
    assert analysis.frames.tolist() == ([1, 3] if "start" in selection else [3, 0])


def test_no_frames_give_empty_results(u, tiny_model):
    analysis = PropensityAnalysis(u, tiny_model, species_map=MAP).run(stop=0)
    assert analysis.results.propensities.shape == (0, 120, 3)


def test_processes_give_the_same_numbers(dumped, tiny_model):
    """After a serial run with threads, which forked workers would not survive."""
    serial = PropensityAnalysis(dumped, tiny_model, species_map=MAP).run()
    parallel = PropensityAnalysis(dumped, tiny_model, species_map=MAP).run(
        backend="multiprocessing", n_workers=2
    )
    assert np.array_equal(serial.results.propensities, parallel.results.propensities)
    assert np.array_equal(serial.frames, parallel.frames)
    assert np.array_equal(serial.results.times, parallel.results.times)


@pytest.mark.slow
def test_dask_gives_the_same_numbers(dumped, tiny_model):
    pytest.importorskip("dask")
    serial = PropensityAnalysis(dumped, tiny_model, species_map=MAP).run()
    dask = PropensityAnalysis(dumped, tiny_model, species_map=MAP).run(backend="dask", n_workers=2)
    assert np.array_equal(serial.results.propensities, dask.results.propensities)


def test_backends_and_parts_are_declared(u, tiny_model):
    analysis = PropensityAnalysis(u, tiny_model, species_map=MAP)
    assert analysis.parallelizable
    assert set(analysis.get_supported_backends()) == {"serial", "multiprocessing", "dask"}
    # What workers do: pickle, compute a part, aggregate.
    groups = analysis._setup_computation_groups(n_parts=2)
    analysis._setup_frames(u.trajectory)
    parts = [pickle.loads(pickle.dumps(analysis))._compute(group).results for group in groups]
    merged = analysis._get_aggregator().merge(parts)
    assert np.array_equal(np.array(merged.propensities), analysis.run().results.propensities)


def test_a_pickled_analysis_holds_no_network(u, tiny_model):
    analysis = PropensityAnalysis(u, tiny_model, species_map=MAP).run(stop=1)
    clone = pickle.loads(pickle.dumps(analysis))
    assert clone._predictor is None
    assert np.array_equal(clone.run(stop=1).results.propensities, analysis.results.propensities)


def test_a_selection_is_predicted_with_all_its_neighbours(u, tiny_model):
    everything = PropensityAnalysis(u, tiny_model, species_map=MAP).run(stop=2)
    chosen = u.select_atoms("type 2")
    part = PropensityAnalysis(chosen, tiny_model, species_map=MAP).run(stop=2)
    assert part.results.propensities.shape == (2, 24, 3)
    assert np.array_equal(part.results.propensities, everything.results.propensities[:, chosen.ix])
    shuffled = u.atoms[[5, 2, 7]]
    analysis = PropensityAnalysis(shuffled, tiny_model, species_map=MAP).run(stop=2)
    assert np.array_equal(analysis.results.propensities, everything.results.propensities[:, [5, 2, 7]])


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_an_environment_restricts_the_neighbours(u, tiny_model):
    some = u.atoms[:90]
    analysis = PropensityAnalysis(some[10:20], tiny_model, environment=some, species_map=MAP).run(stop=1)
    u.trajectory[0]
    types = (some.types == "2").astype(int)
    direct = Predictor(tiny_model).predict(
        Structure(some.positions, types, u.trajectory.ts.triclinic_dimensions)
    )
    assert np.array_equal(analysis.results.propensities[0], direct[10:20])
    with pytest.raises(InputError, match="atom 95 is not part"):
        PropensityAnalysis(u.atoms[95:], tiny_model, environment=some, species_map=MAP)


def test_values_go_to_the_timestep_when_asked(u, tiny_model):
    seen = []
    analysis = PropensityAnalysis(u, tiny_model, species_map=MAP, store=True)
    single = analysis._single_frame
    analysis._single_frame = lambda: (single(), seen.append(dict(u.trajectory.ts.data)))
    analysis.run()
    for name in ("propensity", "propensities"):
        assert np.array_equal([data[name] for data in seen], analysis.results[name])


def test_a_committee_has_standard_deviations(u, tiny_model, tmp_path):
    other = make_tiny_model(tmp_path / "other", seed=1)
    results = PropensityAnalysis(u, [tiny_model, other], species_map=MAP).run(stop=2).results
    single = [
        PropensityAnalysis(u, m, species_map=MAP).run(stop=2).results.propensities
        for m in (tiny_model, other)
    ]
    assert np.allclose(results.propensities, np.mean(single, axis=0))
    assert np.allclose(results.propensities_std, np.std(single, axis=0, ddof=1))
    assert np.array_equal(results.propensity_std, results.propensities_std[:, :, 2])


def test_types_that_change_in_time_are_used_where_they_are_read(tmp_path, frames, tiny_model):
    swapped = [frame.types if k % 2 == 0 else np.roll(frame.types, 1) for k, frame in enumerate(frames)]
    path = write_dump(tmp_path / "t.lammpsdump", frames, swapped)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        u = MDAnalysis.Universe(str(path), format="LAMMPSDUMP", dt=1.0, additional_columns=["type"])
    found = PropensityAnalysis(u, tiny_model, species_map=MAP, dtype="float64").run().results.propensities
    predictor = Predictor(tiny_model, dtype="float64")
    right = predictor.predict(Structure(frames[1].positions, swapped[1], frames[1].cell))
    wrong = predictor.predict(frames[1])
    assert np.abs(found[1] - right).max() < 1e-3
    assert np.abs(found[1] - wrong).max() > 1e-2


def test_a_progress_bar_is_shown_when_asked(u, tiny_model, capsys):
    PropensityAnalysis(u, tiny_model, species_map=MAP).run()
    assert capsys.readouterr().err == ""
    PropensityAnalysis(u, tiny_model, species_map=MAP).run(verbose=True)
    assert "100%" in capsys.readouterr().err


def test_no_box_means_open_boundaries_and_a_warning(frames, tiny_model):
    u = universe(frames[:1])
    u.trajectory.ts.dimensions = None
    u.load_new(u.atoms.positions[None].copy())
    analysis = PropensityAnalysis(u, tiny_model, species_map=MAP)
    with pytest.warns(UserWarning, match="no periodic box"):
        found = analysis.run().results.propensities[0]
    with pytest.warns(UserWarning, match="no periodic box"):
        direct = Predictor(tiny_model).predict(Structure(u.atoms.positions, frames[0].types, 0.0, False))
    assert np.array_equal(found, direct)


@pytest.mark.filterwarnings("ignore::propensity.errors.PropensityWarning")
def test_periodic_directions_can_be_chosen(u, frames, tiny_model):
    found = PropensityAnalysis(u, tiny_model, species_map=MAP, pbc=[True, True, False]).run(stop=1)
    u.trajectory[0]
    slab = Structure(
        u.atoms.positions, frames[0].types, u.trajectory.ts.triclinic_dimensions, [True, True, False]
    )
    assert np.array_equal(found.results.propensities[0], Predictor(tiny_model).predict(slab))


def test_errors_come_before_the_run(u, tiny_model):
    with pytest.raises(InputError, match=r"'1', '2'.*'A', 'B'"):
        PropensityAnalysis(u, tiny_model)
    with pytest.raises(DataError, match="no-such-model"):
        PropensityAnalysis(u, "no-such-model")
    with pytest.raises(InputError, match="empty"):
        PropensityAnalysis(u.atoms[:0], tiny_model, species_map=MAP)
    with pytest.raises(InputError, match="updating"):
        PropensityAnalysis(u.select_atoms("prop x > 1", updating=True), tiny_model, species_map=MAP)


def test_a_bad_frame_is_named_and_what_is_done_is_kept(frames, tiny_model, expected):
    u = universe(frames)
    u.trajectory.coordinate_array[2, 17] = np.nan
    analysis = PropensityAnalysis(u, tiny_model, species_map=MAP, dtype="float64")
    with pytest.raises(
        InputError, match=r"frame 2: positions of 1 particle\(s\).*particle 17.* 2 frame\(s\)"
    ):
        analysis.run()
    assert analysis.frames.tolist() == [0, 1] and len(analysis.times) == analysis.n_frames == 2
    assert np.allclose(analysis.results.propensities, expected[:2], rtol=1e-4)
    assert analysis.results.out_of_distribution.shape == (2,)
    with pytest.raises(InputError, match=r"particle 17.*: give|particle 17"):
        analysis.run(start=2)  # nothing is left of the run before
    assert analysis.results.propensity.shape == (0, 120) and "failures" not in analysis.results


def test_what_is_done_is_kept_by_processes_and_when_interrupted(dumped, u, tiny_model, monkeypatch):
    analysis = PropensityAnalysis(dumped, tiny_model, species_map=MAP)
    groups = analysis._setup_computation_groups(n_parts=2)
    analysis._setup_frames(dumped.trajectory)
    parts = [pickle.loads(pickle.dumps(analysis)) for _ in groups]
    true = parts[0]._single_frame

    def fail():
        raise InputError("frame 1: no luck.")

    parts[0]._single_frame = lambda: true() if parts[0]._frame_index == 0 else fail()
    done = [part._compute(group) for part, group in zip(parts, groups, strict=True)]
    assert [len(part.frames) for part in done] == [1, len(groups[1])]
    merged = analysis._get_aggregator().merge([part.results for part in done])
    assert len(merged.propensities) == 1 + len(groups[1]) and str(merged.failures[0]) == "frame 1: no luck."

    analysis = PropensityAnalysis(u, tiny_model, species_map=MAP)
    single = analysis._single_frame

    def stop():
        if analysis._frame_index == 3:
            raise KeyboardInterrupt
        single()

    monkeypatch.setattr(analysis, "_single_frame", stop)
    with pytest.raises(KeyboardInterrupt):
        analysis.run()
    assert analysis.frames.tolist() == [0, 1, 2] and analysis.results.propensities.shape == (3, 120, 3)


def test_frames_unlike_the_training_set_are_flagged(frames, tmp_path):
    from propensity.estimators.ranges import training_range

    known = training_range(frames, 2)
    model = make_tiny_model(tmp_path / "ranges", training_range=known)
    u = universe(frames)
    u.trajectory.coordinate_array[3, :30] += 0.25
    analysis = PropensityAnalysis(u, model, species_map=MAP, store=True)
    with pytest.warns(UserWarning, match="neighbourhoods that no training particle had"):
        results = analysis.run().results
    assert results.out_of_distribution.tolist() == [False, False, False, True, False]
    assert results.doubts[3] == "neighbourhood" and results.doubts[0] == "" and results.outside[3] > 0.01
    assert results.negative.dtype == np.int64


def test_a_tilted_gsd_box_is_refused(tmp_path, frames, tiny_model):
    hoomd = pytest.importorskip("gsd.hoomd")
    if Version(MDAnalysis.__version__) < Version("2.10"):
        pytest.skip("MDAnalysis of those days names frames by numpy's integers, which gsd refuses")
    path, _, _ = write(tmp_path, "gsd", frames[:1])
    u = MDAnalysis.Universe(str(path))
    assert PropensityAnalysis(u, tiny_model).run().results.propensities.shape == (1, 120, 3)
    snapshot = hoomd.open(str(path))[0]
    snapshot.configuration.box[3] = 0.3
    with hoomd.open(str(tmp_path / "tilted.gsd"), "w") as file:
        file.append(snapshot)
    with pytest.raises(InputError, match="tilt of this GSD"):
        PropensityAnalysis(MDAnalysis.Universe(str(tmp_path / "tilted.gsd")), tiny_model)


def test_a_triclinic_dump_by_lammps(tiny_model):
    """Cell, origin and wrapping as MDAnalysis sees them against our own reader of the same file."""
    from propensity.trajectory import open_trajectory

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        u = MDAnalysis.Universe(str(LAMMPS / "scaled.lammpstrj"), format="LAMMPSDUMP", dt=1.0)
    analysis = PropensityAnalysis(u, tiny_model, species_map=MAP, dtype="float64").run()
    predictor = Predictor(tiny_model, dtype="float64")
    for values, frame in zip(
        analysis.results.propensities, open_trajectory(LAMMPS / "scaled.lammpstrj"), strict=True
    ):
        order = np.argsort(frame.arrays["id"])
        ours = predictor.predict(frame.structure(("A", "B"), MAP))[order]
        assert np.median(np.abs(values - ours) / ours) < 1e-5


def die_once(mark, part):
    """A part whose process dies the first time."""
    if part == 1 and not mark.exists():
        mark.touch()
        os._exit(1)
    return part, os.getpid()


def test_what_is_done_when_a_process_dies_is_kept(tmp_path):
    found = ProcessesBackend(n_workers=2).apply(partial(die_once, tmp_path / "mark"), [0, 1, 2])
    assert [part for part, _ in found] == [0, 1, 2] and (tmp_path / "mark").exists()


def test_processes_that_always_die_are_one_sentence():
    with pytest.raises(PropensityError, match=r"died 3 times .* 0 of 1 parts done: use fewer n_workers"):
        ProcessesBackend(n_workers=1).apply(os._exit, [1])


def test_an_open_client_is_used(dumped, tiny_model, tmp_path):
    """By the name of MDAnalysis's own backend, which knows no cluster."""
    cluster = Cluster(tmp_path)
    try:
        from distributed import Client

        cluster.worker("one", threads=2)
        serial = PropensityAnalysis(dumped, tiny_model, species_map=MAP).run()
        with Client(cluster.address):
            analysis = PropensityAnalysis(dumped, tiny_model, species_map=MAP)
            assert isinstance(analysis._configure_backend("dask", 2), ClusterBackend)
            analysis.run(backend="dask", n_workers=2)
        assert np.array_equal(serial.results.propensities, analysis.results.propensities)
        assert np.array_equal(serial.frames, analysis.frames)
    finally:
        cluster.close()
