"""How well minima of hot structures repeat: one minimum, and the average of several.

python -m benchmarks.minima DATA [--structures 4] [--samples 1,4,16] [--kicks 0.02,0.05,0.1] [--model ka-both]
    [--potentials "lj/cut,lj/cut force-shifted"] [--descend]

Each minimum, or average, is made twice: once by the package's minimiser, once by another one (L-BFGS with
longer steps and half the memory) from other displacements.  `--potentials` minimises in other potentials than
that of the dynamics too, `--descend` follows the steepest descent first, once with ten times the error.
Printed: root mean square of the difference of the two, particles farther than 0.1 σ apart, and for a model
that sees minima the difference of its predictions at τ_α in units of their spread, with ρ (A) of both.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from propensity import Predictor
from propensity.data import open_dataset
from propensity.physics import quench
from propensity.physics.descent import descended_structure

#: The other minimiser.
OTHER = {"maxstep": 0.2, "alpha": 250.0, "memory": 5}


def made(structure, potential, kick, samples, seed, other, descend=False):
    """Displacement from thermal positions to one minimum (no kick), or to the average of several."""
    usual = quench.SETTINGS
    quench.SETTINGS = OTHER if other else usual
    try:
        if kick == 0 and descend:
            found = descended_structure(structure, potential, error=1e-3 if other else 1e-4)
        elif kick == 0:
            found = quench.inherent_structure(structure, potential)
        else:
            found = quench.mean_inherent_structure(
                structure, potential, samples=samples, kick=kick, seed=seed
            )
    finally:
        quench.SETTINGS = usual
    return found.positions - structure.positions


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--structures", type=int, default=4)
    parser.add_argument("--samples", default="1,4,16")
    parser.add_argument("--kicks", default="0.02,0.05,0.1")
    parser.add_argument("--model", default="ka-both")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--potentials")
    parser.add_argument("--descend", action="store_true")
    options = parser.parse_args()
    samples = list(open_dataset(options.data)[: options.structures])
    predictor = Predictor(options.model, device="cpu")
    potentials = options.potentials.split(",") if options.potentials else [samples[0].potential]
    cases = [(p, 0.0, 1) for p in potentials]
    kicks, numbers = ([x for x in text.split(",") if x] for text in (options.kicks, options.samples))
    cases += [(p, float(k), int(n)) for p in potentials for k in kicks for n in numbers]
    print(
        "| minimised in | kick, σ | minima | rms difference, σ | particles > 0.1 σ "
        "| predictions, of their spread | ρ |"
    )
    print("|---|---|---|---|---|---|---|")
    with ProcessPoolExecutor(options.workers) as pool:
        for potential, kick, number in cases:
            began = time.perf_counter()
            work = [
                [
                    pool.submit(
                        made,
                        s.structure,
                        potential,
                        kick,
                        number,
                        2 * i + other,
                        bool(other),
                        options.descend,
                    )
                    for other in range(2)
                ]
                for i, s in enumerate(samples)
            ]
            rows = [
                compared(s, [w.result() for w in pair], predictor)
                for s, pair in zip(samples, work, strict=True)
            ]
            rms, far, moved, rho = (np.mean(column, axis=0) for column in zip(*rows, strict=True))
            print(
                f"| {potential} | {kick or '–'} | {number} | {rms:.4f} | {far:.1f} | {moved:.3f} |"
                f" {rho[0]:.4f} {rho[1]:.4f} |",
                f"{time.perf_counter() - began:.0f} s",
                flush=True,
            )


def compared(sample, moves, predictor):
    """Two displacements to minima: rms difference, particles far apart, change of predictions, ρ of both."""
    a = sample.structure.types == 0
    difference = np.linalg.norm(moves[0] - moves[1], axis=1)
    seen = [sample.structure.at_minimum(sample.structure.positions + move) for move in moves]
    predictions = [np.asarray(predictor.predict(s)) for s in seen]
    predictions = [p if p.ndim == 1 else p[:, -1] for p in predictions]
    labels = sample.propensities[:, int(np.argmin(abs(sample.times - sample.tau_alpha)))]
    rho = [np.corrcoef(p[a], labels[a])[0, 1] for p in predictions]
    moved = (predictions[0] - predictions[1])[a]
    return (
        np.sqrt((difference**2).mean()),
        (difference > 0.1).sum(),
        np.sqrt((moved**2).mean()) / predictions[0][a].std(),
        rho,
    )


if __name__ == "__main__":
    main()
