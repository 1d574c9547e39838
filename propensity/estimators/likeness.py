"""In what a structure differs from those that a model has seen: what users are warned about, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from propensity.errors import InputError, PropensityError
from propensity.estimators.card import Card
from propensity.estimators.inputs import blocks_of_rows
from propensity.estimators.neighbourhood import fitting_length_scale
from propensity.estimators.ranges import LARGEST, Distance, distance
from propensity.neighbours import nearest_neighbours
from propensity.physics.kob_andersen import POTENTIALS, rms_force
from propensity.structure import Structure

#: Relative deviation of the density, and absolute one of a mole fraction, beyond which a user is warned.
DENSITY_TOLERANCE = 0.05
COMPOSITION_TOLERANCE = 0.05
#: Fraction of particles in neighbourhoods that no training particle had, beyond which a structure is doubtful
#: (training structures: 0.0003) and beyond which predictions mean nothing (random positions, a wrong length).
DOUBTFUL, MEANINGLESS = 0.01, 0.9
#: Distance of two particles, as a fraction of the smallest in the training set, below which they are odd.
NEAR = 0.9
#: Distance of two particles, as a fraction of the smallest in the training set, below which they overlap; the
#: second is of ρ^(−1/d), for cards without ranges.
OVERLAP, OVERLAP_UNKNOWN = 0.6, 0.2
#: Rms force in ε/σ that tells minima (below 0.2) from thermal positions (25 at T = 0.44).
AT_REST = 1.0
#: Deviation of a prediction from the mean label, in their standard deviations, that no label has.
FAR = 12.0
#: Particles whose predictions are looked at side by side.
WIDE = 64
#: Spread of a committee, in standard deviations of the labels, beyond which its models disagree.
DISAGREE = 1.0


@dataclass(frozen=True)
class Likeness:
    """How much a structure is like those that the model was trained on, and its predictions like the labels.

    Attributes
    ----------
    reasons
        Topic → sentence of every doubt; none for a structure like those of the training.
    outside
        Fraction of particles whose neighbourhood no training particle had; NaN where the card doesn't say.
    nearest
        Smallest distance of two particles in σ; NaN likewise.
    negative
        Negative predictions, over particles and times.
    lowest
        Smallest prediction, in the units of the structure.
    temperature
        That inferred from the structure, where the model did so; else NaN.
    """

    reasons: dict[str, str] = field(default_factory=dict)
    outside: float = float("nan")
    nearest: float = float("nan")
    negative: int = 0
    lowest: float = float("nan")
    temperature: float = float("nan")

    @property
    def out_of_distribution(self) -> bool:
        """Whether there is any doubt."""
        return bool(self.reasons)


def measured(
    card: Card, structure: Structure, device: str = "cpu", rows: np.ndarray | slice = slice(None)
) -> Distance | None:
    """Distance of a structure (in σ), or of some of its particles, from the training set, refused where
    predictions mean nothing.

    Raises
    ------
    InputError
        For particles that overlap, or neighbourhoods of which none is like any in training.
    """
    known = card.training_range
    if known is None:
        check_overlaps(card, structure, device)
        return None
    return checked(card, structure, distance(known, structure, device, rows))


def checked(card: Card, structure: Structure, found: Distance) -> Distance:
    """Refuse a structure at a distance from the training set where predictions mean nothing.

    Raises
    ------
    InputError
        As :func:`measured`.
    """
    if found.nearest < OVERLAP * found.closest_known:
        raise InputError(
            f"two particles are {found.nearest:.3g} σ apart, and none of the training set came closer than"
            f" {found.closest_known:.3g}: predictions mean nothing there, so check positions, box and"
            " length_scale."
        )
    if found.outside > MEANINGLESS:
        raise InputError(
            f"{found.outside:.0%} of the particles have neighbourhoods that no training particle had (first"
            f" shell too empty: {found.sparse:.0%}, too full: {found.dense:.0%}): predictions mean nothing,"
            f" so check length_scale, box and species_map.{_hint(card, structure)}"
        )
    return found


def _hint(card: Card, structure: Structure) -> str:
    if not card.density or not structure.density:
        return ""
    ratio = (card.density / structure.density) ** (1 / card.dimension)
    return (
        f" The number density is {structure.density:.4g} where the model was trained at {card.density:.4g},"
        f" as if lengths were {ratio:.3g} times as large."
    )


def check_overlaps(card: Card, structure: Structure, device: str = "cpu") -> None:
    """Refuse particles that overlap, as no liquid at the density of the training has them.

    Raises
    ------
    InputError
        With the smallest distance.
    """
    density = card.density or structure.density
    if card.training_range is not None:
        limit = OVERLAP * min(row[0] for row in card.training_range.nearest)
    elif density:
        limit = OVERLAP_UNKNOWN * density ** (-1 / card.dimension)
    else:
        return
    nearest = float(nearest_neighbours(structure, limit, device)[0].min(initial=np.inf))
    if nearest < limit:
        raise InputError(
            f"two particles are {nearest:.3g} σ apart, which no liquid allows at this density: predictions"
            " mean nothing there, so check positions, box and length_scale."
        )


def doubts(
    card: Card,
    structure: Structure,
    *,
    length_scale: float = 1.0,
    minimised: bool = True,
    potential: str | None = None,
    found: Distance | None = None,
    forces: bool = False,
) -> dict[str, str]:
    """Why a prediction may mislead, as topic → one sentence.

    Parameters
    ----------
    card
        Of the model.
    structure
        What the model will see, in σ.
    length_scale
        By which its lengths were divided.
    minimised
        Whether an inherent structure is known to be one, or will be found.
    potential
        Interaction of the structure where it is known.
    found
        Its distance from the training set, by :func:`measured`.
    forces
        Whether to tell a minimum from thermal positions by the forces for models of thermal ones, too.

    Raises
    ------
    InputError
        For thermal positions of the Kob–Andersen mixture, by their forces, where the model wants minima.
    """
    texts = {
        "positions": _positions(card, structure, minimised, length_scale, forces),
        "boundaries": _boundaries(card, structure),
        "density": _density(card, structure, length_scale),
        "composition": _composition(card, structure),
        "interaction": _interaction(card, potential),
    }
    return {topic: text for topic, text in texts.items() if text} | of_neighbourhoods(found)


def of_predictions(
    card: Card, structure: Structure, members: np.ndarray, extremes: Extremes | None = None
) -> dict[str, str]:
    """Doubts about predictions in σ at all times of the model, shape (n_models, N, n_times)."""
    mean, std = (np.array(x) for x in (card.target_mean, card.target_std))
    if mean.size == 0 or (len(members) == 1 and (extremes or Extremes.of(members)).are_near(mean, std)):
        return {}
    away, spreads, found = 0.0, np.zeros(2), {}
    with np.errstate(invalid="ignore"):
        for rows in blocks_of_rows(len(structure)):
            types, some = structure.types[rows], members[:, rows]
            std_of = std.take(types, axis=0)
            distances = some - mean.take(types, axis=0)
            distances /= std_of
            away = max(away, float(np.fmax.reduce(np.abs(distances, out=distances), axis=None, initial=0.0)))
            if len(members) > 1:
                spread = some.std(axis=0, ddof=1) / std_of
                spreads += np.nansum(spread), np.isfinite(spread).sum()
    if away > FAR:
        found["predictions"] = (
            f"a prediction is {away:.3g} standard deviations of the labels from their mean: it lies outside"
            " of what the model knows."
        )
    if spreads[1] and spreads[0] / spreads[1] > DISAGREE:
        found["committee"] = (
            f"the models of the committee differ by {spreads[0] / spreads[1]:.2g} standard deviations of the"
            " labels: the structure is outside of what they know."
        )
    return found


@dataclass(frozen=True, eq=False)
class Extremes:
    """Smallest and largest of predictions at each time, shape (n_times,); NaN where one of them is."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, predictions: np.ndarray) -> Extremes:
        """Of shape (..., N, n_times)."""
        found = predictions.reshape(-1, predictions.shape[-1])
        rows = len(found) // WIDE
        if not rows:
            return cls(found.min(axis=0), found.max(axis=0))
        # Rows side by side, since numpy is slow along short ones; the last may be looked at twice.
        wide, last = found[: rows * WIDE].reshape(rows, -1), found[-WIDE:].ravel()
        low, high = np.minimum(wide.min(axis=0), last), np.maximum(wide.max(axis=0), last)
        return cls(low.reshape(WIDE, -1).min(axis=0), high.reshape(WIDE, -1).max(axis=0))

    @property
    def are_finite(self) -> bool:
        """Whether all predictions are."""
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    def are_near(self, mean: np.ndarray, std: np.ndarray) -> bool:
        """Whether even these are near the labels of every species: if so, all predictions are."""
        away = np.maximum(self.high - mean.min(axis=0), mean.max(axis=0) - self.low)
        return bool((away <= FAR * std.min(axis=0)).all())


