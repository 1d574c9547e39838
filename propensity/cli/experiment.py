"""``propensity experiment``: the comparisons of the literature, each with a table and a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from propensity.cli.early import check_files, check_folder
from propensity.experiments import NAMES


class ExperimentCommand(click.Command):
    """Command whose help lists the experiments."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List what can be run."""
        with formatter.section("Experiments (figures and tables of arXiv:2211.03226)"):
            formatter.write_dl(list(NAMES.items()))


@click.command(cls=ExperimentCommand)
@click.argument("name", type=click.Choice(list(NAMES)), metavar="NAME")
@click.argument("systems", nargs=-1, required=True, metavar="DATA...")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR",
    help="Folder of models, scores, results.csv and figure.png.",
)
@click.option(
    "--model",
    "kinds",
    multiple=True,
    metavar="KIND",
    help="Kind of model, repeatable.  [default: those of the figure]",
)
@click.option(
    "--set",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option of `propensity train` for every model that has it, or KIND.NAME=VALUE; repeatable.",
)
@click.option("--n-train", type=int, metavar="N", help="Use the first N training structures.  [default: all]")
@click.option("--n-test", type=int, metavar="N", help="Use the first N test structures.  [default: all]")
@click.option(
    "--values",
    metavar="N,N,...",
    help="What is varied: l_max, seeds, numbers of training structures, or of those for a new readout.",
)
@click.option("--per-time", is_flag=True, help="timescales: also train one model for each time.")
def command(
    name: str,
    systems: tuple[str, ...],
    output: str,
    kinds: tuple[str, ...],
    given: tuple[str, ...],
    n_train: int | None,
    n_test: int | None,
    values: str | None,
    per_time: bool,
) -> None:
    """Run the experiment NAME on DATA, one state point each: TRAIN:TEST, or one data set with its own split.

    Every model is trained on the same structures and scored on the same others. What is done stays in the
    folder: the same command goes on where it stopped.

    \b
    propensity experiment timescales train.npz:valid.npz --model ridge -o times
    propensity experiment lmax data.h5 --values 0,1,2 --set epochs=50 -o runs/lmax
    """  # noqa: D301
    for spec in systems:
        check_files(*(part for part in spec.partition(":")[::2] if part), what="labelled data")
    check_folder(output)

    from propensity.cli.screen import Screen, tracked
    from propensity.errors import InputError
    from propensity.experiments.jobs import open_system, run_job, write_rows
    from propensity.experiments.plans import EXPERIMENTS, ExperimentSettings
    from propensity.experiments.tables import results_tables
    from propensity.locks import alone

    experiment = EXPERIMENTS[name]
    settings = ExperimentSettings(kinds or experiment.kinds, _options(given), _numbers(values), per_time)
    settings.check()
    if values and not experiment.varies:
        raise InputError(f"--values means nothing to {name}: leave it out.")
    if (
        kinds
        and experiment.kinds == ("se3gnn",)
        and name not in ("seeds", "bootstrap")
        and set(kinds) != {"se3gnn"}
    ):
        raise InputError(f"{name} is about the network: leave --model out.")
    if len(systems) < experiment.min_systems:
        raise InputError(f"{name} compares state points: give at least {experiment.min_systems} data sets.")
    opened: dict[str, Any] = {}
    for spec in systems:
        system = open_system(spec, n_train=n_train, n_test=n_test)
        if system.name in opened:
            raise InputError(f"{spec} is {system.name} again: give each state point once.")
        opened[system.name] = system
    jobs = experiment.plan(opened, settings)
    for job in jobs:
        job.checked_options()
    folder = Path(output)
    rows: list[dict[str, Any]] = []
    with alone(folder / ".lock", f"another process runs an experiment in {folder}: choose another folder."):
        for job in tracked(jobs, f"{len(jobs)} trainings"):
            rows += run_job(job, opened, folder)
        write_rows(rows, folder / "results.csv")
        experiment.draw(rows, jobs, opened, folder)
    wide = Screen(width=max(100, Screen().width))
    for shown in results_tables(rows):
        wide.print(shown)
    click.echo(f"wrote results.csv and figure.png to {folder}")


def _options(given: tuple[str, ...]) -> dict[str, str]:
    from propensity.errors import InputError
    from propensity.estimators.options import current_names

    options = {}
    for item in given:
        name, separator, value = item.partition("=")
        if not separator or not name or not value:
            raise InputError(f"--set is {item!r}: write NAME=VALUE, e.g. epochs=20.")
        options[name.replace("-", "_")] = value
    return current_names(options)


def _numbers(text: str | None) -> tuple[int, ...] | None:
    from propensity.errors import InputError

    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--values is {text!r}: write integers, e.g. 0,1,2,3.") from None
