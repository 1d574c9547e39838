"""What a gated network is trained with: graphs, labels, and what its inputs don't show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from propensity.errors import DataError
from propensity.estimators.card import Card
from propensity.estimators.inputs import InputPositions, input_structure
from propensity.estimators.label_scale import LabelScale
from propensity.estimators.state_points import labels_at
from propensity.neighbours.sharing import shared_graph
from propensity.nn.gated import GatedGraph, GatedNetwork, Labelled, gated_graph
from propensity.sample import Sample
from propensity.structure import Structure


def gated_inputs(structure: Structure, network: GatedNetwork) -> GatedGraph:
    """Graph of a structure as a network reads it, where its weights lie."""
    cutoff, views, inputs = network.cutoff, network.given_views, network.inputs
    device, dtype = network.bias.device, network.bias.dtype

    def make() -> GatedGraph:
        return gated_graph(structure, cutoff, views, inputs, device=device, dtype=dtype)

    return shared_graph(structure, (cutoff, views, inputs, device, dtype), make)


def gated_examples(
    train: Sequence[Sample],
    network: GatedNetwork,
    card: Card,
    positions: InputPositions,
    auxiliary: bool,
    device: torch.device,
) -> list[Labelled]:
    """Graphs with standardised labels, and with those of the auxiliary loss."""
    scale, examples = LabelScale.of(card), []
    hidden = [hidden_labels(sample, network.inputs if auxiliary else "cage") for sample in train]
    widths = {vectors.shape[2] for vectors, _ in hidden}
    if auxiliary and (len(widths) > 1 or 0 in widths):
        raise DataError(
            f"an auxiliary loss needs minima or cage states that inputs={network.inputs!r} don't show, in all"
            " structures: add them by `propensity convert --quench --cage`, or set auxiliary to 0."
        )
    vectors = np.concatenate([vectors for vectors, _ in hidden])
    size = np.sqrt(np.square(vectors).mean(axis=(0, 1)))
    vectors /= size
    if network.guess is not None:
        # From thermal positions to minima and on to the centres of the widest cages, or from minima to these.
        size[int(network.inputs == "thermal") : -1] = 0.0
        network.guess_scale.copy_(torch.from_numpy(size))
    scalars = np.concatenate([scalars for _, scalars in hidden])
    types = np.concatenate([sample.structure.types for sample in train])
    for s in np.unique(types):
        scalars[types == s] -= scalars[types == s].mean(axis=0)
        scalars[types == s] /= scalars[types == s].std(axis=0)
    ends = np.cumsum([len(sample.structure) for sample in train])[:-1]
    for sample, *extra in zip(train, np.split(vectors, ends), np.split(scalars, ends), strict=True):
        structure = input_structure(sample, positions)
        if card.conditions is None:
            point, answers = 0, scale.standardised(sample.propensities, structure.types)
        else:
            point, answers = labels_at(sample, card.conditions)
        rows = [torch.as_tensor(a, dtype=torch.float32, device=device) for a in (answers, *extra)]
        rows.append(torch.full((len(structure),), point, device=device))
        examples.append(Labelled(gated_inputs(structure, network), *rows))
    return examples


def hidden_labels(sample: Sample, inputs: str) -> tuple[np.ndarray, np.ndarray]:
    """What the inputs don't show: vectors to the minimum and from there into the cages, (N, 3, ·), and
    logarithms of the cages' mean-square radii, (N, ·).
    """
    n = len(sample.structure)
    vectors, scalars = [np.zeros((n, 3, 0))], [np.zeros((n, 0))]
    if inputs == "thermal" and sample.inherent_positions is not None:
        offset = sample.structure.at_minimum(sample.inherent_positions).thermal_offset
        assert offset is not None
        vectors.append(-offset[..., None])
    if inputs != "cage" and sample.cage is not None:
        square = np.trace(sample.cage.covariance, axis1=2, axis2=3).T
        vectors.append(np.moveaxis(sample.cage.offset, 0, 2))
        scalars.append(np.log(np.maximum(square, 1e-4)))
    return np.concatenate(vectors, axis=2), np.concatenate(scalars, axis=1)
