"""Cards of older versions, step by step into the present one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from propensity.estimators.options import current_names

#: Raised with every change that old cards don't meet; each step has a migration below.
FORMAT_VERSION = 3


def _renamed(values: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in values.items()}


def _with_current_options(card: dict[str, Any]) -> dict[str, Any]:
    """A card whose options of the training have the names of today."""
    training = card.get("training")
    if not isinstance(training, dict) or not isinstance(training.get("options"), dict):
        return card
    return {**card, "training": {**training, "options": current_names(training["options"])}}


def _one_word_one_meaning(card: dict[str, Any]) -> dict[str, Any]:
    """1 → 2: ``input_positions``, ``scalar_recipe``, and the network's ``n_extra`` and ``offset_scale``."""
    card = _renamed(card, {"positions": "input_positions", "node_scalars": "scalar_recipe"})
    if card.get("kind") == "se3gnn":
        names = {"extra_scalars": "n_extra", "displacement": "offset_scale"}
        card["config"] = _renamed(card.get("config") or {}, names)
    return {**_with_current_options(card), "format_version": 2}


def _state_points(card: dict[str, Any]) -> dict[str, Any]:
    """2 → 3: ``state_points`` of the conditions, and ``learn`` in the place of ``norms``."""
    if isinstance(card.get("conditions"), dict):
        card = {**card, "conditions": _renamed(card["conditions"], {"states": "state_points"})}
    return {**_with_current_options(card), "format_version": 3}


#: version → function that turns a card of that version into the next one.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: _one_word_one_meaning,
    2: _state_points,
}
