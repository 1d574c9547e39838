"""``propensity annotate`` and ``propensity demo`` as a user types them."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest

from propensity.demo import load_demo
from propensity.errors import InputError
from propensity.estimators.storage import shipped_models
from propensity.plotting import plot_propensity
from propensity.predictor import Predictor
from propensity.trajectory import open_trajectory
from tests.commands import run_here as run
from tests.conftest import make_liquid, make_tiny_model
from tests.trajectory.conftest import LAMMPS

DUMP = str(LAMMPS / "triclinic.dump")


def test_annotate_writes_the_file_and_a_table(tmp_path, tiny_model):
    out = tmp_path / "out.extxyz"
    code, shown, err = run("annotate", DUMP, "-o", out, "-m", tiny_model, "--species-map", "1=A,2=B")
    assert (code, err) == (0, "")
    assert "3 frames, 330 particles" in shown
    assert len(ase.io.read(out, ":")) == 3
    atoms = ase.io.read(out, ":")
    mean = np.mean([a.arrays["propensities"][a.arrays["type"] == 1].mean(axis=0) for a in atoms], axis=0)
    for value in mean:
        assert f"{value:.4f}" in shown


def test_annotate_options(tmp_path, tiny_model):
    other = make_tiny_model(tmp_path / "other", seed=1)
    code, shown, _ = run(
        "annotate",
        DUMP,
        "-o",
        tmp_path / "out.dump",
        "-m",
        tiny_model,
        "-m",
        other,
        "--species-map",
        "1=A,2=B",
        "--times",
        "10,100",
        "--start",
        1,
        "--stop",
        3,
        "--step",
        5,
        "--device",
        "cpu",
        "-q",
    )
    assert (code, shown) == (0, "")
    (frame,) = open_trajectory(tmp_path / "out.dump")
    assert frame.step == 50
    new = [name for name in frame.arrays if name.startswith("propensity")]
    assert new == [
        "propensity",
        "propensity_t10",
        "propensity_t100",
        "propensity_std",
        "propensity_std_t10",
        "propensity_std_t100",
        "propensity_out_of_distribution",
    ]


def test_length_scale(tmp_path, tiny_model):
    atoms = ase.io.read(DUMP, 0, format="lammps-dump-text")
    atoms.set_cell(atoms.cell * 2.2, scale_atoms=True)
    ase.io.write(tmp_path / "t.extxyz", atoms)
    code, _, err = run(
        "annotate",
        tmp_path / "t.extxyz",
        "-o",
        tmp_path / "out.extxyz",
        "-m",
        tiny_model,
        "--species-map",
        "Ni=A,P=B",
        "--length-scale",
        2.2,
    )
    assert (code, err) == (0, "")
    code, _, err = run(
        "annotate",
        tmp_path / "t.extxyz",
        "-o",
        tmp_path / "out.extxyz",
        "--overwrite",
        "-m",
        tiny_model,
        "--species-map",
        "Ni=A,P=B",
    )
    assert code == 0
    assert err.startswith("propensity: warning: number density")
    assert err.count("\n") == 1


GOOD = ["annotate", DUMP, "-o", "{tmp}/out.extxyz", "-m", "{model}", "--species-map", "1=A,2=B"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["annotate", "no.dump", "-o", "{tmp}/out.extxyz", "-m", "{model}"], "no.dump doesn't exist"),
        (["annotate", "{tmp}", "-o", "{tmp}/out.extxyz", "-m", "{model}"], "is a folder"),
        (
            ["annotate", "{tmp}/noise.abc", "-o", "{tmp}/out.extxyz", "-m", "{model}"],
            "no format that ASE or MDAnalysis",
        ),
        (["annotate", "{tmp}/t.xtc", "-o", "{tmp}/out.extxyz", "-m", "{model}"], "give a topology"),
        (
            ["annotate", "{tmp}/t.xtc", "no.gro", "-o", "{tmp}/out.extxyz", "-m", "{model}"],
            "no.gro doesn't exist",
        ),
        (
            ["annotate", DUMP, "-o", "{tmp}/out.extxyz", "-m", "{model}"],
            "frame 0: species can't be inferred.*'1', '2'.*'A', 'B'",
        ),
        ([*GOOD[:-1], "1=A"], "frame 0: species.*'2'"),
        ([*GOOD[:-1], "1=A,2=C"], "'C'.*'A', 'B'"),
        ([*GOOD[:-1], "1:A"], "label=species"),
        ([*GOOD, "-o", "/proc/no/out.extxyz"], "can't be written"),
        ([*GOOD, "-o", "{tmp}/out.pdf"], "out.pdf has no known extension"),
        ([*GOOD, "--start", "3"], "no frame in 3::1"),
        ([*GOOD, "--start", "2", "--stop", "2"], "frames 2:2:1 are none"),
        ([*GOOD, "--step", "0"], "--step"),
        ([*GOOD, "--times", "11"], r"11.*\[1.0, 10.0, 100.0\]"),
        ([*GOOD, "--times", "ten"], "'ten'"),
        ([*GOOD, "-m", "no-such-model"], "'no-such-model'"),
        ([*GOOD, "--length-scale", "-1"], "length_scale is -1"),
        ([*GOOD, "--device", "abacus"], "abacus"),
        (["annotate", DUMP], "--output"),
        (["demo", "-m", "no-such-model"], "'no-such-model'"),
    ],
)
def test_every_mistake_is_one_line(args, message, tmp_path, tiny_model):
    import re

    (tmp_path / "noise.abc").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "t.xtc").write_bytes(bytes(100))
    args = [a.replace("{tmp}", str(tmp_path)).replace("{model}", str(tiny_model)) for a in args]
    code, out, err = run(*args)
    assert code in (1, 2)
    assert out == ""
    assert err.startswith("propensity: error: ")
    assert err.count("\n") == 1
    assert re.search(message, err), err
    assert not (tmp_path / "out.extxyz").exists()


def test_a_broken_frame_leaves_the_table_the_file_and_one_line(tmp_path, tiny_model):
    lines = (LAMMPS / "triclinic.dump").read_text().splitlines()
    (tmp_path / "cut.dump").write_text("\n".join(lines[:-20]) + "\n")
    args = [a.replace("{tmp}", str(tmp_path)).replace("{model}", str(tiny_model)) for a in GOOD]
    code, out, err = run(args[0], tmp_path / "cut.dump", *args[2:])
    assert code == 1
    assert "2 frames, 220 particles" in out
    assert "frame 2 can't be read: the file ends after 90 of 110 particles; the 2 frame(s)" in err
    assert err.count("\n") == 1
    assert len(ase.io.read(tmp_path / "out.extxyz", ":")) == 2


# --- demo -----------------------------------------------------------------------------------------


def test_the_configuration_is_deepminds():
    demo = load_demo()
    assert len(demo.structure) == 4096
    assert demo.structure.types.sum() == 819
    assert demo.structure.cell[0, 0] == pytest.approx(15.04333156)
    assert demo.times[[0, -1]] == pytest.approx([0.132, 19327.089])
    assert np.all(np.diff(demo.propensities.mean(axis=0)) > 0)
    assert np.array_equal(demo.propensity_at(demo.times[3]), demo.propensities[:, 3])
    middle = demo.propensity_at(np.sqrt(demo.times[3] * demo.times[4]))
    assert np.allclose(middle, demo.propensities[:, 3:5].mean(axis=1))
    assert np.array_equal(demo.propensity_at(1e-3), demo.propensities[:, 0])
    assert np.array_equal(demo.propensity_at(1e9), demo.propensities[:, -1])


def test_the_configuration_is_that_of_the_published_file(shared):
    from propensity.data import open_dataset

    sample = open_dataset(shared / "bapst" / "test_large.pickle")[0]
    demo = load_demo()
    assert np.abs(sample.structure.positions - demo.structure.positions).max() < 1e-4
    for time in (0.132, 5889.603):
        ours, theirs = np.abs(demo.times - time).argmin(), np.abs(np.asarray(sample.times) - time).argmin()
        assert np.allclose(sample.propensities[:, theirs], demo.propensities[:, ours], rtol=3e-3)


def test_demo_leaves_a_file_and_a_picture(tmp_path, tiny_model):
    code, shown, err = run("demo", "-o", tmp_path / "d", "-m", tiny_model)
    assert (code, err) == (0, "")
    assert "Bapst" in shown
    assert "Pearson" in shown
    atoms = ase.io.read(tmp_path / "d" / "demo.extxyz")
    demo = load_demo()
    expected = Predictor(tiny_model).predict(demo.structure)
    assert np.allclose(atoms.arrays["propensities"], expected, atol=1e-6)
    for time, name in ((100, "published"),):
        assert np.allclose(atoms.arrays[name], demo.propensity_at(time), atol=1e-6)
    a = atoms.arrays["type"] == 1
    rho = np.corrcoef(atoms.arrays["propensity"][a], atoms.arrays["published"][a])[0, 1]
    assert f"{rho:.3f}" in shown
    image = (tmp_path / "d" / "demo.png").read_bytes()
    assert image.startswith(b"\x89PNG")


@pytest.mark.skipif("ka-default" not in shipped_models(), reason="the trained model is not installed")
def test_the_shipped_model_knows_the_published_configuration(tmp_path):
    code, _, err = run("demo", "-o", tmp_path)
    assert (code, err) == (0, "")
    atoms = ase.io.read(tmp_path / "demo.extxyz")
    a = atoms.arrays["type"] == 1
    assert np.corrcoef(atoms.arrays["propensity"][a], atoms.arrays["published"][a])[0, 1] > 0.5


# --- pictures -------------------------------------------------------------------------------------


def discs(structure, values, **options):
    from matplotlib.figure import Figure

    from propensity.plotting import draw_slab

    axes = Figure().subplots()
    return draw_slab(axes, structure, values, **options)


def test_a_slab_through_everything_draws_every_particle_and_its_images():
    structure = make_liquid(60)
    found = discs(structure, np.arange(60.0), thickness=99.0)
    assert set(found.get_array().astype(int)) == set(range(60))
    inside = found.get_offsets()
    edge = structure.cell[0, 0]
    within = ((inside >= 0) & (inside < edge)).all(axis=1)
    assert within.sum() == 60
    assert len(inside) > 60


def test_a_thin_slab_has_the_particles_near_its_middle():
    structure = make_liquid(60)
    found = discs(structure, np.arange(60.0), thickness=1.0, centre=0.0)
    edge = structure.cell[2, 2]
    height = structure.positions[:, 2] % edge
    near = np.minimum(height, edge - height) <= 0.5
    assert 0 < near.sum() < 60
    assert set(found.get_array().astype(int)) == set(np.flatnonzero(near))


def test_deeper_particles_are_drawn_first():
    structure = make_liquid(60)
    found = discs(structure, structure.positions[:, 2], thickness=2.0, centre=0.5)
    assert np.all(np.diff(found.get_array()) >= 0)


def test_relative_values_average_to_one_in_each_species():
    from propensity.plotting import relative_to_species

    types = np.array([0, 0, 1, 1])
    assert relative_to_species(np.array([1.0, 3.0, 10.0, 30.0]), types).tolist() == [0.5, 1.5, 0.5, 1.5]


def test_what_cannot_be_drawn_is_refused():
    structure = make_liquid(60)
    with pytest.raises(InputError, match=r"shape \(59,\)"):
        discs(structure, np.zeros(59))
    with pytest.raises(InputError, match=r"direction is 3"):
        discs(structure, np.zeros(60), direction=3)
    for panels, message in (
        (np.zeros(60), "panels is no mapping: give titles and values"),
        ({"one": np.zeros(59)}, r"panel 'one' has shape \(59,\): give a number"),
        ({"one": np.full(60, np.nan)}, "not all of them NaN"),
    ):
        with pytest.raises(InputError, match=message):
            plot_propensity(structure, panels)
