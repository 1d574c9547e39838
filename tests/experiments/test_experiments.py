from __future__ import annotations

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from propensity.cli.experiment import command
from propensity.data import StoreWriter, open_dataset
from propensity.errors import InputError, PropensityError
from propensity.estimators.storage import load_model
from propensity.evaluation import evaluate
from propensity.experiments import NAMES
from propensity.experiments.bootstrap import resample, structure_moments
from propensity.experiments.jobs import Job, open_system, run_job, trained
from propensity.experiments.plans import EXPERIMENTS, ExperimentSettings
from propensity.experiments.readout import node_features, refit_readout
from propensity.experiments.tables import results_tables

TINY = [
    "l_max=1",
    "channels=2",
    "n_layers=1",
    "n_basis=4",
    "radial_hidden=4",
    "epochs=2",
    "dropout=0",
    "learning_rate=0.01",
    "device=cpu",
    "batch_size=2",
]


def run(*arguments) -> None:
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    if result.exception:
        raise result.exception
    assert result.exit_code == 0, result.output


def tiny(*more: str) -> list[str]:
    return [part for item in (*TINY, *more) for part in ("--set", item)]


def rows(folder) -> list[dict[str, str]]:
    with (folder / "results.csv").open() as stream:
        return list(csv.DictReader(stream))


