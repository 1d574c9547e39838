"""Typed options of estimators: unknown names and bad values become one-sentence errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from propensity.errors import InputError, suggest

#: A number above zero, among others.
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Options(BaseModel):
    """Base of the options of an estimator: unknown names and bad values are one-sentence errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads ``epochs: yes`` as a truth value, and Python takes that for 1."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and {int, float} & {annotation, *get_args(annotation)}:
            raise ValueError("give a number instead of yes or no")
        return value


#: Names of options in files and scripts from before a renaming → their names now.
RENAMED = {"positions": "input_positions"}
#: What is read of those files, but not advertised; ``norms: kept`` is ``learn: adjust`` now.
OLD_NAMES = (*RENAMED, "norms")


def current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options under the names that they have now.

    Raises
    ------
    InputError
        For an option that is given under both names, or an old one with a value that it never had.
    """
    values = dict(values)
    norms = values.pop("norms", None)
    if norms not in (None, "batch", "kept"):
        raise InputError(f"option norms is {norms!r}: give learn, which took its place, as adjust or all.")
    if norms is not None and values.get("learn", "all") == "all":
        values["learn"] = "adjust" if norms == "kept" else "all"
    for old, new in RENAMED.items():
        if old in values and new in values:
            raise InputError(f"options {old!r} and {new!r} are the same: give {new!r} alone.")
    return {RENAMED.get(name, name): value for name, value in values.items()}


AnyOptions = TypeVar("AnyOptions", bound=Options)


def read_options(
    cls: type[AnyOptions], values: Mapping[str, Any], given: AnyOptions | None = None
) -> AnyOptions:
    """Typed options from ``values``, or ``given`` ones in their place.

    Raises
    ------
    InputError
        For a name that doesn't exist, a value that can't be used, or both ``values`` and ``given``.
    """
    if given is not None:
        if values or not isinstance(given, cls):
            raise InputError(
                f"options are a {type(given).__name__} and {sorted(values)}: give one {cls.__name__}, or its"
                " fields by name."
            )
        return given
    values = current_names(values)
    for name in values:
        if name not in cls.model_fields:
            raise InputError(
                f"option {name!r} is unknown: choose from {sorted(cls.model_fields)}"
                f"{suggest(name, cls.model_fields)}."
            )
    try:
        return cls(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if not where:  # options that contradict each other, in the words of our own check
            raise InputError(
                f"options can't be used: {first['msg'].removeprefix('Value error, ')}."
            ) from None
        reason = first["msg"].removeprefix("Value error, ").lower()
        raise InputError(f"option {where} is {first['input']!r}: {reason}.") from None
