"""What ``view``, ``report`` and ``analyse`` share: the file, and how to read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def scene_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add FILE, TOPOLOGY and the options that :func:`load` takes."""
    options = [
        click.argument("file", type=click.Path()),
        click.argument("topology", type=click.Path(), required=False),
        click.option(
            "-m",
            "--model",
            multiple=True,
            help="Model that predicts, by name or path; several make a committee.  [default: what the file"
            " holds; ka-default for trajectories that hold nothing]",
        ),
        click.option("--times", metavar="T,T,...", help="Time scales to show.  [default: all]"),
        click.option("--species-map", metavar="1=A,2=B", help="Labels in the file = names of species."),
        click.option(
            "--length-scale",
            type=float,
            help="Length of σ_AA in the units of the file.  [default: that of the model]",
        ),
        click.option("--unit", metavar="NAME", help="Unit of length.  [default: σ; Å with a length scale]"),
        click.option(
            "--match",
            metavar="M:D,...",
            help="Compare the model's time number M with the data's number D, instead of equal times.",
        ),
        click.option("--column", metavar="NAME", help="Show this column of a trajectory instead."),
        click.option(
            "--potential",
            metavar="NAME",
            help="Interaction, for models that see minima: lj/cut, lj/cut force-shifted or lammps:INPUT.",
        ),
        click.option(
            "--box", metavar="L,L,L", help="Edges of the periodic box, or one, for files without one."
        ),
        click.option(
            "--temperature", type=float, help="k_B T/ε_AA, for a model of several temperatures (ka-liquid)."
        ),
        click.option("--device", metavar="NAME", help="cpu or cuda.  [default: a GPU where there is one]"),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def load_chosen(options: dict[str, Any], frames: Any) -> Any:
    """Scene of the shared options, which are taken out of the others."""
    from propensity.cli.annotate import parse_box
    from propensity.cli.pairs import pairs_from_text
    from propensity.species import parse_species_map
    from propensity.viewing import load_scene

    taken = {
        name: options.pop(name)
        for name in ("file", "topology", "model", "times", "species_map", "length_scale", "unit", "match")
    }
    model = taken["model"]
    return load_scene(
        taken["file"],
        None if not model else model[0] if len(model) == 1 else list(model),
        topology=taken["topology"],
        species_map=parse_species_map(taken["species_map"]),
        length_scale=taken["length_scale"],
        unit=taken["unit"],
        times=_times(taken["times"]),
        match=pairs_from_text(taken["match"]),
        column=options.pop("column"),
        potential=options.pop("potential"),
        temperature=options.pop("temperature"),
        device=options.pop("device"),
        box=parse_box(options.pop("box")),
        frames=frames,
    )


def _times(text: str | None) -> list[float | str] | None:
    """Numbers, or names such as tau_alpha that labelled data know."""
    if text is None:
        return None
    found: list[float | str] = []
    for part in text.split(","):
        try:
            found.append(float(part))
        except ValueError:
            found.append(part.strip())
    return found
