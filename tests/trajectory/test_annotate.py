"""A trajectory in, propensities out: every format, constant memory, and what is saved when a frame is
broken."""

from __future__ import annotations

import gzip
import signal
import subprocess
import sys
import tracemalloc

import ase.io
import h5py
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from click.testing import CliRunner

from propensity.cli.analyse import command as analyse
from propensity.cli.info import command as info
from propensity.cli.report import command as report
from propensity.cli.view import command as view
from propensity.errors import DataError, InputError, PropensityError, PropensityWarning
from propensity.predictor import Predictor
from propensity.species import parse_species_map
from propensity.trajectory import (
    AnnotationInterrupted,
    BrokenFrameError,
    annotate,
    open_trajectory,
    open_writer,
)
from tests.conftest import make_liquid, make_tiny_model
from tests.trajectory.conftest import LAMMPS, MAPS, to_atoms, write, write_dump


@pytest.fixture
def expected(tiny_model, frames):
    """Predictor on the frames themselves, (4, 120, 3)."""
    return np.stack([Predictor(tiny_model, dtype="float64").predict(frame) for frame in frames])


@pytest.mark.parametrize("kind", MAPS)
def test_every_format_gives_what_the_predictor_gives(kind, tmp_path, tiny_model, frames, expected):
    path, topology, scale = write(tmp_path, kind, frames)
    predictor = Predictor(tiny_model, dtype="float64", species_map=MAPS[kind], length_scale=scale)
    summary = annotate(path, tmp_path / "out.h5", predictor, topology)
    assert summary.n_frames == 4
    with h5py.File(tmp_path / "out.h5") as file:
        found = file["observables/propensities/value"][:] / scale
    if kind == "dump":  # whose particles come in an order of their own
        ids = np.stack([frame.arrays["id"] for frame in open_trajectory(path)]) - 1
        expected = np.take_along_axis(expected, ids[:, :, None], axis=1)
    # XTC keeps 1e-3 σ of a position here, GSD and DCD float32, the others 8 decimals or all.  The
    # network jumps when a neighbour crosses the cutoff, so a rounded position may move a few particles
    # further.
    error = np.abs((found - expected) / expected.std(axis=(0, 1)))
    tolerance = {"xtc": 1e-2, "gsd": 1e-4, "dcd": 1e-4}.get(kind, 1e-5)
    assert np.median(error) < tolerance
    if kind != "xtc":
        assert error.max() < tolerance


def test_ids_beyond_32_bits_are_kept_or_refused(tmp_path, predictor, frames):
    """ASE reads whole numbers of extended XYZ as int32, and fails."""
    path = write_dump(tmp_path / "t.dump", frames[:1])
    lines = path.read_text().splitlines()
    for k in range(9, len(lines)):
        speed, number, rest = lines[k].split(None, 2)
        lines[k] = f"{speed} {int(number) + 2**40} {rest}"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"column 'id' holds 1099511627896, .*: write \.dump or \.h5"):
        annotate(path, tmp_path / "out.extxyz", predictor)
    assert not (tmp_path / "out.extxyz").exists()
    annotate(path, tmp_path / "out.dump", predictor)
    ids = next(iter(open_trajectory(tmp_path / "out.dump"))).arrays["id"]
    assert sorted(ids - 2**40) == list(range(1, 121))


@pytest.mark.parametrize("name", ["triclinic.dump", "scaled.lammpstrj"])
def test_dumps_by_lammps(name, tmp_path, predictor):
    """Two dumps of one run, wrapped and scaled: the same propensities up to their six digits."""
    annotate(LAMMPS / name, tmp_path / "out.extxyz", predictor)
    reference = [
        predictor.predict(f.structure(("A", "B"), {1: "A", 2: "B"}))
        for f in open_trajectory(LAMMPS / "triclinic.dump")
    ]
    for atoms, values in zip(ase.io.read(tmp_path / "out.extxyz", ":"), reference, strict=True):
        assert np.allclose(atoms.arrays["propensities"], values, rtol=2e-3)
        assert np.array_equal(atoms.arrays["propensity"], atoms.arrays["propensities"][:, 2])
        assert atoms.arrays["type"].tolist() == [1 + (s in ("He", "P")) for s in atoms.symbols]


