"""What chance in the restricted dynamics costs a model of cage states: pooled ρ with states of some replicas,
beside that with states of many more, of which they are parts.

    python -m benchmarks.cage_chance DATA [--replicas 128] [--parts 4,28 --parts 8,8]    # on a GPU
    python -m benchmarks.cage_chance DATA --seeds 4 [--structures 6]    # whole states, anywhere
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import numpy as np
import torch

import propensity.physics.cage as cage
import propensity.physics.gpu.cage as gpu
from propensity.caging import CageState, replicas
from propensity.data import open_dataset
from propensity.estimators.mean import load_together

#: Most parts of one size whose scores are averaged.
MOST = 5


def main() -> None:
    """Print what is lost, species by species and time by time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--model", default="ka-cage")
    parser.add_argument("--replicas", type=int, default=128, help="of each wall, in all")
    parser.add_argument("--parts", action="append", help="replicas of the narrow and of the wide wall")
    parser.add_argument("--seeds", type=int, help="states as the product makes them here, of so many seeds")
    parser.add_argument("--structures", type=int, help="the first of the data, instead of all")
    given = parser.parse_args()
    model = load_together(given.model, "cuda" if torch.cuda.is_available() else "cpu")
    samples = list(open_dataset([given.data]))[: given.structures]
    minima = [sample.structure.at_minimum(sample.inherent_positions) for sample in samples]
    if given.seeds:
        whole_states(model, samples, minima, given.seeds)
        return
    moments = [moments_of(minima, samples[0], radius, given.replicas) for radius in cage.RADII]
    labels = np.concatenate([sample.propensities for sample in samples])
    types = np.concatenate([sample.structure.types for sample in samples])

    def scores(parts) -> np.ndarray:
        """Pearson's ρ with means over parts of the replicas of both walls, (species, times)."""
        states = [state(m, [wall[k] for wall in moments], parts) for k, m in enumerate(minima)]
        found = np.concatenate([model.unchecked(s) for s in states])
        return np.array([correlations(found[types == s], labels[types == s]) for s in np.unique(types)])

    whole = scores([slice(None)] * 2)
    show(f"ρ of all {given.replicas}", whole)
    for text in given.parts or ["8,8", ",".join(map(str, replicas(cage.RADII))), "8,24", "32,32", "64,64"]:
        sizes = [int(x) for x in text.split(",")]
        count = min(MOST, given.replicas // max(sizes))
        every = [scores([slice(k * n, (k + 1) * n) for n in sizes]) for k in range(count)]
        show(f"lost with {text} ({count} times)", whole - np.mean(every, axis=0))


def whole_states(model, samples, minima, number: int) -> None:
    """What is lost with one state of the product's beside the mean of several, and beside infinitely many."""
    recipe, found = model.card.cage_recipe, []
    for minimum, sample in zip(minima, samples, strict=True):
        start, states = time.perf_counter(), []
        for seed in range(number):
            states.append(cage.cage_state(minimum, sample.potential, **recipe, seed=seed))
        print(f"{(time.perf_counter() - start) / number:.2f} s a state", flush=True)
        found.append([model.unchecked(minimum.with_cage(s)) for s in [joined(states), *states]])
    labels = np.concatenate([sample.propensities for sample in samples])
    types = np.concatenate([sample.structure.types for sample in samples])
    every = [np.concatenate(predicted) for predicted in zip(*found, strict=True)]
    scores = [
        np.array([correlations(predicted[types == s], labels[types == s]) for s in np.unique(types)])
        for predicted in every
    ]
    lost = scores[0] - np.mean(scores[1:], axis=0)
    show(f"ρ with the mean of {number}", scores[0])
    show("lost with one", lost)
    show("lost with one, beside infinitely many", lost * number / (number - 1))  # chance is as 1 / number


def joined(states):
    """The state of all replicas of several runs together."""
    offset = np.mean([s.offset for s in states], axis=0)
    away = [s.offset - offset for s in states]
    covariance = np.mean(
        [s.covariance + d[..., :, None] * d[..., None, :] for s, d in zip(states, away, strict=True)], axis=0
    )
    return dataclasses.replace(states[0], offset=offset, covariance=covariance)


def moments_of(minima, sample, radius: float, number: int) -> list[np.ndarray]:
    """Means of x y z xx yy zz xy xz yz over each replica behind a wall, (number, 9, N) a structure."""
    kept, moments = [], gpu.position_moments

    def keep(sums):
        kept.append((sums[:, :9] / sums[:, 9:]).astype(np.float32))
        return moments(sums)

    gpu.position_moments = keep
    gpu.cage_states(
        minima,
        sample.potential,
        sample.temperature,
        inherent=[m.positions for m in minima],
        begin="inherent",
        radius=radius,
        replicas=number,
        steps=cage.STEPS - cage.SKIP,
        skip=cage.SKIP,
        every=cage.EVERY,
        timestep=cage.TIME_STEP,
        friction=cage.FRICTION,
        stiffness=cage.STIFFNESS,
        seed=1000,
    )
    gpu.position_moments = moments
    return kept


def state(minimum, walls, parts):
    """The minimum with the cage state of some of the replicas."""
    offsets, covariances = [], []
    for wall, part in zip(walls, parts, strict=True):
        mean = wall[part].mean(axis=0, dtype=np.float64).T
        away, second = mean[:, :3], mean[:, [3, 6, 7, 6, 4, 8, 7, 8, 5]].reshape(-1, 3, 3)
        offsets.append(away)
        covariances.append(second - away[:, :, None] * away[:, None, :])
    made = np.array(cage.RADII), np.stack(offsets), np.stack(covariances), np.zeros(2), 1, minimum.positions
    return minimum.with_cage(CageState(*made))


def correlations(predicted, labels) -> np.ndarray:
    """Pearson's ρ at each time."""
    return np.array([np.corrcoef(p, y)[0, 1] for p, y in zip(predicted.T, labels.T, strict=True)])


def show(what, rows) -> None:
    """A line for each species."""
    for species, row in zip("AB", rows, strict=True):
        print(f"{what}, {species}".ljust(44) + " ".join(f"{x:.4f}" for x in row), flush=True)


if __name__ == "__main__":
    main()
