"""fit_network: it learns what can be learned, and what goes wrong is one sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from propensity.errors import DataError, InputError, PropensityError
from propensity.evaluation import evaluate
from propensity.fitting import sources_of
from propensity.graph import build_graph
from propensity.kernels import capture
from propensity.model_io import save_model
from propensity.nn import SE3GNN
from propensity.structure import Structure, minimum_image
from propensity.training import fit_network, module
from propensity.training.checkpoints import read_checkpoint
from propensity.training.config import TrainingConfig
from propensity.training.curves import read_log
from propensity.training.fit import _card
from propensity.training.graphs import EpochSampler, join_graphs, labelled_graph
from propensity.training.module import PropensityModule, mean_squared_error, rate_factor
from propensity.training.norms import refresh_norms
from tests.conftest import make_liquid
from tests.kernels.test_capture import run_again
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


@pytest.mark.parametrize("positions", ["thermal", "inherent"])
def test_positions_are_those_asked_for(samples, positions):
    estimator = fit_network(samples[:2], **{**SMALL, "epochs": 1, "positions": positions})
    assert estimator.card.positions == positions


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
            {"positions": "inherent"},
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


@pytest.mark.parametrize("world", [1, 2, 3])
def test_sampler_gives_every_process_its_own_share(world):
    samplers = [EpochSampler(7, seed=1, rank=rank, world=world) for rank in range(world)]
    drawn = [list(sampler) for sampler in samplers]
    assert {len(indices) for indices in drawn} == {7 // world}
    flat = [index for indices in drawn for index in indices]
    assert len(set(flat)) == len(flat)
    for sampler in samplers:
        sampler.set_epoch(1)
    assert [list(sampler) for sampler in samplers] != drawn


def test_structures_of_one_file_are_counted_together():
    sources = ["a.npz[0]", "a.npz[11]", "b.pickle (Bapst et al. 2020)", "a.npz[3], published labels", ""]
    found = sources_of([make_sample(0, source=source) for source in sources])
    assert found == ["a.npz, published labels", "a.npz: 2 structures", "b.pickle (Bapst et al. 2020)"]


def test_sampler_refuses_more_processes_than_structures():
    with pytest.raises(DataError, match="use at most 1 devices"):
        EpochSampler(1, seed=0, world=2)


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


@pytest.fixture
def recorded_here(monkeypatch):
    """Recordings on the CPU, which run their function anew."""
    monkeypatch.setattr(capture, "record", run_again)
    for name in (capture, module):
        monkeypatch.setattr(name, "can_capture", lambda network: True)


def alike(seeds):
    """Samples of one structure with different labels, all moved alike, so that no recording has room to fill."""
    structure = make_sample(0).structure
    moved = structure.positions + [0.05, 0.02, -0.1]
    return [make_sample(seed, structure=structure, inherent_positions=moved) for seed in seeds]


@pytest.mark.parametrize(
    "options",
    [{}, {"batch_size": 2}, {"positions": "both", "thermal_layers": 1}],
    ids=["", "batches", "both"],
)
def test_recorded_is_eager(options, request):
    """Bit for bit, with a remainder that is not recorded."""
    options = {**OPTIONS, "dropout": 0.0, "ema": 0.9, **options}
    expected = fit_network(alike(range(5)), alike([7]), **options).network.state_dict()
    request.getfixturevalue("recorded_here")
    found = fit_network(alike(range(5)), alike([7]), **options).network.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, msg=name)


TWO_PROCESSES = """
import sys
from propensity.kernels import capture
from propensity.training import fit_network, module
from tests.kernels.test_capture import run_again
from tests.training.conftest import SMALL, make_sample
if len(sys.argv) > 6:
    capture.record = run_again
    capture.can_capture = module.can_capture = lambda network: True
    one = make_sample(0).structure
    make_one, make_sample = make_sample, lambda seed: make_one(seed, structure=one)
if __name__ == "__main__":
    seeds, epochs = [int(c) for c in sys.argv[2]], int(sys.argv[3])
    options = {**SMALL, "dropout": 0.0, "epochs": epochs, "devices": 2, "learning_rate": float(sys.argv[4]), "milestones": ()}
    valid = [make_sample(int(c)) for c in sys.argv[5]]
    fit_network([make_sample(seed) for seed in seeds], valid, folder=sys.argv[1], **options)
"""

#: In front of that: what processes say to each other, in the order of the first one.
LISTEN = """
from torch.distributed import ProcessGroup
said = []
def listened(name, call):
    def heard(*arguments, **options):
        said.append(name)
        return call(*arguments, **options)
    return heard
