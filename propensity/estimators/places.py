"""Where models lie, known without torch: who names one that isn't there is told at once."""

from __future__ import annotations

import os
from pathlib import Path

from propensity.errors import DataError, suggest

#: Models that are installed with the package.
SHIPPED = Path(__file__).parent / "weights"


def model_files(model: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Paths of the weights and of the card of a model given by name, folder or file.

    Parameters
    ----------
    model
        Name, folder or file.

    Returns
    -------
    weights, card
        Where they lie.

    Raises
    ------
    DataError
        When there is no such model.
    """
    path = Path(model)
    if path.suffix in (".safetensors", ".json") and path.exists():
        return path.with_suffix(".safetensors"), path.with_suffix(".json")
    for folder in (path, SHIPPED / str(model)):
        if (folder / "model.json").exists() or (folder / "model.safetensors").exists():
            return folder / "model.safetensors", folder / "model.json"
    names = shipped_models()
    raise DataError(
        f"model {str(model)!r} is neither a folder or .safetensors file nor a shipped model"
        f" {names}{suggest(model, names)}."
    )


def shipped_models() -> list[str]:
    """Names of the models installed with the package.

    Returns
    -------
    list[str]
        Sorted.
    """
    return sorted(path.parent.name for path in SHIPPED.glob("*/model.json"))
