"""``propensity analyse``: dynamic heterogeneity of predictions, labels or a trajectory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from propensity.cli.early import check_folder
from propensity.cli.scene_options import load_chosen, scene_options


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@scene_options
@click.option("-o", "--output", metavar="DIR", help="Folder for analysis.json and analysis.png.")
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Frames or structures to average over at most, spread over all.",
)
@click.option(
    "--fraction",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    show_default=True,
    help="Share of each species that counts as fast, and as slow.",
)
@click.option(
    "--neighbours",
    type=float,
    metavar="LENGTH",
    help="Particles this close belong to one cluster.  [default: 1.49 mean spacings]",
)
@click.option(
    "--r-max", type=float, help="Largest distance of C(r).  [default: half the box, at most 6.4 spacings]"
)
@click.option("--q", type=float, default=7.2, show_default=True, help="Wave number of F_s, in 1/σ.")
@click.option("--overlap", type=float, default=0.3, show_default=True, help="Radius of the overlap, in σ.")
def command(
    output: str | None,
    frames: int,
    fraction: float,
    neighbours: float | None,
    r_max: float | None,
    q: float,
    overlap: float,
    **options: Any,
) -> None:
    """Measure how far the propensity of FILE correlates, and how its fast and slow particles cluster.

    For each time scale: the correlation length ξ of C(r), the susceptibility χ and ξ from the structure
    factor of the field at small q, and clusters of the fastest and slowest particles, in space and, for
    frames of one trajectory, through time.  Trajectories give F_s, the overlap Q and χ₄ as well.

    \b
    propensity analyse annotated.extxyz -o heterogeneity
    propensity analyse data.h5 -m ka-default
    """  # noqa: D301
    from propensity.cli.analysis_tables import relaxation_table, time_table
    from propensity.cli.screen import Screen
    from propensity.viewing.heterogeneity import analyse, plot_analysis, write_analysis

    check_folder(output)
    scene = load_chosen(options, frames)
    found = analyse(scene, fraction=fraction, neighbours=neighbours, r_max=r_max, q=q, overlap_radius=overlap)
    console = Screen(highlight=False)
    for table in time_table(found, scene.unit):
        console.print(table)
    if found.relaxation is not None:
        console.print(relaxation_table(found.relaxation))
    for note in found.notes:
        console.print(note, soft_wrap=True)
    if output:
        folder = Path(output)
        write_analysis(found, folder / "analysis.json")
        plot_analysis(found, folder / "analysis.png", unit=scene.unit)
        click.echo(f"wrote analysis.json and analysis.png to {folder}")
