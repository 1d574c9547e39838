"""Positions to outputs as CUDA graphs, neighbour list included: for trajectories and simulations.

A structure of a few thousand particles keeps the GPU busy for less time than Python needs to launch
its kernels.  The second structure in a row with as many particles is therefore recorded, later ones replayed.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from propensity.neighbours import triton_cells
from propensity.nn.cuda_graph import Versions
from propensity.nn.recording import Answer, Neighbourhoods, Recording, Seen
from propensity.structure import Structure

if TYPE_CHECKING:
    from propensity.nn.network import SE3GNN

log = logging.getLogger(__name__)

#: Particles above which launches cost nothing beside the work.
LARGEST = 65_536
#: Recordings of one network that are kept, the latest used.
KEPT = 4


def replayed(
    network: SE3GNN,
    structure: Structure,
    scalars: Callable[[Structure], np.ndarray | None] | None = None,
    radius: float | None = None,
    only_held: bool = False,
    meanwhile: Callable[[], None] = lambda: None,
    scale: np.ndarray | None = None,
) -> Answer | None:
    """Outputs of ``network`` in eval mode for ``structure``, or None: then call it itself.

    None comes back for the first structure of a size, those that are not worth a recording or cannot have
    one (above ``LARGEST`` particles, open boundaries, small cells, kernels other than Triton), for more edges
    than there is room for, and for coincident particles.

    Parameters
    ----------
    network
        In eval mode.
    structure
        What it shall see; with its thermal offset, where the network reads that.
    scalars
        Measures the scalars beside the species, shape (N, n_extra), where the network reads some.
    radius
        Neighbourhoods within it are measured on the way for :func:`measured_around`, up to the cutoff.
    only_held
        Use a recording that is there, and record nothing.
    meanwhile
        Is called while the device computes, neighbourhoods being known; not where nothing is replayed.
    scale
        Mean and spread of each species, shape (2, n_species, n_outputs), by which outputs become labels.
    """
    weight = network.readout.weight
    if not weight.is_cuda or len(structure) > LARGEST or not structure.pbc.all():
        return None
    if network.training or torch.is_grad_enabled() or (network.n_extra and scalars is None):
        return None
    if network.chosen_kernel().name != "triton":
        return None
    within = network.cutoff if radius is None else min(radius, network.cutoff)
    grid = triton_cells.grid_of(structure.cell, network.cutoff, len(structure), within)
    if grid is None:
        return None
    if only_held and network not in _RECORDINGS:
        return None
    recordings = _RECORDINGS.get(network) or _RECORDINGS.setdefault(network, _Recordings(network))

    def measured(around: Neighbourhoods) -> None:
        if radius is not None:
            _MEASURED[structure] = within, around
        meanwhile()

    # Recordings outlive an inference mode that the caller may be in.
    outside = torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()
    with recordings.lock, torch.cuda.device(weight.device), outside, torch.no_grad():
        return recordings.outputs(network, structure, scalars, grid, only_held, measured, scale)


def measured_around(structure: Structure, radius: float) -> Neighbourhoods | None:
    """What a replay measured within ``radius`` of this very structure, told once; None where none did."""
    within, found = _MEASURED.pop(structure, (None, None))
    return found if within == radius else None


class _Recordings:
    """Recordings of one network, valid for one version of its parameters."""

    def __init__(self, network: SE3GNN) -> None:
        self.versions = Versions(network)
        self.lock = threading.Lock()
        self.held: dict[Any, Recording] = {}
        self.version: Any = None
        self.last: Any = None
        self.failed = False

    def outputs(
        self,
        network: SE3GNN,
        structure: Structure,
        scalars: Callable[[Structure], np.ndarray | None] | None,
        grid: tuple[np.ndarray, tuple[int, int, int]],
        only_held: bool,
        meanwhile: Callable[[Neighbourhoods], object],
        scale: np.ndarray | None = None,
    ) -> Answer | None:
        frame, bins = grid
        key = (len(structure), bins)
        if only_held and key not in self.held:
            return None
        again, self.last = key == self.last, key
        seen = None
        if key in self.held:
            seen = _seen(network, structure, scalars)
            recording, current = self.held[key], False

            def look(around: Neighbourhoods | None) -> None:
                nonlocal current
                current = self._is_current(network)
                if current and around is not None:
                    meanwhile(around)

            # Whether it is out of date is found while the device computes; then nobody hears of what it says.
            found = recording(seen, frame, look, scale)
            if current:
                del self.held[key]
                if found is not None:
                    self.held[key] = recording  # as the latest
                return found
        if not self._is_current(network):
            self.held.clear()
            self.version, again = self._version(network), False
        if only_held or self.failed or not again:
            return None
        while len(self.held) >= KEPT:
            del self.held[next(iter(self.held))]
        seen = seen or _seen(network, structure, scalars)
        try:
            recording = Recording(network, seen, grid)
        except RuntimeError as error:
            log.warning("predictions go on without CUDA graphs, which failed: %s", error)
            self.failed = True
            return None
        found = recording(seen, frame, lambda around: around and meanwhile(around), scale)
        if found is not None:
            self.held[key] = recording
        return found

    def _version(self, network: SE3GNN) -> tuple[str, list[tuple[int, int]]]:
        return network.kernel, self.versions.now()

    def _is_current(self, network: SE3GNN) -> bool:
        return bool(self.version == self._version(network))


def _seen(
    network: SE3GNN, structure: Structure, scalars: Callable[[Structure], np.ndarray | None] | None
) -> Seen:
    return Seen(structure, scalars(structure) if network.n_extra and scalars else None)


_RECORDINGS: weakref.WeakKeyDictionary[Any, _Recordings] = weakref.WeakKeyDictionary()
#: Neighbourhoods that replays measured, with the radius, until they are asked for.
_MEASURED: weakref.WeakKeyDictionary[Structure, tuple[float, Neighbourhoods]] = weakref.WeakKeyDictionary()
