"""Options of a run from a YAML file and from flags: one flat set of names for data, model and
optimisation.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import click
from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from propensity import documents
from propensity.errors import InputError, suggest
from propensity.estimators.kinds import ESTIMATORS, estimator_class
from propensity.estimators.options import OLD_NAMES, Options, current_names, read_options

#: Second names of flags, for options whose own name is long.
SHORT = {"output": "-o", "learning_rate": "--lr", "trained_species": "--species", "n_layers": "--layers"}


class RunOptions(Options):
    """What to train on and where to write; the same for every kind of model."""

    model: str = Field("se3gnn", description=f"Kind of model: {', '.join(sorted(ESTIMATORS))}.")
    data: tuple[str, ...] = Field(
        (), description="Labelled structures: files or folders of any known format."
    )
    valid: tuple[str, ...] = Field((), description="Validation structures; default: split off from the data.")
    test: tuple[str, ...] = Field((), description="Test structures; default: split off from the data.")
    times: tuple[float | str, ...] = Field(
        ("all",), description="Times of the labels: values, #index, fs=0.5, fs=1/e, tau_alpha or all."
    )
    length_scale: float | None = Field(
        None,
        gt=0,
        description=(
            "Length of σ in the units of the data, such as 2.7 for a metal in Å: data are divided by it, and"
            " predictions come back in these units."
        ),
    )
    split: Literal["auto", "files", "group", "structure"] = Field(
        "auto", description="As the files say, by groups of correlated structures, or by structure."
    )
    fractions: tuple[float, float, float] = Field(
        (0.5, 0.4, 0.1), description="Shares of train, validation and test where the files don't say."
    )
    output: str | None = Field(None, description="Folder of the run; default: runs/MODEL-DATE-TIME.")
    name: str = Field("", description="Name in the model's card; default: that of the folder.")
    description: str = Field("", description="A sentence for the model's card.")


def options_class(kind: str) -> type[BaseModel]:
    """Typed options of ``fit`` of a kind of model."""
    cls = estimator_class(kind).options
    if cls is None:
        raise InputError(f"models of kind {kind!r} can't be trained here.")
    return cls


def read_option_file(path: str | Path) -> dict[str, Any]:
    """Options from a YAML file.

    Raises
    ------
    InputError
        When it can't be read or isn't a mapping of options.
    """
    values = documents.read_yaml(path, InputError)
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold options as `name: value` lines.")
    return {str(name): value for name, value in values.items()}


def parse_options(values: Mapping[str, Any]) -> tuple[RunOptions, BaseModel]:
    """Check and expand the options of a run.

    Returns
    -------
    Those of the run and those of the model's ``fit``.

    Raises
    ------
    InputError
        For an unknown name, with the nearest known one, or a value that can't be used.
    """
    values = current_names(values)
    kind = str(values.get("model", RunOptions.model_fields["model"].default))
    cls = options_class(kind)
    known = [*RunOptions.model_fields, *cls.model_fields]
    for name in values:
        if name not in known:
            raise InputError(
                f"option {name!r} is unknown to models of kind {kind!r}{suggest(name, known)}; "
                f"`propensity train --model {kind} --help` lists all."
            )
    # A lone value where several are possible is meant as one of them.
    listed = {
        name: [value] if _is_tuple(_field(cls, name)) and not isinstance(value, (list, tuple)) else value
        for name, value in values.items()
    }
    run = read_options(RunOptions, {k: v for k, v in listed.items() if k in RunOptions.model_fields})
    fit = read_options(cls, {k: v for k, v in listed.items() if k in cls.model_fields})  # type: ignore[type-var]
    return run, fit


def expanded(run: RunOptions, fit: BaseModel) -> dict[str, Any]:
    """All options with their values, plain enough for YAML."""
    return {**run.model_dump(mode="json"), **fit.model_dump(mode="json")}


def flags(kind: str) -> list[click.Option]:
    """Command-line options of a kind of model, one for each typed option."""
    cls = options_class(kind)
    both = {**RunOptions.model_fields, **cls.model_fields}
    shown = [_flag(name, field) for name, field in both.items() if name not in ("data", "model")]
    # Names from before a renaming go on working, but are not advertised.
    old = [click.Option([f"--{old.replace('_', '-')}", old], hidden=True) for old in OLD_NAMES]
    return [*shown, *old]


def _flag(name: str, field: FieldInfo) -> click.Option:
    flag = f"--{name.replace('_', '-')}"
    names = [flag, SHORT[name]] if name in SHORT else [flag]
    default = (
        "" if field.default is None or field.default in ((), "") else f"  [default: {_show(field.default)}]"
    )
    text = f"{field.description or ''}{default}"
    if field.annotation is bool:
        return click.Option([f"{flag}/--no-{flag[2:]}"], default=None, help=text)
    return click.Option(
        [*names, name], default=None, help=text, metavar=_metavar(field), callback=_reader(field)
    )


def _reader(field: FieldInfo) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Text stays text, for pydantic to read; only lists are taken apart here."""

    def read(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) and _is_tuple(field) else value

    return read


def _metavar(field: FieldInfo) -> str:
    kind = field.annotation
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    if typing.get_origin(kind) is Literal:
        return "|".join(str(choice) for choice in typing.get_args(kind))
    if _is_tuple(field):
        return "A,B,..." if str in typing.get_args(kind) else "X,Y,..."
    return {int: "INT", float: "FLOAT"}.get(kind, "TEXT")  # type: ignore[arg-type]


def _is_tuple(field: FieldInfo | None) -> bool:
    return field is not None and typing.get_origin(field.annotation) is tuple


def _field(cls: type[BaseModel], name: str) -> FieldInfo | None:
    return RunOptions.model_fields.get(name) or cls.model_fields.get(name)


def _show(value: Any) -> str:
    return ",".join(str(part) for part in value) if isinstance(value, tuple) else str(value)
