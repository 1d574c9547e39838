"""fit_network: it learns what can be learned, and what goes wrong is one sentence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from propensity.errors import DataError, InputError, PropensityError
from propensity.estimators.storage import save_model
from propensity.estimators.training_config import TrainingConfig
from propensity.estimators.training_set import sources_of
from propensity.evaluation import evaluate
from propensity.graph import build_graph, join_graphs
from propensity.lattice import minimum_image
from propensity.nn import SE3GNN
from propensity.runs.curves import read_log
from propensity.structure import Structure
from propensity.training import fit_network
from propensity.training.checkpoints import read_checkpoint
from propensity.training.module import PropensityModule, rate_factor
from propensity.training.norms import refresh_norms
from tests.conftest import make_liquid
from tests.training.conftest import SMALL, make_sample

OPTIONS = {key: value for key, value in SMALL.items() if key != "progress"}
LONGER = {**SMALL, "epochs": 25, "dropout": 0.0, "milestones": (15,), "batch_size": 2}


@pytest.fixture(scope="module")
def trained(samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return fit_network(samples[:6], samples[6:], folder=folder, ema=0.8, **LONGER), folder


def test_it_learns_the_number_of_neighbours(samples, trained):
    estimator, _ = trained
    score = evaluate(estimator, samples[6:])
    assert score.species == ("A",) and score.pooled[0, 0] > 0.9
    assert score.pooled[0, 1] > 0.5  # half of the second label is noise


def test_log_has_a_row_an_epoch_and_the_pearson_of_the_evaluation(samples, trained):
    estimator, folder = trained
    log = read_log(folder / "log.csv")
    assert log["epoch"].tolist() == list(range(1, 26)) and log["loss"][-1] < 0.5 * log["loss"][0]
    score = evaluate(estimator, samples[6:])
    best = log["valid_pearson"].argmax()
    # The log took norms from some training structures, the model from all: here these are the same.
    logged = [log[f"A t={time:g}"][best] for time in estimator.card.times]
    np.testing.assert_allclose(score.pooled[0], logged, atol=2e-3)


def test_card_says_what_it_was_trained_on(trained):
    card = trained[0].card
    assert (card.kind, card.species, card.trained_species) == ("se3gnn", ("A", "B"), ("A",))
    assert card.times == (1.0, 10.0) and card.default_time_index == 1 and card.cutoff == 2.0
    assert card.temperature == 0.5 and card.density == pytest.approx(1.2)
    assert card.composition == pytest.approx((0.8, 0.2))
    assert card.training["n_structures"] == 6 and card.training["options"]["ema"] == 0.8


def test_random_state_outside_is_untouched(samples):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit_network(samples[:2], **{**SMALL, "epochs": 1})
    assert torch.equal(torch.rand(3), expected)


def test_seed_decides(samples):
    options = {**SMALL, "epochs": 1}
    a, b, c = (fit_network(samples[:2], **options, seed=seed).arrays() for seed in (1, 1, 2))
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert any(not np.array_equal(a[name], c[name]) for name in a)


@pytest.mark.parametrize("input_positions", ["thermal", "inherent"])
def test_positions_are_those_asked_for(samples, input_positions):
    estimator = fit_network(samples[:2], **{**SMALL, "epochs": 1, "input_positions": input_positions})
    assert estimator.card.input_positions == input_positions


@pytest.mark.parametrize("precision, tolerance", [("float64", 1e-3), ("mixed", 0.05)])
def test_precision_changes_the_loss_little(samples, tmp_path, precision, tolerance):
    losses = {}
    for p in ("float32", precision):
        fit_network(
            samples[:2], folder=tmp_path / p, **{**SMALL, "epochs": 2, "dropout": 0.0, "precision": p}
        )
        losses[p] = read_log(tmp_path / p / "log.csv")["loss"]
    np.testing.assert_allclose(losses[precision], losses["float32"], rtol=tolerance)


def test_auxiliary_displacement_is_learned_and_left_out_of_the_model(samples):
    plain = fit_network(samples[:2], **{**SMALL, "epochs": 1})
    helped = fit_network(samples[:2], **{**SMALL, "epochs": 1}, inherent_weight=1.0)
    assert plain.arrays().keys() == helped.arrays().keys()
    first = "convolutions.0.mix.1"
    assert not np.array_equal(plain.arrays()[first], helped.arrays()[first])


def test_training_starts_from_another_model(samples, tmp_path):
    first = fit_network(samples[:2], **{**SMALL, "epochs": 1})
    save_model(tmp_path / "first", first)
    other = [s.at_columns([0]) for s in samples[:2]]
    tiny = {**SMALL, "epochs": 1, "learning_rate": 1e-12, "init": str(tmp_path / "first")}
    second = fit_network(other, **tiny)
    name = "convolutions.1.mix.0"
    np.testing.assert_allclose(second.arrays()[name], first.arrays()[name], atol=1e-6)
    with pytest.raises(InputError, match=r"has another network \(\{'channels': 2\}\)"):
        fit_network(samples[:2], **{**tiny, "channels": 3})


def test_last_epoch_is_validated_and_kept(samples, tmp_path):
    """Even where it is no multiple of validate_every."""
    options = {**SMALL, "epochs": 5, "validate_every": 2, "select": "last"}
    estimator = fit_network(samples[:3], samples[6:], folder=tmp_path, **options)
    scored = np.isfinite(read_log(tmp_path / "log.csv")["valid_pearson"])
    assert scored.tolist() == [False, True, False, True, True]
    state = read_checkpoint(tmp_path / "checkpoints/last.ckpt")
    assert state["global_step"] == 15
    name = "convolutions.0.mix.0"
    assert np.array_equal(state["state_dict"][f"network.{name}"].numpy(), estimator.arrays()[name])


def test_best_epoch_is_the_one_with_the_best_validation(samples, tmp_path):
    """A huge rate from the second epoch on spoils the later ones."""
    options = {**SMALL, "epochs": 4, "schedule": "constant", "learning_rate": 0.3, "dropout": 0.0, "seed": 1}
    fit_network(samples[:6], samples[6:], folder=tmp_path, **options)
    scores = read_log(tmp_path / "log.csv")["valid_pearson"]
    best = read_checkpoint(tmp_path / "checkpoints/best.ckpt")
    assert best["epoch"] == scores.argmax()
    assert best["global_step"] == 6 * (scores.argmax() + 1)


def test_early_stopping(samples):
    options = {**SMALL, "epochs": 40, "learning_rate": 1e-9, "dropout": 0.0, "patience": 2}
    assert fit_network(samples[:2], samples[6:7], **options).card.training["epochs"] < 40


# --- what goes wrong -------------------------------------------------------------------------------------


def spoiled(sample, **changes):
    return replace(sample, **changes)


@pytest.mark.parametrize(
    "change, options, message",
    [
        (
            lambda s: spoiled(s, inherent_positions=None),
            {"input_positions": "inherent"},
            r"toy/0 has no inherent positions",
        ),
        (
            lambda s: spoiled(s, inherent_positions=None),
            {"inherent_weight": 1.0},
            r"toy/0 has no inherent positions",
        ),
        (
            lambda s: s,
            {"trained_species": ("A", "C")},
            r"names 'C', but the data has species \['A', 'B'\]|names 'C'",
        ),
        (lambda s: s, {"device": "cuda:7"}, r"'cuda:7' is not available here"),
        (lambda s: s, {"device": "tpu"}, r"'tpu' is unknown"),
        (lambda s: s, {"l_mx": 1}, r"'l_mx' is unknown.*nearest is 'l_max'"),
        (lambda s: s, {"init": "nothing-here"}, r"'nothing-here' is neither"),
        (lambda s: s, {"kernel": "fast"}, r"kernel 'fast' is unknown"),
    ],
)
def test_bad_input_is_one_sentence(samples, change, options, message):
    with pytest.raises(PropensityError, match=message) as error:
        fit_network([change(samples[0])], **{**SMALL, **options})
    assert "\n" not in str(error.value)


def test_species_without_particles_is_refused(samples):
    only_a = make_liquid()
    only_a = Structure(only_a.positions, np.zeros(120, int), only_a.cell)
    with pytest.raises(DataError, match=r"no training structure has a particle of species 'B'"):
        fit_network([replace(samples[0], structure=only_a)], **{**SMALL, "trained_species": ("B",)})


def test_no_structures_are_refused():
    with pytest.raises(DataError, match="no training structures"):
        fit_network([], **SMALL)


def test_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(samples, tmp_path, monkeypatch):
    original = PropensityModule.training_step

    def diverge(self, graph, index):
        if self.current_epoch == 2:
            graph.labels[:] = float("nan")
        return original(self, graph, index)

    monkeypatch.setattr(PropensityModule, "training_step", diverge)
    with pytest.raises(
        PropensityError, match=r"the loss became nan in epoch 3: lower --learning-rate \(now 0.01\)"
    ):
        fit_network(samples[:2], folder=tmp_path, **SMALL)
    assert (tmp_path / "checkpoints/last.ckpt").exists()


def test_huge_learning_rate_is_reported_not_saved(samples, tmp_path):
    with pytest.raises(PropensityError, match="the loss became"):
        fit_network(samples[:4], folder=tmp_path, **{**SMALL, "learning_rate": 1e30, "epochs": 20})


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        MemoryError("Unable to allocate 8 TiB"),
    ],
    ids=["cuda", "cpu", "numpy"],
)
def test_out_of_memory_says_what_to_lower(samples, monkeypatch, error):
    def full(self, graph, index):
        raise error

    monkeypatch.setattr(PropensityModule, "training_step", full)
    with pytest.raises(
        PropensityError, match=r"out of memory .* 120 particles at l_max 1 .*: lower --batch-size"
    ):
        fit_network(samples[:2], **SMALL)


def test_other_errors_are_not_hidden(samples, monkeypatch):
    def broken(self, graph, index):
        raise RuntimeError("a defect")

    monkeypatch.setattr(PropensityModule, "training_step", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        fit_network(samples[:2], **SMALL)


# --- parts -----------------------------------------------------------------------------------------------


def test_joined_graphs_predict_as_each_alone():
    torch.manual_seed(0)
    network = SE3GNN(l_max=1, n_layers=2, kernel="reference").double().eval()
    graphs = [build_graph(make_liquid(40, seed=seed), 2.0, dtype=torch.float64) for seed in range(3)]
    together = network(join_graphs(graphs))
    torch.testing.assert_close(together, torch.cat([network(graph) for graph in graphs]))


def test_a_step_counts_as_a_write_to_each_weight(samples, monkeypatch):
    seen = []
    step = PropensityModule.training_step

    def noting(self, graph, index):
        seen.append([parameter._version for parameter in self.parameters()])
        return step(self, graph, index)

    monkeypatch.setattr(PropensityModule, "training_step", noting)
    fit_network(samples[:2], **SMALL)
    assert all(later > earlier for later, earlier in zip(seen[1], seen[0], strict=True))


def test_structures_of_one_file_are_counted_together():
    sources = ["a.npz[0]", "a.npz[11]", "b.pickle (Bapst et al. 2020)", "a.npz[3], published labels", ""]
    found = sources_of([make_sample(0, source=source) for source in sources])
    assert found == ["a.npz, published labels", "a.npz: 2 structures", "b.pickle (Bapst et al. 2020)"]


@pytest.mark.parametrize(
    "cell",
    [np.diag([4.0, 5.0, 6.0]), np.array([[4.0, 0, 0], [1.5, 5, 0], [-1, 0.7, 6]])],
    ids=["box", "triclinic"],
)
def test_minimum_image_undoes_lattice_shifts(cell):
    rng = np.random.default_rng(0)
    short = 0.3 * rng.normal(size=(20, 3))
    shifts = rng.integers(-2, 3, (20, 3))
    np.testing.assert_allclose(
        minimum_image(short + shifts @ cell, cell, np.ones(3, bool)), short, atol=1e-12
    )
    slab = np.array([True, True, False])
    kept = minimum_image(short + shifts * slab @ cell, cell * slab[:, None], slab)
    np.testing.assert_allclose(kept, short, atol=1e-12)


def test_rates_follow_the_schedule():
    paper = TrainingConfig(milestones=(2, 4), epochs=6)
    assert [rate_factor(10 * epoch, paper, 10) for epoch in range(6)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    cosine = TrainingConfig(schedule="cosine", epochs=10, warmup=5)
    rates = [rate_factor(step, cosine, 10) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and max(rates) > 0.98 and rates[-1] < 1e-3
    assert rate_factor(50, cosine, 10) == pytest.approx(0.5)


@pytest.mark.parametrize("kernel", ["reference", "cpu"])
def test_fresh_norms_are_averages_over_structures_without_dropout(kernel):
    torch.manual_seed(0)
    network = SE3GNN(l_max=1, n_layers=1, dropout=0.5, kernel=kernel)
    graphs = [build_graph(make_liquid(60, seed=seed), 2.0) for seed in range(3)]
    refresh_norms(network, graphs)
    assert not network.training
    assert network.norms[0].momentum == 0.5 and network.convolutions[0].radial.dropout.p == 0.5
    radial = network.convolutions[0].radial
    expected = []
    for graph in graphs:
        from propensity.nn.radial import bessel_basis

        basis = bessel_basis(graph.edge_vec.norm(dim=1), 10, 2.0)
        expected.append(torch.relu(radial.linear_in(basis)).mean(dim=0))
    torch.testing.assert_close(
        radial.norm.running_mean, torch.stack(expected).mean(dim=0), rtol=1e-4, atol=1e-6
    )
    # With the statistics of a structure itself, its scalars come out with mean 0 and variance 1.
    refresh_norms(network, graphs[:1])
    scalars = network.hidden(graphs[0])[0][:, :4]
    torch.testing.assert_close(scalars.mean(0), torch.zeros(4), rtol=0, atol=5e-3)
    torch.testing.assert_close(scalars.var(0, unbiased=False), torch.ones(4), rtol=1e-2, atol=1e-2)
