"""Labelled graphs: built once, standardised, kept on the device when they fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from propensity.errors import DataError
from propensity.estimators.inputs import Inputs, input_structure
from propensity.estimators.label_scale import LabelScale
from propensity.estimators.state_points import labels_at
from propensity.estimators.training_config import TrainingConfig
from propensity.graph import Graph, join_graphs
from propensity.training.samplers import BalancedSampler, EpochSampler

if TYPE_CHECKING:
    from propensity.estimators.card import Card
    from propensity.sample import Sample

#: Share of the free device memory that cached graphs may take; the rest is for the step.
DEVICE_SHARE = 0.4


def labelled_graph(sample: Sample, config: TrainingConfig, card: Card, dtype: torch.dtype) -> Graph:
    """Graph with ``labels`` (N, T) standardised by the card, ``trained`` (N,) 1 where the loss counts, 0
    elsewhere.

    With ``config.inherent_weight`` also ``offset_label`` (N, 3), the thermal offset as a label.
    """
    structure = input_structure(sample, config.input_positions)
    graph = Inputs(card).graph(structure, dtype=dtype)
    types = structure.types
    if card.conditions is not None:
        number, labels = labels_at(sample, card.conditions)
        graph.state_point = torch.full((len(types),), number)
    else:
        labels = LabelScale.of(card).standardised(sample.propensities, types) - Inputs(card).trend(structure)
    graph.labels = torch.from_numpy(labels).to(dtype)
    counts = np.array([name in card.trained_species for name in card.species])
    graph.trained = torch.from_numpy(counts[types]).to(dtype)
    if config.inherent_weight:
        if sample.inherent_positions is None:
            raise DataError(
                f"{sample.name} has no inherent positions, which inherent_weight needs: add them by"
                " `propensity convert --quench`, or set it to 0."
            )
        offset = sample.structure.at_minimum(sample.inherent_positions).thermal_offset
        graph.offset_label = torch.from_numpy(offset).to(dtype)  # type: ignore[arg-type]
    return graph


class GraphModule(LightningDataModule):
    """Loaders over graphs in memory; no worker processes, since there is nothing left to load."""

    def __init__(self, train: list[Graph], valid: list[Graph], config: TrainingConfig) -> None:
        super().__init__()
        self.graphs, self.valid_graphs, self.config = train, valid, config

    def cache_on(self, device: torch.device) -> None:
        """Move all graphs to ``device`` if they leave room there; otherwise pin them in host memory."""
        if device.type != "cuda":
            return
        graphs = [*self.graphs, *self.valid_graphs]
        free, _ = torch.cuda.mem_get_info(device)
        if sum(graph_bytes(graph) for graph in graphs) < DEVICE_SHARE * free:
            moved = [graph.to(device) for graph in graphs]
        else:
            moved = [graph.pin_memory() for graph in graphs]
        self.graphs, self.valid_graphs = moved[: len(self.graphs)], moved[len(self.graphs) :]

    def train_dataloader(self) -> Iterable[Graph]:
        """Batches of one epoch, shuffled."""
        sampler = self.sampler(*self._place())
        return DataLoader(
            self.graphs,  # type: ignore[arg-type]
            batch_size=self.config.batch_size,
            sampler=sampler,
            collate_fn=join_graphs,
            generator=torch.Generator(),  # else every new iterator would advance the generator of dropout
        )

    def sampler(self, rank: int = 0, world: int = 1) -> EpochSampler | BalancedSampler:
        """Order of the structures of one process."""
        if self.config.condition is None:
            return EpochSampler(len(self.graphs), self.config.seed, rank, world)
        return BalancedSampler(
            [int(graph.state_point[0]) for graph in self.graphs], self.config.seed, rank, world
        )

    def for_norms(self) -> Iterator[Graph]:
        """What final statistics of batch norm are averaged over: every graph, or, where there are several
        state points, batches of an epoch, which mix them as those of the training do.
        """
        if self.config.condition is None:
            yield from self.graphs
            return
        order, size = list(self.sampler()), min(self.config.batch_size, len(self.graphs))
        for first in range(0, len(order) - size + 1, size):
            yield join_graphs([self.graphs[k] for k in order[first : first + size]])

    def val_dataloader(self) -> Iterable[Graph]:
        """Share of this process in the validation structures, one at a time.

        A process without a share gets one all the same, which the module does not count: every process
        must take part in what they do together.
        """
        rank, world = self._place()
        share = self.valid_graphs[rank::world] or self.valid_graphs[:1]
        return DataLoader(share, batch_size=1, collate_fn=join_graphs)  # type: ignore[arg-type]

    def transfer_batch_to_device(self, batch: Graph, device: torch.device, dataloader_idx: int) -> Graph:
        """Copy without waiting; a cached graph is there already."""
        return batch if batch.types.device == device else batch.to(device, non_blocking=True)

    def _place(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)


def graph_bytes(graph: Graph) -> int:
    """Memory of the tensors of a graph."""
    return sum(value.nbytes for _, _, value in graph.tensors())
