"""What a model sees of a structure: which positions, and whether types and weights fit its card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch

from propensity.errors import DataError, InputError
from propensity.estimators.cages import checked_cage, made_so, misfit
from propensity.estimators.card import Card
from propensity.estimators.single import in_single_precision
from propensity.graph import Graph, build_graph
from propensity.neighbours.many import neighbour_lists
from propensity.nn.scalars import scalars_of, size_trend
from propensity.physics.interaction import CUT
from propensity.physics.kob_andersen import POTENTIALS
from propensity.sample import Sample
from propensity.structure import Structure

#: Particles of all structures of one batch: enough for a GPU to be busy, and 200 MB of edges at most.
TOGETHER = 32_768
#: Rows of one block.
ROWS = 1_000_000

OnePositions = Literal["thermal", "inherent"]
#: "both": the inherent positions, with the offset from there to the thermal ones.
InputPositions = Literal["thermal", "inherent", "both"]


class Inputs:
    """What a network sees of a structure, as its card says: one recipe for training, prediction and replay.

    Parameters
    ----------
    card
        Its ``cutoff``, ``input_positions`` and ``scalar_recipe``, and ``thermal_layers`` of its ``config``.
    """

    def __init__(self, card: Card) -> None:
        self.card = card

    def graph(
        self,
        structure: Structure,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Graph:
        """Graph of a structure at the positions that the model sees.

        Raises
        ------
        InputError
            When particles coincide, or when the model sees the thermal offset and there is none.
        """
        self.check(structure)
        cutoff = self.card.cutoff
        assert cutoff is not None  # networks have one
        graph = build_graph(structure, cutoff, device=device, dtype=dtype)
        if self.card.input_positions == "both" and structure.thermal_offset is not None:
            graph.thermal_offset = torch.from_numpy(structure.thermal_offset).to(graph.edge_vec)
            if self.card.config.get("thermal_layers"):
                moved = structure.with_positions(structure.positions + structure.thermal_offset)
                found = build_graph(moved, cutoff, device=device, dtype=dtype)
                graph.thermal_edge_index, graph.thermal_edge_vec = found.edge_index, found.edge_vec
        scalars = self.scalars(structure)
        if scalars is not None:
            graph.scalars = torch.from_numpy(scalars).to(graph.edge_vec)
        return graph

    def moved(self, structure: Structure, steps: torch.Tensor) -> Graph:
        """Graph as :meth:`graph`, a function of steps (N, 3) that thermal positions take.

        The neighbours are those of the structure, and what belongs to the minimum stays as it is.
        """
        graph = self.graph(structure, device=steps.device, dtype=steps.dtype)
        both = self.card.input_positions == "both"
        if both:
            graph.thermal_offset = graph.thermal_offset + steps
        edges = "thermal_edge" if both else "edge"
        if f"{edges}_index" in graph:
            source, destination = graph[f"{edges}_index"]
            setattr(graph, f"{edges}_vec", graph[f"{edges}_vec"] + steps[source] - steps[destination])
        return graph

    def joined_graph(
        self,
        structures: Sequence[Structure],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Graph:
        """One graph of many small structures, particle after particle.

        Raises
        ------
        InputError
            As :meth:`graph`.
        """
        for structure in structures:
            self.check(structure)
        cutoff = self.card.cutoff
        assert cutoff is not None
        index, vectors, _ = neighbour_lists(structures, cutoff, device=device, dtype=dtype)
        types = torch.from_numpy(np.concatenate([s.types for s in structures])).to(vectors.device)
        graph = Graph(types=types, edge_index=index, edge_vec=vectors)
        offsets = [s.thermal_offset for s in structures if s.thermal_offset is not None]
        if self.card.input_positions == "both" and offsets:
            graph.thermal_offset = torch.from_numpy(np.concatenate(offsets)).to(vectors)
            if self.card.config.get("thermal_layers"):
                moved = [s.with_positions(s.positions + o) for s, o in zip(structures, offsets, strict=True)]
                graph.thermal_edge_index, graph.thermal_edge_vec, _ = neighbour_lists(
                    moved, cutoff, device=device, dtype=dtype
                )
        scalars = [found for s in structures if (found := self.scalars(s)) is not None]
        if scalars:
            graph.scalars = torch.from_numpy(np.concatenate(scalars)).to(vectors)
        return graph

    def reach(self, structure: Structure, n_layers: int) -> float | None:
        """Distance beyond which nothing changes the outputs of a particle; None where that isn't known.

        Parameters
        ----------
        structure
            What the model sees.
        n_layers
            Layers that pass something on from neighbour to neighbour.
        """
        recipe = self.card.scalar_recipe
        energy = recipe.get("potential_energy") if recipe else None
        if self.card.cutoff is None or energy not in (None, *POTENTIALS):
            return None
        # Neighbours in one view of the structure may be as much farther apart in another.
        step = self.card.cutoff + 2 * largest_offset(structure)
        return n_layers * step + (0.0 if energy is None else CUT)

    def check(self, structure: Structure) -> None:
        """Refuse a structure without the thermal offset to a model that sees it.

        Raises
        ------
        InputError
            When it is missing.
        """
        if self.card.input_positions == "both" and structure.thermal_offset is None:
            raise InputError(
                "the model sees inherent structures with the offset to the thermal positions: give"
                " potential=... (--potential) and thermal positions, or a Structure with thermal_offset"
                " (Structure.at_minimum)."
            )

    def trend(self, structure: Structure) -> np.ndarray | float:
        """What the diameter alone says of standardised propensities, shape (N, n_times); 0 without one."""
        return size_trend(structure, self.card.scalar_recipe)

    def scalars(self, structure: Structure) -> np.ndarray | None:
        """Scalars beside the species, standardised, shape (N, n_extra); None where the model sees none."""
        return scalars_of(structure, self.card.scalar_recipe) if self.card.scalar_recipe else None


def small_batches(structures: Sequence[Structure]) -> Iterator[list[Structure]]:
    """Structures in order, as many at once as together are no larger than a usual one."""
    batch: list[Structure] = []
    together = 0
    for structure in structures:
        together += len(structure)
        if batch and together > TOGETHER:
            yield batch
            batch, together = [], len(structure)
        batch.append(structure)
    if batch:
        yield batch


def in_parts(values: np.ndarray, structures: Sequence[Structure]) -> list[np.ndarray]:
    """Rows of each of some structures, whose particles follow each other."""
    ends = np.cumsum([0, *map(len, structures)]).tolist()
    return [values[first:last] for first, last in pairwise(ends)]


def blocks_of_rows(n: int) -> Iterator[slice]:
    """Ranges of ``n`` rows in order, so that what is made on the way takes the memory of one."""
    for first in range(0, n, ROWS):
        yield slice(first, min(first + ROWS, n))


def largest_offset(structure: Structure) -> float:
    """Largest distance of a particle from its position, in any view that the structure brings."""
    found = 0.0
    if structure.thermal_offset is not None:
        found = float(np.linalg.norm(structure.thermal_offset, axis=1).max())
    if structure.cage is not None:
        found = max(found, float(np.linalg.norm(structure.cage.offset, axis=2).max()))
    return found


def input_structure(sample: Sample, input_positions: InputPositions) -> Structure:
    """Structure that a model sees: the thermal one, or the same particles at the inherent positions.

    With ``"both"`` it holds the offset to the thermal positions too.

    Raises
    ------
    DataError
        When inherent positions are asked for and the sample has none.
    """
    if input_positions == "thermal":
        return sample.structure
    if sample.inherent_positions is None:
        raise DataError(
            f"{sample.name} has no inherent positions: add them by `propensity convert --quench`, or train on"
            " input_positions='thermal'."
        )
    if input_positions == "inherent":
        return sample.structure.with_positions(sample.inherent_positions)
    structure = sample.structure.at_minimum(sample.inherent_positions)
    return structure if sample.cage is None else structure.with_cage(sample.cage)


def seen_structure(sample: Sample, card: Card) -> Structure:
    """Structure that a model sees of a sample, as :func:`input_structure`.

    Cage states, and minima below them, are made where the sample has none, or one unlike those that the model
    learned from, and its interaction is a Kob–Andersen mixture, as :class:`propensity.Predictor` makes them.
    """
    from propensity.physics.kob_andersen import POTENTIALS

    fits = sample.cage is not None and not misfit(card, sample.cage)
    if not card.cage_recipe or fits or sample.potential not in POTENTIALS:
        return checked_cage(card, input_structure(sample, card.input_positions))
    structure = sample.structure
    if sample.inherent_positions is not None:
        structure = structure.at_minimum(sample.inherent_positions)
    return prepared(in_single_precision(structure), card, sample.potential)


def prepared(structure: Structure, card: Card, potential: str, length_scale: float = 1.0) -> Structure:
    """What a model sees of a thermal structure in σ_AA: minimum and cage state are made where they lack.

    Parameters
    ----------
    structure
        Thermal configuration, or one at its minimum, with or without a cage state: what is given is used.
    card
        Of the model.
    potential
        That of the dynamics.
    length_scale
        Of σ_AA in the units of a LAMMPS input.
    """
    if structure.thermal_offset is None:
        from propensity.physics.quench import inherent_structure

        structure = structure.at_minimum(
            inherent_structure(structure, potential, length_scale=length_scale).positions
        )
    if card.cage_recipe and structure.cage is None:
        from propensity.physics.cage import cage_state

        recipe = made_so(card)
        if "temperature" not in recipe:  # a model of several, which reads it from the structure
            assert card.conditions is not None and structure.thermal_offset is not None
            recipe = {**recipe, "temperature": card.conditions.temperature_like(structure.thermal_offset)}
        structure = structure.with_cage(cage_state(structure, potential, **recipe))
    return checked_cage(card, structure)


def check_arrays(card: Card, arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse learned arrays that are missing, or whose shapes don't fit the card.

    Raises
    ------
    DataError
        With the first array that doesn't fit.
    """
    for name, shape in shapes.items():
        found = arrays[name].shape if name in arrays else None
        if found != shape:
            raise DataError(
                f"the {card.kind} model has {name} of shape {found} instead of {shape}: weights and card"
                " don't belong together."
            )


