"""The gated network behind the surface that all models share."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, cast
from warnings import warn

import numpy as np
import torch
from pydantic import Field, model_validator

from propensity.errors import InputError, PropensityWarning
from propensity.estimators.balance import balanced_counts, balanced_epoch
from propensity.estimators.cages import cage_recipe
from propensity.estimators.card import MAX_CUTOFF, Card
from propensity.estimators.features import TracedFeatures, layer_index
from propensity.estimators.gated_examples import gated_examples, gated_inputs, hidden_labels
from propensity.estimators.inputs import (
    InputPositions,
    Inputs,
    check_types,
    small_batches,
)
from propensity.estimators.kinds import class_for
from propensity.estimators.label_scale import LabelScale
from propensity.estimators.networks import NetworkEstimator
from propensity.estimators.options import Options, read_options
from propensity.estimators.state_points import learn_conditions
from propensity.estimators.training_set import training_card
from propensity.interrupts import Interrupted, TrainingInterrupted, interruptible
from propensity.nn.gated import (
    GatedNetwork,
    Hyperparameters,
    Learner,
    join_gated_graphs,
    moved_graph,
)
from propensity.nn.gated.learning import DEAD, KNOWN_BY
from propensity.nn.gated.network import GUESSED
from propensity.nn.gated.replay import outputs_of
from propensity.structure import Structure

if TYPE_CHECKING:
    from typing_extensions import Self

    from propensity.sample import Sample

CITATION = (
    "cage states: R. M. Alkemade, F. Smallenburg and L. Filion, J. Chem. Phys. 158, 134512 (2023); networks"
    " of them: X. Jiang et al., arXiv:2407.06111; equivariant networks for propensities: F. S. Pezzicoli,"
    " G. Charpiat and F. P. Landes, SciPost Phys. 16, 136 (2024)"
)


#: Components of each kind of feature, of quadrupoles in an orthonormal basis of symmetric traceless matrices.
COMPONENTS = {"scalar": ("",), "vector": tuple("xyz"), "quadrupole": ("xy", "yz", "xz", "2zz−xx−yy", "xx−yy")}


class GatedOptions(Options):
    """Options of :meth:`GatedEstimator.fit`; defaults are those of ``ka-cage`` (docs/training.md)."""

    inputs: Literal["thermal", "inherent", "cage"] = Field(
        "cage", description="What the network sees: thermal positions, minima too, or cage states as well."
    )
    condition: Literal["temperature"] | None = Field(
        None,
        description=(
            "Learn structures at several temperatures, each with times of its own, in one model that answers"
            " for any temperature and time between."
        ),
    )
    init: str | None = Field(
        None,
        description=(
            "Trained gated model whose weights to start from; a readout of other times or of modes starts at"
            " zero."
        ),
    )
    n_layers: int = Field(7, ge=3, description="Layers; the first two read thermal neighbours.")
    cutoff: float = Field(2.0, gt=0, le=MAX_CUTOFF, description="Neighbours are closer than this, in σ_AA.")
    pair_force: bool = Field(
        True, description="Lennard-Jones force and slope among the radial functions (Kob–Andersen mixtures)."
    )
    epochs: int = Field(
        24,
        ge=1,
        description=(
            "Passes over the training structures; with --condition over the smallest set of a temperature and"
            " as many of larger ones as the square root of their sizes says."
        ),
    )
    batch_size: int = Field(2, ge=1, description="Structures a step.")
    learning_rate: float = Field(2e-3, gt=0, description="Highest learning rate of AdamW.")
    weight_decay: float = Field(0.1, ge=0, description="Weight decay of AdamW.")
    average: float = Field(0.998, ge=0, lt=1, description="Decay of the running average of the weights.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of hidden units left out of each step.")
    auxiliary: float = Field(
        0.0,
        ge=0,
        description=(
            "Weight of an auxiliary loss: minima and cage states of the training structures, where the inputs"
            " don't show them."
        ),
    )
    guess: bool = Field(
        False,
        description=(
            "Guess half-way where the cages are (learned by the auxiliary loss), and let later layers see"
            " neighbours there."
        ),
    )
    curved: bool = Field(True, description="Let harmonics of l = 2 meet vectors.")
    seed: int = Field(0, ge=0, description="Of weights and order of the structures.")
    device: str | None = Field(None, description="cpu or cuda; default: CUDA where there is one.")

    def hyperparameters(self) -> Hyperparameters:
        """How long and how fast to learn."""
        return Hyperparameters(**{field.name: getattr(self, field.name) for field in fields(Hyperparameters)})

    def layers(self) -> list[str]:
        """View of each layer: two of thermal neighbours, those of ``inputs``, and guessed ones at the end."""
        n_guessed = (self.n_layers - 2 * (self.inputs != "thermal")) // 2 if self.guess else 0
        given = ["thermal"] * 2 + [self.inputs] * (self.n_layers - 2)
        return given[: self.n_layers - n_guessed] + [GUESSED] * n_guessed

    @model_validator(mode="after")
    def _guess_is_taught(self) -> GatedOptions:
        if self.guess and (self.inputs == "cage" or not self.auxiliary):
            raise ValueError(
                "guess needs auxiliary > 0 and inputs that don't show cages: thermal or inherent"
            )
        return self


def begin_with(network: GatedNetwork, model: str) -> None:
    """Copy weights and scales of a trained network; a readout of another shape starts at zero, so that it
    learns what there is before it changes it.

    Raises
    ------
    InputError
        When the rest of the network has another shape.
    """
    other = GatedEstimator.to_begin_with(model)
    ours, theirs = network.config, other.network.config
    differing = {k: v for k, v in theirs.items() if k != "n_outputs" and ours.get(k) != v}
    if differing:
        raise InputError(f"init model {model!r} has another network ({differing}): use the same options.")
    state = {name: value.to(network.bias.device) for name, value in other.network.state_dict().items()}
    for name, own in network.state_dict().items():
        if state[name].shape != own.shape:
            state[name] = torch.zeros_like(own)
    network.load_state_dict(state)


def _warn_if_dead(error: float, variance: float) -> None:
    """Say that a network has run away in its first steps, where no gradient leads back."""
    if error > DEAD * variance:
        warn(
            f"after {KNOWN_BY} steps the mean squared error is {error:.3g}, that of the means is"
            f" {variance:.3g}: the network may have died; start again with another --seed or a lower"
            " --learning-rate.",
            PropensityWarning,
            stacklevel=3,
        )


class GatedEstimator(NetworkEstimator[GatedNetwork]):
    """Network, card and the constants that turn its outputs into propensities."""

    kind = "gated"
    options = GatedOptions

    @classmethod
    def fit(
        cls,
        train: Sequence[Sample],
        valid: Sequence[Sample] = (),
        options: GatedOptions | None = None,
        **values: Any,
    ) -> Self:
        """Train with :class:`GatedOptions` on all species; ``valid`` is not used, the average is kept.

        Raises
        ------
        DataError
            When samples lack the minima or cage states that the inputs need.
        TrainingInterrupted
            On Ctrl-C or SIGTERM; carries the estimator learned so far.
        """
        opts = read_options(GatedOptions, values, options)
        train = list(train)
        positions: InputPositions = "thermal" if opts.inputs == "thermal" else "both"
        conditions = learn_conditions(train) if opts.condition else None
        recipe = cage_recipe(train, conditions is not None) if opts.inputs == "cage" else {}
        card = training_card(
            cls.kind,
            train,
            config={},
            options=opts.model_dump(mode="json"),
            input_positions=positions,
            cutoff=opts.cutoff,
            trained_species=train[0].species if train else (),
            citation=CITATION,
            conditions=conditions,
        )
        device = torch.device(opts.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(opts.seed)
            network = GatedNetwork(
                opts.layers(),
                opts.inputs,
                n_species=len(card.species),
                n_outputs=len(card.times) if conditions is None else conditions.n_modes,
                n_cages=len(recipe.get("radii", ())),
                cutoff=opts.cutoff,
                pair_force=opts.pair_force and len(card.species) == 2,
                curved=opts.curved,
                n_guessed=hidden_labels(train[0], opts.inputs)[0].shape[2] if opts.guess else 0,
            ).to(device)
            if opts.init:
                begin_with(network, opts.init)
            examples = gated_examples(train, network, card, positions, opts.auxiliary > 0, device)
            points = [int(example.state_points[0]) for example in examples]
            bases = None if conditions is None else torch.from_numpy(conditions.bases()).to(device).float()
            share = sum(balanced_counts(points))
            learner = Learner(network, examples, opts.hyperparameters(), bases, share, fixed=bool(opts.init))
            del examples  # the learner has them as one table
            history: list[float] = []
            with suppress(Interrupted), interruptible():
                for k in range(opts.epochs):
                    order = None if conditions is None else torch.tensor(balanced_epoch(points, opts.seed, k))
                    history.append(learner.epoch(order))
                    if learner.step_number >= KNOWN_BY > learner.step_number - learner.steps // opts.epochs:
                        _warn_if_dead(history[-1], learner.variance)
            learner.finish()
        card.config, card.cage_recipe = network.config, recipe
        card.training["history"] = history
        # What is stored is what predicts from the start.
        fitted = class_for(card).restore(card, cls(network.cpu(), card).arrays()).to(device)
        if len(history) < opts.epochs:
            raise TrainingInterrupted(f"interrupted after {len(history)} of {opts.epochs} epochs", fitted)
        return cast("Self", fitted)

    @torch.no_grad()
    def predict(self, structure: Structure) -> np.ndarray:
        """See :meth:`propensity.estimators.base.Estimator.predict`."""
        check_types(structure, self.card.species)
        outputs = outputs_of(self.network, gated_inputs(structure, self.network)).double().numpy()
        return self._propensities(structure, outputs)

    @torch.no_grad()
    def unchecked_many(self, structures: Sequence[Structure]) -> list[np.ndarray]:
        """See :meth:`propensity.estimators.base.Estimator.unchecked_many`."""
        found = []
        for batch in small_batches(structures):
            for structure in batch:
                check_types(structure, self.card.species)
            graph = join_gated_graphs([gated_inputs(structure, self.network) for structure in batch])
            outputs = self.network(graph).cpu().double().numpy()
            ends = np.cumsum([len(structure) for structure in batch])
            for structure, part in zip(batch, np.split(outputs, ends[:-1]), strict=True):
                found.append(self._propensities(structure, part))
        return found

    def _propensities(self, structure: Structure, standardised: np.ndarray) -> np.ndarray:
        return LabelScale.of(self.card).propensities(standardised, structure.types)

    def reach(self, structure: Structure) -> float | None:
        """See :meth:`propensity.estimators.base.Estimator.reach`."""
        return Inputs(self.card).reach(structure, len(self.network.layers))

    def traced(self, structure: Structure, steps: torch.Tensor) -> torch.Tensor:
        """See :meth:`propensity.estimators.base.Estimator.traced`."""
        check_types(structure, self.card.species)
        answers = self.network(moved_graph(gated_inputs(structure, self.network), structure, steps))
        return LabelScale.of(self.card).traced(answers, structure.types)

    def features(self, structure: Structure, layer: int | None, steps: torch.Tensor | None) -> TracedFeatures:
        """See :meth:`propensity.estimators.base.Estimator.features`."""
        check_types(structure, self.card.species)
        network, graph = self.network, gated_inputs(structure, self.network)
        if steps is not None:
            graph = moved_graph(graph, structure, steps)
        passed = network.passed(graph, every=layer is not None)
        found = passed.features
        widths = {"scalar": network.widths.scalars, "vector": network.widths.vectors}
        widths["quadrupole"] = network.widths.quadrupoles
        if layer is None:
            names = [f"scalar {c}" for c in range(widths["scalar"])]
            names += [f"|{kind} {c}|" for kind in ("vector", "quadrupole") for c in range(widths[kind])]
            names += [f"input {c}" for c in range(passed.raw.shape[1])]
            return TracedFeatures(network.invariants(passed.raw, found[-1]), tuple(names), f"{len(names)}x0e")
        features = found[layer_index(layer, len(found))]
        values = [features[0], *(part.transpose(1, 2).flatten(1) for part in features[1:])]
        names = [
            f"{kind} {c} {component}".rstrip()
            for kind, components in COMPONENTS.items()
            for c in range(widths[kind])
            for component in components
        ]
        irreps = "+".join(f"{widths[kind]}x{l}{'eo'[l % 2]}" for l, kind in enumerate(COMPONENTS))
        return TracedFeatures(torch.cat(values, dim=1), tuple(names), irreps)

    def arrays(self) -> dict[str, np.ndarray]:
        """State dict of the network, matrices in half precision, which predictions don't feel."""
        return {
            name: tensor.detach().cpu().numpy().astype(np.float16 if tensor.ndim > 1 else np.float32)
            for name, tensor in self.network.state_dict().items()
        }

    @classmethod
    def restore(cls, card: Card, arrays: dict[str, np.ndarray]) -> Self:
        """Rebuild the network from its card and state dict."""
        network = GatedNetwork(**card.config)
        network.load_state_dict(
            {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
        )
        return cls(network, card)
