"""Pictures of particles coloured by their propensity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, cast

import numpy as np

from propensity.errors import InputError
from propensity.structure import Structure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

#: Colour maps that people with any colour vision can read: for values from low to high, and around a mean.
SEQUENTIAL = ("viridis", "cividis", "inferno")
DIVERGING = "RdYlBu_r"

#: Diameters of A and B in the Kob–Andersen liquid, in σ_AA; particles are drawn a little smaller.
DIAMETERS = (1.0, 0.88)


def relative_to_species(values: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Values (N,) divided by the mean over the particles of the same type."""
    values = np.asarray(values, dtype=float)
    means = np.array(
        [values[types == k].mean() if (types == k).any() else np.nan for k in range(types.max() + 1)]
    )
    return cast("np.ndarray", values / means[types])


def draw_slab(
    axes: Axes,
    structure: Structure,
    values: np.ndarray,
    *,
    thickness: float = 2.2,
    centre: float = 0.5,
    diameters: Sequence[float] = DIAMETERS,
    cmap: str | Colormap = "RdYlBu_r",
    norm: Normalize | None = None,
) -> ScalarMappable:
    """Draw the particles of a slab perpendicular to the third cell vector, the deeper ones first.

    Parameters
    ----------
    axes
        Where to draw.
    structure
        Its first two cell vectors must lie in the xy plane, as all do but those of general orientation.
    values
        One value a particle, shape (N,); NaN is drawn in grey.
    thickness, centre
        Thickness in units of length and middle of the slab as a fraction of the third cell vector.
    diameters
        Of each type, in units of length.
    cmap, norm
        Colours; the norm spans the 2nd to 98th percentile of the values unless given.

    Returns
    -------
    ScalarMappable
        For ``figure.colorbar``.
    """
    from matplotlib import colormaps
    from matplotlib.collections import EllipseCollection
    from matplotlib.colors import Normalize
    from matplotlib.patches import Polygon

    values = np.asarray(values, dtype=float)
    if values.shape != (len(structure),):
        raise InputError(
            f"values have shape {values.shape} for {len(structure)} particles: give one a particle."
        )
    cell = structure.cell
    if not structure.pbc.all() or np.abs(cell[:2, 2]).max() > 1e-9:
        raise InputError(
            "only periodic boxes whose first two vectors lie in the xy plane can be drawn: turn the box."
        )
    if norm is None:
        norm = Normalize(*np.nanpercentile(values, [2, 98]))

    fractions = structure.positions @ np.linalg.inv(cell)
    depth = (fractions[:, 2] - centre + 0.5) % 1 - 0.5
    chosen = np.abs(depth) * abs(cell[2, 2]) <= thickness / 2
    fractions = fractions % 1
    # Images whose discs reach over an edge of the box; the slab is drawn untilted.
    margin = max(diameters) / np.linalg.norm(cell[:2, :2], axis=1).min()
    shifts = np.array(list(product((-1, 0, 1), repeat=2)))
    plane = fractions[chosen][:, None, :2] + shifts[None]
    visible = ((plane > -margin) & (plane < 1 + margin)).all(axis=2)
    row, _ = np.nonzero(visible)
    index = np.flatnonzero(chosen)[row]
    order = np.argsort(depth[index], kind="stable")
    index, points = index[order], (plane[visible] @ cell[:2, :2])[order]

    colours = (colormaps[cmap] if isinstance(cmap, str) else cmap).with_extremes(bad="0.75")
    size = 0.94 * np.array([diameters[min(k, len(diameters) - 1)] for k in structure.types[index]])
    discs = EllipseCollection(
        size,
        size,
        np.zeros(len(size)),
        units="xy",
        offsets=points,
        offset_transform=axes.transData,
        cmap=colours,
        norm=norm,
        linewidths=0.4,
        edgecolors=(0.1, 0.1, 0.15, 0.8),
    )
    discs.set_array(np.ma.masked_invalid(values[index]))
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) @ cell[:2, :2]
    axes.add_collection(discs)
    box = Polygon(corners, closed=True, fill=False, edgecolor="black", linewidth=1.0, zorder=3, clip_on=False)
    axes.add_patch(box)
    discs.set_clip_path(box)
    low, high = corners.min(axis=0), corners.max(axis=0)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.set_facecolor("0.2")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return discs


def plot_propensity(
    structure: Structure,
    panels: Mapping[str, np.ndarray],
    *,
    label: str = "propensity (σ)",
    relative: bool = False,
    **options: object,
) -> Figure:
    """Slabs side by side with one colour bar.

    Parameters
    ----------
    structure
        The configuration.
    panels
        Title → values of shape (N,).
    label
        Of the colour bar.
    relative
        Divide the values of each panel by the mean of the particle's species, so that fast and slow
        regions show whatever the mixture.
    options
        Passed to :func:`draw_slab`.

    Returns
    -------
    Figure
        Save it with ``figure.savefig("slab.png", dpi=200)``.
    """
    from matplotlib.colors import Normalize, TwoSlopeNorm
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    shown = {
        title: relative_to_species(v, structure.types) if relative else np.asarray(v, float)
        for title, v in panels.items()
    }
    together = np.concatenate(list(shown.values()))
    low, high = np.nanpercentile(together, [2, 98])
    norm = TwoSlopeNorm(1.0, low, high) if relative and low < 1 < high else Normalize(low, high)
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)
    figure = Figure(figsize=(3.4 * len(shown) + 0.9, 3.9), layout=layout)
    row = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for axes, (title, values) in zip(row, shown.items(), strict=True):
        mappable = draw_slab(axes, structure, values, norm=norm, **options)  # type: ignore[arg-type]
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("x (σ)")
        axes.tick_params(direction="out", length=3, labelsize=8)
    row[0].set_ylabel("y (σ)")
    bar = figure.colorbar(mappable, ax=list(row), shrink=0.86, pad=0.015, extend="both", aspect=28)
    bar.set_label(label)
    bar.ax.tick_params(labelsize=8)
    return figure
