"""What a first step launches on a GPU is what was compiled ahead of it, side by side."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from propensity.graph import build_graph
from propensity.nn import SE3GNN
from propensity.nn.kernels.base import Stack
from tests.conftest import make_liquid


class Recorder:
    """Kernels that are told of instead of launched."""

    def __init__(self, special):
        self.special, self.launched = special, set()

    def __getattr__(self, name):
        return Launcher(self, name)


class Launcher:
    def __init__(self, recorder, name):
        self.recorder, self.name = recorder, name

    def __getitem__(self, grid):
        def launch(*arguments, **constants):
            key = self.name, self.recorder.special(arguments), *sorted(constants.items())
            self.recorder.launched.add(key)

        return launch


@pytest.mark.parametrize("channels", [4, 8])
def test_every_launch_of_a_step_is_compiled_ahead(channels, monkeypatch):
    pytest.importorskip("triton")
    from propensity.nn.kernels.triton import ahead, layer, shapes
    from propensity.nn.kernels.triton.geometry import TritonGeometry

    wanted = {}

    @contextmanager
    def noted(key, device):
        yield wanted

    monkeypatch.setattr(ahead, "noted", noted)
    network = SE3GNN(2, 3, l_max=1, channels=channels, n_layers=10)
    layouts = [convolution.layout for convolution in network.convolutions]
    recorder = Recorder(ahead._special)
    for layout in set(layouts):
        monkeypatch.setattr(shapes.shapes_of(layout, torch.device("cpu")), "kernels", recorder)
    graph = build_graph(make_liquid(203), 2.0)
    assert len(graph.edge_vec) % 8, "layers of bits would begin at multiples of 16 bytes by themselves"
    stack, last = (
        Stack(network.convolutions, network.norms),
        shapes.shapes_of(layouts[-1], torch.device("cpu")),
    )
    geometry = TritonGeometry(graph, stack.last)
    assert geometry.basis.shape[1] == 10
    recorder.launched.clear()  # of the edges alone, before the layers
    scalars = last.pack_scalars(network.layer_scalars(graph))
    found = layer.run_layers(stack, geometry, scalars, scalars)
    last.unpack_features(found[-1]).nan_to_num().sum().backward()
    assert {"forward", "backward", "total", "mix_gradient"} <= {key[0] for key in recorder.launched}
    assert recorder.launched <= {key[1:] for key in wanted}
