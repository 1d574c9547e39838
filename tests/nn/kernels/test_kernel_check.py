"""The look at a kernel before a training: it passes what is right and catches what is not."""

from __future__ import annotations

import copy

import pytest
import torch

from propensity.nn import SE3GNN
from propensity.nn.kernels import agreement, available_kernels
from propensity.nn.kernels.cpu.kernel import KERNEL as CPU


@pytest.mark.parametrize("kernel", ["reference", "cpu", "triton"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_extra": 1, "readout": "species"},
        {"offset_scale": 0.1},
        {"offset_scale": 0.1, "thermal_layers": 1},
    ],
    ids=["plain", "scalars", "offset", "thermal"],
)
def test_right_kernels_pass_and_nothing_changes(kernel, options, monkeypatch):
    if kernel not in available_kernels("cpu"):
        pytest.skip(f"kernel {kernel!r} cannot run here (Triton needs TRITON_INTERPRET=1 without a GPU)")
    n_layers = 1 if kernel == "triton" else 2
    if kernel == "triton":  # its interpreter is slow
        monkeypatch.setattr(agreement, "PARTICLES", 12)
        monkeypatch.setattr(agreement, "NEIGHBOURS", 6)
    network = SE3GNN(2, 3, l_max=1, n_layers=n_layers, kernel=kernel, **options)
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    assert agreement.agrees(network)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert network.convolutions[0].radial.dropout.p == 0.5 and network.kernel == kernel


@pytest.mark.parametrize("wrong", ["output", "gradients", "error"])
def test_wrong_kernels_are_caught(wrong, monkeypatch, caplog):
    network = SE3GNN(2, 3, l_max=1, n_layers=2, kernel="cpu")
    right = type(CPU).layers

    def broken(self, *args):
        (features,) = right(self, *args)
        if wrong == "error":
            raise RuntimeError("no such instruction")
        held = features.detach()
        return [1.1 * features if wrong == "output" else held + 0.9 * (features - held)]

    monkeypatch.setattr(type(CPU), "layers", broken)
    assert not agreement.agrees(network)
    assert ("no such instruction" in caplog.text) == (wrong == "error")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("l_max", range(5))
def test_the_device_here_gives_the_reference_numbers(l_max):
    assert agreement.agrees(SE3GNN(2, 10, l_max=l_max, kernel="triton").cuda())