def check_dimension(card: Card, structure: Structure) -> None:
    """Refuse a planar structure to a model of three dimensions, and the other way round.

    Raises
    ------
    InputError
        When dimensions differ.
    """
    if structure.dimension != card.dimension:
        what = {2: "lie in one plane", 3: "fill three dimensions"}
        raise InputError(
            f"the particles {what[structure.dimension]} and the model {card.name} was trained in"
            f" {card.dimension} dimensions: choose a model of {structure.dimension} dimensions, or pass the"
            f" structure with dimension={card.dimension} if it is one."
        )


def check_outputs(card: Card, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse a network without the constants that turn outputs into propensities, or with NaN among its
    weights, which rectifiers would hide.

    Raises
    ------
    DataError
        When they are missing, or not finite.
    """
    for name in ("target_mean", "target_std"):
        if not getattr(card, name):
            raise DataError(f"the card has no {name}, by which outputs become propensities")
        if not np.isfinite(getattr(card, name)).all():
            raise DataError(f"{name} of the card is NaN or infinite in places")
    check_weights(arrays)


def check_weights(arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse weights with NaN among them, which rectifiers would hide.

    Raises
    ------
    DataError
        With the first such array.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"{name} is NaN or infinite in places")


def check_types(structure: Structure, species: Sequence[str]) -> None:
    """Refuse a structure with more species than the model knows, or that was damaged after it was made.

    Raises
    ------
    InputError
        When the largest type has no species, or a position is no number.
    """
    if not np.isfinite(structure.positions).all():
        raise InputError(
            "positions of the structure were made NaN or infinite after its construction: repair them."
        )
    if structure.types.max() >= len(species):
        raise InputError(
            f"the structure has type {structure.types.max()}, but the model knows species {list(species)}."
        )
