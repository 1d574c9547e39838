"""Choices and warnings of the predictor (its basics are tested with the models on disk)."""

from __future__ import annotations

import inspect
import shutil
import warnings

import numpy as np
import pytest
import torch

from propensity.errors import InputError, PropensityError, PropensityWarning
from propensity.integrations.ase import PropensityCalculator
from propensity.model_options import ModelOptions, PredictorOptions
from propensity.predictor import COLUMNS, Predictor
from propensity.structure import Structure
from tests.conftest import make_tiny_model


@pytest.mark.parametrize(
    ("times", "index", "default"),
    [
        (None, [0, 1, 2], 2),
        ([10.0], [1], 0),
        (10, [1], 0),
        ([100, 1], [2, 0], 0),
        ([1, 10], [0, 1], 1),
        ([10.004], [1], 0),
    ],
)
def test_times_are_chosen_by_value(times, index, default, tiny_model, liquid):
    chosen = Predictor(tiny_model, times=times)
    assert chosen.times.tolist() == [[1.0, 10.0, 100.0][k] for k in index]
    assert chosen.default_time_index == default
    assert np.array_equal(chosen.predict(liquid), Predictor(tiny_model).predict(liquid)[:, index])


@pytest.mark.parametrize("times", [[11], [10, 11], [], [np.nan], [-10]])
def test_times_that_the_model_lacks_are_refused(times, tiny_model):
    with pytest.raises(InputError, match=r"choose from \[1.0, 10.0, 100.0\]"):
        Predictor(tiny_model, times=times)


def test_columns_of_one_model_and_of_a_committee(tiny_model, tmp_path, liquid):
    assert tuple(Predictor(tiny_model).columns(liquid)) == COLUMNS[:2]
    with pytest.raises(InputError, match=r"is there twice"):
        Predictor([tiny_model, tiny_model / "model.safetensors"])
    same = Predictor([tiny_model, shutil.copytree(tiny_model, tmp_path / "copy")]).columns(liquid)
    assert tuple(same) == COLUMNS
    assert np.all(same["propensities_std"] == 0)
    other = Predictor([tiny_model, make_tiny_model(tmp_path / "other", seed=1)]).columns(liquid)
    assert other["propensities_std"].min() > 0
    assert np.array_equal(other["propensity_std"], other["propensities_std"][:, 2])


def test_a_name_that_stands_for_a_committee_does_so_in_a_list(tiny_committee, tmp_path, liquid):
    """As command lines and MDAnalysis pass it; every way gives the same numbers and the calibrated errors."""
    import MDAnalysis

    from propensity.data import StoreWriter
    from propensity.integrations.mdanalysis import PropensityAnalysis
    from propensity.sample import Sample
    from propensity.trajectory import open_trajectory
    from propensity.viewing import load_scene
    from tests.commands import run_here
    from tests.trajectory.conftest import write_dump

    expected = Predictor(tiny_committee, dtype="float64").columns(liquid)
    assert np.allclose(expected["propensity_std"], np.where(liquid.types == 0, 0.1, 0.2))
    members = [Predictor([tiny_committee, tiny_committee.parent / "second"]), Predictor([tiny_committee])]
    for predictor in members:
        assert len(predictor.estimators) == 2 and predictor.is_calibrated
        assert np.allclose(predictor.predict(liquid), expected["propensities"], atol=1e-5)
    path = write_dump(tmp_path / "t.dump", [liquid])
    done = run_here(
        *("annotate", path, "-o", tmp_path / "out.dump", "-m", tiny_committee, "--species-map", "1=A,2=B")
    )
    assert done.returncode == 0, done.stderr
    (frame,) = open_trajectory(tmp_path / "out.dump")
    order = frame.arrays["id"] - 1
    for name in ("propensity", "propensity_std"):
        assert np.allclose(frame.arrays[name], expected[name][order], atol=1e-4)
    universe = MDAnalysis.Universe(str(path), format="LAMMPSDUMP")
    found = PropensityAnalysis(universe, tiny_committee, species_map={1: "A", 2: "B"}).run().results
    ids = universe.atoms.ids - 1
    for name in ("propensity", "propensity_std"):
        assert np.allclose(found[name][0], expected[name][ids], atol=1e-3)
    with StoreWriter(tmp_path / "s.h5") as writer:
        writer.add(Sample(liquid, np.array([1.0, 10.0, 100.0]), np.ones((120, 3)), "one"))
    scene = load_scene(path, [tiny_committee], species_map={1: "A", 2: "B"})
    assert np.allclose(scene.frames[0].fields["predicted"], expected["propensities"], atol=1e-4)
    fields = load_scene(tmp_path / "s.h5", str(tiny_committee)).frames[0].fields
    assert np.allclose(fields["predicted"], expected["propensities"], atol=1e-3)
    assert np.allclose(fields["uncertainty"], expected["propensities_std"], atol=1e-3)


def warned(predictor, *structures):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for structure in structures:
            predictor.predict(structure)
    return [str(w.message) for w in seen if issubclass(w.category, PropensityWarning)]


def test_a_liquid_like_that_of_the_card_gives_no_warning(tiny_model, liquid):
    assert warned(Predictor(tiny_model), liquid) == []


def test_each_doubt_is_uttered_once(tiny_model, liquid):
    dense = liquid.scaled(0.95)
    swapped = Structure(liquid.positions, 1 - liquid.types, liquid.cell)
    free = Structure(liquid.positions, liquid.types, 0.0, False)
    messages = warned(Predictor(tiny_model), dense, dense, swapped, swapped, free, free, liquid)
    assert [m.split()[0:2] for m in messages] == [
        ["number", "density"],
        ["composition", "is"],
        ["the", "structure"],
    ]


def test_a_model_of_inherent_structures_says_so(tmp_path, liquid):
    (message,) = warned(Predictor(make_tiny_model(tmp_path, input_positions="inherent")), liquid, liquid)
    assert "inherent structures" in message


def test_untrained_species_are_nan_or_warned_about(tmp_path, liquid, monkeypatch):
    predictor = Predictor(make_tiny_model(tmp_path, trained_species=("A",)))
    assert warned(predictor, liquid) == []
    assert np.isnan(predictor.predict(liquid)[liquid.types == 1]).all()
    monkeypatch.setattr(predictor.estimators[0], "unchecked", lambda s: np.ones((len(s), 3)))
    (message,) = warned(predictor, liquid, liquid)
    assert "['A'] only" in message


def test_out_of_memory_names_the_way_out(tiny_model, liquid, monkeypatch):
    predictor = Predictor(tiny_model)

    def fail(structure):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(predictor.estimators[0], "unchecked", fail)
    with pytest.raises(PropensityError, match="not enough memory for 120 particles: use device='cpu'"):
        predictor.predict(liquid)


def test_options_of_adapters_are_those_of_the_predictor():
    own = set(inspect.signature(Predictor).parameters) - {"model"}
    assert own == set(PredictorOptions.__annotations__) | set(ModelOptions.__annotations__)
    documented = f"{ModelOptions.__doc__} {PredictorOptions.__doc__}"
    assert own <= {line.strip() for line in documented.splitlines()}
    with pytest.raises(TypeError, match="colour"):
        PropensityCalculator(colour="red")
