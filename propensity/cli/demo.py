"""``propensity demo``: the main job on a real configuration that comes with the package."""

from __future__ import annotations

from pathlib import Path

import click

from propensity.cli.early import check_folder


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-o",
    "--output",
    default="propensity-demo",
    show_default=True,
    type=click.Path(),
    help="Folder for demo.extxyz and demo.png.",
)
@click.option("-m", "--model", default="ka-default", show_default=True, help="Model by name or path.")
@click.option("--device", help="cpu, cuda, ...; default: CUDA where there is one.")
def command(output: str, model: str, device: str | None) -> None:
    """Predict a published configuration of 4096 particles and compare with its published propensity.

    Prints the mean propensity per species and its correlation with the published one, and writes
    demo.extxyz (open it in OVITO and colour by propensity) and demo.png (a slab, predicted beside published).
    """
    check_folder(output)
    from propensity.cli.summary_tables import print_demo
    from propensity.demo.demonstration import run_demo

    print_demo(run_demo(Path(output), model, device))
