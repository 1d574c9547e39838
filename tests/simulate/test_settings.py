"""Times, models, settings: what is accepted, and one sentence for what is not."""

from dataclasses import replace

import numpy as np
import pytest

from propensity.errors import InputError, PropensityError
from propensity.simulate import load_input, load_preset, parse_times, presets
from propensity.simulate.pieces import PieceStore
from propensity.simulate.progress import duration, estimate, run_steps
from tests.simulate.helpers import small_settings


def test_log_spaced_times():
    times = parse_times("0.1:200:10", 0.005)
    assert len(times) == 10 and times[0] == 0.1 and times[-1] == 200.0
    np.testing.assert_allclose(np.diff(np.log(times)), np.log(2000) / 9, atol=0.03)
    steps = np.array(times) / 0.005
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)
    assert parse_times("0.13,1.3,13", 0.005) == (0.13, 1.3, 13.0)
    assert parse_times("5", 0.005) == (5.0,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1:2",
        "2:1:3",
        "0:1:3",
        "-1:1:3",
        "1:2:1",
        "1:2:x",
        "a,b",
        "nan,1",
        "1:inf:3",
        "0.001:1:3",
        "0.01:0.02:9",
        "3,2,1",
        "1,1",
        "0",
    ],
)
def test_bad_times(text):
    with pytest.raises(InputError, match="--times"):
        parse_times(text, 0.005)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"temperature": 0.0}, "--temperature is 0"),
        ({"temperature": -1.0}, "--temperature is -1"),
        ({"temperature": float("nan")}, "--temperature is nan"),
        ({"density": 0.0}, "--density"),
        ({"timestep": -0.1}, "--timestep"),
        ({"n_particles": 3}, "--n-particles"),
        ({"structures": 0}, "--structures"),
        ({"runs": 1}, "--runs"),
        ({"chains": 9}, "--chains is 9 for 3"),
        ({"equilibration": 1.0}, "--equilibration"),
        ({"seed": -1}, "--seed"),
        ({"max_equilibration": 0.0}, "--max-equilibration"),
        ({"wavenumber": float("inf")}, "--wavenumber"),
        ({"temperature": 1e-300}, "nothing moves below"),
        ({"timestep": 1e-300}, "more than 1e.15 steps"),
        ({"times": "1,1e300"}, "more than 1e.15 steps"),
    ],
)
def test_bad_settings(change, match):
    with pytest.raises(InputError, match=match):
        small_settings(**change)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"temperature": 1e9}, "--timestep is 0.005, in which .* 2e.09, at which chains melt, fly .* lower"),
        ({"timestep": 0.05}, "temperature 3, .* give 0.027 at most"),
    ],
)
def test_steps_in_which_particles_fly_past_each_other(change, match):
    masses = np.array([1.0, 1.0])
    small_settings().check_step(masses)
    settings = small_settings(**{"times": "1,2"} | change)
    with pytest.raises(InputError, match=match):
        settings.check_step(masses)
    settings.check_step(1e12 * masses)


def test_every_preset_is_documented_and_whole():
    assert list(presets()) == [
        "copper-zirconium",
        "kob-andersen",
        "kob-andersen-2d",
        "kob-andersen-force-shifted",
        "polydisperse",
        "soft-spheres",
        "wahnstrom",
    ]
    for name, title in presets().items():
        model = load_preset(name)
        assert title and model.potential and model.density and sum(model.fractions) == pytest.approx(1)
        assert model.counts(1000).sum() == 1000
    assert load_preset("kob-andersen").counts(4096).tolist() == [3277, 819]
    assert load_preset("kob-andersen-2d").counts(1000).tolist() == [650, 350]
    assert len({load_preset(name).potential for name in presets()}) == len(presets())


def test_unknown_preset():
    with pytest.raises(InputError, match=r"no preset 'kob-anderson'.*the nearest is 'kob-andersen'"):
        load_preset("kob-anderson")


GOOD = """# A ternary mixture
# propensity: species A:2 B:1 C:1
# propensity: density 0.9
mass * 1.0
pair_style lj/cut &
  2.5
pair_coeff * * 1.0 1.0
"""


