"""``propensity evaluate``: score a model on labelled structures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click

from propensity.cli.early import check_files, check_folder, check_models


@click.command()
@click.argument("model")
@click.argument("data", nargs=-1, required=True)
@click.option(
    "-o", "--output", metavar="DIR", help="Folder for metrics.json, pearson.png and predicted_vs_true.png."
)
@click.option(
    "--times",
    metavar="T,T,...",
    default="all",
    show_default=True,
    help="Times of the data: values, #index, fs=0.5, tau_alpha or all.",
)
@click.option(
    "--species", metavar="A,B,...", help="Species to score.  [default: those the model was trained on]"
)
@click.option("--labels", metavar="NAME", help="Second set of labels in the files, e.g. published.")
@click.option(
    "--match",
    metavar="M:D,M:D,...",
    help="Compare the model's time number M with the data's number D, instead of equal times.",
)
@click.option(
    "--split",
    type=click.Choice(["unseen", "all", "train", "valid", "test"]),
    default="unseen",
    show_default=True,
    help="Structures to score, by what the model's training says of them.",
)
@click.option(
    "--length-scale",
    type=float,
    help="Length of σ in the units of DATA.  [default: that of the model's training data]",
)
@click.option("--device", metavar="NAME", help="cpu or cuda.  [default: a GPU where there is one]")
@click.option("--kernel", default="auto", show_default=True, help="Implementation of the convolution.")
@click.option("--resamples", default=1000, show_default=True, help="Bootstrap samples of the intervals.")
@click.option("--seed", default=0, show_default=True, help="Seed of the bootstrap.")
def command(
    model: str,
    data: tuple[str, ...],
    output: str | None,
    times: str,
    species: str | None,
    labels: str | None,
    match: str | None,
    split: str,
    length_scale: float | None,
    device: str | None,
    kernel: str,
    resamples: int,
    seed: int,
) -> None:
    """Score MODEL (a name or folder) on the labelled structures DATA.

    Prints Pearson's ρ for each species and time, pooled over all particles and as the mean over structures,
    with 95 % intervals from resampling whole structures, beside the ceiling that label noise allows.

    Structures that the model was trained on are left out, as far as its folder (splits.json) or its card
    names them.
    """
    check_models(model)
    check_files(*data, what="labelled data")
    check_folder(output)
    from pathlib import Path

    import numpy as np

    from propensity.cli.pairs import pairs_from_text
    from propensity.cli.screen import Screen, tracked
    from propensity.data import open_dataset, select_times
    from propensity.devices import chosen_device
    from propensity.errors import InputError
    from propensity.estimators.mean import load_together
    from propensity.evaluation import evaluate
    from propensity.evaluation.report import plot_pearson, plot_scatter, score_table
    from propensity.evaluation.seen import choose, seen_by
    from propensity.runs.run import write_json

    if resamples < 1:
        raise InputError(f"--resamples is {resamples}: give a positive integer (intervals need 20).")
    if seed < 0:
        raise InputError(f"--seed is {seed}: give 0 or a positive integer.")
    estimator = load_together(model, chosen_device(device), kernel)
    everything = open_dataset(list(data), labels=labels)
    chosen, which = choose(everything, seen_by(model, estimator.card), split)
    samples = select_times(chosen, times)

    def bar(items: Sequence[Any]) -> Iterable[Any]:
        return tracked(items, "scoring")

    score = evaluate(
        estimator,
        samples,
        species=species.split(",") if species else None,
        pairs=pairs_from_text(match),
        length_scale=length_scale,
        n_resamples=resamples,
        seed=seed,
        progress=bar,
    )
    Screen().print(
        score_table(
            score, f"{estimator.card.name or model} on {samples.source}: {len(score.names)} structure(s)"
        )
    )
    click.echo(which + ".")
    if np.isnan(score.pooled_interval).all():
        click.echo("no intervals: they need three independent structures at least.")
    if output:
        folder = Path(output)
        write_json(
            folder / "metrics.json",
            {"model": str(model), "data": list(data), "split": which, **score.to_dict()},
        )
        plot_pearson(score, folder / "pearson.png")
        plot_scatter(score, folder / "predicted_vs_true.png")
        click.echo(f"wrote metrics.json, pearson.png and predicted_vs_true.png to {folder}")
