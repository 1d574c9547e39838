"""The modifier *Propensity* of OVITO's menus, found through the entry point group ``OVITO.Modifier``."""

# OVITO is imported with this file, as its entry points ask for.

from __future__ import annotations

from typing import Any

from ovito.data import DataCollection
from ovito.pipeline import ModifierInterface
from traits.api import Enum, Float, Str

from propensity.integrations.ovito import add_columns
from propensity.model_options import times_from_text
from propensity.predictor import Predictor
from propensity.species import parse_species_map


class PropensityModifier(ModifierInterface):
    """Add ``propensity`` and ``propensities`` of a model to the particles.

    Parameters are those of :class:`propensity.Predictor`; a species map is written ``1=A,2=B``, in the names
    or numbers of OVITO's particle types.

    Examples
    --------
    >>> pipeline.modifiers.append(PropensityModifier(species_map="1=A,2=B"))                  # doctest: +SKIP
    """

    model = Str("ka-default", label="Model")
    species_map = Str("", label="Species (1=A,2=B)")
    length_scale = Float(0.0, label="Length of \u03c3 (0: as trained)")
    potential = Enum("", "lj/cut", "lj/cut force-shifted", label="Potential, for minima and cages")
    temperature = Float(0.0, label="Temperature (0: that of the model)")
    times = Str("", label="Times (empty: those of the model)")
    device = Enum("", "cpu", "cuda", label="Device")

    def modify(self, data: DataCollection, *, frame: int, **_: Any) -> None:
        """Called by OVITO for every frame."""
        key = (self.model, self.length_scale, self.potential, self.temperature, self.times, self.device)
        if getattr(self, "_made", None) != key:
            self._predictor = Predictor(
                self.model,
                device=self.device or None,
                length_scale=self.length_scale or None,
                potential=self.potential or None,
                temperature=self.temperature or None,
                times=times_from_text(self.times or None),
            )
            self._made = key
        add_columns(data, self._predictor, parse_species_map(self.species_map or None))
