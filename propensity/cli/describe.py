"""``propensity describe``: structural descriptors of every particle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from propensity.cli.early import check_apart, check_files, check_models

if TYPE_CHECKING:
    from collections.abc import Iterator

    from propensity.estimators.inputs import InputPositions
    from propensity.predictor import Predictor
    from propensity.structure import Structure


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("topology", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE.npz",
    help="File to write.",
)
@click.option(
    "--kind",
    default="averaged",
    show_default=True,
    metavar="NAME",
    help="averaged, structure-functions, energy or density.",
)
@click.option(
    "-m",
    "--model",
    metavar="MODEL",
    help="Features of a model instead: the invariants before its readout; with --layer those of a layer.",
)
@click.option(
    "--layer",
    type=int,
    metavar="K",
    help="With -m: equivariant features after layer K, from 0; -1: last.",
)
@click.option(
    "--species",
    default="A,B",
    show_default=True,
    metavar="A,B,...",
    help="Species, in the order of the types; with -m those of the model.",
)
@click.option("--species-map", metavar="1=A,2=B", help="Labels in a trajectory = species.")
@click.option(
    "--length-scale",
    type=float,
    help="Length of σ_AA in the units of the file.  [default: that of the model, or 1]",
)
@click.option(
    "--temperature", type=float, help="With -m: k_B T/ε_AA, for a model of several temperatures (ka-liquid)."
)
@click.option(
    "--potential",
    default="lj/cut",
    show_default=True,
    help="Interaction for energy, and for minima that a model sees; or 'lj/cut force-shifted'.",
)
@click.option("--inherent", is_flag=True, help="Inherent positions of labelled data instead of thermal ones.")
@click.option("--box", metavar="L,L,L", help="Edges of the periodic box, or one, for files without a box.")
@click.option("--start", type=click.IntRange(min=0), default=0, show_default=True, help="First frame.")
@click.option("--stop", type=click.IntRange(min=1), help="Frame to stop before.")
@click.option(
    "--step", type=click.IntRange(min=1), default=1, show_default=True, help="Every how many frames."
)
def command(
    file: Path,
    topology: Path | None,
    output: Path,
    kind: str,
    model: str | None,
    layer: int | None,
    species: str,
    species_map: str | None,
    length_scale: float | None,
    temperature: float | None,
    potential: str,
    inherent: bool,
    box: str | None,
    start: int,
    stop: int | None,
    step: int,
) -> None:
    """Compute structural descriptors of every particle of FILE: a trajectory, or labelled data.

    Writes `features` (frames, N, n), `names` (n,), `types` (frames, N) and `frames` (names or numbers); of a
    model also `irreps`, how features turn, in e3nn's notation.

    \b
    propensity describe in.dump -o out.npz -m ka-default --species-map 1=A,2=B
    propensity describe in.dump -o out.npz --species-map 1=A,2=B --step 10
    propensity describe data.h5 -o energy.npz --kind energy --inherent --stop 4
    """  # noqa: D301
    check_files(file, topology, what="a trajectory or of labelled data")
    check_models(model)
    check_apart(output, file, topology)
    import numpy as np

    from propensity.cli.screen import tracked
    from propensity.data import open_dataset
    from propensity.data.opening import may_be_labelled
    from propensity.descriptors.describe import describe
    from propensity.errors import DataError, InputError
    from propensity.files import replacing
    from propensity.numeric import positive

    if output.suffix != ".npz":
        raise InputError(f"{output} must end in .npz: that is the format written.")
    names = tuple(part.strip() for part in species.split(",") if part.strip())
    chosen = click.get_current_context().get_parameter_source
    typed = click.core.ParameterSource.COMMANDLINE
    given = {name for name in ("kind", "species", "potential") if chosen(name) == typed}
    predictor = None
    scale = 1.0 if length_scale is None else positive(length_scale, "--length-scale", "the length of σ_AA")
    if model is not None:
        predictor = _predictor(model, given, species_map, length_scale, temperature, potential, inherent)
        names, scale = predictor.species, predictor.length_scale
    elif temperature is not None:
        raise InputError(f"--temperature is {temperature:g}: give the model that needs it, by -m.")
    elif "species" not in given and topology is None and may_be_labelled(file):
        names = open_dataset(file)[0].species
    if predictor is None and layer is not None:
        raise InputError(f"--layer is {layer}: give the model that has layers, by -m.")
    positions: InputPositions = "inherent" if inherent else "thermal"
    if predictor is not None and not inherent and predictor.potential is None:
        positions = predictor.card.input_positions
    frames = _structures(
        file, topology, names, species_map, scale, positions, inherent, box, start, stop, step
    )
    columns: dict[str, list[Any]] = {"features": [], "types": [], "frames": []}
    feature_names: list[str] = []
    irreps: dict[str, Any] = {}
    for label, structure in tracked(frames, "describing"):
        try:
            if predictor is None:
                reduced = structure if scale == 1 else structure.in_units_of(scale)
                features, feature_names = describe(reduced, kind, names, potential=potential)
            else:
                found = predictor.features(structure, layer)
                features, feature_names, irreps = found.values, list(found.names), {"irreps": found.irreps}
        except InputError as error:
            raise InputError(f"frame {label}: {error}") from None
        if columns["features"] and features.shape != columns["features"][0].shape:
            raise DataError(
                f"frame {label} has {len(structure)} particles and the first {len(columns['types'][0])}: "
                "describe them apart with --start and --stop."
            )
        columns["features"].append(features)
        columns["types"].append(structure.types)
        columns["frames"].append(str(label))
    if not columns["features"]:
        raise DataError(f"{file} has no frame from {start} to {stop or 'its end'}: choose others.")
    with replacing(output) as temporary:
        np.savez(
            temporary,
            names=np.array(feature_names),
            features=np.array(columns["features"]),
            types=np.array(columns["types"]),
            frames=np.array(columns["frames"]),
            **irreps,
        )
    shape = np.shape(columns["features"])
    click.echo(f"wrote {shape[2]} descriptors of {shape[1]} particles in {shape[0]} frame(s) to {output}")


def _predictor(
    model: str,
    given: set[str],
    species_map: str | None,
    length_scale: float | None,
    temperature: float | None,
    potential: str,
    inherent: bool,
) -> Predictor:
    """The model whose features are wanted; options of other descriptors are refused."""
    from propensity.errors import InputError
    from propensity.predictor import Predictor
    from propensity.species import parse_species_map

    for name in sorted(given & {"kind", "species"}):
        raise InputError(f"--{name} is for other descriptors: leave it out beside -m.")
    if inherent and "potential" in given:
        raise InputError("--inherent gives minima and --potential makes them: give one.")
    return Predictor(
        model,
        species_map=parse_species_map(species_map),
        length_scale=length_scale,
        temperature=temperature,
        potential=potential if "potential" in given else None,
    )


def _structures(
    file: Path,
    topology: Path | None,
    species: tuple[str, ...],
    species_map: str | None,
    scale: float,
    positions: InputPositions,
    inherent: bool,
    box: str | None,
    start: int,
    stop: int | None,
    step: int,
) -> Iterator[tuple[Any, Structure]]:
    """Frames of a trajectory by number, or structures of labelled data by name, where σ is ``scale``."""
    from propensity.data.opening import may_be_labelled
    from propensity.errors import DataError, InputError
    from propensity.species import parse_species_map

    if topology is None and may_be_labelled(file):
        from propensity.data import open_dataset
        from propensity.estimators.inputs import input_structure

        if box is not None:
            raise InputError(f"{file} is labelled data, which has boxes of its own: leave --box out.")
        if species_map is not None:
            raise InputError(f"{file} is labelled data, whose species have names: leave --species-map out.")
        dataset = open_dataset(file)
        for index in range(len(dataset))[start:stop:step]:
            sample = dataset[index]
            if sample.species != species:
                raise DataError(
                    f"{sample.name} has species {list(sample.species)} instead of {list(species)}: leave"
                    " --species out, or give a model of these."
                )
            reduced = sample if scale == 1 else sample.in_units_of(scale)
            seen = input_structure(reduced, positions)
            yield sample.name, seen if scale == 1 else seen.scaled(scale)
        return
    from propensity.cli.annotate import parse_box
    from propensity.trajectory import open_trajectory
    from propensity.trajectory.work import naming

    if inherent:
        raise InputError(f"{file} is a trajectory, which has no inherent positions: leave --inherent out.")
    mapping = parse_species_map(species_map)
    for frame in open_trajectory(file, topology, start=start, stop=stop, step=step, box=parse_box(box)):
        with naming(frame.number):
            structure = frame.structure(species, mapping)
        yield frame.number, structure
