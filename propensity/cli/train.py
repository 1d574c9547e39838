"""``propensity train``: every typed option of the chosen model is a flag."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

import click

from propensity.cli.early import check_files


class TrainCommand(click.Command):
    """Command whose flags are those of the model named by ``--model`` or by the YAML file."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Fixed parameters and the options of the model."""
        from propensity.runs.flags import flags

        kind = ctx.meta.get("kind", "se3gnn")
        fixed = super().get_params(ctx)
        return [*fixed[:-1], *flags(kind), fixed[-1]]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find the model first, since it decides what else may be said."""
        # The options of a model take seconds to import.
        check_files(*takewhile(lambda arg: not arg.startswith("-"), args), what="labelled data")
        ctx.meta["kind"] = _kind(args)
        return super().parse_args(ctx, args)


def _kind(args: Sequence[str]) -> str:
    from propensity.runs.flags import read_option_file
    from propensity.runs.run import CONFIG

    found = {}
    for name in ("--model", "--config", "--resume"):
        for k, arg in enumerate(args):
            if arg == name and k + 1 < len(args):
                found[name] = args[k + 1]
            elif arg.startswith(name + "="):
                found[name] = arg.partition("=")[2]
    if "--model" in found:
        return found["--model"]
    file = found.get("--config") or (f"{found['--resume']}/{CONFIG}" if "--resume" in found else None)
    try:
        return str(read_option_file(file).get("model", "se3gnn")) if file else "se3gnn"
    except ValueError:
        return "se3gnn"  # the error comes where the file is read for good


@click.command(cls=TrainCommand)
@click.argument("data", nargs=-1)
@click.option("--config", metavar="FILE", help="YAML file with any of these options; flags win over it.")
@click.option("--resume", metavar="DIR", help="Go on with the run in DIR from its last checkpoint.")
@click.option("--model", metavar="KIND", help="Kind of model: se3gnn (default), or a baseline.")
@click.option("--quiet", is_flag=True, help="No progress bar and no table.")
def command(data: tuple[str, ...], config: str | None, resume: str | None, quiet: bool, **given: Any) -> None:
    """Train a model on DATA, score it, and leave all in one folder.

    DATA are files or folders of any format that `propensity info` reads. The folder of the run gets the model
    (model.safetensors, model.json), config.yaml, splits.json, log.csv, TensorBoard events, checkpoints,
    metrics.json, learning_curve.png and predicted_vs_true.png.

    \b
    propensity train data.h5 --times tau_alpha --l-max 2 --epochs 50 -o runs/first
    propensity train --config runs/first/config.yaml --seed 1 -o runs/second
    propensity train --resume runs/first
    """  # noqa: D301
    from propensity.errors import InputError
    from propensity.interrupts import ProcessLost, TrainingInterrupted
    from propensity.runs.flags import read_option_file
    from propensity.runs.run import set_up

    if config and resume:
        raise InputError(
            "--config and --resume exclude each other: a run goes on with its own configuration."
        )
    values = read_option_file(config) if config else {}
    values.pop("output", None)  # a configuration says what to do; where to put it is said each time
    values |= {name: value for name, value in given.items() if value is not None}
    if data:
        values["data"] = list(data)
    run = set_up(values, resume)
    if run.is_main and not quiet:
        click.echo(_summary(run))
    run.quiet = quiet
    try:
        run.train(iter if quiet else _bar)
    except ProcessLost as lost:
        if not lost.is_first and os.getppid() != 1:
            sys.exit(1)  # the first process says it, unless it is the one that died
        raise
    except TrainingInterrupted as stopped:
        if run.is_main:
            on = f"; go on with `propensity train --resume {run.folder}`" if run.resumable else ""
            click.echo(f"propensity: {stopped}: the model so far is in {run.folder}{on}.", err=True)
        sys.exit(130)
    if run.is_main and not quiet:
        _report(run)


def _summary(run: Any) -> str:
    from propensity.data.dataset import describe_state_point

    counts = ", ".join(f"{len(part)} {name}" for name, part in run.parts.items() if part is not None)
    points = run.parts["train"].state_points()
    if len(points) == 1:
        times = points[0].times
        what = f"{len(times)} time(s) from {times[0]:g} to {times[-1]:g}"
    else:
        what = ", ".join(describe_state_point(point.header(0)) for point in points)
    return (
        f"{run.options.model}: {counts} structures; {what}; "
        f"trained on species {', '.join(run.trained)}; {run.neighbours:.3g} neighbours within"
        f" {run.cutoff:g} σ; folder {run.folder}"
    )


def _bar(samples: Sequence[Any]) -> Iterable[Any]:
    from propensity.cli.screen import tracked

    return tracked(samples, "scoring")


def _report(run: Any) -> None:
    from propensity.cli.screen import Screen
    from propensity.evaluation.report import score_table

    console = Screen()
    for part, score in run.evaluations.items():
        console.print(score_table(score, f"{part}: {len(score.names)} structures"))
    click.echo(
        f"model: {run.folder}/model.safetensors and model.json; score others with `propensity evaluate"
        f" {run.folder} DATA`"
    )
