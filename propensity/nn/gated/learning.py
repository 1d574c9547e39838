"""How a gated network learns: AdamW down a cosine, and a running average of the weights that is kept."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from propensity.nn.cuda_graph import record
from propensity.nn.gated.descent import Descent
from propensity.nn.gated.layer import Standard
from propensity.nn.gated.network import GatedNetwork, Passed
from propensity.nn.gated.stack import AnyExamples, EqualExamples, Labelled

log = logging.getLogger(__name__)

#: Steps over which the learning rate rises, at most.  Scales are fixed while weights are random, and features
#: that outgrow them do so in each layer: too fast a rise drives every hidden unit of the readout to where no
#: gradient leads back.
WARM_UP = 400
#: Steps between looks at the error, and the rise over its lowest after which weights go back.
LOOK, RISE = 40, 1.2
#: Share of the variance that is left of one who has learned nothing, steps by which that is known, and how
#: often such a one starts again: labels may hold no more.
DEAD, KNOWN_BY, STARTS = 0.97, 160, 2


@dataclass(frozen=True)
class Hyperparameters:
    """How long and how fast to learn; ``auxiliary`` is the weight of the auxiliary loss."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    average: float
    auxiliary: float = 0.0
    dropout: float = 0.0


def fix_scales(network: GatedNetwork, examples: Sequence[Labelled]) -> None:
    """Fix the scales of inputs and the standardisation of all layers by the first structures."""
    some = [example.graph for example in examples[:8]]
    for name in ("vector", "quadrupole"):
        values = torch.cat([getattr(graph, f"{name}_inputs") for graph in some])
        getattr(network, f"{name}_scale").copy_(values.square().mean(dim=(0, 1)).sqrt())
    measured = [part for part in network.modules() if isinstance(part, Standard)]
    for part in measured:
        part.measuring = True
    with torch.no_grad():
        network(some[0])
    for part in measured:
        part.measuring = False


