"""Networks that are built for their shapes alone."""

from typing import Annotated

import pytest
import torch

from moosearch.data import Task
from moosearch.models import ARCHITECTURES, Architecture, DefenseSpec, build_network, count_flops, peak_memory
from moosearch.models.blank import blank
from moosearch.registry import build

SHAPE, TASKS = (3, 32, 32), (Task.main("abc"),)
DEFENSES = {
    "input": [{"name": "bit_depth", "bits": 3}, {"name": "perturbation_filter", "width": 4}],
    "denoise": {"name": "embedded_gaussian", "after": [-1], "strength": 0.5},
}


def built(name):
    width = {"width": 0.125} if name == "preact_resnet18" else {}
    architecture = build(Annotated[Architecture, ARCHITECTURES], {"name": name, **width})
    return build_network(architecture, SHAPE, TASKS, seed=0, defenses=build(DefenseSpec, DEFENSES)).eval()


@pytest.mark.parametrize("name", ["lenet", "preact_resnet18", "small_resnet"])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_blank_network_is_the_network_but_for_what_is_drawn(name, device):
    net = built(name)
    with blank(device):
        empty = built(name)
    there, here = net.state_dict(), empty.state_dict()
    assert {key: tensor.shape for key, tensor in here.items()} == {k: t.shape for k, t in there.items()}
    assert {tensor.device.type for tensor in here.values()} == {device}
    assert count_flops(empty.deployed(), SHAPE) == count_flops(net.deployed(), SHAPE)
    assert peak_memory(empty.deployed(), SHAPE, batch=2) == peak_memory(net.deployed(), SHAPE, batch=2)
    if device == "cpu":
        for key, tensor in here.items():
            drawn = key.endswith("weight") and tensor.ndim > 1
            assert torch.equal(tensor, torch.zeros_like(tensor) if drawn else there[key]) or "bias" in key, (
                key
            )


def test_outside_of_the_block_weights_are_drawn_as_ever():
    with blank("cpu"):
        built("lenet")
    assert all(bool(weight.any()) for key, weight in built("lenet").trunk[0].named_parameters())