def test_extxyz_keeps_columns_and_info(tmp_path, tiny_model, frames):
    atoms = to_atoms(frames[0])
    atoms.arrays["charge_like"] = np.arange(120) / 4
    atoms.arrays["vector"] = np.arange(360.0).reshape(120, 3)
    atoms.set_momenta(np.ones((120, 3)))
    atoms.info["note"] = "hello there"
    atoms.set_constraint(FixAtoms([3, 5]))
    atoms.calc = SinglePointCalculator(atoms, energy=-7.0, forces=np.ones((120, 3)), stress=np.arange(6.0))
    ase.io.write(tmp_path / "in.extxyz", atoms)
    predictor = Predictor(tiny_model, species_map=MAPS["extxyz"])
    annotate(tmp_path / "in.extxyz", tmp_path / "out.extxyz", predictor)
    back = ase.io.read(tmp_path / "out.extxyz")
    for name in ("charge_like", "vector", "momenta"):
        assert np.allclose(back.arrays[name], atoms.arrays[name])
    assert back.info["note"] == "hello there"
    assert back.get_potential_energy() == -7.0
    assert np.array_equal(back.get_forces(apply_constraint=False), np.ones((120, 3)))
    assert np.array_equal(back.get_stress(), np.arange(6.0))
    given = ase.io.read(tmp_path / "in.extxyz")  # older ASE writes no constraints
    assert [c.index.tolist() for c in back.constraints] == [c.index.tolist() for c in given.constraints]
    assert back.info["propensity_times"].tolist() == [1, 10, 100]
    assert np.array_equal(back.symbols, atoms.symbols)
    assert np.allclose(back.cell, atoms.cell)


def test_remarks_that_ase_writes_and_cannot_read_are_left_out(tmp_path, tiny_model, frames):
    """An empty one hides the next, others the whole file."""
    atoms = to_atoms(frames[0])
    odd = {"comment": "", "": 1, "a=b": 2, "line": "a\nb", "end": "\\", "j": "_JSON {", 1: "x"}
    odd |= {"none": np.array([]), "quoted": np.array(['a"b', "c"]), "nested": {"a": "q\"uo'te"}}
    atoms.info = (
        odd
        | {"vector": np.arange(3.0), "lines": np.array(["a", "b"]), "list": [1, 2]}
        | {"T": 0.44, "two words": "of text", "name": 'a "liquid"'}
    )
    ase.io.write(tmp_path / "in.traj", [atoms] * 2)
    predictor = Predictor(tiny_model, species_map=MAPS["extxyz"])
    with pytest.warns(
        PropensityWarning, match="no room for .*'none', 'quoted', 'nested' of the frame"
    ) as said:
        annotate(tmp_path / "in.traj", tmp_path / "out.extxyz", predictor)
    assert sum(issubclass(warning.category, PropensityWarning) for warning in said) == 1
    found = ase.io.read(tmp_path / "out.extxyz").info
    assert found["vector"].tolist() == [0, 1, 2] and list(found["lines"]) == ["a", "b"]
    assert not set(odd) & set(found) and "propensity_times" in found and found["T"] == 0.44
    assert (found["two words"], found["name"]) == ("of text", 'a "liquid"')


def test_annotating_twice_changes_nothing(tmp_path, predictor):
    for kind in ("extxyz", "dump"):
        annotate(LAMMPS / "triclinic.dump", tmp_path / f"once.{kind}", predictor)
        annotate(tmp_path / f"once.{kind}", tmp_path / f"twice.{kind}", predictor)
    assert (tmp_path / "twice.dump").read_text() == (tmp_path / "once.dump").read_text()
    once, twice = (ase.io.read(tmp_path / f"{name}.extxyz", ":") for name in ("once", "twice"))
    for a, b in zip(once, twice, strict=True):
        assert set(a.arrays) == set(b.arrays)
        assert np.allclose(a.arrays["propensities"], b.arrays["propensities"], rtol=1e-5)


def test_types_that_change_in_time_are_followed(tmp_path, predictor, frames):
    """Swap Monte Carlo exchanges species: frame 1 must not be predicted with the types of frame 0."""
    swapped = [frames[0].types, 1 - frames[0].types, frames[0].types, frames[0].types]
    path = write_dump(tmp_path / "t.dump", frames, swapped)
    with pytest.warns(UserWarning, match="composition"):
        annotate(path, tmp_path / "out.h5", predictor)
    with h5py.File(tmp_path / "out.h5") as file:
        counts = file["particles/all/species/value"][:].sum(axis=1)
    assert counts.tolist() == [24, 96, 24, 24]