for name in ("allreduce", "allgather", "all_gather_single", "broadcast", "barrier", "reduce", "gather", "scatter"):
    setattr(ProcessGroup, name, listened(name, getattr(ProcessGroup, name)))
"""


def train_on_two_processes(tmp_path, seeds, epochs, rate, valid, *recorded, before="", after=""):
    script, folder = tmp_path / "train.py", tmp_path / "double"
    script.write_text(before + TWO_PROCESSES + after)
    folder.mkdir()
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), str(folder), seeds, str(epochs), str(rate), valid, *recorded],
        env=env, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("recorded", [[], ["recorded"]], ids=["launched", "recorded"])
def test_two_processes_take_the_mean_of_their_gradients(tmp_path, recorded):
    folder = train_on_two_processes(tmp_path, "01", 1, 1e-2, "567", *recorded)
    state = read_checkpoint(folder / "checkpoints/last.ckpt")
    moments = state["optimizer_states"][0]["state"]
    both = alike([0, 1]) if recorded else [make_sample(seed) for seed in (0, 1)]
    config = TrainingConfig(**{**OPTIONS, "dropout": 0.0})
    card = _card(both, config)
    torch.manual_seed(0)
    network = SE3GNN(**config.network_options(2, 2)).train()
    for sample in both:
        graph = labelled_graph(sample, config, card, torch.float32)
        (0.5 * mean_squared_error(network(graph), graph)).backward()
    for moment, (name, parameter) in zip(moments.values(), network.named_parameters(), strict=True):
        # After one step Adam's first moment is (1 − β₁) times the gradient.
        torch.testing.assert_close(moment["exp_avg"] / 0.05, parameter.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_a_step_of_two_processes_is_one_exchange(tmp_path):
    """Four structures more are two steps more: two sums of gradients, and nothing that would wait for a device."""
    counts = []
    for seeds in ("0123", "01234567"):
        place = tmp_path / seeds
        place.mkdir()
        after = "    import json, pathlib, os\n    rank = os.environ.get('LOCAL_RANK', '0')\n"
        after += "    pathlib.Path(sys.argv[1], 'said' + rank).write_text(json.dumps(said))\n"
        folder = train_on_two_processes(place, seeds, 1, 1e-3, "89", "recorded", before=LISTEN, after=after)
        counts.append([Counter(json.loads((folder / f"said{rank}").read_text())) for rank in (0, 1)])
    for few, many in zip(*counts, strict=True):
        assert few["allreduce"] >= 2
        assert many - few == {"allreduce": 2} and not few - many


@pytest.mark.parametrize("valid", ["567", "5"], ids=["shared", "fewer than processes"])
def test_two_processes_share_validation(tmp_path, valid):
    """At a vanishing rate, where rounding can't grow: the losses and scores of one process, in half the steps."""
    train_on_two_processes(tmp_path, "0000", 3, 1e-9, valid)
    fit_network(
        [make_sample(0), make_sample(0)], [make_sample(int(seed)) for seed in valid],
        folder=tmp_path / "single", progress=False,
        **{**OPTIONS, "dropout": 0.0, "epochs": 3, "learning_rate": 1e-9, "milestones": ()},
    )  # fmt: skip
    ours, theirs = (read_log(tmp_path / run / "log.csv") for run in ("double", "single"))
    assert ours["step"].tolist() == [2, 4, 6]  # four structures an epoch, two at a time
    for name in ("loss", "valid_loss", "valid_pearson", "A t=1"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_first_process_ends_both(tmp_path, number):
    """Wherever it finds it in a step."""
    script, folder = tmp_path / "train.py", tmp_path / "run"
    script.write_text(textwrap.dedent(TWO_PROCESSES))
    folder.mkdir()
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(folder), "01", "100000", "1e-3", "5"]
    running = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not (folder / "log.csv").exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        running.send_signal(number)
        _, told = running.communicate(timeout=60)
        assert running.returncode != 0 and "TrainingInterrupted: interrupted after" in told, told[-3000:]
        with pytest.raises(ProcessLookupError):  # nothing is left of the group
            os.killpg(running.pid, 0)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)


def test_lightning_still_has_what_is_left_out():
    """Under another name it would come back unseen."""
    from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
    from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

    assert "_broadcast_sigterm_tensor" in vars(_TrainingEpochLoop)
    assert "register_signal_handlers" in vars(_SignalConnector)
