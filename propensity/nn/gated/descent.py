"""AdamW over parameters that lie in one vector: a few launches for hundreds of small matrices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

#: Numbers that a block of a GPU steps, of which a launch has 36: those of a whole matrix would keep one busy
#: long after the others.
PIECE = 17 * 1024


class Descent:
    """AdamW of the parameters of some modules, which become views of one ``vector``; matrices decay.

    Parameters
    ----------
    modules
        They step together.
    rate
        Learning rate, on their device.
    weight_decay
        That of matrices.
    """

    def __init__(self, modules: Iterable[nn.Module], rate: torch.Tensor, weight_decay: float) -> None:
        found = [p for module in modules for p in module.parameters()]
        # Those of odd sizes stand last: copies of numbers that begin at no multiple of 16 bytes are slow.
        found.sort(key=lambda p: (p.ndim <= 1, p.numel() % 4 != 0))
        #: In the order of the vector.
        self.parameters = found
        self._matrices = sum(p.ndim > 1 for p in found)
        first = sum(p.numel() for p in found[: self._matrices])
        self._gap = found[0].new_zeros(-first % 4).detach()
        self.vector = self._joined([p.detach() for p in found])
        for parameter, part in zip(found, self.parts(self.vector), strict=True):
            parameter.data = part
        first += len(self._gap)
        self._sizes = [first, len(self.vector) - first]
        groups = [
            {"params": self._pieces(part), "weight_decay": decay}
            for part, decay in zip(self.vector.split(self._sizes), (weight_decay, 0.0), strict=True)
        ]
        self._adam = torch.optim.AdamW(
            groups, lr=rate, betas=(0.9, 0.99), capturable=self.vector.is_cuda, fused=True
        )

    def _joined(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        """One vector of tensors like the parameters: matrices, nothing up to a multiple of four, others."""
        flat = [tensor.flatten() for tensor in tensors]
        return torch.cat([*flat[: self._matrices], self._gap, *flat[self._matrices :]])

    def parts(self, vector: torch.Tensor) -> list[torch.Tensor]:
        """A vector as the parameters."""
        sizes = [p.numel() for p in self.parameters]
        sizes.insert(self._matrices, len(self._gap))
        flat = list(vector.split(sizes))
        del flat[self._matrices]
        return [part.view_as(p) for part, p in zip(flat, self.parameters, strict=True)]

    def gradient(self, loss: torch.Tensor) -> torch.Tensor:
        """That of a loss, like the vector; zero where it does not depend on a parameter."""
        found = torch.autograd.grad(loss, self.parameters, allow_unused=True, materialize_grads=True)
        return self._joined(found)

    def step(self, gradient: torch.Tensor) -> None:
        """One step down a gradient."""
        groups = zip(self._adam.param_groups, gradient.split(self._sizes), strict=True)
        for group, part in groups:
            for piece, its_own in zip(group["params"], self._pieces(part), strict=True):
                piece.grad = its_own
        self._adam.step()

    @property
    def moments(self) -> list[torch.Tensor]:
        """What is remembered of gradients and steps, once there was one."""
        return [value for state in self._adam.state.values() for value in state.values()]

    @staticmethod
    def _pieces(vector: torch.Tensor) -> Sequence[torch.Tensor]:
        return vector.split(PIECE) if len(vector) else []
