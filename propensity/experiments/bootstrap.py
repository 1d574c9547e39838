"""Bootstrap over test structures: how far does ρ move with the structures that happen to be tested?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.estimators.inputs import input_structure
from propensity.evaluation import moments
from propensity.evaluation.scores import match_times
from propensity.plotting import new_figure, save_figure, styled
from propensity.statistics import pearson_of_moments

if TYPE_CHECKING:
    from propensity.estimators.base import Estimator
    from propensity.experiments.jobs import Job, System

RESAMPLES = 5000


def structure_moments(estimator: Estimator, system: System, species: str) -> tuple[np.ndarray, np.ndarray]:
    """Sums that determine ρ of each test structure, shape (C, T, 6), and the times, shape (T,)."""
    pairs = match_times(np.array(estimator.card.times), np.asarray(system.test.times))
    model, data = (np.array(column) for column in zip(*pairs, strict=True))
    index = estimator.card.species.index(species)
    sums = []
    for sample in system.test:
        mask = sample.structure.types == index
        predicted = estimator.predict(input_structure(sample, estimator.card.input_positions))
        sums.append(moments(predicted[mask][:, model], sample.propensities[mask][:, data]))
    return np.array(sums), np.asarray(system.test.times)[data]


def resample(sums: np.ndarray, n_structures: int, n_resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Pooled ρ of ``n_resamples`` draws of ``n_structures`` structures with replacement, (n_resamples, T)."""
    rng = np.random.default_rng(seed)
    share = np.full(len(sums), 1 / len(sums))
    drawn = rng.multinomial(n_structures, share, size=n_resamples).astype(float)
    return pearson_of_moments(np.tensordot(drawn, sums, axes=1))


@styled
def draw_bootstrap(
    rows: list[dict[str, Any]], jobs: list[Job], systems: dict[str, System], folder: Path
) -> None:
    """Left: distribution of the pooled ρ at τ_α.  Right: its spread against the number of test structures."""
    from propensity.experiments.jobs import trained

    figure = new_figure(9.5, 3.8)
    left, right = figure.subplots(1, 2)
    for k, job in enumerate(jobs):
        system = systems[job.system]
        estimator = trained(job, systems, folder)
        species = (estimator.card.trained_species or estimator.card.species)[0]
        sums, times = structure_moments(estimator, system, species)
        tau = int(np.argmin(np.abs(np.log(times / system.times[system.tau_index]))))
        name = f"{job.label}, {species}" + (f", {system.name}" if len(systems) > 1 else "")
        left.hist(
            resample(sums, len(sums))[:, tau], bins=50, density=True, alpha=0.5, color=f"C{k}", label=name
        )
        sizes = range(2, len(sums) + 1)
        right.plot(
            sizes, [resample(sums, n)[:, tau].std() for n in sizes], "o-", ms=4, color=f"C{k}", label=name
        )
    left.set(
        xlabel="pooled ρ at τ$_α$", ylabel="density", title=f"{RESAMPLES} resamples of the test structures"
    )
    right.set(xlabel="test structures", ylabel="standard deviation of ρ", ylim=(0, None))
    right.xaxis.get_major_locator().set_params(integer=True)
    left.legend()
    save_figure(figure, folder / "figure.png")
