"""What stands before and after the layers in a training on a GPU: first features, and the readout."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from propensity.nn.gated.graph import GatedGraph
from propensity.nn.gated.triton.function import launched
from propensity.nn.gated.triton.products import Product, find_gradients
from propensity.nn.gated.triton.sizes import name_of, rounded

if TYPE_CHECKING:
    from propensity.nn.gated.layer import Standard
    from propensity.nn.gated.network import GatedNetwork, Passed

#: Particles of a program, and its warps.
ROWS, WARPS = 16, 8


def first_features(
    network: GatedNetwork, graph: GatedGraph, half: torch.dtype
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Standardised inputs, and the first features."""
    work = _First(network, graph, half)
    features = launched(work, ("gated first", half, *work.sizes.values()), work.parameters)
    return work.kept[0], features


def answers_of(network: GatedNetwork, passed: Passed, types: torch.Tensor, half: torch.dtype) -> torch.Tensor:
    """Standardised prediction of each particle, (N, n_outputs)."""
    work = _ReadOut(network, passed.raw, types, half)
    guess = [] if passed.guess is None else [passed.guess]
    tensors = [
        *passed.features[-1],
        *guess,
        network.hidden.weight,
        network.hidden.bias,
        network.out,
        network.bias,
    ]
    key = "gated readout", half, work.mask is None, *work.sizes.values()
    return launched(work, key, tensors)[0]


