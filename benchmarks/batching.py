"""Many small structures at once against one by one, and a few particles of a large structure against all.

    OMP_NUM_THREADS=1 python -m benchmarks.batching [--structures 200] [--device cpu]
    python -m benchmarks.batching --structures 10000 --device cuda --alone 1000

Ratios of processor time on a CPU and of wall time on a GPU, both ways in turn in one process.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch

from benchmarks.common import liquid
from propensity.errors import PropensityWarning
from propensity.neighbours import neighbour_list
from propensity.predictor import Predictor
from propensity.structure import Structure

#: Boxes that are cut out of the liquid at most: each takes some milliseconds.
CUT = 500


def small_liquids(count: int, n: int = 126) -> list[Structure]:
    """Boxes of some 100 particles: cubes cut from the liquid, without those that overlap across a face.

    Beyond ``CUT`` the same ones again, moved through their periodic faces.
    """
    whole = liquid()
    edge = (n / 1.2) ** (1 / 3)
    rng = np.random.default_rng(0)
    structures = []
    for _ in range(min(count, CUT)):
        shifted = np.mod(whole.positions + rng.random(3) * whole.cell[0, 0], whole.cell[0, 0])
        inside = np.flatnonzero((shifted < edge).all(axis=1))
        cut = Structure(shifted[inside], whole.types[inside], edge)
        close, _ = neighbour_list(cut, 0.8)
        dropped = np.unique(close.min(dim=0).values.numpy())
        structures.append(cut.part(np.delete(np.arange(len(cut)), dropped)))
    for k in range(CUT, count):
        one = structures[k % CUT]
        structures.append(one.with_positions(np.mod(one.positions + edge * rng.random(3), edge)))
    return structures


def clock(device: str) -> float:
    """Processor time, or wall time once the device is done."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def compare(device: str, repeats: int, ways: dict) -> dict[str, float]:
    """Smallest seconds of each way, taken in turn."""
    best = dict.fromkeys(ways, np.inf)
    for _ in range(repeats + 1):  # the first compiles
        for name, call in ways.items():
            start = clock(device)
            call()
            best[name] = min(best[name], clock(device) - start)
    return best


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", type=int, default=200)
    parser.add_argument("--alone", type=int, help="Structures to predict one by one, scaled to all of them.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--copies", type=int, default=6, help="of the liquid along x, 4096 particles each")
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", PropensityWarning)
    predictor = Predictor("ka-default", device=chosen.device)
    many = small_liquids(chosen.structures)
    few = many[: chosen.alone]
    together, alone = predictor.predict_many(many), [predictor.predict(s) for s in few]
    difference = max(np.abs(a - b).max() for a, b in zip(together, alone, strict=False))
    print(f"largest difference over {len(few)} of {len(many)} structures {difference:.1e}")
    best = compare(
        chosen.device,
        chosen.repeats,
        {
            "one by one": lambda: [predictor.predict(s) for s in few],
            "predict_many": lambda: predictor.predict_many(many),
        },
    )
    best["one by one"] *= len(many) / len(few)
    print(
        f"{len(many)} structures of some {np.mean([len(s) for s in many]):.0f} particles on {chosen.device}"
        f" (one by one: {len(few)}, scaled):"
    )
    show(best)
    large = liquid((chosen.copies, 1, 1))
    atoms = np.arange(10)
    difference = np.abs(predictor.predict(large, atoms=atoms) - predictor.predict(large)[atoms]).max()
    print(f"10 of {len(large)} particles, largest difference {difference:.1e}:")
    show(
        compare(
            chosen.device,
            chosen.repeats,
            {
                "all": lambda: predictor.predict(large),
                "atoms=": lambda: predictor.predict(large, atoms=atoms),
            },
        )
    )


def show(best: dict[str, float]) -> None:
    """Print seconds, and the ratio of the first to the second."""
    (first, a), (second, b) = best.items()
    print(f"  {first} {a:.3f} s, {second} {b:.3f} s: {a / b:.2f} times as fast")


if __name__ == "__main__":
    main()
