"""Pictures of particles coloured by their propensity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from propensity.errors import InputError
from propensity.plotting.shading import relative_to_species
from propensity.plotting.style import DIVERGING, new_figure, styled
from propensity.structure import Structure, checked_structure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import EllipseCollection
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

#: Diameters of A and B in the Kob–Andersen liquid, in σ_AA; particles are drawn a little smaller.
DIAMETERS = (1.0, 0.88)


def fractions_of(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Positions as fractions, (N, 3), of a cell that holds them, (3, 3).

    Periodic directions are wrapped; open ones get an edge on which the particles just fit, centred.

    Parameters
    ----------
    structure
        Any.

    Returns
    -------
    fractions, cell
        Shapes (N, 3) and (3, 3).
    """
    cell, pbc = structure.cell.copy(), structure.pbc
    if not pbc.all():
        missing = ~pbc & ~cell.any(axis=1)
        if missing.any():
            given = cell[~missing]
            basis = np.linalg.svd(given, full_matrices=True)[2][len(given) :] if len(given) else np.eye(3)
            cell[missing] = basis
        cell[~pbc] /= np.linalg.norm(cell[~pbc], axis=1, keepdims=True)
    fractions = np.linalg.solve(cell.T, structure.positions.T).T
    reach = np.maximum(np.ptp(fractions, axis=0), 1.0)
    middle = fractions.min(axis=0) + 0.5 * np.ptp(fractions, axis=0)
    cell[~pbc] *= reach[~pbc, None]
    return np.where(pbc, fractions - np.floor(fractions), (fractions - middle) / reach + 0.5), cell


