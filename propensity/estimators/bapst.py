"""The network of Bapst et al. behind the surface that all models share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field

from propensity.estimators.card import MAX_CUTOFF, Card
from propensity.estimators.inputs import Inputs, OnePositions, check_outputs, check_types, input_structure
from propensity.estimators.label_scale import LabelScale
from propensity.estimators.networks import NetworkEstimator
from propensity.estimators.options import Options, read_options
from propensity.estimators.training_set import chosen_species, training_card
from propensity.graph import Graph
from propensity.nn.bapst import BapstGNN, published_weights, random_cube_symmetry
from propensity.structure import Structure
from propensity.threads import survive_fork

if TYPE_CHECKING:
    from typing_extensions import Self

    from propensity.sample import Sample

CITATION = "V. Bapst et al., Nat. Phys. 16, 448 (2020), doi:10.1038/s41567-020-0842-8"


class BapstOptions(Options):
    """Options of :meth:`BapstEstimator.fit`; the loss is the mean squared error of standardised labels."""

    epochs: int = Field(30, ge=1, description="Passes over the structures, one structure a step.")
    learning_rate: float = Field(1e-3, gt=0, description="Highest rate of Adam, then down a cosine to zero.")
    gradient_clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    augment: bool = Field(True, description="Apply one of the 48 symmetries of the cube at random each step.")
    trained_species: tuple[str, ...] = Field(
        (),
        description=(
            "Species in the loss; the model predicts NaN for the others.  [default: A where most particles"
            " are A, else all]"
        ),
    )
    input_positions: OnePositions = Field("thermal", description="Positions that the model sees.")
    n_recurrences: int = Field(7, ge=1, description="Steps of message passing.")
    width: int = Field(64, ge=1, description="Width of the hidden layers.")
    cutoff: float = Field(
        2.0, gt=0, le=MAX_CUTOFF, description="Edges join particles closer than this, in σ_AA."
    )
    seed: int = Field(0, ge=0, description="Seed of the weights, the order of structures and the symmetries.")
    device: str | None = Field(None, description="None: CUDA where there is one.")


class BapstEstimator(NetworkEstimator[BapstGNN]):
    """Graph network of Bapst et al. (2020) with its card.

    ``card.config["predicts_untrained"]`` says whether species outside the loss keep the network's
    output, as in the published checkpoint, or become NaN.
    """

    kind = "bapst"
    options = BapstOptions

    @classmethod
    def fit(
        cls,
        train: Sequence[Sample],
        valid: Sequence[Sample] = (),
        options: BapstOptions | None = None,
        **values: Any,
    ) -> Self:
        """Train with :class:`BapstOptions`; ``valid`` is not used, the last weights are kept."""
        opts = read_options(BapstOptions, values, options)
        train = list(train)
        config = {"n_recurrences": opts.n_recurrences, "width": opts.width, "cutoff": opts.cutoff}
        card = training_card(
            cls.kind,
            train,
            config={**config, "predicts_untrained": False},
            options=opts.model_dump(mode="json"),
            input_positions=opts.input_positions,
            cutoff=opts.cutoff,
            trained_species=chosen_species(train, opts.trained_species),
            citation=CITATION,
        )
        device = torch.device(opts.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(opts.seed)
            network = BapstGNN(len(card.times), **config).to(device)  # type: ignore[arg-type]
            history = _train(network, train, opts, device, card)
        card.training["history"] = history
        return cls(network.cpu(), card)

    @torch.inference_mode()
    def predict(self, structure: Structure) -> np.ndarray:
        """See :meth:`propensity.estimators.base.Estimator.predict`."""
        check_types(structure, self.card.species)
        survive_fork()
        weight = next(self.network.parameters())
        graph = Inputs(self.card).graph(structure, device=weight.device, dtype=weight.dtype)
        output = self.network(graph).double().cpu().numpy()
        return LabelScale.of(self.card).propensities(output, structure.types)

    def traced(self, structure: Structure, steps: torch.Tensor) -> torch.Tensor:
        """See :meth:`propensity.estimators.base.Estimator.traced`."""
        check_types(structure, self.card.species)
        output = self.network(Inputs(self.card).moved(structure, steps))
        return LabelScale.of(self.card).traced(output, structure.types)

    def reach(self, structure: Structure) -> float | None:
        """See :meth:`propensity.estimators.base.Estimator.reach`."""
        return Inputs(self.card).reach(structure, self.network.n_recurrences)

    @classmethod
    def restore(cls, card: Card, arrays: dict[str, np.ndarray]) -> Self:
        """Rebuild the network from its card and state dict."""
        check_outputs(card, arrays)
        config = {key: value for key, value in card.config.items() if key != "predicts_untrained"}
        network = BapstGNN(len(card.times), **config)
        network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        return cls(network, card)


def published_estimator(variables: Mapping[str, np.ndarray]) -> BapstEstimator:
    """DeepMind's network for T = 0.44 at F_s = 0.9 (t = 0.132), from the variables of its checkpoint.

    Raw mobilities in σ; B particles keep the published output, though only A was in the loss.
    """
    network = BapstGNN()
    network.load_state_dict(published_weights(variables))
    card = Card(
        kind=BapstEstimator.kind,
        name="bapst-t044-s09",
        description=(
            "Published network of Bapst et al. for T = 0.44 and F_s = 0.9; trained on A particles only."
        ),
        config={"n_recurrences": 7, "width": 64, "cutoff": 2.0, "predicts_untrained": True},
        species=("A", "B"),
        trained_species=("A",),
        cutoff=2.0,
        times=(0.132,),
        default_time_index=0,
        input_positions="thermal",
        target_mean=[[0.0], [0.0]],
        target_std=[[1.0], [1.0]],
        temperature=0.44,
        density=1.2032,
        composition=(0.8, 0.2),
        training={
            "sources": [
                "deepmind-research/glassy_dynamics checkpoints/t044_s09.ckpt, Copyright 2019 Deepmind "
                "Technologies Limited, Apache-2.0; optimiser state removed, otherwise unchanged"
            ],
        },
        citation=CITATION,
    )
    return BapstEstimator(network, card)


def _train(
    network: BapstGNN, train: Sequence[Sample], opts: BapstOptions, device: torch.device, card: Card
) -> list[float]:
    """Adam over single structures; returns the mean loss of each epoch."""
    trained = torch.tensor([name in card.trained_species for name in card.species], device=device)
    mean, std = (torch.tensor(x, device=device) for x in (card.target_mean, card.target_std))
    graphs: list[Graph] = []
    for sample in train:
        graph = Inputs(card).graph(input_structure(sample, opts.input_positions), device=device)
        labels = torch.as_tensor(np.asarray(sample.propensities, dtype=np.float32), device=device)
        graph.labels = (labels - mean[graph.types]) / std[graph.types]
        graphs.append(graph)
    optimizer = torch.optim.Adam(network.parameters(), lr=opts.learning_rate)
    steps = opts.epochs * len(graphs)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    history = []
    network.train()
    for _ in range(opts.epochs):
        total = torch.zeros((), device=device)
        for k in torch.randperm(len(graphs)).tolist():
            graph = graphs[k]
            if opts.augment:
                turned = graph.edge_vec @ random_cube_symmetry().to(graph.edge_vec)
                graph = Graph(
                    types=graph.types, edge_index=graph.edge_index, edge_vec=turned, labels=graph.labels
                )
            chosen = trained[graph.types]
            loss = (network(graph)[chosen] - graph.labels[chosen]).square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), opts.gradient_clip)
            optimizer.step()
            schedule.step()
            total += loss.detach()
        history.append(float(total) / len(graphs))
    return history