class Learner:
    """A network, what it learns from, and the state of the optimiser.

    Its outputs are standardised labels, or, with ``bases`` (P, K, T), modes: labels of a particle at state
    point p are then those times ``bases[p]``.  An epoch has ``per_epoch`` structures, all of them by default.
    Scales of a trained network are ``fixed`` already.

    Where the error rises far above its lowest, or nothing is learned at all, weights and moments go back to
    where they were at their best, and on at a lower rate.

    On a CUDA device neighbours are summed in bfloat16 and a step is recorded once and replayed; what a step
    needs of the processor are the numbers of its structures.
    """

    def __init__(
        self,
        network: GatedNetwork,
        examples: Sequence[Labelled],
        hyperparameters: Hyperparameters,
        bases: torch.Tensor | None = None,
        per_epoch: int | None = None,
        fixed: bool = False,
    ) -> None:
        some = examples
        if bases is not None:  # of all state points, a middle one first
            middle = len(examples) // 2
            some = [*examples[middle:], *examples[:middle]][:: max(1, len(examples) // 8)]
        if not fixed:
            fix_scales(network, some)
        self._bases, self._per_epoch = bases, per_epoch or len(examples)
        #: Mean squared error of one who has learned nothing but the means.
        self.variance = float(torch.stack([example.labels.square().mean() for example in examples]).mean())
        equal = len({len(example.labels) for example in examples}) == 1
        self.data = EqualExamples(examples) if equal else AnyExamples(examples)
        self.network, self.hyperparameters, self.step_number = network.train(), hyperparameters, 0
        for part in network.modules():
            if isinstance(part, nn.Dropout):
                part.p = hyperparameters.dropout
        self.device = device = network.bias.device
        self._heads = _Heads(network, examples[0]).to(device) if hyperparameters.auxiliary else None
        modules = [network] if self._heads is None else [network, self._heads]
        zero = torch.zeros((), device=device)
        self._rate, self._share = zero.clone(), zero.clone()
        self._typical, self._total, self._recent = zero.clone(), zero.clone(), zero.clone()
        self._descent = Descent(modules, self._rate, hyperparameters.weight_decay)
        self._average = self._descent.vector.clone()
        self._index = torch.zeros(
            min(hyperparameters.batch_size, len(examples)), dtype=torch.long, device=device
        )
        self._replay: Callable[[], object] | None = None
        if device.type == "cuda" and self.data.uniform:
            self._record()
        #: Factor of the learning rate, lowest error, the state that had it, and that of the start.
        self._calm, self._lowest, self._first = 1.0, math.inf, self._copies()
        self._best, self._starts, self._started = self._first, STARTS, 0

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.hyperparameters.epochs * max(1, self._per_epoch // len(self._index))

    def epoch(self, order: torch.Tensor | None = None) -> float:
        """Go through the structures once, in a new or a given order; the mean squared error."""
        size = len(self._index)
        self._total.zero_()
        parts = (torch.randperm(len(self.data)) if order is None else order).split(size)
        whole = [some for some in parts if len(some) == size]
        for some in whole:
            self.step(some)
        return float(self._total) / len(whole)

    def step(self, some: torch.Tensor) -> None:
        """One step with these structures."""
        k, hyperparameters = self.step_number, self.hyperparameters
        rise = min(1.0, (k + 1) / min(WARM_UP, max(1, self.steps // 10)))
        rise *= self._calm
        self._rate.fill_(
            hyperparameters.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * k / self.steps))
        )
        # Early on the average is that of the last steps alone.
        self._share.fill_(max(1 - hyperparameters.average, min(1.0, 9 / (k + 10))))
        self._index.copy_(some)
        (self._replay or self._run)()
        self.step_number += 1
        if self.step_number % LOOK == 0:
            self._look()

    def finish(self) -> None:
        """Give the network its averaged weights."""
        means = self._descent.parts(self._average)
        for parameter, mean in zip(self._descent.parameters, means, strict=True):
            parameter.data = mean.clone()

    def _record(self) -> None:
        """Record a step.  Its trial runs leave no trace: the learning rate is zero, and moments are reset."""
        self._replay, _ = record(self._run, self.device)
        with torch.no_grad():
            for value in (*self._descent.moments, self._typical, self._total, self._recent):
                value.zero_()

    def _state(self) -> list[torch.Tensor]:
        """Weights, their average, and what the optimiser remembers."""
        return [self._descent.vector, self._average, self._typical, *self._descent.moments]

    def _copies(self) -> list[torch.Tensor]:
        return [value.clone() for value in self._state()]

    def _look(self) -> None:
        """Keep the state where the error is at its lowest; go back to it where the error has run away."""
        error = float(self._recent) / LOOK
        self._recent.zero_()
        sound = math.isfinite(error) and error <= RISE * self._lowest
        if sound and error <= 1.02 * self._lowest:
            self._lowest, self._best = min(error, self._lowest), self._copies()
        known = self._starts > 0 and self.step_number - self._started >= KNOWN_BY
        nothing = known and self._lowest > DEAD * self.variance
        if sound and not nothing:
            self._calm = min(1.0, 1.1 * self._calm)
            return
        log.warning(
            "after %d steps the mean squared error is %.3g, %.3g at best, that of the means %.3g: back to the"
            " weights of the %s, at half the rate.",
            self.step_number,
            error,
            self._lowest,
            self.variance,
            "start" if nothing else "lowest",
        )
        if nothing:
            self._best, self._lowest = self._first, math.inf
            self._starts, self._started = self._starts - 1, self.step_number
        self._calm *= 0.5
        now = self._state()
        for value, kept in zip(now, self._best, strict=False):
            value.copy_(kept)
        for value in now[len(self._best) :]:
            value.zero_()  # moments, which there were none of before the first step

    def _run(self) -> tuple[torch.Tensor, ...]:
        batch = self.data.batch(self._index)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            passed = self.network.passed(batch.graph)
            answers = self.network.read_out(passed, batch.graph.types)
            extra = None if self._heads is None else self._heads(passed)
        answers = answers.float()
        if self._bases is not None:
            answers = torch.einsum("nk,nkt->nt", answers, self._bases[batch.state_points])
        squares = (answers - batch.labels).square()
        loss = squares.mean()
        if extra is not None:
            for found, wanted in zip(extra, (batch.vectors, batch.scalars), strict=True):
                if wanted.numel():
                    loss = loss + self.hyperparameters.auxiliary * (found.float() - wanted).square().mean()
        self._take(self._descent.gradient(loss))
        error = squares.detach().mean()
        self._total += error
        self._recent += error
        return (loss.detach(),)

    def _take(self, gradient: torch.Tensor) -> None:
        """One step of the optimiser; gradients twice as long as usual are shortened, broken ones left out.

        A burst counts for no more than it is shortened to: what is usual rises by 2 % a step at most.
        """
        size = gradient.norm()
        sound = torch.isfinite(size)
        felt = torch.minimum(size, 2 * self._typical)
        usual = torch.where(self._typical > 0, torch.lerp(self._typical, felt, 0.02), size)
        self._typical.copy_(torch.where(sound, usual, self._typical))
        gradient = torch.where(sound, gradient * (2 * self._typical / (size + 1e-12)).clamp(max=1.0), 0.0)
        self._descent.step(gradient)
        self._average.lerp_(self._descent.vector, self._share)


class _Heads(nn.Module):
    """Readouts of the auxiliary labels that are no part of the model; ways that it guesses are."""

    def __init__(self, network: GatedNetwork, example: Labelled) -> None:
        super().__init__()
        self.vectors = None
        if network.guess is None:
            self.vectors = nn.Linear(network.widths.vectors, example.vectors.shape[-1], bias=False)
        self.scalars = nn.Linear(network.widths.scalars, example.scalars.shape[-1])

    def forward(self, passed: Passed) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors (N, 3, ·) and scalars (N, ·)."""
        scalars, vectors, _ = passed.features[-1]
        found = passed.guess if self.vectors is None else self.vectors(vectors)
        assert found is not None
        return found, self.scalars(scalars)