class _Work:
    """Sizes of kernels, and room on a device."""

    def __init__(
        self, network: GatedNetwork, half: torch.dtype, held: dict[str, int], padded: dict[str, int]
    ) -> None:
        w = network.widths
        padded = {"S": w.scalars, "V": w.vectors, "Q": w.quadrupoles} | padded
        # Where results have as many rows as columns Triton lets every warp compute all of them.
        wide = {f"{name}P": max(rounded(size), 2 * ROWS) for name, size in padded.items()}
        self.sizes, self.half = held | padded | wide, half
        self.device = network.bias.device

    def empty(self, *shape: int, half: bool = False) -> torch.Tensor:
        """Room of the type of features or of operands."""
        return torch.empty(shape, dtype=self.half if half else torch.float32, device=self.device)

    def constants(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Of a launch: all sizes, or some."""
        sizes = self.sizes if names is None else {name: self.sizes[name] for name in names}
        return sizes | {"ROWS": ROWS, "HALF": name_of(self.half), "num_warps": WARPS}

    def gradients(
        self, products: Sequence[Product], parameters: Sequence[torch.Tensor], kernels: Any
    ) -> list[torch.Tensor]:
        """Those of parameters."""
        found = self.empty(sum(p.numel() for p in parameters))
        find_gradients(kernels, products, found, name_of(self.half))
        parts = found.split([p.numel() for p in parameters])
        return [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]


class _First(_Work):
    def __init__(self, network: GatedNetwork, graph: GatedGraph, half: torch.dtype) -> None:
        from propensity.nn.gated.triton import embed, weights

        n_in = network.standard_in.mean.numel()
        n_vectors, n_quadrupoles = graph.vector_inputs.shape[2], graph.quadrupole_inputs.shape[2]
        held = {"TYPES": network.n_species, "A": n_vectors, "C": n_quadrupoles}
        super().__init__(network, half, held, {"IN": n_in, "A": n_vectors, "C": n_quadrupoles})
        self.kernels: Any = SimpleNamespace(**vars(embed), **{"weight_gradients": weights.weight_gradients})
        self.inputs = graph.types, graph.scalar_inputs, graph.vector_inputs, graph.quadrupole_inputs
        self.scales = _of(network.standard_in), network.vector_scale, network.quadrupole_scale
        n, w = len(graph.types), network.widths
        #: Standardised inputs, hidden units, and vectors and quadrupoles that are read.
        self.kept = [
            self.empty(n, n_in),
            self.empty(n, w.scalars, half=True),
            self.empty(n, 3, n_vectors, half=True),
            self.empty(n, 5, n_quadrupoles, half=True),
        ]
        first, _, second = network.embed
        others = [m.weight for m in (network.in_vectors, network.in_quadrupoles) if m is not None]
        self.parameters = [first.weight, first.bias, second.weight, second.bias, *others]

    def forward(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """First features."""
        n, s = len(self.kept[0]), self.sizes
        after = self.empty(n, s["S"]), self.empty(n, 3, s["V"]), self.empty(n, 5, s["Q"])
        others = iter(tensors[4:])
        to_vectors, to_quadrupoles = (next(others) if s[name] else tensors[0] for name in "AC")
        self.kernels.embed[(-(-n // ROWS),)](
            self.inputs,
            self.scales,
            (tuple(tensors[:2]), tuple(tensors[2:4]), to_vectors, to_quadrupoles),
            tuple(self.kept),
            after,
            n,
            **self.constants(),
        )
        return after

    def backward(self, grads: list[torch.Tensor]) -> list[torch.Tensor]:
        """Gradients of parameters."""
        raw, hidden, *read = self.kept
        of_hidden = torch.empty_like(hidden)
        self.kernels.embed_gradient[(-(-len(raw) // ROWS),)](
            grads[0], self.parameters[2], hidden, of_hidden, len(raw), **self.constants(("S", "SP"))
        )
        products = [Product(of_hidden, raw, bias=True), Product(grads[0], hidden, bias=True)]
        products += [Product(grad, x) for grad, x in zip(grads[1:], read, strict=True) if x.shape[2]]
        return self.gradients(products, self.parameters, self.kernels)


class _ReadOut(_Work):
    def __init__(
        self, network: GatedNetwork, raw: torch.Tensor, types: torch.Tensor, half: torch.dtype
    ) -> None:
        from propensity.nn.gated.triton import readout, weights

        n_hidden, n_guessed = (
            len(network.hidden.bias),
            0 if network.guess is None else len(network.guess.weight),
        )
        padded = {
            "U": raw.shape[1],
            "G": n_guessed,
            "H": n_hidden,
            "T": network.n_outputs,
            "TYPES": network.n_species,
        }
        super().__init__(network, half, {"R": network.readout}, padded)
        self.kernels: Any = SimpleNamespace(**vars(readout), **{"weight_gradients": weights.weight_gradients})
        self.raw, self.types, self.standard = raw, types, _of(network.standard_out)
        n, p = len(raw), network.dropout.p
        self.mask: torch.Tensor | None = None
        if p > 0 and network.training:
            self.mask = self.empty(n, n_hidden, half=True).bernoulli_(1 - p).div_(1 - p)
        #: What is read, in rows whose ends are aligned, hidden units, and the choice of a species.
        seen = network.standard_out.mean.numel() + n_guessed
        self.kept = (
            self.empty(n, -(-seen // 8) * 8, half=True)[:, :seen],
            self.empty(n, n_hidden, half=True),
            self.empty(n, network.n_species, half=True),
        )

    def forward(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Answers, of features, ways that were guessed if any, and parameters."""
        self.features, self.guess, self.parameters = tensors[:3], tensors[3:-4], tensors[-4:]
        answers = self.empty(len(self.raw), self.sizes["T"])
        self.kernels.read_out[(-(-len(self.raw) // ROWS),)](
            *self._given(), answers, len(self.raw), **self._constants()
        )
        return (answers,)

    def backward(self, grads: list[torch.Tensor]) -> list[torch.Tensor]:
        """Gradients of features, ways and parameters."""
        seen, hidden, one_hot = self.kept
        found = [torch.empty_like(x) for x in (*self.features, *self.guess)]
        of_hidden = torch.empty_like(hidden)
        ways = found[3] if self.guess else of_hidden
        self.kernels.read_out_gradient[(-(-len(seen) // ROWS),)](
            *self._given(), grads[0], (*found[:3], ways, of_hidden), len(seen), **self._constants()
        )
        products = [
            Product(of_hidden, seen, bias=True),
            Product(hidden, grads[0]),
            Product(one_hot, grads[0]),
        ]
        return [*found, *self.gradients(products, self.parameters, self.kernels)]

    def _given(self) -> tuple[Any, ...]:
        mask = self.kept[1] if self.mask is None else self.mask
        before = *self.features, self.raw, self.guess[0] if self.guess else self.raw, self.types
        return before, self.standard, tuple(self.parameters), mask, self.kept

    def _constants(self) -> dict[str, Any]:
        return self.constants() | {"DROPS": self.mask is not None}


def _of(standard: Standard) -> tuple[torch.Tensor, torch.Tensor]:
    return standard.mean, standard.std
