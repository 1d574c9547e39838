"""Train on six structures, score on two others, and compare with the most that noisy labels allow.

The structures (Kob–Andersen, T = 0.50, inherent positions, propensity at the structural relaxation time)
lie in a file made by `propensity convert`.  Ends with a table and a picture of predicted against simulated
propensities.  A real training takes hundreds of structures: see `propensity train --help`.

    python examples/train_small.py
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from propensity import evaluate, fit_network, open_dataset, save_model

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--output", type=Path, default=Path("."))
args = parser.parse_args()

data = open_dataset(Path(__file__).with_name("ka_T0.50.h5"))
train = [sample for sample in data if sample.split == "train"]
valid = [sample for sample in data if sample.split == "valid"]

model = fit_network(
    train,
    valid,
    epochs=args.epochs,
    input_positions="inherent",
    trained_species=("A", "B"),
    readout="species",
    l_max=1,
    n_layers=3,
    dropout=0.0,
    learning_rate=5e-3,
    schedule="cosine",
    ema=0.95,
)
save_model(args.output / "small_model", model)

scores = evaluate(model, valid)
print(f"t = {scores.times[0]:g}     Pearson ρ [95 %]          ceiling from half ensembles")
for s, species in enumerate(scores.species):
    low, high = scores.pooled_interval[:, s, 0]
    rho, ceiling = scores.pooled[s, 0], scores.ceiling[s, 0]
    print(f"{species}           {rho:.3f} [{low:.3f}, {high:.3f}]      {ceiling:.3f}")

sample = valid[0]
predicted = model.predict(sample.structure.with_positions(sample.inherent_positions))[:, 0]
figure, axes = plt.subplots(figsize=(4, 4), layout="constrained")
for k, (name, colour) in enumerate(zip(scores.species, ("tab:blue", "tab:orange"), strict=True)):
    chosen = sample.structure.types == k
    axes.plot(sample.propensities[chosen, 0], predicted[chosen], ".", ms=2, color=colour, label=name)
limits = np.percentile(sample.propensities, [0.1, 99.9])
axes.plot(limits, limits, "k-", lw=0.8)
axes.set(xlabel="simulated propensity (σ)", ylabel="predicted propensity (σ)")
axes.legend(markerscale=5)
figure.savefig(args.output / "train_small.png", dpi=150)
