"""How far a prediction from cage states hangs on chance: another seed of the restricted dynamics, and noise
in the last digits of the positions, which the predictor rounds away and which is fed past it here.

    python -m benchmarks.cage_noise ka3d_fs_T0.44_valid.npz [--model ka-liquid-cage]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from propensity.data import open_dataset
from propensity.estimators.cages import made_so
from propensity.estimators.conditioned import at_state_point_of
from propensity.estimators.inputs import prepared
from propensity.estimators.single import in_single_precision
from propensity.estimators.storage import load_model
from propensity.physics.cage import cage_state
from propensity.physics.quench import inherent_structure
from propensity.structure import Structure


def main() -> None:
    """Compare predictions of the first structure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--model", default="ka-liquid-cage")
    given = parser.parse_args()
    torch.set_num_threads(1)
    sample = open_dataset([given.data])[0]
    model, potential = at_state_point_of(load_model(given.model), sample), sample.potential
    thermal, recipe = sample.structure, made_so(model.card)
    noise = np.random.default_rng(0).normal(size=thermal.positions.shape)

    def of(structure: Structure, seed: int = 0) -> np.ndarray:
        minimum = structure.at_minimum(inherent_structure(structure, potential).positions)
        return model.predict(minimum.with_cage(cage_state(minimum, potential, **recipe, seed=seed)))

    def rounded(structure: Structure) -> np.ndarray:
        return model.predict(prepared(in_single_precision(structure), model.card, potential))

    noisy = thermal.with_positions(thermal.positions + 1e-13 * noise)
    single = Structure(
        thermal.positions.astype(np.float32), thermal.types, thermal.cell.astype(np.float32), thermal.pbc
    )
    first, ours = of(thermal), rounded(thermal)
    show("another seed", model, of(thermal, seed=1), first)
    show("positions + 1e-13, not rounded", model, of(noisy), first)
    show("positions + 1e-13, rounded", model, rounded(noisy), ours)
    show("positions and box in single precision", model, rounded(single), ours)


def show(what, model, a, b) -> None:
    """Differences of all particles at each time."""
    print(f"{what}\n    t  rms  99 % of particles below  largest (σ)  ρ between the two", flush=True)
    for k, time in enumerate(model.card.times):
        away = np.abs(a[:, k] - b[:, k])
        row = np.sqrt((away**2).mean()), np.quantile(away, 0.99), away.max()
        rho = np.corrcoef(a[:, k], b[:, k])[0, 1]
        print(f"    {time:g}  " + "  ".join(f"{x:.2g}" for x in row) + f"  {rho:.4f}", flush=True)


if __name__ == "__main__":
    main()
