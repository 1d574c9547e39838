"""The Lightning module: loss, optimiser, schedule and validation; nothing in a step waits for the device."""

from __future__ import annotations

import logging
import math
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import nn

from propensity.estimators.card import Card
from propensity.estimators.training_config import TrainingConfig
from propensity.graph import Graph, join_graphs
from propensity.nn import SE3GNN
from propensity.nn.cuda_graph import RecordedLosses, can_capture
from propensity.nn.kernels.agreement import agrees
from propensity.training.answers import Answers

log = logging.getLogger(__name__)


class PropensityModule(LightningModule):
    """Mean squared error of the standardised labels of the trained species.

    Validation gives ``valid_loss`` and ``valid_pearson``: the mean over trained species and times of
    the Pearson correlation pooled over all validation structures.
    """

    def __init__(self, network: SE3GNN, config: TrainingConfig, card: Card, steps_per_epoch: int) -> None:
        super().__init__()
        self.network, self.config, self.card, self.steps_per_epoch = network, config, card, steps_per_epoch
        self.to_inherent = None
        if config.inherent_weight:
            self.to_inherent = nn.Linear(config.channels, 1, bias=False, dtype=network.readout.weight.dtype)
        self.answers: Answers | None = None
        if card.conditions is not None:
            self.answers = Answers(card.conditions, network.readout.weight.dtype)
        self._recorded: RecordedLosses | None = None
        self._replayed = False
        #: Pearson of the last validation, for each label that :func:`label_names` names.
        self.valid_pearson: torch.Tensor | None = None
        self._loss_sum = torch.zeros(())
        self._steps = 0

    def on_train_epoch_start(self) -> None:
        """Seed by epoch and process: a run resumed at an epoch repeats the dropout of an uninterrupted
        one.
        """
        torch.manual_seed(hash((self.config.seed, self.current_epoch, self.global_rank)) % 2**63)
        self._loss_sum, self._steps = torch.zeros((), device=self.device), 0
        if self.config.learn == "adjust":
            self.network.eval()  # running statistics stay; gradients flow all the same
        last = self.current_epoch + 1 == self.trainer.max_epochs
        self.trainer.check_val_every_n_epoch = 1 if last else self.config.validate_every

    def on_train_start(self) -> None:
        """Record the loss and its gradients where the device can replay them."""
        if not can_capture(self.network) or self.config.precision != "float32":
            return
        if self.network.kernel == "auto" and not agrees(self.network):
            log.warning(
                "the Triton kernel does not give the reference's numbers on %s: using the reference.",
                self.device,
            )
            self.network.kernel = "reference"
            return
        graphs, size = self.trainer.datamodule.graphs, self.config.batch_size  # type: ignore[attr-defined]
        if len(graphs) >= size and len({graph.num_nodes for graph in graphs}) == 1:
            most = sorted(graph.n_edges for graph in graphs)[-size:]
            loss = TrainingLoss(self.network, self.to_inherent, self.config, self.answers)
            self._recorded = RecordedLosses(loss, join_graphs(graphs[:size]), sum(most))

    def training_step(self, graph: Graph, index: int) -> torch.Tensor:
        """Loss of one batch."""
        self._replayed = self._recorded is not None and len(graph.types) == self._recorded.n_nodes
        if self._recorded is not None and self._replayed:
            both = self._recorded(graph)
        else:
            both = TrainingLoss(self.network, self.to_inherent, self.config, self.answers)(graph)
        self._loss_sum = self._loss_sum + both[1].detach()
        self._steps += 1
        return both[0]

    def backward(self, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        """Nothing after a replay, which has left the gradients already."""
        if not self._replayed:
            super().backward(loss, *args, **kwargs)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Nothing after a replay, whose gradients replace the last ones."""
        if not self._replayed:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    @property
    def joined_gradient(self) -> torch.Tensor | None:
        """The vector of which the gradients of this step are views, where there is one."""
        return self._recorded.gradient if self._recorded is not None and self._replayed else None

    def epoch_loss(self) -> torch.Tensor:
        """Mean training loss since the start of the epoch, over all processes, on the device."""
        mean = self._loss_sum / max(self._steps, 1)
        return self._all(mean).mean()

    def _all(self, value: torch.Tensor) -> torch.Tensor:
        """Values of all processes along a new first axis."""
        return cast(torch.Tensor, self.all_gather(value)) if self.trainer.world_size > 1 else value[None]

    def on_validation_epoch_start(self) -> None:
        """Empty sums; on several devices the running batch-norm statistics become their mean first."""
        if self.trainer.world_size > 1:
            buffers = [buffer for buffer in self.network.buffers() if buffer.is_floating_point()]
            mean = self._all(torch.cat([buffer.flatten() for buffer in buffers])).mean(dim=0)
            parts = mean.split([buffer.numel() for buffer in buffers])
            for buffer, part in zip(buffers, parts, strict=True):
                buffer.copy_(part.view_as(buffer))
        self._sums: torch.Tensor | None = None

    def validation_step(self, graph: Graph, index: int) -> None:
        """Add one structure to the sums."""
        output = self.network(graph)
        if self.answers is not None:
            output = self.answers(output, graph)
        sums = torch_moments(output, graph.labels, graph.types, self.network.n_species)
        if self.card.conditions is not None:
            every = sums.new_zeros(len(self.card.conditions.state_points), *sums.shape)
            every[int(graph.state_point[0])] = sums
            sums = every
        self._sums = sums if self._sums is None else self._sums + sums

    def on_validation_epoch_end(self) -> None:
        """Log loss and correlation."""
        assert self._sums is not None
        if self.global_rank >= len(self.trainer.datamodule.valid_graphs):  # type: ignore[attr-defined]
            self._sums.zero_()  # more processes than validation structures
        total = self._all(self._sums).sum(0)
        trained = [self.card.species.index(name) for name in self.card.trained_species]
        total = labelled_moments(total[..., trained, :, :].cpu(), self.card)
        n, _, _, sxx, syy, sxy = total.unbind(-1)
        self.valid_pearson = torch_pearson(total)
        per_particle = (sxx - 2 * sxy + syy).sum() / n.sum().clamp_min(1)
        self.log("valid_loss", per_particle.float(), rank_zero_only=False)
        # A constant prediction has no correlation: none where others have one, else no score, never a best.
        known = self.valid_pearson.isfinite().any()
        seen = self.valid_pearson[n > 0]
        score = seen.nan_to_num(0.0).mean() if known else self.valid_pearson.new_tensor(math.nan)
        self.log("valid_pearson", score.float(), rank_zero_only=False)

    def configure_optimizers(self) -> Any:
        """Adam and a rate that follows the step."""
        config = self.config
        optimizer = torch.optim.Adam(
            self.parameters(),
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )
        optimizer.register_step_post_hook(_written)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: rate_factor(step, config, self.steps_per_epoch)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _written(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Count a write to each weight, which the fused step doesn't: kernels keep what they derive from them."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            torch.autograd.graph.increment_version(parameter)


class TrainingLoss(nn.Module):
    """What is minimised, and the part of it that comes from the labels, shape (2,)."""

    def __init__(
        self,
        network: SE3GNN,
        to_inherent: nn.Linear | None,
        config: TrainingConfig,
        answers: Answers | None = None,
    ) -> None:
        super().__init__()
        self.network, self.to_inherent, self.config, self.answers = network, to_inherent, config, answers

    def forward(self, graph: Graph) -> torch.Tensor:
        """Losses of one batch."""
        if self.to_inherent is None:
            loss = self._of_labels(self.network(graph), graph)
            return torch.stack([loss, loss])
        layers = self.network.hidden(graph)
        loss = self._of_labels(self.network.read_out(layers[-1], graph), graph)
        return torch.stack(
            [loss + self.config.inherent_weight * self._inherent(layers[len(layers) // 2], graph), loss]
        )

    def _of_labels(self, output: torch.Tensor, graph: Graph) -> torch.Tensor:
        """Squared error of the labels, of a conditioned network at those of each structure's state point."""
        return mean_squared_error(output if self.answers is None else self.answers(output, graph), graph)

    def _inherent(self, hidden: torch.Tensor, graph: Graph) -> torch.Tensor:
        """Squared error of the way to the inherent structure, relative to its mean square."""
        assert self.to_inherent is not None
        channels = self.config.channels
        vectors = hidden[:, channels : 4 * channels].view(-1, channels, 3)
        predicted = self.to_inherent(vectors.transpose(1, 2)).squeeze(2)
        offset = graph.offset_label
        return cast(
            "torch.Tensor", (predicted + offset).square().mean() / offset.square().mean().clamp_min(1e-9)
        )


def mean_squared_error(output: torch.Tensor, graph: Graph) -> torch.Tensor:
    """Mean over trained particles and times of the squared error, in standardised units."""
    weight = graph.trained
    return ((output.to(graph.labels.dtype) - graph.labels).square().mean(dim=1) * weight).sum() / weight.sum()


def label_names(card: Card) -> list[str]:
    """Name of each label that validation scores: species, time, and temperature where there are several."""
    if card.conditions is None:
        return [f"{species} t={time:g}" for species in card.trained_species for time in card.times]
    return [
        f"{species} T={point.temperature:g} t={time:g}"
        for point in card.conditions.state_points
        for species in card.trained_species
        for time in point.times
    ]


def labelled_moments(total: torch.Tensor, card: Card) -> torch.Tensor:
    """Moments (..., n_trained, T, 6) of the labels that :func:`label_names` names, in its order, (n, 6)."""
    if card.conditions is None:
        return total.flatten(0, 1)
    numbers = [len(point.times) for point in card.conditions.state_points]
    return torch.cat([of_one[:, :n].flatten(0, 1) for of_one, n in zip(total, numbers, strict=True)])


def torch_moments(x: torch.Tensor, y: torch.Tensor, types: torch.Tensor, n_species: int) -> torch.Tensor:
    """Moments for Pearson by species, shape (n_species, T, 6): :func:`propensity.evaluation.moments` on the
    device.
    """
    dtype = sum_dtype(x.device)
    x, y = x.to(dtype), y.to(dtype)
    terms = torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y], dim=-1)
    return torch.einsum("ns,ntk->stk", nn.functional.one_hot(types, n_species).to(dtype), terms)


