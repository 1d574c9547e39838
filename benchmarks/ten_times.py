"""Pearson ρ of a model at every time of a labelled file, its predictions interpolated in ln t.

    python -m benchmarks.ten_times test_large.pickle [-m ka-cage] [-m ka-liquid]

Beyond its last time a model's prediction for that one counts.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np

from propensity import Predictor
from propensity.data import open_dataset
from propensity.errors import PropensityWarning
from propensity.estimators.storage import SHIPPED, load_card

#: Last time at T = 0.44 that `ka-liquid` was trained on.
LAST = 4120.0


def predicted(model: str, sample) -> np.ndarray:
    """Propensities at the sample's times, shape (N, T)."""
    known = {"potential": sample.potential, "device": "cpu"}
    if load_card(SHIPPED / model / "model.json").conditions is not None:
        known |= {"temperature": sample.temperature, "times": list(np.unique(np.minimum(sample.times, LAST)))}
    predictor = Predictor(model, **known)
    values = predictor.predict(sample.structure)
    return np.stack([np.interp(np.log(sample.times), np.log(predictor.times), row) for row in values])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("-m", "--model", action="append")
    options = parser.parse_args()
    warnings.simplefilter("ignore", PropensityWarning)
    (sample,) = open_dataset([options.file])
    print("| | " + " | ".join(f"{t:g}" for t in sample.times) + " |")
    print("|---|" + "---|" * len(sample.times))
    for model in options.model or ["ka-cage", "ka-liquid"]:
        values = predicted(model, sample)
        for kind, name in enumerate(sample.species):
            of = sample.structure.types == kind
            r = [
                np.corrcoef(values[of, t], sample.propensities[of, t])[0, 1] for t in range(len(sample.times))
            ]
            print(f"| `{model}`, {name} | " + " | ".join(f"{x:.3f}"[1:] for x in r) + " |", flush=True)


if __name__ == "__main__":
    main()