def test_particles_may_come_and_go_in_text_formats(tmp_path, predictor):
    frames = [make_liquid(120), make_liquid(150, seed=2)]
    path = write_dump(tmp_path / "t.dump", frames)
    assert annotate(path, tmp_path / "out.dump", predictor).n_particles == 270
    with pytest.raises(BrokenFrameError, match=r"frame 1: it has 150 particles.*1 frame"):
        annotate(path, tmp_path / "out.h5", predictor)


@pytest.mark.parametrize(
    ("start", "stop", "step", "numbers"),
    [(0, None, 1, [0, 1, 2, 3]), (1, 3, 1, [1, 2]), (0, 4, 2, [0, 2]), (3, 9, 5, [3])],
)
@pytest.mark.parametrize("kind", ["dump", "extxyz", "xyz.gz", "traj", "gsd", "xtc"])
def test_frames_are_selected_as_in_a_slice(kind, start, stop, step, numbers, tmp_path, frames):
    path, topology, _ = write(tmp_path, kind, frames)
    selected = open_trajectory(path, topology, start=start, stop=stop, step=step)
    assert [frame.number for frame in selected] == numbers


@pytest.mark.parametrize("kind", ["dump", "extxyz", "xyz.gz"])
def test_text_beyond_the_last_frame_is_not_read(kind, tmp_path, frames, predictor):
    path, _, _ = write(tmp_path, kind, frames)
    text = gzip.decompress(path.read_bytes()) if kind == "xyz.gz" else path.read_bytes()
    broken = text + b"this is no frame\n" * 3
    path.write_bytes(gzip.compress(broken) if kind == "xyz.gz" else broken)
    assert len(list(open_trajectory(path, stop=4))) == 4
    with pytest.raises(DataError, match="frame 4"):
        list(open_trajectory(path))


@pytest.mark.parametrize("output", ["out.extxyz", "out.dump", "out.h5"])
@pytest.mark.parametrize("kind", ["dump", "extxyz"])
def test_frames_before_a_broken_one_are_saved(kind, output, tmp_path, frames, tiny_model):
    path, _, _ = write(tmp_path, kind, frames)
    lines = path.read_text().splitlines()
    block = len(lines) // 4
    lines[2 * block + 40] = "nonsense"
    path.write_text("\n".join(lines) + "\n")
    (tmp_path / output).write_text("something older")
    predictor = Predictor(tiny_model, species_map=MAPS[kind])
    with pytest.raises(
        BrokenFrameError, match=f"frame 2 can't be read: .*; the 2 frame.s. before it are in .*{output}"
    ) as error:
        annotate(path, tmp_path / output, predictor)
    assert error.value.summary.n_frames == 2
    assert "\n" not in str(error.value)
    if output == "out.h5":
        with h5py.File(tmp_path / output) as file:
            assert file["particles/all/propensities/value"].shape == (2, 120, 3)
    else:
        assert len(list(open_trajectory(tmp_path / output))) == 2


def test_a_broken_first_frame_leaves_an_older_output_alone(tmp_path, predictor, frames):
    path = write_dump(tmp_path / "t.dump", frames)
    path.write_text("\n".join(path.read_text().splitlines()[:50]))
    (tmp_path / "out.dump").write_text("something older")
    with pytest.raises(DataError, match="frame 0"):
        annotate(path, tmp_path / "out.dump", predictor)
    assert (tmp_path / "out.dump").read_text() == "something older"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.dump", "t.dump"]


def test_a_frame_that_cannot_be_predicted_is_named(tmp_path, predictor, frames):
    positions = frames[2].positions.copy()
    positions[7] = np.nan
    structures = [to_atoms(f) for f in frames]
    structures[2].positions = positions
    ase.io.write(tmp_path / "t.extxyz", structures)
    predictor.species_map = MAPS["extxyz"]
    with pytest.raises(BrokenFrameError, match="frame 2: positions of 1 particle"):
        annotate(tmp_path / "t.extxyz", tmp_path / "out.extxyz", predictor)
    assert len(ase.io.read(tmp_path / "out.extxyz", ":")) == 2