def check_finite(
    card: Card, types: np.ndarray, propensities: np.ndarray, extremes: Extremes | None = None
) -> np.ndarray:
    """Refuse predictions that are NaN or infinite; gives the species without training, whose may be.

    Parameters
    ----------
    card
        Of the model.
    types
        Of the particles that were predicted, shape (N,).
    propensities
        Shape (..., N, n_times).
    extremes
        Theirs, where they are known.

    Returns
    -------
    bool, (n_species,)

    Raises
    ------
    PropensityError
        With the fraction of them.
    """
    trained = card.trained_species or card.species
    untrained = np.array([name not in trained for name in card.species])
    if (extremes or Extremes.of(propensities)).are_finite:
        return untrained
    bad = total = 0
    for rows in blocks_of_rows(len(types)):
        ours = np.isfinite(propensities[..., rows, :][..., ~untrained[types[rows]], :])
        bad, total = bad + ours.size - int(ours.sum()), total + ours.size
    if bad:
        raise PropensityError(
            f"{bad / total:.0%} of the predictions are NaN or infinite: the weights of the model are"
            " damaged, or the structure is far outside of what it knows."
        )
    return untrained


def of_neighbourhoods(found: Distance | None) -> dict[str, str]:
    """Doubt about a structure at a distance from the training set, as :func:`doubts`."""
    if found is None or (
        found.outside <= DOUBTFUL + found.by_chance and found.nearest >= NEAR * found.closest_known
    ):
        return {}
    text = (
        f"{found.outside:.1%} of the particles have neighbourhoods that no training particle had (first shell"
        f" too empty: {found.sparse:.1%}, too full: {found.dense:.1%}; two particles as near as"
        f" {found.nearest:.3g} σ, {found.closest_known:.3g} in training): predictions may mislead (is the"
        " state point that of the training, and are positions, box and species right?)."
    )
    return {"neighbourhood": text}


