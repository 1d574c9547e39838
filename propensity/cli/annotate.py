"""``propensity annotate``: a trajectory in, the same trajectory with propensities out."""

from __future__ import annotations

from pathlib import Path

import click

from propensity.cli.early import check_files, check_models, check_output
from propensity.errors import InputError


def parse_box(text: str | None) -> float | list[float] | None:
    """Read ``"9.4"`` or ``"9.4,9.4,20"``; None stays None."""
    if text is None:
        return None
    try:
        edges = [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"box {text!r} can't be read: give edges such as 9.4 or 9.4,9.4,20.") from None
    return edges[0] if len(edges) == 1 else edges


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("trajectory", type=click.Path())
@click.argument("topology", type=click.Path(), required=False)
@click.option(
    "-o", "--output", required=True, type=click.Path(), help="File to write: .extxyz, .dump, .h5 or .traj."
)
@click.option(
    "-m",
    "--model",
    multiple=True,
    default=("ka-default",),
    show_default=True,
    help="Model by name or path; several make a committee with a standard deviation.",
)
@click.option("--species-map", metavar="1=A,2=B", help="Labels in the file = species of the model.")
@click.option(
    "--length-scale",
    type=float,
    help="Length of σ_AA in the units of the file (10 for an XTC whose nm are σ).  [default: that of the"
    " model's training data, usually 1]",
)
@click.option(
    "--times",
    metavar="T,...",
    help="Times to predict, in LJ units: some of the model's, or any in range of one of several temperatures."
    "  [default: all of the model]",
)
@click.option(
    "--temperature",
    type=float,
    help="k_B T/ε_AA, for which a model of several temperatures answers (ka-liquid); others warn if theirs"
    " differs.  [default: that of the model, or read from each structure]",
)
@click.option(
    "--potential",
    metavar="NAME",
    help=(
        "Interaction: lj/cut, lj/cut force-shifted or lammps:INPUT, from which energy minima and cage states"
        " are made for models that see them."
    ),
)
@click.option("--start", type=click.IntRange(min=0), default=0, show_default=True, help="First frame.")
@click.option("--stop", type=click.IntRange(min=1), help="Frame to stop before.")
@click.option(
    "--step", type=click.IntRange(min=1), default=1, show_default=True, help="Every how many frames."
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Frames in work at once; on a GPU by as many processes, which pay above some hundred frames."
    "  [default: one a core; one at a time on a GPU or above 50,000 particles]",
)
@click.option(
    "--scheduler", metavar="ADDRESS", help="Dask scheduler, such as tcp://host:8786, whose workers predict."
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=3600.0,
    show_default=True,
    help="Seconds to wait where no worker of the cluster can work.",
)
@click.option("--box", metavar="L,L,L", help="Edges of the periodic box, or one, for files without a box.")
@click.option(
    "--device",
    help="cpu, cuda, ...; several, as cuda:0,cuda:1, share each frame.  [default: CUDA where there is one,"
    " all GPUs of the host for frames that are too large for it]",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing output.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar and no summary.")
def command(
    trajectory: str,
    topology: str | None,
    output: str,
    model: tuple[str, ...],
    species_map: str | None,
    length_scale: float | None,
    times: str | None,
    temperature: float | None,
    potential: str | None,
    start: int,
    stop: int | None,
    step: int,
    workers: int | None,
    scheduler: str | None,
    wait: float,
    box: str | None,
    device: str | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Add propensities to every frame of TRAJECTORY.

    Reads LAMMPS dumps and data files, XYZ, GSD and whatever ASE or MDAnalysis reads; formats that don't
    name the particles (XTC, TRR, DCD) need a TOPOLOGY.  OVITO shows the columns of .extxyz and .dump; .h5
    is H5MD.  A broken frame ends the run, and the frames before it are saved.

    \b
    propensity annotate in.dump -o out.dump --species-map 1=A,2=B
    propensity annotate in.xyz -o out.xyz -m ka-cage --potential lj/cut
    propensity annotate in.xyz -o out.xyz -m ka-liquid --temperature 0.47
    propensity annotate traj.xtc conf.gro -o out.h5 --length-scale 10
    """  # noqa: D301
    check_files(trajectory, topology, what="a trajectory")
    check_models(*model)
    if Path(output).resolve() != Path(trajectory).resolve():  # which has its own sentence
        check_output(output, overwrite)
    from propensity.cli.summary_tables import frame_progress, print_summary
    from propensity.model_options import times_from_text
    from propensity.predictor import Predictor
    from propensity.provenance import state_point_in_words
    from propensity.species import parse_species_map
    from propensity.trajectory import AnnotationInterrupted, BrokenFrameError, annotate

    first, *others = (device or "").split(",")
    predictor = Predictor(
        model,
        device=first or None,
        species_map=parse_species_map(species_map),
        length_scale=length_scale,
        times=times_from_text(times),
        potential=potential,
        temperature=temperature,
    )
    if others:
        predictor.spread(first, *others)
    try:
        with frame_progress(quiet) as progress:
            summary = annotate(
                trajectory,
                output,
                predictor,
                topology,
                start=start,
                stop=stop,
                step=step,
                workers=workers,
                scheduler=scheduler,
                wait=wait,
                say=lambda line: click.echo(line, err=True),
                box=parse_box(box),
                overwrite=overwrite,
                progress=progress,
            )
    except (BrokenFrameError, AnnotationInterrupted) as error:
        if not quiet:
            print_summary(error.summary, output, state_point_in_words(predictor))
        raise
    if not quiet:
        print_summary(summary, output, state_point_in_words(predictor))
