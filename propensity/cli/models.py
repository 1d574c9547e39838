"""``propensity models``: what is installed, and what a card says."""

from __future__ import annotations

from typing import Any

import click
import numpy as np

from propensity.cli.early import check_models

#: Said of scores on structures from which those of the training were made.
ANCESTORS = "on structures of which those of the training are descendants"


@click.command()
@click.argument("model", required=False)
def command(model: str | None) -> None:
    """List the installed models, or show the card of one (a name or folder)."""
    check_models(model)
    from propensity.cli.screen import Screen
    from propensity.estimators.storage import SHIPPED, load_card, shipped_models

    console = Screen()
    if model is None:
        names = shipped_models()
        if not names:
            click.echo("no models are installed: train one with `propensity train`.")
            return
        cards = {name: load_card(SHIPPED / name / "model.json") for name in names}
        console.print(_list(cards))
        if any(map(_scored_on_ancestors, cards.values())):
            console.print(f"* {ANCESTORS}; docs/accuracy.md has others.")
        return
    show_card(console, model)


def show_card(console: Any, model: str) -> None:
    """Print what the card of a model says, by name, folder or file."""
    from propensity.estimators.storage import load_card, model_files

    weights, path = model_files(model)
    card = load_card(path)
    console.print(_details(card, weights))
    for part, scores in card.metrics.items():
        if isinstance(scores, dict) and "species" in scores:
            console.print(_scores(part, scores))


def _list(cards: dict[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    shown = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for column in ("model", "kind", "positions", "species", "T", "time", "ρ there"):
        # Narrow screens take from what can be guessed, never from names and scores.
        shown.add_column(column, no_wrap=True, min_width={"model": 14, "ρ there": 17}.get(column))
    for name, card in cards.items():
        shown.add_row(
            name,
            card.kind,
            card.input_positions,
            " ".join(card.trained_species or card.species),
            _temperatures(card),
            f"{card.times[card.default_time_index]:g}" if card.conditions is None else "τ_α",
            _headline(card) + (" *" if _scored_on_ancestors(card) else ""),
        )
    return shown


def _details(card: Any, weights: Any) -> Any:
    from rich.table import Table
    from rich.text import Text

    shown = Table(show_header=False, box=None, pad_edge=False)
    shown.add_column()
    shown.add_column(overflow="fold")
    training = card.training
    rows = {
        "name": card.name,
        "kind": card.kind,
        "description": card.description,
        "file": (
            f"{weights} ({weights.stat().st_size / 1e3:.0f} kB)"
            if weights.exists()
            else f"{weights} is missing"
        ),
        "species": f"{' '.join(card.species)} (trained: {' '.join(card.trained_species or card.species)})",
        "input positions": card.input_positions,
        "cutoff": _number(card.cutoff) + " σ",
        "times": _times(card) + " σ√(m/ε)",
        "temperature": _temperatures(card) + " ε/k_B",
        "elsewhere": "; ".join(map(_elsewhere, card.elsewhere)),
        "density": _number(card.density) + (" σ⁻² in two dimensions" if card.dimension == 2 else " σ⁻³"),
        "composition": ", ".join(f"{x:.3g}" for x in card.composition),
        "training": (
            ", ".join(str(x) for x in training.get("data", training.get("sources", []))[:4])
            + (f" ({training['n_structures']} structures)" if "n_structures" in training else "")
        ),
        "scores": ANCESTORS if _scored_on_ancestors(card) else "",
        "options": ", ".join(f"{key} {value}" for key, value in card.config.items()),
        "license": card.license,
        "citation": card.citation,
    }
    for key, value in rows.items():
        if value:
            shown.add_row(Text(key, style="bold"), str(value))
    return shown


def _scores(part: str, scores: dict[str, Any]) -> Any:
    from rich import box
    from rich.table import Table

    shown = Table(
        box=box.SIMPLE,
        pad_edge=False,
        title=f"{part}: {scores.get('n_structures', '?')} structures",
        title_justify="left",
    )
    more = [name for name in ("slope", "mean_ratio") if name in next(iter(scores["species"].values()), {})]
    names = ["species", "time", "ρ pooled", "ceiling", "ρ per structure", "ceiling"]
    for column in [*names, *({"slope": "slope", "mean_ratio": "true/predicted"}[name] for name in more)]:
        shown.add_column(column, justify="left" if column == "species" else "right")
    for species, values in scores["species"].items():
        for t, time in enumerate(scores["times"]):
            shown.add_row(
                species if t == 0 else "",
                f"{time:g}",
                *(
                    _score(values.get(key, [None] * (t + 1))[t])
                    for key in (
                        "pearson_pooled",
                        "noise_ceiling_pooled",
                        "pearson_per_structure",
                        "noise_ceiling_per_structure",
                        *more,
                    )
                ),
            )
    return shown


def _scored_on_ancestors(card: Any) -> bool:
    sources = card.training.get("sources", [])
    return any("descendants" in str(source) for source in sources)


def _elsewhere(one: Any) -> str:
    """What is known of predictions at another temperature."""
    (low, high), where = one.ratio, "" if one.potential is None else f" in {one.potential}"
    return (
        f"at {one.temperature:g}{where} ρ {one.pearson:.2f},"
        f" magnitudes {low:.2g} to {high:.2g} times the true ones"
    )


def _temperatures(card: Any) -> str:
    """That of the model, or the range of one of several."""
    if card.conditions is None:
        return _number(card.temperature)
    return f"{card.conditions.temperatures[0]:g}–{card.conditions.temperatures[-1]:g}"


def _times(card: Any) -> str:
    """Times of the model, or the range at each temperature."""
    if card.conditions is None:
        default = card.times[card.default_time_index]
        return ", ".join(f"{time:g}" for time in card.times) + f" (default {default:g})"
    return ", ".join(
        f"{s.times[0]:g}–{s.times[-1]:g} at {s.temperature:g}" for s in card.conditions.state_points
    )


def _headline(card: Any) -> str:
    """Score at the default time on test structures, else on validation; the range of those at τ_α of
    each temperature where there are several.
    """
    if card.conditions is not None:
        return _range_at_tau(card)
    for part in ("test", "valid"):
        scores = card.metrics.get(part, {})
        if "species" in scores and card.times[card.default_time_index] in scores.get("times", []):
            t = scores["times"].index(card.times[card.default_time_index])
            return " ".join(f"{name} {v['pearson_pooled'][t]:.3f}" for name, v in scores["species"].items())
    return "–"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _range_at_tau(card: Any) -> str:
    """Lowest and highest score of the first species at τ_α of the temperatures of a model."""
    for part in ("test", "valid"):
        name, found = "", []
        for point in card.conditions.state_points:
            scores = card.metrics.get(f"{part} T={point.temperature:g}", {})
            near = np.isclose(scores.get("times", []), point.tau_alpha or np.nan, rtol=1e-3)
            if near.any():
                name, values = next(iter(scores["species"].items()))
                found.append(values["pearson_pooled"][int(np.argmax(near))])
        if found:
            return f"{name} {min(found):.2f}–{max(found):.2f}"
    return "–"
