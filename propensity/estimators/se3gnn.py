"""The equivariant network behind the surface that all models share."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from propensity.defaults import with_own_defaults
from propensity.devices import free_memory
from propensity.errors import DataError, PropensityWarning
from propensity.estimators.base import Ready
from propensity.estimators.card import Card
from propensity.estimators.features import TracedFeatures, layer_index
from propensity.estimators.inputs import (
    Inputs,
    check_outputs,
    check_types,
    in_parts,
    small_batches,
)
from propensity.estimators.label_scale import LabelScale
from propensity.estimators.likeness import Extremes
from propensity.estimators.networks import NetworkEstimator
from propensity.estimators.training_config import TrainingConfig
from propensity.graph import Graph
from propensity.nn import walk
from propensity.nn.network import SE3GNN
from propensity.nn.replay import replayed
from propensity.nn.resident import neighbours
from propensity.structure import Structure
from propensity.threads import survive_fork

if TYPE_CHECKING:
    from typing_extensions import Self

    from propensity.sample import Sample


class SE3Estimator(NetworkEstimator[SE3GNN]):
    """Network, card and the constants that turn its outputs into propensities.

    Species that were not in the loss have NaN predictions rather than meaningless ones.
    """

    kind = "se3gnn"
    options = TrainingConfig
    resumable = True
    #: Devices that share the domains of every structure; none: the network's own, for very large ones.
    devices: Sequence[str] = ()
    #: All GPUs of the host, which share what is too large for one of them.
    spare: Sequence[str] = ()
    #: Particles above which the network walks, fewer where its device had not the memory for one pass.
    most: float = math.inf

    @classmethod
    def fit(
        cls,
        train: Sequence[Sample],
        valid: Sequence[Sample] = (),
        options: TrainingConfig | None = None,
        **values: Any,
    ) -> Self:
        """Train from random weights; options are those of :func:`propensity.training.fit_network`."""
        from propensity.training import fit_network

        fitted = fit_network(train, valid, options, **values)
        return cast("Self", fitted) if fitted.card.conditions else cls(fitted.network, fitted.card)

    # Not inference_mode: what kernels cache in a prediction must serve a later training.
    @torch.no_grad()
    def predict(self, structure: Structure) -> np.ndarray:
        """See :meth:`propensity.estimators.base.Estimator.predict`."""
        check_types(structure, self.card.species)
        survive_fork()
        inputs = Inputs(self.card)
        inputs.check(structure)
        if not self.by_domains(len(structure)):
            with suppress(torch.OutOfMemoryError):
                found = self._replayed(structure)
                if found is not None:
                    return found.propensities
                return self._propensities(structure, self._outputs(structure))
            self._walk_from(len(structure))
        devices = self.shared_by(len(structure))
        standardised = walk.walked(self.network, structure, inputs.scalars(structure), devices=devices)
        return self._propensities(structure, standardised)

    def _walk_from(self, n_particles: int) -> None:
        """Predict so many particles domain by domain from now on, for want of memory."""
        self.most = n_particles - 1
        free_memory()
        warnings.warn(
            f"{self.network.readout.weight.device} has not the memory for {n_particles} particles in one"
            " pass: predicted domain by domain, as are others of this size or larger from now on.",
            PropensityWarning,
            stacklevel=2,
        )

    @torch.no_grad()
    def at_once(self, structure: Structure, meanwhile: Callable[[], None] = lambda: None) -> Ready | None:
        """See :meth:`propensity.estimators.base.Estimator.at_once`."""
        if self.by_domains(len(structure)) or not self.network.readout.weight.is_cuda:
            return None
        check_types(structure, self.card.species)
        survive_fork()
        Inputs(self.card).check(structure)
        return self._replayed(structure, True, meanwhile)

    def _replayed(
        self,
        structure: Structure,
        only_held: bool = False,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> Ready | None:
        known = self.card.training_range
        radius = None if known is None or known.radius > self.network.cutoff else known.radius
        scalars = with_own_defaults(Inputs(self.card).scalars) if self.network.n_extra else None
        scale = self._scale()
        found = replayed(self.network, structure, scalars, radius, only_held, meanwhile, scale)
        if found is None:
            return None
        if scale is None:
            return Ready(self._propensities(structure, found.outputs))
        return Ready(found.outputs, Extremes(found.low, found.high))

    def _scale(self) -> np.ndarray | None:
        """Mean and spread of the labels, (2, n_species, n_times); None where outputs take more than these."""
        scale = LabelScale.of(self.card)
        shape = self.network.n_species, self.network.n_outputs
        if scale.mean.shape != shape or "trend" in self.card.scalar_recipe.get("diameter", {}):
            return None
        return np.where(scale.known[:, None], [scale.mean, scale.std], np.nan)

    @torch.no_grad()
    def unchecked_many(self, structures: Sequence[Structure]) -> list[np.ndarray]:
        """See :meth:`propensity.estimators.base.Estimator.unchecked_many`."""
        survive_fork()
        weight, inputs, found = self.network.readout.weight, Inputs(self.card), []
        for batch in small_batches(structures):
            if len(batch) == 1:
                found.append(self.unchecked(batch[0]))
                continue
            for structure in batch:
                check_types(structure, self.card.species)
            graph = inputs.joined_graph(batch, device=weight.device, dtype=weight.dtype)
            found += self._propensities_of_many(batch, self.network(graph).cpu().numpy())
        return found

    def reach(self, structure: Structure) -> float | None:
        """See :meth:`propensity.estimators.base.Estimator.reach`."""
        config = self.network.config
        return Inputs(self.card).reach(structure, max(config["n_layers"], config["thermal_layers"]))

    def _propensities_of_many(
        self, structures: Sequence[Structure], standardised: np.ndarray
    ) -> list[np.ndarray]:
        """Of structures whose particles follow each other."""
        trends = [Inputs(self.card).trend(structure) for structure in structures]
        if not all(isinstance(trend, float) for trend in trends):
            standardised = standardised + np.concatenate(trends)
        types = np.concatenate([structure.types for structure in structures])
        found = LabelScale.of(self.card).propensities(standardised, types)
        return in_parts(found, structures)

    def _propensities(self, structure: Structure, standardised: np.ndarray) -> np.ndarray:
        trend = Inputs(self.card).trend(structure)
        if not isinstance(trend, float):
            standardised = standardised + trend
        return LabelScale.of(self.card).propensities(standardised, structure.types)

    @property
    def listed_to(self) -> float:
        """See :attr:`propensity.estimators.base.Estimator.listed_to`."""
        return self.network.cutoff

    def by_domains(self, n_particles: int) -> bool:
        """Whether :func:`propensity.nn.walk.walked` predicts so many particles."""
        return bool(self.devices) or n_particles > min(walk.LARGEST, self.most)

    def shared_by(self, n_particles: int) -> Sequence[str]:
        """Devices that share so many particles; none: the network's own."""
        edges = self.card.mean_neighbours or neighbours(self.network.cutoff, self.card.density or 1.0)
        return self.devices or walk.shared_by(self.network, n_particles, edges, self.spare)

    def _outputs(self, structure: Structure) -> np.ndarray:
        weight = self.network.readout.weight
        graph = Inputs(self.card).graph(structure, device=weight.device, dtype=weight.dtype)
        return cast("np.ndarray", self.network(graph).cpu().numpy())

    def traced(self, structure: Structure, steps: torch.Tensor) -> torch.Tensor:
        """See :meth:`propensity.estimators.base.Estimator.traced`."""
        check_types(structure, self.card.species)
        inputs = Inputs(self.card)
        trend = torch.as_tensor(inputs.trend(structure)).to(steps)
        answers = self.network(inputs.moved(structure, steps)) + trend
        return LabelScale.of(self.card).traced(answers, structure.types)

    def features(self, structure: Structure, layer: int | None, steps: torch.Tensor | None) -> TracedFeatures:
        """See :meth:`propensity.estimators.base.Estimator.features`; layers of the second network follow."""
        check_types(structure, self.card.species)
        inputs, weight = Inputs(self.card), self.network.readout.weight
        if steps is None:
            graph = inputs.graph(structure, device=weight.device, dtype=weight.dtype)
        else:
            graph = inputs.moved(structure, steps)
        return features_of(self.network, graph, layer)

    @classmethod
    def restore(cls, card: Card, arrays: dict[str, np.ndarray]) -> Self:
        """Rebuild the network from its card and state dict."""
        check_outputs(card, arrays)
        network = SE3GNN(**card.config)
        if (network.n_species, network.n_outputs) != (len(card.species), len(card.times)):
            raise DataError(
                f"its network is for {network.n_species} species and {network.n_outputs} times, the card for"
                f" {len(card.species)} and {len(card.times)}"
            )
        check_inputs(card, network)
        network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        return cls(network, card)

    def to(self, device: Any = None, dtype: Any = None, kernel: str | None = None) -> Self:
        """Move the network; ``kernel`` chooses the implementation of its convolutions.

        Raises
        ------
        InputError
            For a kernel that is unknown or cannot run there.
        """
        super().to(device, dtype)
        if kernel is not None:
            self.network.chosen_kernel(kernel)
            self.network.kernel = kernel
        return self


