"""Copies piece by piece, here between tensors of main memory; on GPUs as their walks see it."""

from __future__ import annotations

import pytest
import torch

from propensity.nn import host_copies


@pytest.mark.parametrize("shape", [(0,), (1,), (64,), (65, 3), (1000, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_all_of_a_tensor(shape, dtype, monkeypatch):
    monkeypatch.setattr(host_copies, "BUFFER", 256)
    monkeypatch.setattr(host_copies, "THREADS", 3)
    value = torch.arange(torch.Size(shape).numel()).to(dtype).reshape(shape)
    to = torch.full_like(value, -1)
    host_copies.by_pieces(to, value)
    assert torch.equal(to, value)


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_there_and_back(device, monkeypatch):
    if torch.device(device).index >= torch.cuda.device_count():
        pytest.skip("there is one GPU")
    monkeypatch.setattr(host_copies, "BUFFER", 1 << 12)
    for value in (torch.randn(100_003, 3, dtype=torch.float64), torch.arange(50_001)):
        there = host_copies.sent(value, torch.device(device))
        assert str(there.device) == device and torch.equal(there.cpu(), value)
        many = there.repeat(50, *[1] * (value.dim() - 1))
        # At once after work that the device has not ended.
        assert torch.equal(host_copies.fetched(many.sort(dim=0)[0]), many.cpu().sort(dim=0)[0])
