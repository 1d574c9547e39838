"""fit_network: from samples and options to a trained estimator."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from propensity.devices import chosen_device
from propensity.errors import InputError, PropensityError
from propensity.estimators.card import Card
from propensity.estimators.conditioned_networks import ConditionedSE3
from propensity.estimators.neighbourhood import check_neighbours
from propensity.estimators.options import read_options
from propensity.estimators.se3gnn import SE3Estimator
from propensity.estimators.training_config import TrainingConfig
from propensity.interrupts import Interrupted, ProcessLost, TrainingInterrupted, interruptible
from propensity.nn import SE3GNN
from propensity.nn.kernels import get_kernel
from propensity.training.callbacks import History, WeightAverage, apply_average
from propensity.training.checkpoints import SafeCheckpointIO, read_checkpoint
from propensity.training.graphs import GraphModule, labelled_graph
from propensity.training.later import Later
from propensity.training.lightning_quirks import FlatDDPStrategy, leave_signals_alone, lost, quiet
from propensity.training.module import PropensityModule, label_names
from propensity.training.network_card import network_card
from propensity.training.norms import refresh_norms
from propensity.training.progress import Bar
from propensity.training.readout import solve_readout

if TYPE_CHECKING:
    from propensity.sample import Sample

LAST, BEST = Path("checkpoints/last.ckpt"), Path("checkpoints/best.ckpt")


def fit_network(
    train: Sequence[Sample],
    valid: Sequence[Sample] = (),
    options: TrainingConfig | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = True,
    **values: Any,
) -> SE3Estimator:
    """Train the equivariant network.

    Parameters
    ----------
    train
        Labelled structures with equal times and species.
    valid
        Structures on which the correlation is followed, and by which the weights are chosen.
    folder
        Where log, TensorBoard events and checkpoints go; None: nowhere.
    resume
        Go on from ``folder/checkpoints/last.ckpt``; on a CPU the result is that of an uninterrupted run.
    progress
        Show a progress bar on stderr.
    options
        Options of network and training.
    **values
        Or fields of :class:`TrainingConfig` by name.

    Returns
    -------
    SE3Estimator
        Ready to predict, with a card that says what it was trained on.

    Raises
    ------
    InputError, DataError
        For options, labels or positions that can't be used.
    TrainingInterrupted
        On Ctrl-C or SIGTERM; carries the estimator learned so far.
    PropensityError
        When memory runs out or the loss becomes NaN.
    """
    config = read_options(TrainingConfig, values, options)
    train, valid = list(train), list(valid)  # read once
    device = chosen_device(config.device)
    with (
        quiet(),
        _deterministic(device),
        _messages(config, len(train[0]) if len(train) else 0),
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        nullcontext(folder) if folder else tempfile.TemporaryDirectory() as place,
    ):
        return _fit(train, valid, config, device, Path(place), resume, progress, keep_log=folder is not None)  # type: ignore[arg-type]


def _fit(
    train: Sequence[Sample],
    valid: Sequence[Sample],
    config: TrainingConfig,
    device: torch.device,
    folder: Path,
    resume: bool,
    progress: bool,
    keep_log: bool,
) -> SE3Estimator:
    dtype = torch.float64 if config.precision == "float64" else torch.float32
    card = network_card(train, config)
    torch.manual_seed(config.seed)
    get_kernel(config.kernel, device, dtype)  # an error before the graphs are built
    network = SE3GNN(**card.config).to(dtype)
    card.config = network.config
    if config.init:
        start_from(network, config.init)
    graphs = [labelled_graph(sample, config, card, dtype) for sample in train]
    numbers = [graph.edge_index.shape[1] / graph.num_nodes for graph in graphs]
    card.mean_neighbours = check_neighbours(train, numbers, config.cutoff)
    data = GraphModule(
        graphs,
        [labelled_graph(sample, config, card, dtype) for sample in valid],
        config,
    )
    per_epoch = -(-len(data.sampler(world=config.devices)) // config.batch_size)
    module = PropensityModule(network, config, card, per_epoch)
    average = WeightAverage(config.ema)
    trainer = _trainer(config, device, folder, card, average, bool(len(valid)), progress, keep_log)
    checkpoint = folder / LAST
    if config.learn == "readout":
        card.training["epochs"] = 0
        return _estimator(module, average, data)
    goes_on = resume and checkpoint.exists()
    if module.answers is not None and config.init and not goes_on:
        solve_readout(network, data.graphs, module.answers)  # that of another model says nothing here
    try:
        with interruptible():
            data.cache_on(device)
            trainer.fit(
                module,
                datamodule=data,
                ckpt_path=str(checkpoint) if goes_on else None,
            )
    except (Interrupted, RuntimeError) as error:
        done = trainer.current_epoch
        if reason := lost(trainer, error):
            raise ProcessLost(f"{reason}: {_kept(folder, keep_log)}.", trainer.is_global_zero) from None
        if isinstance(error, RuntimeError):
            raise
        if checkpoint.exists():
            _restore(network, average, folder, config, len(valid) > 0)
        raise TrainingInterrupted(
            f"interrupted after {done} of {config.epochs} epochs", _estimator(module, average, data)
        ) from None
    if trainer.is_global_zero:
        _restore(network, average, folder, config, len(valid) > 0)
    card.training["epochs"] = trainer.current_epoch
    network.to(device)
    return _estimator(module, average, data)


def _kept(folder: Path, is_run: bool) -> str:
    """What is left of a training whose process died, and how to go on."""
    if not is_run or not (folder / LAST).exists():
        return "no epoch was complete, so start again"
    return (
        f"the checkpoint after the last whole epoch is in {(folder / LAST).parent}, so go on with"
        f" `propensity train --resume {folder}`"
    )


def _estimator(module: PropensityModule, average: WeightAverage, data: GraphModule) -> SE3Estimator:
    """Estimator of the averaged weights where there are any, else of the raw ones."""
    network, card = module.network, module.card
    device = network.readout.weight.device
    if average.average is not None:
        apply_average(network, average.average)
    # Running statistics are those of the last temperatures.
    if average.average is not None or (module.answers is not None and module.config.learn == "all"):
        refresh_norms(network, (graph.to(device) for graph in data.for_norms()))
    if module.answers is None:
        return SE3Estimator(network, card)
    solve_readout(network, [graph.to(device) for graph in data.graphs], module.answers)
    return ConditionedSE3(network, card)


def _restore(
    network: SE3GNN, average: WeightAverage, folder: Path, config: TrainingConfig, has_valid: bool
) -> None:
    """Weights of the best validation or of the last epoch, from the checkpoints of this run."""
    best = config.select == "best" and has_valid and (folder / BEST).exists()
    stored = read_checkpoint(folder / (BEST if best else LAST))
    prefix = "network."
    network.load_state_dict(
        {key[len(prefix) :]: value for key, value in stored["state_dict"].items() if key.startswith(prefix)}
    )
    saved = stored["callbacks"].get(average.state_key)
    average.average = saved["average"] if saved else None


def start_from(network: SE3GNN, model: str) -> None:
    """Copy weights of a trained model; a readout of another shape, and what it lacks, keep their random
    start.

    Raises
    ------
    InputError
        When the rest of the network has another shape.
    """
    other = SE3Estimator.to_begin_with(model)
    ours = network.state_dict()
    for name, value in other.network.state_dict().items():
        if name in ours and ours[name].shape == value.shape:
            ours[name] = value
        elif "readout." not in name:
            differing = {k: v for k, v in other.network.config.items() if network.config.get(k) != v}
            raise InputError(f"init model {model!r} has another network ({differing}): use the same options.")
    network.load_state_dict(ours)


def _trainer(
    config: TrainingConfig,
    device: torch.device,
    folder: Path,
    card: Card,
    average: WeightAverage,
    has_valid: bool,
    progress: bool,
    keep_log: bool,
) -> Trainer:
    callbacks: list[Callback] = [average] if config.ema else []
    history = History(folder / "log.csv", label_names(card), Later())
    callbacks.append(history)
    if progress:
        callbacks.append(Bar(history))
    if has_valid and config.patience:
        callbacks.append(
            EarlyStopping(
                "valid_pearson",
                mode="max",
                patience=config.patience,
                check_on_train_epoch_end=False,
                check_finite=False,  # no score is no improvement, and the History stops at a lost loss
            )
        )
    # The last weights after every epoch, and the best one where validation has just scored it.
    for path, options in (
        (folder / LAST, {"save_on_train_epoch_end": True}),
        (folder / BEST, {"save_on_train_epoch_end": False, "monitor": "valid_pearson", "mode": "max"}),
    ):
        if has_valid or path.name == LAST.name:
            callbacks.append(ModelCheckpoint(path.parent, path.stem, enable_version_counter=False, **options))  # type: ignore[arg-type]
    strategy: Any = "auto"
    if config.devices > 1:
        backend = "gloo" if device.type == "cpu" else None
        # Statistics of batch norm stay apart during an epoch; the module averages them for validation.
        strategy = FlatDDPStrategy(process_group_backend=backend)
        strategy.kept = lambda: _kept(folder, keep_log)
    trainer = Trainer(
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=[device.index] if device.index is not None and config.devices == 1 else config.devices,
        strategy=strategy,
        precision="bf16-mixed" if config.precision == "mixed" else "32-true",
        max_epochs=config.epochs,
        check_val_every_n_epoch=config.validate_every,
        num_sanity_val_steps=0,
        logger=TensorBoardLogger(folder, name="", version="tensorboard") if keep_log else False,
        callbacks=callbacks,
        plugins=[SafeCheckpointIO(history.later)],
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=False,
        log_every_n_steps=10**9,
    )
    leave_signals_alone(trainer)
    return trainer


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """On CPUs, sums in a fixed order whatever the threads do; a resumed run then repeats every bit."""
    before, warn = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(before or device.type == "cpu", warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn)


@contextmanager
def _messages(config: TrainingConfig, n: int) -> Iterator[None]:
    """Memory errors of torch and numpy as one sentence."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, PropensityError) or not _is_memory(error):
            raise
        raise PropensityError(
            f"out of memory with batches of {config.batch_size} structure(s) of {n} particles at l_max"
            f" {config.l_max} and {config.channels} channels: lower --batch-size, --l-max or --channels, or"
            " choose a leaner --kernel."
        ) from None


def _is_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text
