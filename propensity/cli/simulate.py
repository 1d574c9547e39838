"""``propensity simulate``: a data set of isoconfigurational propensities with one command."""

from __future__ import annotations

import signal
from pathlib import Path

import click

from propensity.cli.early import check_apart


@click.command(name="simulate", no_args_is_help=True)
@click.argument("model", required=False)
@click.option(
    "--input",
    "input_file",
    type=click.Path(path_type=Path),
    help="Your own model, a LAMMPS fragment (see --show).",
)
@click.option("--temperature", type=float, help="k_B T/ε, or K where the input has units.")
@click.option("--n-particles", type=int, default=4096, show_default=True, help="Particles of each structure.")
@click.option("--density", type=float, help="Number density.  [default: the model's]")
@click.option("--structures", type=int, help="Independent structures.  [default: 20, or all of --start-from]")
@click.option(
    "--runs", type=int, default=30, show_default=True, help="Isoconfigurational runs of each structure."
)
@click.option("--times", help="first:last:count, log-spaced, or a list such as 0.13,1.3,13.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Data set to write, .h5.")
@click.option(
    "--start-from", type=click.Path(path_type=Path), help="Label the structures of this data set instead."
)
@click.option(
    "--anneal",
    type=float,
    default=0.0,
    help="Keep the structures of --start-from at --temperature for this time first.  [default: 0]",
)
@click.option(
    "--timestep",
    type=float,
    help="Step of velocity Verlet.  [default: the model's; 0.005, 2 fs in metal or real units]",
)
@click.option("--chains", type=int, help="Independent melts.  [default: one a structure]")
@click.option(
    "--equilibration",
    type=float,
    default=10.0,
    show_default=True,
    help="Relaxation times over which nothing may age, and between structures of one chain.",
)
@click.option(
    "--max-equilibration", type=float, help="Time at which to give up.  [default: 100 times the last time]"
)
@click.option(
    "--wavenumber",
    type=float,
    help="q of F_s(q, t), which defines tau_alpha.  [default: the model's, or the first peak of S(k)]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of every random number.")
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    help="Who integrates: gpu (hundreds of systems at once), lammps, swap (continuous sizes, with swaps of"
    " diameters), or auto: what fits the model, the GPU where there is one.",
)
@click.option("--batch", type=int, help="Systems at once on each GPU.  [default: what fits, up to 1024]")
@click.option(
    "--lammps-exe", metavar="COMMAND", help="LAMMPS binary instead of the Python module, with its flags."
)
@click.option(
    "--suffix", help="LAMMPS styles: opt, omp, gpu, intel or none.  [default: opt; none with --lammps-exe]"
)
@click.option("--ranks", type=int, default=1, show_default=True, help="MPI ranks of each run.")
@click.option("--workers", type=int, help="Runs at once on this machine.  [default: its cores / ranks]")
@click.option(
    "--scheduler", metavar="ADDRESS", help="Dask scheduler, such as tcp://host:8786, instead of this machine."
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=3600.0,
    show_default=True,
    help="Seconds to wait where no worker of the cluster can work.",
)
@click.option("--estimate", is_flag=True, help="Only say what it would cost.")
@click.option("--show", is_flag=True, help="Print the model's LAMMPS fragment, a template for --input.")
def command(
    model: str | None,
    input_file: Path | None,
    temperature: float | None,
    n_particles: int,
    density: float | None,
    structures: int | None,
    runs: int,
    times: str | None,
    output: Path | None,
    start_from: Path | None,
    anneal: float,
    timestep: float | None,
    chains: int | None,
    equilibration: float,
    max_equilibration: float | None,
    wavenumber: float | None,
    seed: int,
    engine: str,
    batch: int | None,
    lammps_exe: str | None,
    suffix: str | None,
    ranks: int,
    workers: int | None,
    scheduler: str | None,
    wait: float,
    estimate: bool,
    show: bool,
) -> None:
    """Make labelled structures of a glass-forming liquid with molecular dynamics.

    MODEL is kob-andersen, kob-andersen-force-shifted, kob-andersen-2d, wahnstrom, soft-spheres,
    polydisperse or copper-zirconium.

    Melts, cools and equilibrates independent chains, takes structures from them, and runs the
    isoconfigurational ensemble and the inherent structure of each.  Stopped in any way, the same command
    goes on where it was.

    \b
    propensity simulate kob-andersen --temperature 0.56 --structures 20 \\
        --runs 30 --times 0.1:200:10 -o ka_T0.56.h5
    """  # noqa: D301
    check_apart(output, start_from)
    from propensity.simulate import simulate_propensities
    from propensity.simulate.arguments import choose_model, make_settings
    from propensity.simulate.engines import choose_engine
    from propensity.simulate.model import preset_text

    # Batch systems end a job with SIGTERM: stop as for Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if show:
        click.echo(preset_text(model or "kob-andersen"), nl=False)
        return
    for name, value in (("--temperature", temperature), ("--times", times), ("-o", output)):
        if value is None and not (name == "-o" and estimate):
            raise click.UsageError(f"{name} is missing.")
    assert temperature is not None and times is not None
    settings, given = make_settings(
        choose_model(model, input_file),
        temperature=temperature,
        n_particles=n_particles,
        density=density,
        structures=structures,
        runs=runs,
        times=times,
        start_from=start_from,
        anneal=anneal,
        timestep=timestep,
        chains=chains,
        equilibration=equilibration,
        max_equilibration=max_equilibration,
        wavenumber=wavenumber,
        seed=seed,
    )
    simulate_propensities(
        settings,
        output or Path("estimate.h5"),
        choose_engine(engine, settings.model, exe=lammps_exe, suffix=suffix, ranks=ranks, batch=batch),
        given=given,
        workers=workers,
        scheduler=scheduler,
        wait=wait,
        estimate_only=estimate,
    )
    if not estimate:
        click.echo(
            f"{output}: {settings.structures} structure(s), {len(settings.times)} times, {settings.runs} runs"
            " each"
        )
