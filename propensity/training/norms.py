"""Batch-norm statistics computed anew, for weights that were not trained with the running ones."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from e3nn.nn import BatchNorm
from torch import nn

from propensity.graph import Graph
from propensity.nn import SE3GNN


@torch.no_grad()
def refresh_norms(network: SE3GNN, graphs: Iterable[Graph]) -> None:
    """Set every running statistic to its average over ``graphs``, without dropout; leaves eval mode on.

    Running statistics with momentum 0.5 are those of the last two or three structures; averages over
    many are less noisy (Wu and Johnson, arXiv:2105.07576, "precise batch norm").
    """
    norms = [m for m in network.modules() if isinstance(m, (nn.BatchNorm1d, BatchNorm))]
    dropouts = [m for m in network.modules() if isinstance(m, nn.Dropout)]
    momenta, rates = [norm.momentum for norm in norms], [dropout.p for dropout in dropouts]
    network.train()
    try:
        for dropout in dropouts:
            dropout.p = 0.0
        for k, graph in enumerate(graphs):
            for norm in norms:
                norm.momentum = 1.0 / (k + 1)  # a running mean of equal weights
            network(graph)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for dropout, rate in zip(dropouts, rates, strict=True):
            dropout.p = rate
        network.eval()
