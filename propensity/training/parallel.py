"""Several processes: one sum of all gradients a step."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed, nn


class FlatDDPStrategy(DDPStrategy):
    """Data parallelism that sends the gradients as one vector after the backward pass.

    ``DistributedDataParallel`` copies each of a hundred small parameters into its buckets and back, which
    takes the processor longer than a recorded step takes the device (``python -m benchmarks.multi_gpu``).
    Buffers stay apart during an epoch.
    """

    def configure_ddp(self) -> None:
        """Leave the module as it is; all processes begin with the weights of the first."""
        assert self.model is not None
        for value in self.model.state_dict().values():
            distributed.broadcast(value, 0)

    def post_backward(self, closure_loss: torch.Tensor) -> None:
        """Give every process the mean of the gradients."""
        module: Any = self.lightning_module
        joined = join_gradients(module) if module.joined_gradient is None else module.joined_gradient
        distributed.all_reduce(joined)
        joined /= self.world_size


def join_gradients(module: nn.Module) -> torch.Tensor:
    """All gradients as one vector, of which they become views."""
    pairs = [(p, p.grad) for p in module.parameters() if p.grad is not None]
    joined = torch.cat([gradient.flatten() for _, gradient in pairs])
    parts = joined.split([parameter.numel() for parameter, _ in pairs])
    for (parameter, _), part in zip(pairs, parts, strict=True):
        parameter.grad = part.view_as(parameter)
    return joined
