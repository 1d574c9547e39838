"""The card of a model: what it is, on what it was trained and where it may be trusted."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from propensity.errors import DataError
from propensity.estimators.conditions import Conditions, Elsewhere
from propensity.estimators.migrations import FORMAT_VERSION, MIGRATIONS
from propensity.estimators.ranges import TrainingRange

#: What no model has more of; a card that says otherwise is damaged, or wants to exhaust the machine.
MAX_SPECIES, MAX_TIMES, MAX_CUTOFF, MAX_NAME = 100, 10_000, 20.0, 1000


class Card(BaseModel):
    """Everything about a model but its weights; stored as ``model.json`` beside ``model.safetensors``."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    format_version: Literal[3] = Field(3, description="Version of the layout of the card.")
    kind: str = Field(description="Estimator class, as registered in propensity.estimators.kinds.")
    name: str = Field("", description="Name under which the model is known.")
    description: str = Field("", description="What it is, in a sentence.")
    config: dict[str, Any] = Field(default_factory=dict, description="Hyper-parameters of the estimator.")
    species: tuple[str, ...] = Field(description="Species in the order of the types.")
    trained_species: tuple[str, ...] = Field(
        (), description="Species whose labels were in the loss; empty: all."
    )
    cutoff: float | None = Field(None, description="Range of the graph in σ_AA.")
    times: tuple[float, ...] = Field(description="Times of the outputs in LJ units.")
    default_time_index: int = Field(
        0, description="Output that is meant where one number a particle is asked for."
    )
    input_positions: Literal["thermal", "inherent", "both"] = Field(
        "thermal",
        description=(
            "Positions the model was trained on; both: inherent ones, with the offsets to the thermal ones."
        ),
    )
    cage_recipe: dict[str, Any] = Field(
        default_factory=dict,
        description=(
            "Radii, steps and temperature of the cage states that the model sees, and whether their centre of"
            " mass is held; empty: none."
        ),
    )
    committee: tuple[str, ...] = Field(
        (), description="Names of the models beside this one that make a committee with it."
    )
    uncertainty: dict[str, Any] = Field(
        default_factory=dict,
        description="Calibration of the standard error, see propensity.estimators.uncertainty; empty: none.",
    )
    scalar_recipe: dict[str, Any] = Field(
        default_factory=dict,
        description="How the scalars beside the species are measured, and their scales; empty: none.",
    )
    target_mean: list[list[float]] = Field(
        default_factory=list,
        description="Mean of the labels, (n_species, n_times); outputs are standardised by it.",
    )
    target_std: list[list[float]] = Field(
        default_factory=list, description="Standard deviation of the labels, (n_species, n_times)."
    )
    temperature: float | None = Field(None, description="k_B T/ε_AA of the training data.")
    elsewhere: tuple[Elsewhere, ...] = Field(
        (), description="What is known of the predictions at other temperatures."
    )
    conditions: Conditions | None = Field(
        None,
        description="State points of a model of several temperatures; none: it answers for one.",
    )
    length_scale: float = Field(
        1.0,
        gt=0,
        description="Length of σ in the units of the training data's files; predictions come back in these.",
    )
    potential: str | None = Field(None, description="Interaction of the training data.")
    dimension: Literal[2, 3] = Field(3, description="Dimension of the liquid.")
    density: float | None = Field(
        None, description="Number density of the training data in σ_AA⁻³, σ_AA⁻² in two dimensions."
    )
    mean_neighbours: float | None = Field(
        None, description="Neighbours of a particle within the cutoff, on average over the training data."
    )
    composition: tuple[float, ...] = Field((), description="Fraction of each species in the training data.")
    training_range: TrainingRange | None = Field(
        None,
        description="Neighbourhoods of the training particles, outside of which predictions mean little.",
    )
    training: dict[str, Any] = Field(
        default_factory=dict, description="Data, splits and options of the training."
    )
    metrics: dict[str, Any] = Field(default_factory=dict, description="Scores on held-out structures.")
    license: str = Field("Apache-2.0", description="SPDX identifier of the weights.")
    citation: str = Field("", description="Paper to cite.")

    @model_validator(mode="after")
    def _consistent(self) -> Card:
        if not self.species or not self.times:
            raise ValueError("species and times must not be empty")
        if not 0 <= self.default_time_index < len(self.times):
            raise ValueError(
                f"default_time_index {self.default_time_index} is not an index of {len(self.times)} times"
            )
        if len(set(self.species)) < len(self.species) or len(self.species) > MAX_SPECIES:
            raise ValueError(f"species must be at most {MAX_SPECIES} names, each once")
        if len(self.times) > MAX_TIMES or not all(0 < time < math.inf for time in self.times):
            raise ValueError(f"times must be at most {MAX_TIMES} positive finite numbers")
        if self.composition and (
            len(self.composition) != len(self.species) or not all(0 <= x <= 1 for x in self.composition)
        ):
            raise ValueError(f"composition must have a fraction for each of {len(self.species)} species")
        for name in ("cutoff", "density", "temperature"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be a positive number")
        if self.cutoff is not None and self.cutoff > MAX_CUTOFF:
            raise ValueError(f"cutoff {self.cutoff:g} is beyond {MAX_CUTOFF:g} σ")
        for text in (self.kind, self.name, *self.species):
            if not text.isprintable() or len(text) > MAX_NAME:
                raise ValueError(f"{text[:40]!r} is no name: names are printable and short")
        unknown = set(self.trained_species) - set(self.species)
        if unknown:
            raise ValueError(f"trained_species {sorted(unknown)} are not among species {self.species}")
        for name in ("target_mean", "target_std"):
            rows = getattr(self, name)
            if rows and (len(rows) != len(self.species) or any(len(row) != len(self.times) for row in rows)):
                raise ValueError(f"{name} must have shape ({len(self.species)}, {len(self.times)})")
        return self

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str = "model card") -> Card:
        """Read a card of any known version; ``source`` names it in errors.

        Parameters
        ----------
        values
            Contents of ``model.json``.
        source
            Name in errors.

        Returns
        -------
        Card
            Of the present version.

        Raises
        ------
        DataError
            For a version that is unknown (made by a newer release) or contents that don't fit.
        """
        version = values.get("format_version")
        if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
            raise DataError(
                f"{source} has format version {version!r} and this release reads 1..{FORMAT_VERSION}: update"
                " propensity."
            )
        try:
            while version < FORMAT_VERSION:
                values = MIGRATIONS[version](dict(values))
                version = values["format_version"]
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "contents"
            raise DataError(f"{source} is not a valid model card: {where}: {first['msg']}.") from None
        except (AttributeError, TypeError, ValueError) as error:  # of migrations, by values of other types
            raise DataError(f"{source} is not a valid model card ({error}).") from None