def is_picture(path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_names_agree():
    assert list(NAMES) == list(EXPERIMENTS)


def test_timescales_with_baselines(hot, tmp_path):
    run("timescales", hot, "--model", "density", "--model", "energy", "--per-time", "-o", tmp_path)
    found = rows(tmp_path)
    assert {r["label"] for r in found} == {
        "density",
        "energy",
        "density, a model for each time",
        "energy, a model for each time",
    }
    assert {r["n_train"] for r in found} == {"4"} and {r["n_test"] for r in found} == {"3"}
    assert all(float(r["pooled_low"]) <= float(r["pooled"]) <= float(r["pooled_high"]) for r in found)
    assert is_picture(tmp_path / "figure.png")


def test_it_goes_on_where_it_stopped(hot, tmp_path):
    arguments = ("timescales", hot, "--model", "density", "-o", tmp_path)
    run(*arguments)
    (model,) = (tmp_path / "models").iterdir()
    before = (model / "model.safetensors").stat().st_mtime_ns, rows(tmp_path)
    run(*arguments, "--model", "energy")
    assert (model / "model.safetensors").stat().st_mtime_ns == before[0]
    assert [r for r in rows(tmp_path) if r["kind"] == "density"] == before[1]
    assert len(list((tmp_path / "models").iterdir())) == 2
    run(*arguments, "--set", "input_positions=inherent")
    assert len(list((tmp_path / "models").iterdir())) == 3


def test_temperature(hot, cold, tmp_path):
    run("temperature", hot, cold, "--model", "density", "-o", tmp_path)
    assert {(r["system"], r["x"]) for r in rows(tmp_path)} == {("T=0.6", "0.6"), ("T=0.4", "0.4")}
    assert is_picture(tmp_path / "figure.png")


@pytest.mark.parametrize("name, values", [("lmax", "0,1"), ("seeds", "3,4")])
def test_sweeps_of_the_network(hot, tmp_path, name, values):
    run(name, hot, "--values", values, *tiny(), "-o", tmp_path)
    found = rows(tmp_path)
    assert sorted({r["x"] for r in found}) == values.split(",")
    models = [load_model(path) for path in (tmp_path / "models").iterdir()]
    option = {"lmax": "l_max", "seeds": "seed"}[name]
    assert sorted(m.card.training["options"][option] for m in models) == [int(v) for v in values.split(",")]
    assert is_picture(tmp_path / "figure.png")


def test_runs_for_single_values_combine(hot, tmp_path):
    """As when l_max = 0 comes later, or from another machine whose scores are copied into the folder."""
    run("lmax", hot, "--values", "1", *tiny(), "-o", tmp_path / "here")
    run("lmax", hot, "--values", "0", *tiny(), "-o", tmp_path / "there")
    shutil.copytree(tmp_path / "there" / "scores", tmp_path / "here" / "scores", dirs_exist_ok=True)
    run("lmax", hot, "--values", "0,1", *tiny(), "-o", tmp_path / "here")
    assert len(list((tmp_path / "here" / "models").iterdir())) == 1  # nothing was trained again
    assert sorted({r["x"] for r in rows(tmp_path / "here")}) == ["0", "1"]
    assert [r for r in rows(tmp_path / "here") if r["x"] == "0"] == rows(tmp_path / "there")
    assert is_picture(tmp_path / "here" / "figure-lmax.png")


def test_data_efficiency(hot, tmp_path):
    run("data-efficiency", hot, "--model", "density", "-o", tmp_path)
    assert sorted({int(r["n_train"]) for r in rows(tmp_path)}) == [1, 2, 4]
    assert is_picture(tmp_path / "figure.png")


def test_learning_curve_and_bootstrap(hot, tmp_path):
    run("learning-curve", hot, *tiny(), "-o", tmp_path / "a")
    (model,) = (tmp_path / "a" / "models").iterdir()
    assert "valid_pearson" in (model / "log.csv").read_text().splitlines()[0]
    run("bootstrap", hot, "--model", "density", "-o", tmp_path / "b")
    assert is_picture(tmp_path / "a" / "figure.png") and is_picture(tmp_path / "b" / "figure.png")


def test_transfer(hot, cold, tmp_path):
    run("transfer", hot, cold, *tiny(), "--values", "2", "-o", tmp_path)
    found = rows(tmp_path)
    cases = {(r["label"], r["system"], r["test"], r["time"]) for r in found if r["is_tau"] == "True"}
    assert cases == {
        ("zero-shot", "T=0.6", "T=0.6", "10"),
        ("zero-shot", "T=0.6", "T=0.4", "100"),
        ("zero-shot", "T=0.4", "T=0.4", "100"),
        ("zero-shot", "T=0.4", "T=0.6", "10"),
        ("readout refitted", "T=0.6", "T=0.4", "100"),
        ("readout refitted", "T=0.4", "T=0.6", "10"),
    }
    assert {r["n_train"] for r in found if r["label"] == "readout refitted"} == {"2"}
    assert len(list((tmp_path / "models").iterdir())) == 2
    assert is_picture(tmp_path / "figure.png")


def test_networks_of_a_transfer_take_equally_many_steps(hot, cold):
    systems = {"hot": open_system(str(hot), n_train=1), "cold": open_system(str(cold), n_train=4)}
    jobs = EXPERIMENTS["transfer"].plan(systems, ExperimentSettings(("se3gnn",), {"epochs": "3"}))
    assert {(job.system, job.options["epochs"]) for job in jobs} == {("hot", 12), ("cold", 3)}


def test_table_keeps_sources_of_a_transfer_apart():
    row = {
        "label": "readout refitted",
        "seed": None,
        "refit": "C",
        "n_train": 2,
        "n_test": 3,
        "test": "C",
        "species": "A",
        "time": 1.0,
        "pooled": 0.5,
        "per_structure": 0.4,
        "ceiling": np.nan,
    }
    (table,) = results_tables([{**row, "system": "A"}, {**row, "system": "B", "pooled": 0.6}])
    assert table.row_count == 4
    assert [cell for cell in table.columns[1].cells if cell] == ["A, readout on 2", "B, readout on 2"]


def test_additions(hot, tmp_path):
    # The shared option must not turn the thermal variant into an inherent one.
    run("additions", hot, *tiny("input_positions=inherent"), "-o", tmp_path)
    seen = [load_model(path).card.input_positions for path in (tmp_path / "models").iterdir()]
    assert sorted(seen) == ["inherent"] * 5 + ["thermal"]
    by_label = {r["label"]: r for r in rows(tmp_path)}
    assert len(by_label) == 6
    both = {r["species"] for r in rows(tmp_path) if r["label"] == "inherent, a readout for each"}
    assert both == {"A", "B"}
    assert {r["time"] for r in rows(tmp_path) if r["label"] == "inherent, τ_α alone"} == {"10"}


@pytest.fixture
def network(hot, tmp_path):
    systems = {"T=0.6": open_system(hot)}
    options = dict(item.split("=") for item in TINY)
    return trained(Job("se3gnn", "se3gnn", "T=0.6", ("T=0.6",), options), systems, tmp_path), systems["T=0.6"]


def test_refitted_readout_is_the_best_linear_map_of_frozen_features(network):
    estimator, system = network
    samples = list(system.train)
    refitted = refit_readout(estimator, samples, alpha=1e-4)
    structure = samples[0].structure
    np.testing.assert_allclose(
        node_features(refitted, structure), node_features(estimator, structure), rtol=1e-6
    )
    a = structure.types == 0
    x = np.concatenate([node_features(estimator, s.structure)[s.structure.types == 0] for s in samples])
    y = np.concatenate([s.propensities[s.structure.types == 0] for s in samples])
    # One layer with two species makes collinear features: directions of rounding noise are cut.
    solution = np.linalg.lstsq((x - x.mean(0)) / x.std(0), y - y.mean(0), rcond=1e-4)[0]
    expected = (node_features(estimator, structure)[a] - x.mean(0)) / x.std(0) @ solution + y.mean(0)
    np.testing.assert_allclose(refitted.predict(structure)[a], expected, rtol=1e-4)
    assert np.isnan(refitted.predict(structure)[~a]).all()
    before, after = (evaluate(m, samples).pooled for m in (estimator, refitted))
    assert (after >= before - 1e-6).all()


def test_resampling_agrees_with_the_evaluation(network):
    estimator, system = network
    sums, times = structure_moments(estimator, system, "A")
    assert times.tolist() == system.times.tolist()
    score = evaluate(estimator, system.test)
    drawn = resample(sums, len(sums), 4000)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    np.testing.assert_allclose([low, high], score.pooled_interval[:, 0], atol=0.02)


def test_scores_are_those_of_evaluate(hot, tmp_path):
    systems = {"T=0.6": open_system(hot, n_train=2, n_test=2)}
    job = Job("density", "density", "T=0.6", ("T=0.6",), {"input_positions": "inherent"})
    scored = run_job(job, systems, tmp_path)
    score = evaluate(trained(job, systems, tmp_path), systems["T=0.6"].test)
    assert [r["pooled"] for r in scored if r["species"] == "A"] == pytest.approx(score.pooled[0].tolist())
    assert scored[0]["n_train"] == 2 and scored[0]["n_test"] == 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["temperature"], "at least 2 data sets"),
        (["timescales", "--model", "rigde"], "the nearest is 'ridge'"),
        (["timescales", "--model", "density", "--set", "epochs=3"], "option 'epochs' is unknown to density"),
        (["timescales", "--model", "density", "--set", "ridge.folds=3"], "names 'ridge'"),
        (
            ["timescales", "--model", "density", "--set", "input_positions=thermla"],
            "option input_positions is",
        ),
        (["timescales", "--values", "3"], "--values means nothing"),
        (["lmax", "--model", "ridge"], "is about the network"),
        (["lmax", "--values", "a"], "write integers"),
        (["lmax", "--set", "epochs"], "write NAME=VALUE"),
        (["data-efficiency", "--values", "9"], "4 training structures"),
        (["timescales", "--n-train", "9"], "9 train structures were asked for"),
    ],
)
def test_errors_are_one_sentence_and_leave_nothing(hot, tmp_path, arguments, message):
    with pytest.raises(PropensityError, match=message) as caught:
        run(arguments[0], hot, *arguments[1:], "-o", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_same_state_point_twice(hot, tmp_path):
    with pytest.raises(InputError, match="each state point once"):
        run("temperature", hot, hot, "-o", tmp_path)


def test_one_data_set_is_split(stores, tmp_path):
    system = open_system(str(stores["hot_train"]))
    assert not set(system.train.names) & set(system.test.names) and system.tau_index == 1


def test_settings_reach_the_right_models():
    settings = ExperimentSettings(
        ("ridge", "density"), {"input_positions": "inherent", "ridge.folds": "3", "alphas": "1,2"}
    )
    settings.check()
    assert settings.of_kind("ridge") == {"input_positions": "inherent", "folds": "3", "alphas": ["1", "2"]}
    assert settings.of_kind("density") == {"input_positions": "inherent"}


def test_what_is_trained_on_is_not_tested_on(stores, tmp_path):
    """Whatever the files are called."""
    renamed = tmp_path / "other.h5"
    with StoreWriter(renamed) as writer:
        for k, sample in enumerate(open_dataset(stores["hot_train"])):
            writer.add(replace(sample, name=f"other-{k}"))
    with pytest.raises(InputError, match="the test structure other-0 is the training structure hot-train-0"):
        open_system(f"{stores['hot_train']}:{renamed}")
