"""SE3GNN: the whole network."""

from __future__ import annotations

from typing import Any, cast

import torch
from e3nn.nn import BatchNorm
from e3nn.o3 import Irreps
from torch import nn

from propensity.errors import InputError
from propensity.graph import Graph
from propensity.nn.convolution import Convolution
from propensity.nn.kernels import get_kernel
from propensity.nn.kernels.base import Kernel, Stack
from propensity.nn.layout import ConvolutionLayout
from propensity.nn.streams import Beside

#: Beyond any network that has been trained; a description that asks for more is damaged or hostile.
MAX_L, MAX_SIZE, MAX_WEIGHTS, MAX_CUTOFF = 11, 10_000, 50_000_000, 20.0


class SE3GNN(nn.Module):
    """Per-particle regression from a particle graph, invariant under rotation, translation and permutation.

    arXiv:2211.03226: ``n_layers`` convolutions with residual connections and equivariant batch norm,
    then one linear readout of the scalars and norms.  23,177 parameters at the defaults.

    Parameters
    ----------
    n_species
        Number of particle species (one-hot node scalars).
    n_outputs
        Numbers predicted for each particle, one a time scale.
    l_max
        Largest order of the spherical harmonics and of the hidden features.
    channels
        Channels of each l.
    n_layers
        Convolutions.
    n_basis
        Bessel functions of the radial basis.
    cutoff
        Edges join particles closer than this, in σ.
    radial_hidden
        Width of the radial MLP.
    dropout
        Dropout probability inside the radial MLP.
    n_extra
        Scalars of each particle beside its species, such as the local potential energy, given as
        ``graph.scalars`` (N, n_extra).
    offset_scale
        Root mean square of ``graph.thermal_offset`` (N, 3), vectors that the first layer sees divided by it,
        and the readout their length; 0: the network sees none.
    thermal_layers
        Layers of a second network, whose outputs are added: it reads ``graph.thermal_edge_index`` (2, E′) and
        ``graph.thermal_edge_vec`` (E′, 3), the edges between thermal positions where positions are inherent
        ones.
    readout
        ``"shared"`` by all species, or ``"species"`` for one linear map each.
    envelope
        Whether the weights of neighbours go to zero smoothly at the cutoff
        (:func:`propensity.nn.radial.envelope`), so that predictions have a gradient everywhere; the paper's
        network has a sharp cutoff.  Not in the Triton kernel.
    kernel
        Implementation of the convolution: ``"auto"`` or a name in :mod:`propensity.nn.kernels`; may be
        set at any time, the state dict is the same.
    """

    def __init__(
        self,
        n_species: int = 2,
        n_outputs: int = 1,
        *,
        l_max: int = 3,
        channels: int = 4,
        n_layers: int = 8,
        n_basis: int = 10,
        cutoff: float = 2.0,
        radial_hidden: int = 16,
        dropout: float = 0.5,
        n_extra: int = 0,
        offset_scale: float = 0.0,
        thermal_layers: int = 0,
        readout: str = "shared",
        envelope: bool = False,
        kernel: str = "auto",
    ) -> None:
        super().__init__()
        _check(
            n_species=n_species,
            n_outputs=n_outputs,
            channels=channels,
            n_layers=n_layers,
            n_basis=n_basis,
            radial_hidden=radial_hidden,
        )
        if not isinstance(l_max, int) or not 0 <= l_max <= MAX_L:
            raise InputError(f"l_max is {l_max!r}: give an integer, 0 to {MAX_L}.")
        if not 0 < cutoff <= MAX_CUTOFF:
            raise InputError(f"cutoff is {cutoff}: give a positive number, at most {MAX_CUTOFF:g}.")
        if not 0 <= dropout < 1:
            raise InputError(f"dropout is {dropout}: give a probability in [0, 1).")
        if not offset_scale >= 0 or (offset_scale and l_max < 1):
            raise InputError(
                f"offset_scale is {offset_scale} at l_max {l_max}: give 0, or a length where l_max ≥ 1."
            )
        for name, count in (("thermal_layers", thermal_layers), ("n_extra", n_extra)):
            if not isinstance(count, int) or not 0 <= count <= MAX_SIZE:
                raise InputError(f"{name} is {count!r}: give an integer, 0 or more.")
        layers = n_layers + thermal_layers
        _check_size(layers, n_species + n_extra, channels, l_max, radial_hidden, n_basis)
        if readout not in ("shared", "species"):
            raise InputError(f"readout is {readout!r}: choose 'shared' or 'species'.")
        self.config: dict[str, Any] = {
            "n_species": n_species,
            "n_outputs": n_outputs,
            "l_max": l_max,
            "channels": channels,
            "n_layers": n_layers,
            "n_basis": n_basis,
            "cutoff": float(cutoff),
            "radial_hidden": radial_hidden,
            "dropout": dropout,
            "n_extra": n_extra,
            "offset_scale": float(offset_scale),
            "thermal_layers": thermal_layers,
            "readout": readout,
            "envelope": bool(envelope),
        }
        self.n_species, self.n_outputs, self.l_max, self.cutoff = n_species, n_outputs, l_max, float(cutoff)
        self.n_extra, self.offset_scale, self.kernel = n_extra, float(offset_scale), kernel
        self.envelope = bool(envelope)
        self.irreps = Irreps([(channels, (l, 1)) for l in range(l_max + 1)])
        n_scalars = n_species + n_extra
        self.convolutions = nn.ModuleList(
            Convolution(
                ConvolutionLayout(channels if k or offset_scale else 0, n_scalars, channels, l_max),
                n_basis=n_basis,
                cutoff=float(cutoff),
                radial_hidden=radial_hidden,
                dropout=dropout,
                smooth=self.envelope,
            )
            for k in range(n_layers)
        )
        self.norms = nn.ModuleList(BatchNorm(self.irreps, momentum=0.5) for _ in range(n_layers))
        n_readouts = n_species if readout == "species" else 1
        self.readout = nn.Linear(channels * (l_max + 1) + bool(offset_scale), n_outputs * n_readouts)
        self.thermal: SE3GNN | None = None
        if thermal_layers:
            own = {"n_layers": thermal_layers, "offset_scale": 0.0, "thermal_layers": 0}
            self.thermal = SE3GNN(**{**self.config, **own})

    def forward(self, graph: Graph) -> torch.Tensor:
        """Prediction for each particle, shape (N, n_outputs)."""
        if self.thermal is None:
            return self.read_out(self._layers(graph)[-1], graph)
        # Fast motion follows from forces, which at a minimum are zero.
        seen, second = graph.between_thermal_positions(), Beside(self.readout.weight.device)
        hidden = self._layers(graph)[-1]
        with second:
            fast = self.thermal._layers(seen, self.kernel)[-1]
        return self.read_out(hidden, graph) + self.thermal.read_out(fast, seen)

    def hidden(self, graph: Graph) -> list[torch.Tensor]:
        """Equivariant features after each layer, each of shape (N, channels·(l_max+1)²)."""
        return self._layers(graph, every=True)

    def _layers(self, graph: Graph, kernel: str | None = None, every: bool = False) -> list[torch.Tensor]:
        stack, chosen = Stack(self.convolutions, self.norms), self.chosen_kernel(kernel)
        return chosen.layers(stack, graph, self.layer_scalars(graph), self.first_features(graph), every)

    def chosen_kernel(self, name: str | None = None) -> Kernel:
        """Kernel that runs the layers, where the weights lie; ``name`` goes before the network's own.

        Raises
        ------
        InputError
            For a kernel that can't run there.
        """
        name, weight = name or self.kernel, self.readout.weight
        chosen = get_kernel(name, weight.device, weight.dtype)
        if self.envelope and chosen.name == "triton":
            if name != "auto":
                raise InputError(
                    "kernel 'triton' has no envelope, and this network has one: choose 'auto' or 'reference'."
                )
            return get_kernel("reference", weight.device, weight.dtype)
        return chosen

    def layer_scalars(self, graph: Graph) -> torch.Tensor:
        """What joins every layer: one-hot species and the graph's scalars, shape (N, n_species + n_extra)."""
        weight = self.readout.weight
        one_hot = torch.eye(self.n_species, dtype=weight.dtype, device=weight.device)[graph.types]
        if not self.n_extra:
            return one_hot
        return torch.cat([one_hot, graph.scalars.to(one_hot.dtype)], dim=1)

    def first_features(self, graph: Graph) -> torch.Tensor:
        """Features before the first layer: shape (N, 0), or thermal offsets as the first of the vectors."""
        weight = self.readout.weight
        if not self.offset_scale:
            return weight.new_empty(len(graph.types), 0)
        vectors = graph.thermal_offset.to(weight.dtype) / self.offset_scale
        first = self.config["channels"]
        return nn.functional.pad(vectors, (first, self.irreps.dim - first - 3))

    def invariants(self, hidden: torch.Tensor, graph: Graph) -> torch.Tensor:
        """Length of the thermal offset where the network sees it, scalars and norms: what is read out, shape
        (N, channels·(l_max+1)) or one more.
        """
        invariants = []
        if self.offset_scale:
            # Layers see it too, but a particle hears of its own only through what they add to it.
            length = torch.linalg.vector_norm(graph.thermal_offset.to(hidden.dtype), dim=1, keepdim=True)
            invariants.append(length / self.offset_scale)
        for (mul, ir), part in zip(
            self.irreps, torch.split(hidden, [m * ir.dim for m, ir in self.irreps], 1), strict=True
        ):
            invariants.append(
                part if ir.l == 0 else torch.linalg.vector_norm(part.view(-1, mul, ir.dim), dim=2)
            )
        return torch.cat(invariants, dim=1)

    def read_out(self, hidden: torch.Tensor, graph: Graph) -> torch.Tensor:
        """Linear map of the invariants, shape (N, n_outputs)."""
        output, types = self.readout(self.invariants(hidden, graph)), graph.types
        if self.config["readout"] == "shared":
            return cast("torch.Tensor", output)
        chosen = types[:, None, None].expand(-1, 1, self.n_outputs)
        return cast(
            "torch.Tensor",
            output.view(len(types), self.n_species, self.n_outputs).gather(1, chosen).squeeze(1),
        )


def _check(**values: int) -> None:
    for name, value in values.items():
        if not isinstance(value, int) or not 1 <= value <= MAX_SIZE:
            raise InputError(f"{name} is {value!r}: give a positive integer, at most {MAX_SIZE}.")


def _check_size(n_layers: int, n_scalars: int, channels: int, l_max: int, hidden: int, n_basis: int) -> None:
    """Refuse networks that no memory holds before any of it is taken."""
    orders = range(l_max + 1)
    # Each pair (l of features, l of harmonics) is coupled to every order between difference and sum.
    triplets = sum(min(i + f, l_max) - abs(i - f) + 1 for i in orders for f in orders)
    combinations = triplets * channels + n_scalars * (l_max + 1)
    weights = n_layers * (combinations * (hidden + channels + 1) + hidden * (n_basis + 3))
    if weights > MAX_WEIGHTS:
        raise InputError(
            f"a network of {n_layers} layers, {channels} channels and l_max {l_max} has some {weights:.0e}"
            f" weights: at most {MAX_WEIGHTS:.0e} are possible."
        )
