"""Every figure of the package: one style, colours that people with any colour vision can read, particles."""

from propensity.plotting.particles import (
    DIAMETERS,
    draw_slab,
    draw_spheres,
    fractions_of,
    plot_propensity,
    sizes_of,
)
from propensity.plotting.shading import Scale, Shading, relative_to_species, shade
from propensity.plotting.style import DIVERGING, SEQUENTIAL, SPECIES, new_figure, save_figure, styled

__all__ = [
    "DIAMETERS",
    "DIVERGING",
    "SEQUENTIAL",
    "SPECIES",
    "Scale",
    "Shading",
    "draw_slab",
    "draw_spheres",
    "fractions_of",
    "new_figure",
    "plot_propensity",
    "relative_to_species",
    "save_figure",
    "shade",
    "sizes_of",
    "styled",
]