def test_ctrl_c_saves_what_there_is(tmp_path, predictor, frames):
    def stop(_, summary):
        if summary.n_frames == 3:
            raise KeyboardInterrupt

    path = write_dump(tmp_path / "t.dump", frames)
    with pytest.raises(AnnotationInterrupted) as interrupted:
        annotate(path, tmp_path / "out.dump", predictor, progress=stop)
    assert interrupted.value.summary.n_frames == 3
    assert len(list(open_trajectory(tmp_path / "out.dump"))) == 3


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path, tiny_model):
    frame = make_liquid(200)

    class Fast(Predictor):
        """Thirty kilobytes a frame without the network, which is slow under tracemalloc."""

        def predict_committee(self, structure):
            return np.repeat(structure.positions[None, :, :1], 3, axis=2)

    fast = Fast(tiny_model, species_map={1: "A", 2: "B"})
    peaks = []
    for n in (3, 3, 33):  # the first run warms caches up
        path = write_dump(tmp_path / f"{n}.dump", [frame] * n)
        tracemalloc.start()
        annotate(path, tmp_path / "out.dump", fast)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 30 more frames, 30 kB each as text alone, would add about 1 MB if they were kept.
    assert peaks[2] < 1.1 * peaks[1] + 200_000


def test_progress_sees_how_much_is_read(tmp_path, predictor, frames):
    seen = []
    path = write_dump(tmp_path / "t.dump", frames)
    annotate(path, tmp_path / "out.dump", predictor, progress=lambda f, s: seen.append((f.done, s.n_frames)))
    assert [n for _, n in seen] == [1, 2, 3, 4]
    assert all(0 < done <= 1 for done, _ in seen)


def test_a_committee_adds_standard_deviations(tmp_path, tiny_model, frames):
    other = make_tiny_model(tmp_path / "other", seed=1)
    predictor = Predictor([tiny_model, other], dtype="float64", species_map={1: "A", 2: "B"})
    path = write_dump(tmp_path / "t.dump", frames)
    for output in ("out.extxyz", "out.dump", "out.h5"):
        annotate(path, tmp_path / output, predictor)
    members = predictor.predict_committee(
        next(iter(open_trajectory(path))).structure(("A", "B"), {1: "A", 2: "B"})
    )
    std = np.abs(members[0] - members[1]) / np.sqrt(2)
    atoms = ase.io.read(tmp_path / "out.extxyz", 0)
    assert np.allclose(atoms.arrays["propensities_std"], std, atol=1e-7)
    dumped = next(iter(open_trajectory(tmp_path / "out.dump")))
    assert np.allclose(dumped.arrays["propensity_std"], std[:, 2], atol=1e-7)
    assert np.allclose(dumped.arrays["propensity_std_t10"], std[:, 1], atol=1e-7)
    with h5py.File(tmp_path / "out.h5") as file:
        assert np.allclose(file["particles/all/propensities_std/value"][0], std, atol=1e-6)


def test_selected_times_are_the_columns(tmp_path, tiny_model, frames):
    predictor = Predictor(tiny_model, species_map={1: "A", 2: "B"}, times=[10.0])
    annotate(write_dump(tmp_path / "t.dump", frames), tmp_path / "out.dump", predictor)
    frame = next(iter(open_trajectory(tmp_path / "out.dump")))
    names = [name for name in frame.arrays if name.startswith("propensity")]
    assert names == ["propensity", "propensity_out_of_distribution"]
    full = Predictor(tiny_model, species_map={1: "A", 2: "B"}).predict(
        frame.structure(("A", "B"), {1: "A", 2: "B"})
    )
    assert np.allclose(frame.arrays["propensity"], full[:, 1], rtol=1e-5)


def test_hdf5_is_read_by_mdanalysis(tmp_path, predictor, frames):
    import MDAnalysis

    annotate(LAMMPS / "triclinic.dump", tmp_path / "out.h5", predictor)
    universe = MDAnalysis.Universe(
        str(LAMMPS / "topology.data"),
        str(tmp_path / "out.h5"),
        format="H5MD",
        convert_units=False,
        atom_style="id type x y z",
    )
    original = list(open_trajectory(LAMMPS / "triclinic.dump"))
    for ts, frame in zip(universe.trajectory, original, strict=True):
        assert np.allclose(ts.positions, frame.positions, atol=1e-6)
        assert np.allclose(ts.triclinic_dimensions, frame.cell, atol=1e-5)
        assert np.allclose(
            ts.data["propensities"],
            predictor.predict(frame.structure(("A", "B"), {1: "A", 2: "B"})),
            rtol=1e-5,
        )
        assert np.allclose(ts.velocities, frame.arrays["velocities"], atol=1e-6)
        assert np.allclose(ts.forces, frame.arrays["forces"], rtol=1e-5)
    with h5py.File(tmp_path / "out.h5") as file:
        assert np.array_equal(file["particles/all/image/value"][2], original[2].arrays["image"])
        assert np.array_equal(file["particles/all/id/value"][2], original[2].arrays["id"])
        assert file["observables/propensities"].attrs["times"].tolist() == [1, 10, 100]


