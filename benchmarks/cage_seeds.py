"""What chance in the restricted dynamics does to the scores of a model of cage states: pooled ρ for several
seeds, and for dynamics of other lengths.

    python -m benchmarks.cage_seeds ka3d_fs_T0.44_valid.npz [--seeds 5] [--steps 7300] [--steps 29200]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from propensity.data import open_dataset
from propensity.estimators.cages import made_so
from propensity.estimators.mean import load_together
from propensity.physics.cage import cage_state
from propensity.physics.quench import inherent_structure


def main() -> None:
    """Print mean and spread of ρ over seeds, and ρ of the mean of all their predictions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--model", default="ka-cage")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, action="append", help="of each replica; default: the model's")
    given = parser.parse_args()
    model = load_together(given.model, "cuda" if torch.cuda.is_available() else "cpu")
    samples = list(open_dataset([given.data]))
    minima = []
    for sample in samples:
        found = sample.inherent_positions
        if found is None:
            found = inherent_structure(sample.structure, sample.potential).positions
        minima.append(sample.structure.at_minimum(found))
    labels = np.concatenate([sample.propensities for sample in samples])
    types = np.concatenate([sample.structure.types for sample in samples])
    for steps in given.steps or [made_so(model.card)["steps"]]:
        recipe, every = {**made_so(model.card), "steps": steps}, []
        for seed in range(given.seeds):
            states = [
                m.with_cage(cage_state(m, s.potential, **recipe, seed=seed))
                for m, s in zip(minima, samples, strict=True)
            ]
            every.append(np.concatenate([model.unchecked(state) for state in states]))
            for s, name in enumerate(model.card.species):
                show(f"{steps} steps, seed {seed}, {name}", [scores(every[-1], labels, types == s)])
        for s, name in enumerate(model.card.species):
            found = [scores(each, labels, types == s) for each in every]
            show(f"{steps} steps, mean of seeds, {name}", found)
            show(f"{steps} steps, spread of seeds, {name}", [np.std(found, axis=0, ddof=1)])
            show(f"{steps} steps, mean prediction, {name}", [scores(np.mean(every, 0), labels, types == s)])


def scores(predicted, labels, of) -> np.ndarray:
    """Pearson's ρ at each time."""
    pairs = zip(predicted[of].T, labels[of].T, strict=True)
    return np.array([np.corrcoef(p, y)[0, 1] for p, y in pairs])


def show(what, rows) -> None:
    """A line with the mean of some rows."""
    print(what.ljust(36) + " ".join(f"{x:.4f}" for x in np.mean(rows, axis=0)), flush=True)


if __name__ == "__main__":
    main()
