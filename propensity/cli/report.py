"""``propensity report``: one page with particles, figures and the model's card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from propensity.cli.early import check_apart
from propensity.cli.scene_options import load_chosen, scene_options


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@scene_options
@click.option(
    "-o", "--output", default="report.html", show_default=True, type=click.Path(), help="Page to write."
)
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Frames or structures to show at most, spread over all.",
)
@click.option("--title", help="Of the page.  [default: the name of FILE]")
def command(output: str, frames: int, title: str | None, **options: Any) -> None:
    """Make one page of FILE that anybody can open: no server, no network.

    FILE is labelled data, a trajectory (annotated, or predicted here) or the folder of a training.  The page
    shows the particles in three dimensions with sliders over time scales and frames, and beside them ρ(t)
    with its ceiling, predicted against simulated, distributions, spatial correlations and the model's card.

    \b
    propensity report runs/mine -o mine.html
    propensity report annotated.extxyz -o liquid.html
    propensity report data.h5 -m ka-default -o held-out.html
    """  # noqa: D301
    from propensity.errors import InputError
    from propensity.viewing import write_report

    if Path(output).suffix.lower() not in (".html", ".htm"):
        raise InputError(f"output {output} is a page: give it the extension .html.")
    check_apart(output, options["file"], options["topology"])
    scene = load_chosen(options, frames)
    path = write_report(scene, output, title=title)
    size = path.stat().st_size / 1e6
    click.echo(f"wrote {path} ({size:.1f} MB, {len(scene.frames)} frame(s)): open it in a browser")
