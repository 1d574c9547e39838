"""``propensity convert``: data sets of any known format into one compact file."""

from __future__ import annotations

from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from propensity.cli.early import check_files
from propensity.cli.screen import Screen
from propensity.files import check_writable


@click.command(name="convert")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SOURCE...")
@click.argument("destination", type=click.Path(path_type=Path), metavar="DESTINATION.h5")
@click.option(
    "--times",
    default="all",
    show_default=True,
    help="Times to keep: 412, #2, fs=1/e, tau_alpha; comma-separated.",
)
@click.option(
    "--labels",
    type=click.Choice(["published"]),
    help="Take the published labels of an npz set that holds two.",
)
@click.option(
    "--length-scale",
    type=float,
    help="Length of σ in the units of SOURCE, such as 2.7 for a metal in Å; divides every length.",
)
@click.option(
    "--quench",
    is_flag=True,
    help=(
        "Add the energy minimum of structures that have none, in the potential of their dynamics: five"
        " seconds for 4096 particles."
    ),
)
@click.option(
    "--potential",
    help=(
        "Potential of the dynamics for --quench, where SOURCE names none or one that LAMMPS computes: lj/cut,"
        " lj/cut force-shifted or lammps:INPUT."
    ),
)
@click.option(
    "--cage",
    is_flag=True,
    help=(
        "Add the cage state too, at the temperature of the structure: 18 seconds of one core for 4096"
        " particles."
    ),
)
@click.option(
    "--further-runs",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DATA",
    help=(
        "Average in the labels of further runs of the same structures, as `propensity simulate --start-from`"
        " makes them; repeat for more."
    ),
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: one a CPU]")
@click.option("--overwrite", is_flag=True, help="Replace an existing store instead of going on with it.")
def command(
    sources: tuple[Path, ...],
    destination: Path,
    times: str,
    labels: str | None,
    length_scale: float | None,
    quench: bool,
    potential: str | None,
    cage: bool,
    further_runs: tuple[Path, ...],
    workers: int | None,
    overwrite: bool,
) -> None:
    """Gather labelled structures of any known format into one compact store.

    SOURCE is a store (.h5), a pickle of Bapst et al. (2020), an npz archive of BOTAN or GlassBench or with
    many structures, or a folder of such files, searched to any depth.

    Interrupted, the same command goes on where it stopped.  Positions are kept to 2e-5 σ and
    propensities to 0.05 %, far below their statistical noise.
    """
    check_files(*sources, *further_runs, what="labelled data")
    check_writable(destination)
    from propensity.data.convert import convert

    if potential is not None and not (quench or cage):
        raise click.UsageError("--potential is that of --quench: give --quench too.")
    console = Screen(stderr=True)
    columns = (
        TextColumn("converting"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("converting", total=None)
        convert(
            sources,
            destination,
            times=times,
            labels=labels,
            length_scale=length_scale,
            quench=potential or quench,
            cage=cage,
            further=further_runs,
            workers=workers,
            overwrite=overwrite,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    from propensity.data.store.reader import store_names

    n, size = len(store_names(destination)), destination.stat().st_size / 1e6
    click.echo(f"{destination}: {n} structure(s), {size:.1f} MB, {size / n:.3f} MB each")