@styled
def draw_slab(
    axes: Axes,
    structure: Structure,
    values: np.ndarray | None = None,
    *,
    rgba: np.ndarray | None = None,
    thickness: float = 2.2,
    centre: float = 0.5,
    direction: int = 2,
    diameters: Sequence[float] | np.ndarray = DIAMETERS,
    cmap: str | Colormap = DIVERGING,
    norm: Normalize | None = None,
) -> EllipseCollection:
    """Draw the particles of a slab perpendicular to two cell vectors, the deeper ones first.

    Parameters
    ----------
    axes
        Where to draw.
    structure
        Of any cell; a plane of particles is drawn whole.
    values
        One value a particle, shape (N,); NaN is drawn in grey.
    rgba
        Colours, shape (N, 4), instead of values, e.g. of :func:`shade`.
    thickness, centre
        Thickness in units of length, and middle of the slab as a fraction of the cell vector across it.
    direction
        Cell vector across the slab, 0, 1 or 2.
    diameters
        Of each type, or of each particle (N,), in units of length.
    cmap, norm
        Colours of values; the norm spans the 2nd to 98th percentile of the values unless given.

    Returns
    -------
    EllipseCollection
        Of the discs; with values it is what ``figure.colorbar`` takes.

    Raises
    ------
    InputError
        For a slab, direction or colours that don't fit the structure.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Polygon

    if direction not in (0, 1, 2):
        raise InputError(f"direction is {direction}: give the cell vector across the slab, 0, 1 or 2.")
    colours = (colormaps[cmap] if isinstance(cmap, str) else cmap).with_extremes(bad="0.75")
    if rgba is None:
        values = _checked(values, structure)
        norm = norm if norm is not None else Normalize(*np.nanpercentile(values, [2, 98]))
        rgba = ScalarMappable(norm, colours).to_rgba(np.ma.masked_invalid(values))
    size = sizes_of(structure, diameters)
    fractions, cell = fractions_of(structure)
    first, second = (k for k in range(3) if k != direction)
    height = 1 / np.linalg.norm(np.linalg.inv(cell)[:, direction])
    away = fractions[:, direction] - centre
    periodic = structure.pbc
    depth = (away - np.round(away) if periodic[direction] else away) * height
    flat = np.ptp(fractions[:, direction]) < 1e-9
    chosen = np.flatnonzero(np.abs(depth) <= thickness / 2) if not flat else np.arange(len(structure))
    basis = _plane_basis(cell[first], cell[second])
    edges = np.stack([cell[first] @ basis.T, cell[second] @ basis.T])
    # Images whose discs reach over an edge of the box; the slab is drawn untilted.
    steps = [(-1, 0, 1) if periodic[k] else (0,) for k in (first, second)]
    plane = fractions[chosen][:, None, [first, second]] + np.array(list(product(*steps)))[None]
    margin = size.max() / np.linalg.norm(edges, axis=1).min()
    visible = ((plane > -margin) & (plane < 1 + margin)).all(axis=2)
    row = np.nonzero(visible)[0]
    order = np.argsort(depth[chosen[row]], kind="stable")
    index, points = chosen[row][order], (plane[visible] @ edges)[order]
    discs = _discs(axes, points, 0.94 * size[index], rgba[index])
    if values is not None:
        discs.set(array=np.ma.masked_invalid(values[index]), cmap=colours, norm=norm)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) @ edges
    box = Polygon(corners, closed=True, fill=False, edgecolor="0.1", linewidth=1.0, zorder=3, clip_on=False)
    axes.add_patch(box)
    low, high = corners.min(axis=0), corners.max(axis=0)
    if periodic[[first, second]].all():
        discs.set_clip_path(box)
    else:
        low, high = low - size.max() / 2, high + size.max() / 2
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    axes.set_facecolor("0.16")
    _bare(axes)
    return discs


@styled
def draw_spheres(
    axes: Axes,
    structure: Structure,
    rgba: np.ndarray,
    *,
    diameters: Sequence[float] | np.ndarray = DIAMETERS,
    view: tuple[float, float, float] = (0.62, -1.0, 0.42),
) -> None:
    """Draw all particles as seen from far away along ``view``, nearer ones over deeper and brighter.

    Parameters
    ----------
    axes
        Where to draw.
    structure
        Of any cell.
    rgba
        Colours, shape (N, 4).
    diameters
        Of each type, or of each particle (N,).
    view
        Direction towards the eye.
    """
    from matplotlib.collections import LineCollection

    size = sizes_of(structure, diameters)
    fractions, cell = fractions_of(structure)
    eye = np.array(view) / np.linalg.norm(view)
    right = np.cross([0, 0, 1], eye) if abs(eye[2]) < 0.999 else np.array([1.0, 0, 0])
    right = right / np.linalg.norm(right)
    camera = np.stack([right, np.cross(eye, right), eye])
    points = (fractions - 0.5) @ cell @ camera.T
    order = np.argsort(points[:, 2], kind="stable")
    near = (points[:, 2] - points[:, 2].min()) / max(np.ptp(points[:, 2]), 1e-9)
    colours = np.asarray(rgba, dtype=float).copy()
    # Depth fades into the white of the page.
    colours[:, :3] += (1 - colours[:, :3]) * 0.55 * (1 - near[:, None])
    _discs(axes, points[order, :2], 0.97 * size[order], colours[order])
    corners = np.array(list(product((-0.5, 0.5), repeat=3)))
    pairs = [(a, b) for a in range(8) for b in range(a) if np.abs(corners[a] - corners[b]).sum() == 1]
    seen = corners @ cell @ camera.T
    nearest = int(seen[:, 2].argmax())
    for behind in (True, False):
        lines = [seen[[a, b], :2] for a, b in pairs if (nearest not in (a, b)) == behind]
        axes.add_collection(LineCollection(lines, colors="0.35", linewidths=0.8, zorder=0.5 if behind else 3))
    low, high = seen[:, :2].min(axis=0) - size.max(), seen[:, :2].max(axis=0) + size.max()
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal", xticks=[], yticks=[])
    _bare(axes)


@styled
def plot_propensity(
    structure: Structure,
    panels: Mapping[str, np.ndarray],
    *,
    label: str = "propensity (σ)",
    relative: bool = False,
    unit: str = "σ",
    **options: Any,
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
    unit
        Of length, for the axes.
    options
        Passed to :func:`draw_slab`.

    Returns
    -------
    Figure
        Save it with ``figure.savefig("slab.png", dpi=200)``.

    Raises
    ------
    InputError
        For panels that are no mapping, or whose values are not one for each particle.
    """
    from matplotlib.colors import Normalize, TwoSlopeNorm
    from matplotlib.ticker import MaxNLocator

    checked_structure(structure)
    if not isinstance(panels, Mapping) or not panels:
        raise InputError("panels is no mapping: give titles and values, such as {'predicted': propensity}.")
    for title, values in panels.items():
        if np.shape(values) != (len(structure),) or not np.isfinite(np.asarray(values, float)).any():
            raise InputError(
                f"panel {title!r} has shape {np.shape(values)}: give a number for each of {len(structure)}"
                " particles, not all of them NaN."
            )
    shown = {
        title: relative_to_species(v, structure.types) if relative else np.asarray(v, float)
        for title, v in panels.items()
    }
    low, high = np.nanpercentile(np.concatenate(list(shown.values())), [2, 98])
    norm = TwoSlopeNorm(1.0, low, high) if relative and low < 1 < high else Normalize(low, high)
    figure = new_figure(3.4 * len(shown) + 0.9, 3.9)
    row = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    direction = options.get("direction", 2)
    first, second = ("xyz"[k] for k in range(3) if k != direction)
    for axes, (title, values) in zip(row, shown.items(), strict=True):
        mappable = draw_slab(axes, structure, values, norm=norm, **options)
        axes.set_title(title)
        axes.set_xlabel(f"{first} ({unit})")
        # Few and short, so that the last of a panel stays clear of the first of the next.
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    row[0].set_ylabel(f"{second} ({unit})")
    bar = figure.colorbar(mappable, ax=list(row), shrink=0.86, pad=0.015, extend="both", aspect=28)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return figure


