"""Transfer: the representation of a trained network with a readout fitted to other structures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from propensity.errors import InputError
from propensity.estimators.base import Estimator
from propensity.estimators.inputs import input_structure
from propensity.estimators.label_scale import LabelScale
from propensity.estimators.se3gnn import SE3Estimator
from propensity.estimators.training_set import training_card
from propensity.nn import SE3GNN
from propensity.nn.scalars import without_trend
from propensity.structure import Structure

if TYPE_CHECKING:
    from propensity.sample import Sample


def refit_readout(estimator: Estimator, train: Sequence[Sample], alpha: float = 1.0) -> SE3Estimator:
    """Keep every layer of a network and fit its linear readout to ``train``, by ridge regression.

    arXiv:2211.03226, Sec. V: frozen backbone, new readout.  Times, labels and card become those of
    ``train``; species outside the loss stay outside.

    Raises
    ------
    InputError
        For a model that is no equivariant network.
    """
    if not isinstance(estimator, SE3Estimator):
        raise InputError(f"a model of kind {estimator.card.kind!r} has no readout to refit: give an se3gnn.")
    train, old = list(train), estimator.card
    config = {**estimator.network.config, "n_outputs": len(train[0].times)}
    card = training_card(
        old.kind,
        train,
        config=config,
        options={"readout_of": old.name, "alpha": alpha},
        input_positions=old.input_positions,
        cutoff=old.cutoff,
        trained_species=old.trained_species,
        citation=old.citation,
    )
    card.scalar_recipe = without_trend(old.scalar_recipe)
    features = [node_features(estimator, input_structure(sample, old.input_positions)) for sample in train]
    types = np.concatenate([sample.structure.types for sample in train])
    labels = np.concatenate([sample.propensities for sample in train])
    labels = LabelScale.of(card).standardised(labels, types)
    known = np.isin(types, [card.species.index(name) for name in old.trained_species or card.species])
    x = np.concatenate(features)
    shared = config["readout"] == "shared"
    groups = [known] if shared else [known & (types == s) for s in range(len(card.species))]
    weights, offsets = [], []
    for mask in groups:
        if not mask.any():  # a species outside the loss predicts NaN whatever its readout
            weights.append(np.zeros((labels.shape[1], x.shape[1])))
            offsets.append(np.zeros(labels.shape[1]))
            continue
        scaler = StandardScaler().fit(x[mask])
        model = Ridge(alpha=alpha).fit(scaler.transform(x[mask]), labels[mask])
        coefficients = np.atleast_2d(model.coef_) / scaler.scale_
        weights.append(coefficients)
        offsets.append(model.intercept_ - coefficients @ scaler.mean_)
    network = SE3GNN(**config)
    state = {name: value for name, value in estimator.network.state_dict().items()}
    state["readout.weight"] = torch.from_numpy(np.concatenate(weights))
    state["readout.bias"] = torch.from_numpy(np.concatenate(offsets))
    network.load_state_dict(state)
    return SE3Estimator(network, card)


@torch.no_grad()
def node_features(estimator: SE3Estimator, structure: Structure) -> np.ndarray:
    """Scalars and norms that the readout sees, float64, shape (N, channels·(l_max+1))."""
    seen: list[torch.Tensor] = []
    hook = estimator.network.readout.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        estimator.predict(structure)
    finally:
        hook.remove()
    return seen[0].double().cpu().numpy()
