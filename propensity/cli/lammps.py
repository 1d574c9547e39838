"""``propensity lammps``: the plugin that brings ``fix propensity`` to LAMMPS."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def command() -> None:
    """Propensities inside a running LAMMPS: build the plugin, or see what is there."""


@command.command("build-plugin")
@click.option(
    "--headers",
    type=click.Path(path_type=Path),
    metavar="SRC",
    help="Folder src of your own LAMMPS; default: the installed Python package.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to write it; default: where the installed LAMMPS finds it by itself.",
)
def build_command(headers: Path | None, output: Path | None) -> None:
    """Compile `fix propensity`.

    Takes a few seconds; $CXX and $CXXFLAGS are honoured.
    """
    from lammps_bridge import build

    path = build.build_plugin(headers, output)
    click.echo(f"built {path}")
    if output is None:
        click.echo("`lmp -in in.file` finds it by itself: fix p all propensity 100 species A B")
    else:
        click.echo(f"put this into your input: plugin load {path}")


@command.command("info")
def info() -> None:
    """Say which LAMMPS is here and what works."""
    from lammps_bridge import autoload, build
    from propensity.errors import PropensityError
    from propensity.simulate.lammps_library import import_lammps, load_lammps

    module = import_lammps()
    lmp = load_lammps(("-screen", "none", "-log", "none", "-nocite"))
    packages = set(lmp.installed_packages)
    path = autoload.plugin_path()
    try:
        compiler = " ".join(build.find_compiler())
    except PropensityError:
        compiler = "none"
    rows = {
        "LAMMPS": f"{build.version_text(lmp.version())} in {Path(module.__file__).parent}",
        "package PLUGIN": "yes" if "PLUGIN" in packages else "no: `fix propensity` can't be loaded",
        "package PYTHON": "yes" if "PYTHON" in packages else "no: `fix python/invoke` is absent",
        "mpi4py": "yes" if lmp.has_mpi4py else "no: Annotator runs on one rank",
        "compiler": compiler,
        "fix propensity": str(path) if path.exists() else "not built: propensity lammps build-plugin",
    }
    lmp.close()
    for label, value in rows.items():
        click.echo(f"{label:15} {value}")
