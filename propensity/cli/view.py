"""``propensity view``: a picture of particles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from propensity.cli.early import check_apart
from propensity.cli.scene_options import load_chosen, scene_options


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@scene_options
@click.option(
    "-o", "--output", type=click.Path(), help="Picture to write, .png, .pdf or .svg.  [default: FILE.png]"
)
@click.option("--frame", type=click.IntRange(min=0), default=0, show_default=True, help="Frame or structure.")
@click.option("--time", type=float, help="Time scale.  [default: the model's own, or the last]")
@click.option(
    "--show",
    multiple=True,
    metavar="NAME",
    help="predicted, simulated, uncertainty; repeat it for panels side by side.  [default: the first two]",
)
@click.option(
    "--slab",
    type=float,
    metavar="LENGTH",
    help="Draw a slab of this thickness instead of the whole box; 0 takes about two layers.",
)
@click.option("--across", type=click.Choice(["x", "y", "z"]), help="Cell vector across the slab.")
@click.option(
    "--depth",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Middle of the slab, as a fraction of the box.",
)
@click.option(
    "--scale",
    type=click.Choice(["own", "relative", "all"]),
    default="own",
    show_default=True,
    help="Colours: a scale for each species, relative to the species' mean, or one for all.",
)
@click.option(
    "--map", "cmap", metavar="NAME", help="Colour map of matplotlib.  [default: viridis or RdYlBu_r]"
)
@click.option(
    "--renderer",
    type=click.Choice(["auto", "ovito", "matplotlib"]),
    default="auto",
    show_default=True,
    help="Who draws the whole box; auto takes OVITO where it runs.",
)
@click.option("--dpi", type=click.IntRange(30, 1200), default=200, show_default=True, help="Pixels an inch.")
def command(
    output: str | None,
    frame: int,
    time: float | None,
    show: tuple[str, ...],
    slab: float | None,
    across: str | None,
    depth: float,
    scale: Any,
    cmap: str | None,
    renderer: Any,
    dpi: int,
    **options: Any,
) -> None:
    """Draw the particles of FILE coloured by their propensity.

    FILE is labelled data, a trajectory (annotated, or predicted here) or the folder of a training.  The whole
    box is drawn in three dimensions, or a slab of it; planes are drawn in the plane.

    \b
    propensity view annotated.extxyz -o liquid.png
    propensity view dump.lammpstrj --species-map 1=A,2=B --slab 0 -o slab.png
    """  # noqa: D301
    from propensity.errors import InputError
    from propensity.plotting import save_figure
    from propensity.viewing.picture import draw_picture

    target = Path(output or f"{Path(options['file']).name.split('.')[0]}.png")
    if target.suffix.lower() not in (".png", ".pdf", ".svg", ".jpg"):
        raise InputError(f"output {target} is a picture: give it the extension .png, .pdf or .svg.")
    check_apart(target, options["file"], options["topology"])
    if cmap is not None:
        from matplotlib import colormaps

        if cmap not in colormaps:
            raise InputError(
                f"--map {cmap!r} is unknown to matplotlib: choose e.g. viridis, cividis or magma."
            )
    scene = load_chosen(options, [frame])
    figure = draw_picture(
        scene,
        fields=show,
        time=time,
        scale=scale,
        cmap=cmap,
        slab=0.0 if slab is None and across is not None else slab,
        direction=None if across is None else "xyz".index(across),
        centre=depth,
        renderer=renderer,
    )
    save_figure(figure, target, dpi=dpi)
    click.echo(f"wrote {target}")
