"""From values of particles to colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from propensity.errors import InputError
from propensity.plotting.style import DIVERGING, SEQUENTIAL

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable

Scale = Literal["own", "relative", "all"]


@dataclass(frozen=True, eq=False)
class Shading:
    """Colours of particles, RGBA in (N, 4), and the scales that explain them: (label, for ``colorbar``).

    Parameters
    ----------
    rgba
        One row a particle, shape (N, 4), between 0 and 1; (P, N, 4) for P panels.
    scales
        Label and ``ScalarMappable`` of each colour bar.
    """

    rgba: np.ndarray
    scales: list[tuple[str, ScalarMappable]]


def relative_to_species(values: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Values (N,) divided by the mean over the particles of the same type.

    Parameters
    ----------
    values
        Shape (N,); NaN is left out of the means.
    types
        Shape (N,).

    Returns
    -------
    numpy.ndarray
        Shape (N,).
    """
    values = np.asarray(values, dtype=float)
    known = np.isfinite(values)
    means = np.array(
        [
            values[(types == k) & known].mean() if ((types == k) & known).any() else np.nan
            for k in range(types.max() + 1)
        ]
    )
    return np.asarray(values / means[types])


def shade(
    values: np.ndarray,
    types: np.ndarray,
    species: Sequence[str],
    *,
    scale: Scale = "own",
    label: str = "propensity (σ)",
    cmap: str | None = None,
) -> Shading:
    """Colours of particles by their values, spanning the 2nd to 98th percentile.

    Parameters
    ----------
    values
        One a particle, shape (N,), or of P panels that share their scales, (P, N); NaN is drawn in grey.
    types
        Species as integers, shape (N,).
    species
        Their names.
    scale
        ``"own"``: each species has its own scale, since small particles move more than large ones;
        ``"relative"``: values are divided by the mean of the species; ``"all"``: one scale.
    label
        Of the scale.
    cmap
        Name of a colour map; None: viridis, around a mean RdYlBu.

    Returns
    -------
    Shading
        Ready for :func:`draw_slab`.

    Raises
    ------
    InputError
        For an unknown ``scale``.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize, TwoSlopeNorm

    values = np.asarray(values, dtype=float)
    panels = np.atleast_2d(values)
    if scale not in ("own", "relative", "all"):
        raise InputError(f"scale is {scale!r}: choose 'own', 'relative' or 'all'.")
    relative = scale == "relative"
    shown = np.stack([relative_to_species(panel, types) for panel in panels]) if relative else panels
    colours = colormaps[cmap or (DIVERGING if relative else SEQUENTIAL[0])].with_extremes(bad="0.72")
    rgba, scales = np.zeros((*shown.shape, 4)), []
    present = [k for k in range(len(species)) if (types == k).any()]
    groups = [(species[k], types == k) for k in present] if scale == "own" else [("", types >= 0)]
    for name, mine in groups:
        finite = shown[:, mine][np.isfinite(shown[:, mine])]
        low, high = np.percentile(finite, [2, 98]) if len(finite) else (0.0, 1.0)
        norm = TwoSlopeNorm(1.0, low, high) if relative and low < 1 < high else Normalize(low, high)
        mappable = ScalarMappable(norm, colours)
        rgba[:, mine] = mappable.to_rgba(np.ma.masked_invalid(shown[:, mine]))
        text = f"{label.split(' (')[0]} / mean of the species" if relative else label
        if len(finite):
            scales.append((f"{name}: {text}" if name and len(groups) > 1 else text, mappable))
    return Shading(rgba.reshape(*values.shape, 4), scales)