@pytest.mark.parametrize("kind", ["extxyz", "dump"])
def test_ovito_shows_the_columns(kind, tmp_path, predictor, monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    ovito = pytest.importorskip("ovito.io", reason="needs the package ovito", exc_type=ImportError)
    annotate(LAMMPS / "triclinic.dump", tmp_path / f"out.{kind}", predictor)
    pipeline = ovito.import_file(str(tmp_path / f"out.{kind}"))
    assert pipeline.num_frames == 3
    for k, frame in enumerate(open_trajectory(LAMMPS / "triclinic.dump")):
        data = pipeline.compute(k)
        values = predictor.predict(frame.structure(("A", "B"), {1: "A", 2: "B"}))
        assert np.allclose(data.particles["propensity"], values[:, 2], rtol=1e-5)
        assert np.allclose(data.cell[:, :3].T, frame.cell)
        assert np.allclose(data.cell[:, 3], frame.origin)
        assert np.allclose(data.particles["Velocity"][:, 1], frame.arrays["velocities"][:, 1], atol=1e-6)
        assert data.particles["Particle Type"].array.tolist() == frame.arrays["type"].tolist()
        assert data.particles["Particle Identifier"].array.tolist() == frame.arrays["id"].tolist()
        assert data.attributes["Timestep"] == frame.step
        if kind == "extxyz":
            assert np.allclose(data.particles["propensities"], values, rtol=1e-5)
        else:
            assert np.allclose(data.particles["propensity_t10"], values[:, 1], rtol=1e-5)


def test_summary_is_of_all_frames(tmp_path, predictor, frames, expected):
    summary = annotate(write_dump(tmp_path / "t.dump", frames), tmp_path / "out.dump", predictor)
    types = frames[0].types
    assert summary.count.tolist() == [4 * 96, 4 * 24]
    for k in (0, 1):
        values = expected[:, types == k]
        assert np.allclose(summary.mean[k], values.mean(axis=(0, 1)))
        assert np.allclose(summary.low[k], values.min(axis=(0, 1)))
        assert np.allclose(summary.high[k], values.max(axis=(0, 1)))


def test_species_without_labels_are_nan_in_file_and_summary(tmp_path, frames):
    model = make_tiny_model(tmp_path / "half", trained_species=("A",))
    predictor = Predictor(model, species_map={1: "A", 2: "B"})
    summary = annotate(write_dump(tmp_path / "t.dump", frames), tmp_path / "out.extxyz", predictor)
    assert np.isfinite(summary.mean[0]).all()
    assert np.isnan(summary.mean[1]).all()
    assert np.isnan(summary.low[1]).all()
    atoms = ase.io.read(tmp_path / "out.extxyz", 0)
    assert np.isnan(atoms.arrays["propensity"][atoms.numbers == 2]).all()


@pytest.mark.parametrize(
    ("output", "error"),
    [("out.txt", InputError), ("out", InputError), ("t.dump", InputError), (".", InputError)],
)
def test_outputs_that_are_refused(output, error, tmp_path, predictor, frames):
    path = write_dump(tmp_path / "t.dump", frames)
    before = path.read_bytes()
    with pytest.raises(error):
        annotate(path, tmp_path / output, predictor)
    assert path.read_bytes() == before


def test_a_folder_that_is_a_file_is_refused(tmp_path, predictor, frames):
    path = write_dump(tmp_path / "t.dump", frames)
    with pytest.raises(PropensityError, match="can't be written"):
        annotate(path, path / "out.dump", predictor)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ({"predictor": "ka-default"}, {}, "give a Predictor, which has model and species map"),
        ({"trajectory": None}, {}, "trajectory is None: give the path"),
        ({}, {"workers": 0}, "workers is 0: give an integer, 1 or more"),
        ({}, {"workers": 1.5}, "workers is 1.5"),
        ({}, {"step": 1.5}, "frames 0::1.5 are none"),
        ({}, {"stop": "1"}, "frames 0:1:1 are none"),
    ],
    ids=range(6),
)
def test_what_cannot_be_annotated(arguments, options, message, tmp_path, predictor, frames):
    path = write_dump(tmp_path / "t.dump", frames)
    given = {"trajectory": path, "output": tmp_path / "out.extxyz", "predictor": predictor} | arguments
    with pytest.raises(InputError, match=message):
        annotate(*given.values(), **options)
    assert list(tmp_path.iterdir()) == [path]