def _force(card: Card, structure: Structure) -> float | None:
    """Rms force in the potential of the training, where it is known."""
    if len(structure) > LARGEST:
        return None  # forces need all edges at once
    known = card.potential in POTENTIALS and structure.dimension == 3 and structure.types.max() < 2
    return rms_force(structure, str(card.potential)) if known and structure.is_periodic else None


def _positions(card: Card, structure: Structure, minimised: bool, length_scale: float, forces: bool) -> str:
    if card.input_positions == "thermal":
        force = _force(card, structure) if forces else None
        if force is None or force > AT_REST:
            return ""
        return (
            f"the structure is an energy minimum (forces of {force:.2g} ε/σ), and the model was trained on"
            " thermal positions: give those, or choose a model of inherent structures."
        )
    if card.input_positions != "inherent" or minimised or structure.thermal_offset is not None:
        return ""
    force = _force(card, structure)
    if force is not None and force <= AT_REST:
        return ""
    if force is not None:
        text = (
            f"the structure is no energy minimum (forces of {force:.3g} ε/σ in {card.potential!r}), and the"
            " model was trained on inherent structures: have it minimised (potential=...) or choose one of"
            " thermal positions"
        )
        if length_scale == 1.0:
            raise InputError(f"{text}.")
        return f"{text} (unless its own potential says otherwise)."
    return (
        "the model was trained on inherent structures: give energy minima, or have thermal positions"
        " minimised: potential=... (Kob–Andersen mixtures)."
    )


def _boundaries(card: Card, structure: Structure) -> str:
    if not structure.pbc.any():
        return (
            "the structure has no periodic box, so particles at its surface lack neighbours: predictions "
            "may mislead (does the file hold a cell?)."
        )
    if not structure.is_periodic:
        open_ones = [int(k) for k in structure.directions if not structure.pbc[k]]
        return (
            f"the structure is open along cell vector(s) {open_ones}, so particles at its surfaces lack"
            " neighbours: predictions may mislead there."
        )
    if structure.dimension == 3 and card.cutoff:
        heights = 1 / np.linalg.norm(np.linalg.inv(structure.cell), axis=0)
        if heights.min() < card.cutoff < heights.max() / 4:
            return (
                f"the periodic cell is {heights.min():.3g} σ thin along vector {int(heights.argmin())}, under"
                f" the range {card.cutoff:g} of the model, so that particles are their own neighbours: set"
                " pbc=False there for a film, or give planar positions for a liquid in two dimensions."
            )
    return ""


def _density(card: Card, structure: Structure, length_scale: float) -> str:
    density = structure.density
    if not card.density or not density or abs(density / card.density - 1) <= DENSITY_TOLERANCE:
        return ""
    unit = "σ⁻²" if card.dimension == 2 else "σ⁻³"
    fitting = length_scale * fitting_length_scale(density, card.density, card.dimension)
    return (
        f"number density is {density:.4g} {unit} and the model was trained at {card.density:.4g}: predictions"
        f" may mislead (is length_scale right? {fitting:.4g} would fit)."
    )


def _composition(card: Card, structure: Structure) -> str:
    if not card.composition:
        return ""
    here = structure.composition(len(card.species))
    if np.abs(here - card.composition).max() <= COMPOSITION_TOLERANCE:
        return ""
    return (
        f"composition is {np.round(here, 3).tolist()} of {list(card.species)} and the model was trained at"
        f" {np.round(card.composition, 3).tolist()}: predictions may mislead (is species_map right?)."
    )


def _interaction(card: Card, potential: str | None) -> str:
    if potential is None or card.potential is None or potential == card.potential:
        return ""
    return (
        f"the interaction is {potential!r} and the model was trained on {card.potential!r}: they are"
        " different liquids, so scores may mislead."
    )
