"""A picture of one frame: particles in three dimensions or in a slab, beside the scales of their colours."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from propensity.errors import InputError, MissingDependencyError, PropensityWarning
from propensity.plotting import Scale, draw_slab, draw_spheres, new_figure, shade, styled
from propensity.viewing.scene import Scene, SceneFrame
from propensity.viewing.sizes import viewing_direction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Renderer = Literal["auto", "ovito", "matplotlib"]


@styled
def draw_picture(
    scene: Scene,
    *,
    frame: int = 0,
    fields: Sequence[str] = (),
    time: float | None = None,
    scale: Scale = "own",
    cmap: str | None = None,
    slab: float | None = None,
    direction: int | None = None,
    centre: float = 0.5,
    renderer: Renderer = "auto",
) -> Figure:
    """Draw a frame of a scene, a panel for each field.

    Parameters
    ----------
    scene
        From :func:`propensity.viewing.load_scene`.
    frame
        Index among the frames of the scene.
    fields
        Which to show, side by side; none: the predicted one, and the simulated one beside it where known.
    time
        Time scale; None: the scene's own.
    scale, cmap
        See :func:`propensity.plotting.shade`.
    slab
        Thickness of a slab in units of length, 0 for about two layers; None draws the whole box in three
        dimensions.  Planes of particles are drawn whole, in the plane.
    direction, centre
        Cell vector across the slab (None: across a film or plane, else the third), and its middle there.
    renderer
        ``"ovito"`` for the whole box by OVITO's ray tracer; ``"auto"`` takes that where it runs.

    Returns
    -------
    Figure
        For :func:`propensity.plotting.save_figure`.

    Raises
    ------
    InputError
        For a frame, field, time or renderer that there is not.
    MissingDependencyError
        When OVITO is asked for and cannot run.
    """
    if renderer not in ("auto", "ovito", "matplotlib"):
        raise InputError(f"renderer is {renderer!r}: choose 'auto', 'ovito' or 'matplotlib'.")
    if not 0 <= frame < len(scene.frames):
        raise InputError(f"frame {frame} is beyond the {len(scene.frames)} of the scene: count from 0.")
    if slab is not None and not (np.isfinite(slab) and slab >= 0):
        raise InputError(f"the slab is {slab} thick: give a length, or 0 for about two layers.")
    names = [scene.field(name) for name in fields] or [
        name for name in scene.fields if name in ("predicted", "simulated")
    ]
    names = names or [scene.field(None)]
    column, shown = scene.column(time), scene.frames[frame]
    types, flat = shown.structure.types, scene.dimension == 2
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_label(scene, name), []).append(name)
    figure = new_figure(4.6 * len(names), 5.2)
    parts = figure.subfigures(1, len(alike), squeeze=False, width_ratios=[*map(len, alike.values())])[0]
    for part, (label, group) in zip(parts, alike.items(), strict=True):
        values = np.stack([shown.fields[name][:, column] for name in group])
        colours = shade(values, types, scene.species, scale=scale, label=label, cmap=cmap)
        row = part.subplots(1, len(group), squeeze=False)[0]
        for axes, name, rgba in zip(row, group, colours.rgba, strict=True):
            if slab is None and not flat:
                _whole(axes, shown, rgba, renderer)
            else:
                _slab(axes, shown, rgba, slab, direction, centre, scene.unit)
            when = scene.times[column]
            axes.set_title(scene.title(name) + (f", t = {when:.4g}" if np.isfinite(when) else ""))
        for text, mappable in reversed(colours.scales):  # each new bar stands above the last
            bar = part.colorbar(
                mappable,
                ax=list(row),
                orientation="horizontal",
                extend="both",
                aspect=34 * len(group),
                pad=0.02,
                shrink=0.8,
            )
            bar.set_label(text, fontsize=8.5)
            bar.outline.set_visible(False)
    return figure


def _label(scene: Scene, name: str) -> str:
    """What the scale of a field says; fields of one label are compared, so they share it."""
    words = "propensity" if name in ("predicted", "simulated") else scene.title(name)
    return f"{words} ({scene.unit})" if scene.unit_of(name) else name


def _slab(
    axes: Axes,
    frame: SceneFrame,
    rgba: np.ndarray,
    slab: float | None,
    direction: int | None,
    centre: float,
    unit: str,
) -> None:
    across = viewing_direction(frame.structure) if direction is None else direction
    draw_slab(
        axes,
        frame.structure,
        rgba=rgba,
        thickness=slab or 2.2 * float(np.median(frame.diameters)),
        centre=centre,
        direction=across,
        diameters=frame.diameters,
    )
    first, second = ("xyz"[k] for k in range(3) if k != across)
    axes.set(xlabel=f"{first} ({unit})", ylabel=f"{second} ({unit})")


def _whole(axes: Axes, frame: SceneFrame, rgba: np.ndarray, renderer: Renderer) -> None:
    image = None if renderer == "matplotlib" else _traced(frame, rgba, strict=renderer == "ovito")
    if image is None:
        draw_spheres(axes, frame.structure, rgba, diameters=frame.diameters)
        return
    axes.imshow(image, interpolation="antialiased")
    axes.set_axis_off()


def _traced(frame: SceneFrame, rgba: np.ndarray, strict: bool) -> np.ndarray | None:
    """OVITO's picture; None where it is not installed or cannot run, unless it was asked for."""
    try:
        from propensity.viewing.ovito_picture import trace

        return trace(frame, rgba)
    except (ImportError, RuntimeError) as error:
        missing: Any = isinstance(error, ImportError)
        reason = "is not installed" if missing else " ".join(str(error).split()).split(". ")[0]
        fix = 'pip install "propensity[ovito]"' if missing else "apt install libvulkan1 mesa-vulkan-drivers"
        if strict:
            raise MissingDependencyError(f"OVITO can't render here ({reason}): {fix}.") from None
        if not missing:
            warnings.warn(
                f"OVITO can't render here ({reason}), so matplotlib draws: {fix}, or choose the renderer.",
                PropensityWarning,
                stacklevel=3,
            )
        return None