def test_one_output_has_one_writer(tmp_path, predictor, frames):
    path, out = write_dump(tmp_path / "t.dump", frames), tmp_path / "out.extxyz"
    with open_writer(out, predictor):
        with pytest.raises(PropensityError, match=r"another process is writing .*out.extxyz: wait"):
            annotate(path, out, predictor)
        annotate(path, tmp_path / "other.extxyz", predictor)
    annotate(path, out, predictor)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other.extxyz", "out.extxyz", "t.dump"]


def test_the_lock_of_a_killed_writer_does_not_block(tmp_path, predictor, frames):
    path, out = write_dump(tmp_path / "t.dump", frames), tmp_path / "out.extxyz"
    lock = tmp_path / ".out.extxyz.lock"
    code = f"import os, propensity.locks as l; l.FileLock({str(lock)!r}).acquire(); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert lock.exists()
    annotate(path, out, predictor)
    assert out.exists() and not lock.exists()


def test_an_output_that_appears_meanwhile_is_not_replaced(tmp_path, predictor):
    out = tmp_path / "out.extxyz"
    out.write_text("mine")
    with pytest.raises(InputError, match="exists"), open_writer(out, predictor, overwrite=False):
        pass
    assert out.read_text() == "mine" and list(tmp_path.iterdir()) == [out]


def test_a_tilted_gsd_box_is_read_as_hoomd_means_it(tmp_path):
    hoomd = pytest.importorskip("gsd.hoomd")
    snapshot = hoomd.Frame()
    snapshot.configuration.box = [4, 3, 2, 0.5, -0.25, 0.1]
    snapshot.particles.N = 1
    snapshot.particles.types = ["A"]
    snapshot.particles.typeid = [0]
    snapshot.particles.position = [[0, 0, 0]]
    with hoomd.open(str(tmp_path / "t.gsd"), "w") as file:
        file.append(snapshot)
    frame = next(iter(open_trajectory(tmp_path / "t.gsd")))
    # HOOMD: a1 = (Lx, 0, 0), a2 = (xy Ly, Ly, 0), a3 = (xz Lz, yz Lz, Lz).
    assert np.allclose(frame.cell, [[4, 0, 0], [1.5, 3, 0], [-0.5, 0.2, 2]])


def test_a_file_without_a_box_is_warned_about(tmp_path, tiny_model, frames):
    atoms = to_atoms(frames[0])
    atoms.cell[:], atoms.pbc = 0, False
    ase.io.write(tmp_path / "t.extxyz", atoms)
    with pytest.warns(UserWarning, match="no periodic box"):
        annotate(
            tmp_path / "t.extxyz", tmp_path / "out.dump", Predictor(tiny_model, species_map=MAPS["extxyz"])
        )


@pytest.mark.parametrize(
    "name", ["t.traj", "t.gsd", "t.extxyz", "t.dump", "t.xyz.gz", "t.pdb", "t.nc", "t.cif"]
)
def test_rubbish_is_an_error_that_names_file_or_frame(name, tmp_path, predictor):
    (tmp_path / name).write_bytes(b"- of Ulm" + bytes(range(256)))
    with pytest.raises(DataError, match=rf"frame 0|{name}") as error:
        annotate(tmp_path / name, tmp_path / "out.dump", predictor)
    assert "\n" not in str(error.value)


def test_a_compressed_file_that_was_cut_keeps_what_came_before(tmp_path, frames, predictor):
    rng = np.random.default_rng(0)
    noisy = [
        frames[0].with_positions(frames[0].positions + 0.01 * rng.normal(size=(120, 3))) for _ in range(30)
    ]
    path, _, _ = write(tmp_path, "xyz.gz", noisy)
    path.write_bytes(path.read_bytes()[:-4000])
    predictor.species_map = MAPS["xyz.gz"]
    with pytest.raises(BrokenFrameError, match=r"frame 2[5-9] can't be read") as error:
        annotate(path, tmp_path / "out.dump", predictor)
    assert len(list(open_trajectory(tmp_path / "out.dump"))) == error.value.summary.n_frames > 20


