"""What can be said before torch is imported: that a file or a model isn't there, or an output is."""

from __future__ import annotations

import os
from pathlib import Path

from propensity.errors import DataError, InputError
from propensity.files import check_writable


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
        if path is not None and not os.path.exists(path):
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
    """Refuse an output that is there already, or can't be written.

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
    PropensityError
        When its folder can't be written.
    """
    check_writable(path)
    if not overwrite and os.path.exists(path):
        raise InputError(f"output {path} exists: choose another name, or overwrite it (--overwrite).")


def check_folder(path: str | os.PathLike[str] | None) -> None:
    """Refuse a folder for results that is a file, or can't be written.

    Parameters
    ----------
    path
        Of the folder; None is passed over.

    Raises
    ------
    PropensityError
        When nothing could be written there.
    """
    if path is not None:
        check_writable(path, folder=True)


def check_apart(output: str | os.PathLike[str] | None, *inputs: str | os.PathLike[str] | None) -> None:
    """Refuse an output that is one of the inputs, by whatever path, or can't be written.

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
    PropensityError
        When the output can't be written.
    """
    if output is not None:
        check_writable(output)
    for path in inputs:
        known = output is not None and path is not None and Path(output).exists() and Path(path).exists()
        if known and Path(str(output)).samefile(str(path)):
            raise InputError(f"output {output} is {path} itself, which is read: give another name.")
