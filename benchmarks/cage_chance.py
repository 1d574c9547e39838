"""What chance in the restricted dynamics costs a model of cage states: pooled ρ with states of some replicas,
beside that with states of many more, of which they are parts.  Needs a GPU.

    python -m benchmarks.cage_chance ka3d_fs_T0.44_valid.npz [--replicas 128] [--parts 4,28 --parts 8,8]
"""

from __future__ import annotations

import argparse

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
    given = parser.parse_args()
    model = load_together(given.model, "cuda" if torch.cuda.is_available() else "cpu")
    samples = list(open_dataset([given.data]))
    minima = [sample.structure.at_minimum(sample.inherent_positions) for sample in samples]
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
        print(f"{what}, {species}".ljust(36) + " ".join(f"{x:.4f}" for x in row), flush=True)


if __name__ == "__main__":
    main()
