"""One page with everything: particles in three dimensions, sliders, figures and the model's card."""

from __future__ import annotations

import base64
import html
import json
import os
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.errors import InputError
from propensity.files import replacing
from propensity.plotting import DIVERGING, SEQUENTIAL
from propensity.version import __version__
from propensity.viewing import figures
from propensity.viewing.packing import Block, face_distances, quantised
from propensity.viewing.scene import Scene

if TYPE_CHECKING:
    from propensity.estimators.card import Card

#: The page's own code, in the order in which it reads itself.
SCRIPTS = ("data.js", "colours.js", "particles.js", "charts.js", "main.js")
#: Parts of a training, as people call them.
PARTS = {"train": "training", "valid": "validation", "test": "test"}
#: Values and coordinates beyond which a browser on a phone runs out of memory.
MAX_BYTES = 400_000_000


def write_report(scene: Scene, path: str | os.PathLike[str], *, title: str | None = None) -> Path:
    """Write a scene as one self-contained page, which needs no network and no server.

    Parameters
    ----------
    scene
        From :func:`propensity.viewing.load_scene`.
    path
        File to write; ``.html``.
    title
        Of the page; None: the name of the source.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    InputError
        For another extension, or a scene too large for a browser.
    """
    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"output {path} is a page: give it the extension .html.")
    text = render(scene, title)
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target


def render(scene: Scene, title: str | None = None) -> str:
    """The page as text."""
    block = Block()
    description = _description(scene, block, title or Path(scene.source).name)
    raw = block.bytes()
    if len(raw) > MAX_BYTES:
        raise InputError(
            f"the page would hold {len(raw) / 1e6:.0f} MB and browsers take {MAX_BYTES / 1e6:.0f}: "
            "choose fewer frames or times."
        )
    page = files("propensity.viewing") / "page"
    vendor = page / "vendor"
    return Template((page / "page.html").read_text("utf-8")).substitute(
        title=html.escape(description["title"]),
        version=html.escape(__version__),
        style=(page / "page.css").read_text("utf-8"),
        data=_in_script(json.dumps(description, ensure_ascii=False, allow_nan=False, separators=(",", ":"))),
        arrays=base64.b64encode(raw).decode(),
        licences=_in_script((vendor / "LICENSES.txt").read_text("utf-8")),
        vendor=_code((vendor / "vendor.min.js").read_text("utf-8")),
        code="\n".join((page / name).read_text("utf-8") for name in SCRIPTS),
    )


def _in_script(text: str) -> str:
    """Text inside a script element that no parser can leave; JSON reads the escape as the character."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _code(text: str) -> str:
    """Library code, in which only strings can hold what ends a script element."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _description(scene: Scene, block: Block, title: str) -> dict[str, Any]:
    dimension = scene.dimension
    return {
        "title": title,
        "subtitle": _subtitle(scene),
        "facts": _facts(scene),
        "unit": scene.unit,
        "time_unit": "LJ units",
        "dimension": dimension,
        "species": list(scene.species),
        "times": [float(t) if np.isfinite(t) else None for t in scene.times],
        "time_index": scene.default_time_index,
        "fields": {name: scene.title(name) for name in scene.fields},
        "units": {name: scene.unit_of(name) for name in scene.fields},
        "frames": [_frame(frame, block) for frame in scene.frames],
        "slab": 2.4 * float(np.median(scene.frames[0].diameters)),
        "ranges": figures.ranges(scene),
        "maps": {name: block.add(_colours(name)) for name in (*SEQUENTIAL, DIVERGING)},
        "diverging": DIVERGING,
        "scores": figures.scores(scene),
        "correlation": figures.correlations(scene),
        "card": _card(scene.card),
    }


def _frame(frame: Any, block: Block) -> dict[str, Any]:
    positions, cell = quantised(frame.structure)
    ids = np.asarray(frame.ids, dtype=np.int64)
    small = np.abs(ids).max() < 2**31
    return {
        "name": frame.name,
        "cell": cell.tolist(),
        "heights": face_distances(cell),
        "positions": block.add(positions.ravel()),
        "types": block.add(frame.structure.types.astype(np.uint8)),
        "ids": block.add(ids.astype(np.int32 if small else np.float64)),
        "diameters": block.add(frame.diameters.astype(np.float32)),
        # Time by time, so that the values at one time lie together.
        "fields": {
            name: block.add(array.T.astype(np.float32).ravel()) for name, array in frame.fields.items()
        },
    }


def _colours(name: str) -> np.ndarray:
    """Look-up table of a colour map, uint8 (768,)."""
    from matplotlib import colormaps

    return np.round(colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255).astype(np.uint8).ravel()


def _subtitle(scene: Scene) -> str:
    parts = [scene.source, f"{PARTS[scene.part]} structures of a training" if scene.part else ""]
    if scene.card is not None:
        parts.append(f"predicted by {scene.card.name or scene.card.kind}")
    return " · ".join(part for part in parts if part)


def _facts(scene: Scene) -> list[str]:
    structure = scene.frames[0].structure
    counts = np.bincount(structure.types, minlength=len(scene.species))
    shown = [f"{n} {name}" for name, n in zip(scene.species, counts, strict=True) if n]
    facts = (
        [f"{len(structure)} particles", ", ".join(shown)]
        if len(shown) > 1
        else [f"{len(structure)} particles"]
    )
    if len(scene.frames) > 1:
        facts.append(f"{len(scene.frames)} frames")
    if structure.density is not None:
        facts.append(
            f"density {structure.density:.4g} {scene.unit}{'⁻²' if structure.dimension == 2 else '⁻³'}"
        )
    if scene.dimension == 2:
        facts.append("two dimensions")
    return facts


def _card(card: Card | None) -> list[list[str]]:
    """What a card says, as pairs of name and text."""
    if card is None:
        return []
    training = card.training
    size = training.get("n_structures", (training.get("split") or {}).get("train"))
    rows: dict[str, Any] = {
        "name": card.name,
        "kind": card.kind,
        "description": card.description,
        "species": ", ".join(card.species),
        "trained on": ", ".join(card.trained_species),
        "input positions": card.input_positions,
        "cutoff": card.cutoff and f"{card.cutoff:g} σ",
        "times": ", ".join(f"{time:g}" for time in card.times),
        "temperature": card.temperature and f"{card.temperature:g}",
        "density": card.density and f"{card.density:.4g} σ⁻³",
        "composition": ", ".join(
            f"{n} {x:.3g}" for n, x in zip(card.species, card.composition, strict=False)
        ),
        "training structures": size,
        "options": ", ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in card.config.items()
            if value not in (None, "", [])
        ),
        "licence": card.license,
        "citation": card.citation,
    }
    return [[name, str(value)] for name, value in rows.items() if value]