@pytest.mark.parametrize("properties", [" Properties=species:S:1:pos:R:3", ""])
@pytest.mark.parametrize(("names", "species_map"), [(("A", "B"), None), (("1", "2"), {1: "A", 2: "B"})])
def test_xyz_whose_particles_are_no_elements(
    names, species_map, properties, tmp_path, tiny_model, frames, expected
):
    edge = frames[0].cell[0, 0]
    with (tmp_path / "t.xyz").open("w") as stream:
        for frame in frames:
            stream.write(f'120\nLattice="{edge} 0 0 0 {edge} 0 0 0 {edge}"{properties}\n')
            for k, (x, y, z) in zip(frame.types, frame.positions, strict=True):
                stream.write(f"{names[k]} {x:.12f} {y:.12f} {z:.12f}\n")
    predictor = Predictor(tiny_model, dtype="float64", species_map=species_map)
    annotate(tmp_path / "t.xyz", tmp_path / "out.extxyz", predictor)
    back = ase.io.read(tmp_path / "out.extxyz", ":")
    assert np.allclose([atoms.arrays["propensities"] for atoms in back], expected, atol=1e-7)
    assert back[0].arrays["type"].astype(str).tolist() == [names[k] for k in frames[0].types]
    assert set(back[0].symbols) == {"H", "He"}


def test_types_of_gsd_are_those_of_each_frame(tmp_path, tiny_model, frames):
    hoomd = pytest.importorskip("gsd.hoomd")
    path, _, _ = write(tmp_path, "gsd", frames[:1])
    snapshot = hoomd.open(str(path))[0]
    snapshot.particles.typeid = np.roll(frames[0].types, 1)
    with hoomd.open(str(path), "r+") as file:
        file.append(snapshot)
    first, second = open_trajectory(path)
    assert first.structure(("A", "B")).types.tolist() == frames[0].types.tolist()
    assert second.structure(("A", "B")).types.tolist() == np.roll(frames[0].types, 1).tolist()
    snapshot.particles.typeid[5] = 7
    with hoomd.open(str(path), "w") as file:
        file.append(snapshot)
    with pytest.raises(DataError, match=r"frame 0 can't be read: its typeid 7 has no name among types"):
        list(open_trajectory(path))


@pytest.mark.parametrize("suffix", ["dump", "extxyz", "h5", "traj"])
def test_what_annotate_writes_every_verb_reads(suffix, tmp_path, tiny_model):
    """And annotating it again gives the same numbers once, not old columns beside new ones."""
    random = np.random.default_rng(3)
    liquid = make_liquid(120)
    frames = [liquid.with_positions(liquid.positions + 0.02 * random.normal(size=(120, 3))) for _ in range(3)]
    path, output = write_dump(tmp_path / "t.dump", frames), str(tmp_path / f"out.{suffix}")
    annotate(path, output, Predictor(tiny_model, species_map={1: "A", 2: "B"}, device="cpu"))
    names = {"dump": "1=A,2=B", "extxyz": "H=A,He=B", "traj": "H=A,He=B"}
    mapped = ["--species-map", names[suffix]] if suffix in names else []
    said = CliRunner().invoke(info, [output], catch_exceptions=False).output
    assert "frames     3" in said and "particles  120" in said
    for command, extra in ((view, mapped), (report, mapped), (analyse, [])):
        arguments = [output, *extra] + (["-o", str(tmp_path / "page.html")] if command is report else [])
        arguments += ["-o", str(tmp_path / "picture.png"), "--slab", "0"] if command is view else []
        assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    again = tmp_path / "again.dump"
    annotate(
        output, again, Predictor(tiny_model, species_map=parse_species_map(names.get(suffix)), device="cpu")
    )
    first, second = (list(open_trajectory(p)) for p in (output, again))
    columns = again.read_text().split("ITEM: ATOMS ")[1].split("\n")[0].split()
    assert columns.count("propensity") == 1 and not [name for name in columns if "[" in name]
    for one, two in zip(first, second, strict=True):
        np.testing.assert_allclose(two.positions, one.positions, atol=1e-7)
        np.testing.assert_allclose(two.arrays["propensity"], one.arrays["propensity"], atol=1e-5)