def features_of(network: SE3GNN, graph: Graph, layer: int | None) -> TracedFeatures:
    """Invariants before the readout, of the second network too, or all features after a layer."""
    parts = [(network, graph)]
    if network.thermal is not None:
        parts.append((network.thermal, graph.between_thermal_positions()))
    if layer is not None:
        places = [(part, k) for part in parts for k in range(len(part[0].convolutions))]
        (part, seen), k = places[layer_index(layer, len(places))]
        names = tuple(
            f"l={ir.l} channel {c} m={m}"
            for mul, ir in part.irreps
            for c in range(mul)
            for m in range(-ir.l, ir.l + 1)
        )
        return TracedFeatures(part.hidden(seen)[k], names, str(part.irreps))
    values, names = [], ()
    for n, (part, seen) in enumerate(parts):
        values.append(part.invariants(part.hidden(seen)[-1], seen))
        own = ["|thermal offset|"] if part.offset_scale else []
        for mul, ir in part.irreps:
            own += [f"channel {c}" if ir.l == 0 else f"|l={ir.l} channel {c}|" for c in range(mul)]
        names += tuple(f"thermal {name}" for name in own) if n else tuple(own)
    return TracedFeatures(torch.cat(values, dim=1), names, f"{len(names)}x0e")


def check_inputs(card: Card, network: SE3GNN) -> None:
    """Refuse a card that makes other graphs than its network reads."""
    if card.cutoff != network.cutoff:
        raise DataError(f"its network has the cutoff {network.cutoff:g} and the card {card.cutoff}")
    if (network.offset_scale > 0 or network.thermal is not None) and card.input_positions != "both":
        raise DataError(f"its network sees both positions and the card says {card.input_positions}")
    recipe = card.scalar_recipe
    made = [name for name in ("potential_energy", "diameter") if name in recipe]
    if network.n_extra != len(made) or (recipe and not made):
        raise DataError(f"its network has {network.n_extra} scalars and the card makes {len(made)}")
    complete = True
    if "potential_energy" in recipe:
        complete &= isinstance(recipe["potential_energy"], str) and all(
            isinstance(recipe.get(name), list)
            and len(recipe[name]) == len(card.species)
            and all(map(_is_number, recipe[name]))
            for name in ("mean", "std")
        )
    if "diameter" in recipe:
        scale = recipe["diameter"]
        complete &= isinstance(scale, dict) and all(_is_number(scale.get(name)) for name in ("mean", "std"))
    if not complete:
        raise DataError("the scalar_recipe of the card is incomplete")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))
