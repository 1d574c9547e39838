"""The weights of ka-liquid: between those of a network before and after further training.

    python -m benchmarks.weight_average BEFORE AFTER DATA ... --share 0.4 -o FOLDER

The layers of the network that sees the minimum are BEFORE + share·(AFTER − BEFORE) (Wortsman et al.,
arXiv:2109.01903), those of the thermal network AFTER's; then statistics of batch norm and the readout are
those of the training structures DATA anew, of up to 28 at the first temperature and 16 at each other.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from propensity.data import Dataset, open_dataset
from propensity.data.selection import select_by_state_point
from propensity.estimators.conditioned_networks import ConditionedSE3
from propensity.estimators.storage import load_model, save_model
from propensity.estimators.training_config import TrainingConfig
from propensity.graph import Graph, join_graphs
from propensity.training.answers import Answers
from propensity.training.graphs import labelled_graph
from propensity.training.norms import refresh_norms
from propensity.training.readout import solve_readout

#: Structures of each temperature for the readout, and of them for batch norm, coldest first: shares as in
#: an epoch of the training.
SOLVED, NORMED, BATCH = (28, 16, 16, 16), (28, 10, 14, 12), 4


def main() -> None:
    """Average, and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("data", nargs="+")
    parser.add_argument("--share", type=float, default=0.4)
    parser.add_argument("-o", "--output", required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model, before = load_model(given.after), load_model(given.before)
    assert isinstance(model, ConditionedSE3) and isinstance(before, ConditionedSE3)
    conditions = model.conditions
    options = {k: v for k, v in model.card.training["options"].items() if k in TrainingConfig.model_fields}
    config = TrainingConfig(**{**options, "device": "cpu"})
    states = select_by_state_point(open_dataset(given.data)).state_points()
    states = sorted(states, key=lambda state: float(state.header(0).temperature or 0))
    graphs = [
        [labelled_graph(sample, config, model.card, torch.float32) for sample in spaced(state, number)]
        for state, number in zip(states, SOLVED, strict=True)
    ]
    theirs, state_dict = before.network.state_dict(), model.network.state_dict()
    for name, value in state_dict.items():
        if value.is_floating_point() and not name.startswith("thermal."):
            state_dict[name] = theirs[name].lerp(value, given.share)
    model.network.load_state_dict(state_dict)
    refresh_norms(model.network, mixed(graphs))
    solve_readout(model.network, [g for own in graphs for g in own], Answers(conditions, torch.float32))
    save_model(given.output, model)


def spaced(state: Dataset, number: int) -> list:
    """So many structures, evenly spaced."""
    return [state[int(k)] for k in np.unique(np.linspace(0, len(state) - 1, number).astype(int))]


def mixed(graphs: list[list[Graph]]) -> list[Graph]:
    """Batches in which temperatures are mixed as in the training."""
    random, order, places = np.random.default_rng(0), [], []
    for own, number in zip(graphs, NORMED, strict=True):
        order += own[:number]
        places.append((np.arange(number) + random.random(number)) / number)
    order = [order[k] for k in np.argsort(np.concatenate(places))]
    return [join_graphs(order[k : k + BATCH]) for k in range(0, len(order) - BATCH + 1, BATCH)]


if __name__ == "__main__":
    main()
