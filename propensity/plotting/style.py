"""The style of every figure."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from propensity.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

#: Colour maps that people with any colour vision can read: for values from low to high, and around a mean.
SEQUENTIAL = ("viridis", "cividis", "inferno")
DIVERGING = "RdYlBu_r"
#: Of species, curves and bars: Okabe and Ito (2008), told apart with any colour vision.
SPECIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

#: Settings of matplotlib inside :func:`styled` functions; nothing outside is touched.
_SETTINGS: dict[str, Any] = {
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "0.45",
    "axes.labelcolor": "0.1",
    "axes.labelsize": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "font.size": 9.5,
    "grid.color": "0.9",
    "grid.linewidth": 0.8,
    "image.cmap": SEQUENTIAL[0],
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.7,
    "lines.markersize": 4.5,
    "xtick.color": "0.35",
    "ytick.color": "0.35",
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function that draws in the style of the package.

    Parameters
    ----------
    function
        Draws with matplotlib.

    Returns
    -------
    Callable
        Of the same signature; settings of the user's matplotlib are as before when it returns.
    """

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        from cycler import cycler
        from matplotlib import rc_context

        settings: Any = {**_SETTINGS, "axes.prop_cycle": cycler(color=SPECIES)}
        with rc_context(settings):
            return function(*args, **kwargs)

    return inner


def new_figure(width: float, height: float) -> Figure:
    """Empty figure in inches that needs no display.

    Parameters
    ----------
    width, height
        In inches.

    Returns
    -------
    matplotlib.figure.Figure
        Without axes.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 150) -> None:
    """Write a figure in the format of the extension; the old file stays until the new one is complete.

    Parameters
    ----------
    figure
        Drawn.
    path
        With an extension that matplotlib writes.
    dpi
        Dots per inch of pixel formats.

    Raises
    ------
    MemoryError
        When the picture needs more than there is.
    """
    with replacing(path) as temporary:
        try:
            # Axes of equal units shrink after they were placed: only a second pass sees their titles.
            figure.draw_without_rendering()
            figure.savefig(temporary, dpi=dpi)
        except OSError as error:
            # What Pillow says when its encoder gets no memory.
            if "codec configuration error" in str(error):
                raise MemoryError(str(error)) from None
            raise