def sizes_of(structure: Structure, diameters: Sequence[float] | np.ndarray) -> np.ndarray:
    """Diameter of each particle, shape (N,), from those of particles or of types.

    Parameters
    ----------
    structure
        Any.
    diameters
        Of each particle, shape (N,), or of each type, in the units of the structure.

    Returns
    -------
    numpy.ndarray
        In the units of the structure.
    """
    sizes = np.asarray(diameters, dtype=float)
    if sizes.shape == (len(structure),) and len(sizes) > structure.types.max() + 1:
        return sizes
    return np.asarray(sizes[np.minimum(structure.types, len(sizes) - 1)])


def _checked(values: np.ndarray | None, structure: Structure) -> np.ndarray:
    found = np.asarray(values, dtype=float)
    if found.shape != (len(structure),):
        raise InputError(
            f"values have shape {found.shape} for {len(structure)} particles: give one a particle."
        )
    return found


def _plane_basis(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two unit vectors of a plane as rows, (2, 3), the first along ``first``."""
    along = first / np.linalg.norm(first)
    across = second - (second @ along) * along
    return np.stack([along, across / np.linalg.norm(across)])


def _discs(axes: Axes, points: np.ndarray, size: np.ndarray, rgba: np.ndarray) -> EllipseCollection:
    from matplotlib.collections import EllipseCollection

    discs = EllipseCollection(
        size,
        size,
        np.zeros(len(size)),
        units="xy",
        offsets=points,
        offset_transform=axes.transData,
        facecolors=rgba,
        linewidths=0.35,
        edgecolors=np.column_stack([0.45 * rgba[:, :3], np.ones(len(rgba))]),
    )
    axes.add_collection(discs)
    return discs


def _bare(axes: Axes) -> None:
    axes.grid(False)
    axes.tick_params(direction="out", length=3)
    for spine in axes.spines.values():
        spine.set_visible(False)