def test_input_file(tmp_path):
    path = tmp_path / "my.in"
    path.write_text(GOOD)
    model = load_input(path)
    assert model.species == ("A", "B", "C") and model.fractions == (0.5, 0.25, 0.25)
    assert "pair_style lj/cut 2.5" in model.commands and model.folder == str(tmp_path)
    assert (model.title, model.name) == ("A ternary mixture", "my")
    assert model.potential.startswith("lj/cut #") and model.wavenumber is None


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("mass * 1.0", "mass * 1.0\nfix 1 all nve", "line 5: 'fix' doesn't define an interaction"),
        ("mass * 1.0", "mass * 1.0\nrun 100", "'run'"),
        ("mass * 1.0", "mass * 1.0\ninclude other.in", "'include'"),
        ("mass * 1.0", "shell rm x\nmass * 1", "'shell'"),
        ("mass * 1.0", "units si\nmass * 1", "units are 'si': choose from lj, metal, real"),
        ("mass * 1.0", "", "no mass"),
        ("species A:2 B:1 C:1", "species A B", "isn't name:fraction"),
        ("species A:2 B:1 C:1", "species A:1 A:2", "repeats a name"),
        ("species A:2 B:1 C:1", "species A:-1", "isn't name:fraction"),
        ("# propensity: species A:2 B:1 C:1", "", "names no species"),
        ("density 0.9", "density x", "density is 'x'"),
        ("density 0.9", "dimension 4", "dimension is 4"),
        ("density 0.9", "atom_style full", "atom_style"),
        ("density 0.9", "densty 0.9", "no setting 'densty'.*the nearest is 'density'"),
    ],
)
def test_input_that_breaks_the_contract(tmp_path, old, new, match):
    path = tmp_path / "my.in"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(InputError, match=match):
        load_input(path)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_input_that_is_no_text(tmp_path, content):
    if content:
        (tmp_path / "my.in").write_bytes(content)
    with pytest.raises(InputError, match="can't be read"):
        load_input(tmp_path / "my.in")


def test_a_species_without_particles(tmp_path):
    path = tmp_path / "my.in"
    path.write_text(GOOD.replace("C:1", "C:0.001"))
    with pytest.raises(InputError, match="hold no C"):
        small_settings(model=load_input(path))


def test_a_density_from_nowhere(tmp_path):
    path = tmp_path / "my.in"
    path.write_text(GOOD.replace("# propensity: density 0.9\n", ""))
    with pytest.raises(InputError, match="my names no density: give --density"):
        small_settings(model=load_input(path))
    assert small_settings(model=load_input(path), density=0.7).density == 0.7


def test_other_settings_are_refused_on_resume(tmp_path):
    settings = small_settings()
    store = PieceStore(tmp_path / "w", settings.identity())
    store.save("x/0", {"a": np.zeros(2)})
    store.close()
    for change, match in (
        ({"temperature": 1.6}, "begun with temperature 1.5, and now it is 1.6"),
        ({"seed": 3}, "seed"),
    ):
        with pytest.raises(InputError, match=match):
            PieceStore(tmp_path / "w", replace(settings, **change).identity())
    other = replace(settings, model=replace(settings.model, commands=settings.model.commands + "\n"))
    with pytest.raises(InputError, match=r"model\.commands"):
        PieceStore(tmp_path / "w", other.identity())
    again = PieceStore(tmp_path / "w", replace(settings, max_equilibration=9e9).identity())
    assert "x/0" in again and "x/1" not in again
    again.close()


def test_two_runs_do_not_share_a_folder(tmp_path):
    store = PieceStore(tmp_path / "w", {})
    with pytest.raises(PropensityError, match="another run is working"):
        PieceStore(tmp_path / "w", {})
    store.close()


def test_a_damaged_piece_is_named(tmp_path):
    store = PieceStore(tmp_path / "w", {})
    store.save("a/0", {"x": np.arange(1000.0)})
    path = tmp_path / "w" / "a" / "0.npz"
    path.write_bytes(path.read_bytes()[:700])
    store.close()
    store = PieceStore(tmp_path / "w", {})
    with pytest.raises(PropensityError, match=r"0\.npz is damaged"):
        store.load("a/0")
    store.close()


def test_a_full_disk(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    store = PieceStore(tmp_path / "w", {})
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(PropensityError, match=r"No space left on device\): make room"):
        store.save("a/0", {"x": np.zeros(1)})
    assert "a/0" not in store
    store.close()


def test_estimate():
    settings = small_settings(structures=20, runs=30, times="0.1:200:10", chains=20)
    assert run_steps(settings) == 20 * 30 * 40000
    lines = estimate(settings, speed=440.0, workers=2)
    assert any("24 M steps, 7.6 h" in line for line in lines), lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "3 s"), (99.6, "100 s"), (720, "12 min"), (12240, "3.4 h"), (440640, "5.1 days")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_pieces_just_stored_come_from_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("propensity.simulate.pieces._RECENT", 100)
    store = PieceStore(tmp_path / "w", {})
    for key in "abc":
        store.save(key, {"x": np.full(6, ord(key))})
        (tmp_path / "w" / f"{key}.npz").unlink()
    assert store.load("c")["x"][0] == ord("c")
    with pytest.raises(PropensityError, match=r"a.npz is damaged"):  # 100 bytes hold two of them
        store.load("a")
