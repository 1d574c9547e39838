"""What can be said before torch is imported: that a file or a model isn't there, or an output is."""

from __future__ import annotations

import os
from pathlib import Path

from propensity.errors import DataError, InputError


def check_files(*paths: str | os.PathLike[str] | None, what: str) -> None:
    """Refuse paths that don't exist.

    Parameters
    ----------
    *paths
        Files or folders; None is passed over.
    what
        What should be there, for the message.

    Raises
    ------
    DataError
        With the first that is missing.
    """
    for path in paths:
        if path is not None and not Path(path).exists():
            raise DataError(f"{path} doesn't exist: give the path of {what}.")


def check_models(*models: str | os.PathLike[str] | None) -> None:
    """Refuse models that are neither files nor shipped.

    Parameters
    ----------
    *models
        Names, folders or files; None is passed over.

    Raises
    ------
    DataError
        With the first that is missing.
    """
    from propensity.estimators.places import model_files

    for model in models:
        if model is not None:
            model_files(model)


def check_output(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Refuse an output that is there already.

    Parameters
    ----------
    path
        Of the output.
    overwrite
        Whether it may be replaced.

    Raises
    ------
    InputError
        When it may not.
    """
    if not overwrite and Path(path).exists():
        raise InputError(f"output {path} exists: choose another name, or overwrite it (--overwrite).")


def check_apart(output: str | os.PathLike[str] | None, *inputs: str | os.PathLike[str] | None) -> None:
    """Refuse an output that is one of the inputs, by whatever path.

    Parameters
    ----------
    output
        To be written; None is passed over.
    *inputs
        To be read; None is passed over.

    Raises
    ------
    InputError
        When what is read would be replaced.
    """
    for path in inputs:
        known = output is not None and path is not None and Path(output).exists() and Path(path).exists()
        if known and Path(str(output)).samefile(str(path)):
            raise InputError(f"output {output} is {path} itself, which is read: give another name.")
