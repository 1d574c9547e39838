"""Sizes of particles: read from files, kept in stores, seen by models."""

from __future__ import annotations

from dataclasses import replace

import ase
import ase.io
import numpy as np
import pytest

from propensity import Predictor
from propensity.data import StoreWriter, open_dataset
from propensity.errors import DataError, InputError
from propensity.estimators.kinds import estimator_class
from propensity.estimators.storage import save_model
from propensity.structure import Structure
from propensity.training import fit_network
from tests.training.conftest import SMALL, make_sample


def sized(seed=0):
    """Toy sample of one species whose propensities follow the diameters."""
    toy = make_sample(seed)
    sizes = np.random.default_rng(seed).uniform(0.7, 1.6, len(toy))
    s = toy.structure
    structure = Structure(s.positions, np.zeros(len(s), int), s.cell, diameters=sizes)
    labels = np.stack([2.0 - sizes, 3.0 - 1.5 * sizes], axis=1)
    return replace(toy, structure=structure, propensities=labels, halves=None, species=("A",))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([1.0, 2.0], "shape"),
        (np.zeros(120), "is 0.0"),
        (np.full(120, np.nan), "nan"),
        (["x"] * 120, "numbers"),
    ],
)
def test_bad_diameters_are_refused(liquid, sizes, message):
    with pytest.raises(InputError, match=message):
        Structure(liquid.positions, liquid.types, liquid.cell, diameters=sizes)


def test_they_follow_the_particles(liquid):
    sizes = np.linspace(0.7, 1.6, 120)
    structure = Structure(liquid.positions, liquid.types, liquid.cell, diameters=sizes)
    assert np.allclose(structure.scaled(2.0).diameters, 2 * sizes)
    assert np.array_equal(structure.at_minimum(structure.positions + 0.01).diameters, sizes)


@pytest.mark.parametrize(("name", "factor"), [("diameter", 1.0), ("radius", 0.5), ("Radius", 0.5)])
def test_files_say_them(tmp_path, liquid, name, factor):
    from propensity.trajectory import open_trajectory

    sizes = np.linspace(0.7, 1.6, 120)
    edge = liquid.cell[0, 0]
    head = ["ITEM: TIMESTEP", "0", "ITEM: NUMBER OF ATOMS", "120", "ITEM: BOX BOUNDS pp pp pp"]
    rows = [
        f"{k + 1} 1 {' '.join(map(str, x))} {factor * d!r}"
        for k, (x, d) in enumerate(zip(liquid.positions.tolist(), sizes.tolist(), strict=True))
    ]
    path = tmp_path / "a.dump"
    path.write_text("\n".join([*head, *[f"0 {edge}"] * 3, f"ITEM: ATOMS id type x y z {name}", *rows, ""]))
    (frame,) = open_trajectory(path)
    assert np.allclose(frame.structure(("A",), {1: "A"}).diameters, sizes)
    atoms = ase.Atoms("Ar120", liquid.positions, cell=liquid.cell, pbc=True)
    atoms.arrays[name] = factor * sizes
    assert np.allclose(Structure.from_ase(atoms, ("A",), {"Ar": "A"}).diameters, sizes)
    ase.io.write(tmp_path / "a.extxyz", atoms)
    (frame,) = open_trajectory(tmp_path / "a.extxyz")
    assert np.allclose(frame.structure(("A",), {"Ar": "A"}).diameters, sizes)


def test_equal_sizes_say_nothing(liquid):
    atoms = ase.Atoms("Ar120", liquid.positions, cell=liquid.cell, pbc=True)
    atoms.arrays["diameter"] = np.ones(120)
    assert Structure.from_ase(atoms, ("A",), {"Ar": "A"}).diameters is None


def test_store_and_npz_keep_them(tmp_path):
    sample = sized()
    with StoreWriter(tmp_path / "s.h5") as writer:
        writer.add(sample)
    stored = open_dataset(tmp_path / "s.h5")[0].structure.diameters
    assert np.allclose(stored, sample.structure.diameters, atol=1e-6)
    np.savez(
        tmp_path / "s.npz",
        positions=sample.structure.positions[None],
        types=sample.structure.types,
        box=np.diag(sample.structure.cell),
        times=sample.times,
        propensity=sample.propensities.T[None],
        diameters=sample.structure.diameters,
        species=np.array(["A"]),
    )
    found = open_dataset(tmp_path / "s.npz")[0]
    assert np.array_equal(found.structure.diameters, sample.structure.diameters) and found.species == ("A",)


@pytest.mark.parametrize(("kind", "options"), [("ridge", {"l_max": 2, "generations": 1}), ("softness", {})])
def test_descriptors_hold_them(tmp_path, kind, options):
    samples = [sized(k) for k in range(4)]
    model = estimator_class(kind).fit(samples[:3], **options)
    assert "diameter" in model.feature_names
    save_model(tmp_path / kind, model)
    predicted = Predictor(tmp_path / kind).predict(samples[3].structure)
    assert np.corrcoef(predicted[:, 0], samples[3].propensities[:, 0])[0, 1] > 0.9
    s = samples[3].structure
    with pytest.raises(InputError, match="structure has none"):
        Predictor(tmp_path / kind).predict(Structure(s.positions, s.types, s.cell))


def test_the_network_sees_them(tmp_path):
    samples = [sized(k) for k in range(4)]
    model = fit_network(samples[:3], **{**SMALL, "epochs": 4})
    assert model.card.scalar_recipe["diameter"]["mean"] == pytest.approx(1.15, abs=0.05)
    assert model.card.config["n_extra"] == 1
    save_model(tmp_path / "net", model)
    s = samples[3].structure
    predicted = Predictor(tmp_path / "net").predict(s)
    assert np.corrcoef(predicted[:, 0], samples[3].propensities[:, 0])[0, 1] > 0.9
    # The same in other units: sizes are lengths.
    scaled = Predictor(tmp_path / "net", length_scale=2.5).predict(s.scaled(2.5))
    assert np.allclose(scaled, 2.5 * predicted, atol=1e-4)
    with pytest.raises(InputError, match="structure has none"):
        Predictor(tmp_path / "net").predict(Structure(s.positions, s.types, s.cell))
    blind = fit_network(samples[:2], **{**SMALL, "epochs": 1, "diameters": False})
    assert not blind.card.scalar_recipe and blind.card.config["n_extra"] == 0


def test_some_structures_without_sizes_are_refused(liquid):
    unsized = Structure(liquid.positions, np.zeros(120, int), liquid.cell)
    with pytest.raises(DataError, match="has no diameters and other structures have"):
        fit_network([sized(0), replace(sized(1), structure=unsized, inherent_positions=None)], **SMALL)
