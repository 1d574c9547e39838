"""Models on disk: ``model.safetensors`` for numbers and ``model.json`` for the card; nothing is ever
unpickled.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from propensity.defaults import own_defaults
from propensity.documents import read_json
from propensity.errors import DataError, MissingDependencyError
from propensity.estimators.base import Estimator
from propensity.estimators.card import Card
from propensity.estimators.kinds import class_for
from propensity.estimators.places import SHIPPED, model_files, shipped_models
from propensity.files import replacing
from propensity.tensors import read_tensors

__all__ = [
    "SHIPPED",
    "committee_of",
    "load_card",
    "load_model",
    "model_files",
    "save_model",
    "shipped_models",
]


def save_model(folder: str | os.PathLike[str], estimator: Estimator) -> Path:
    """Write ``folder/model.safetensors`` and ``folder/model.json``; returns the folder.

    Parameters
    ----------
    folder
        Made where it is missing; a model that lies there is replaced, whole or not at all.
    estimator
        Fitted.

    Returns
    -------
    pathlib.Path
        The folder.
    """
    folder = Path(folder)
    arrays = {name: np.ascontiguousarray(array) for name, array in estimator.arrays().items()}
    text = json.dumps(estimator.card.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
    # Both are written before either takes its place, and where the card is, the weights are.
    with replacing(folder / "model.json") as card:
        card.write_text(text, "utf-8", "backslashreplace")  # as JSON has them, whatever names of files hold
        with replacing(folder / "model.safetensors") as weights:
            weights.write_bytes(save(arrays))  # save_file has a temporary file of its own
    return folder


def load_model(model: str | os.PathLike[str]) -> Estimator:
    """Load a shipped model by name, or any model by its folder or ``.safetensors`` file.

    Parameters
    ----------
    model
        Name, folder or file.

    Returns
    -------
    Estimator
        On the CPU, in the precision it was stored in.

    Raises
    ------
    DataError
        When there is no such model, or a file of it is damaged or of an unknown version.
    """
    weights, description = model_files(model)
    card = load_card(description)
    try:
        with own_defaults():  # those without numbers would lie on another device
            arrays = {name: tensor.numpy() for name, tensor in read_tensors(weights).items()}
    except FileNotFoundError:
        raise DataError(
            f"{weights} is missing: a model is {weights.name} and {description.name} together."
        ) from None
    except DataError as error:
        raise DataError(f"{error}: copy or train it again.") from None
    try:
        with own_defaults():
            return class_for(card).restore(card, arrays)
    except MissingDependencyError:
        raise
    except Exception as error:  # a card may say anything of its model
        first = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise DataError(
            f"{weights} doesn't fit its card {description.name} ({first}): keep the two together."
        ) from None


def committee_of(model: str | os.PathLike[str]) -> list[str | os.PathLike[str]]:
    """The model and those that make a committee with it, which lie beside it.

    Parameters
    ----------
    model
        Name, folder or file.

    Returns
    -------
    list
        ``model`` first; alone where its card names no committee.
    """
    description = model_files(model)[1]
    others = load_card(description).committee if description.exists() else ()
    return [model, *(description.parent.parent / name for name in others)]


def load_card(path: str | os.PathLike[str]) -> Card:
    """Read a card from its JSON file, migrating old versions.

    Parameters
    ----------
    path
        Of a ``model.json``.

    Returns
    -------
    Card
        Of the present version.

    Raises
    ------
    DataError
        When the file is absent, damaged or of an unknown version.
    """
    path = Path(path)
    try:
        values = read_json(path, "model card")
    except FileNotFoundError:
        raise DataError(
            f"{path} is missing: a model is a .safetensors file with its .json card beside it."
        ) from None
    if not isinstance(values, dict):
        raise DataError(
            f"{path} is not a model card: it holds a {type(values).__name__} instead of an object."
        )
    return Card.from_dict(values, str(path))