def torch_pearson(sums: torch.Tensor) -> torch.Tensor:
    """ρ from moments (..., 6) to (...), as :func:`propensity.statistics.pearson_of_moments`: NaN where one
    side is constant.
    """
    n, sx, sy, sxx, syy, sxy = sums.unbind(-1)
    var_x, var_y = sxx / n - (sx / n) ** 2, syy / n - (sy / n) ** 2
    rho = (sxy / n - sx * sy / n**2) / (var_x * var_y).sqrt()
    # Variance below the rounding of its two terms is that of a constant.
    rounding = 1e-12 if sums.dtype == torch.float64 else 1e-6
    constant = (var_x <= rounding * sxx / n) | (var_y <= rounding * syy / n) | (n < 2)
    return rho.clamp(-1.0, 1.0).masked_fill(constant, math.nan)


def sum_dtype(device: torch.device) -> torch.dtype:
    """Precision of sums; Apple's devices have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def rate_factor(step: int, config: TrainingConfig, steps_per_epoch: int) -> float:
    """Learning rate at ``step``, relative to the highest."""
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.schedule == "cosine":
        total = config.epochs * steps_per_epoch
        return warm * 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0)))
    if config.schedule == "milestones":
        return warm * 0.5 ** sum(step >= epoch * steps_per_epoch for epoch in config.milestones)
    return warm
