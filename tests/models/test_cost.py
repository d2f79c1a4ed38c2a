from typing import Annotated

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from moosearch.data.digits import Digits
from moosearch.models import (
    ARCHITECTURES,
    Architecture,
    build_network,
    count_flops,
    count_parameters,
    peak_memory,
)
from moosearch.models.blank import blank
from moosearch.models.cost import FlopCounter
from moosearch.models.lenet import LeNet
from moosearch.models.small_cnn import SmallCnn
from moosearch.registry import build
from moosearch.training import CandidateSpec

TASKS = Digits(auxiliary=("odd_even", "prime_composite")).tasks


def test_flops_of_a_small_cnn_by_hand():
    deployed = build_network(SmallCnn(width=4, depth=2), (1, 8, 8), TASKS, seed=0).deployed()
    first = 2 * (8 * 8) * 4 * (1 * 9)
    second = 2 * (4 * 4) * 8 * (4 * 9)
    head = 2 * 8 * 10
    assert count_flops(deployed, (1, 8, 8)) == first + second + head == 13_984


def test_flops_of_lenet_by_hand():
    deployed = build_network(LeNet(width=0.25), (3, 8, 8), TASKS, seed=0).deployed()
    convolutions = 2 * (8 * 8) * 8 * (3 * 25) + 2 * (4 * 4) * 16 * (8 * 25)
    linear = 2 * (16 * 2 * 2) * 256 + 2 * 256 * 10
    assert count_flops(deployed, (3, 8, 8)) == convolutions + linear


def test_element_wise_operations_and_biases_are_free():
    bare = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False))
    dressed = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(16, 3), nn.Tanh())
    assert count_flops(bare, (1, 4, 4)) == count_flops(dressed, (1, 4, 4)) == 2 * 16 * 3


def test_flops_leave_batch_statistics_alone():
    deployed = build_network(SmallCnn(width=4, depth=2), (1, 8, 8), TASKS, seed=0).train().deployed()
    before = {name: tensor.clone() for name, tensor in deployed.state_dict().items()}
    count_flops(deployed, (1, 8, 8))
    assert all(torch.equal(tensor, before[name]) for name, tensor in deployed.state_dict().items())


def test_parameters_are_counted_without_buffers():
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    assert count_parameters(network) == (9 * 3 + 3) + (3 + 3)


def held(*sizes):
    return 4 * sum(sizes)


def test_peak_memory_by_hand():
    """Input and output of each layer: the largest pair is that of the convolution."""
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 64, 10))
    # The images are alive all along: the caller holds them. A flattened tensor is a view.
    assert peak_memory(network, (1, 8, 8), batch=1) == held(64, 4 * 64, 10)
    assert peak_memory(network, (1, 8, 8), batch=5) == 5 * held(64, 4 * 64, 10)


def test_peak_memory_counts_what_is_alive_and_no_more():
    one = nn.Linear(10, 100)
    straight = nn.Sequential(one, nn.Linear(100, 1000), nn.Linear(1000, 1))
    assert peak_memory(straight, (10,), batch=1) == held(10, 100, 1000)
    away = nn.Sequential(one, nn.Linear(100, 10), nn.Linear(10, 1000))  # the 100 are gone by then
    assert peak_memory(away, (10,), batch=1) == held(10, 10, 1000)


def test_peak_memory_of_what_is_changed_in_place_counts_once():
    def network(inplace):
        return nn.Sequential(nn.Linear(4, 50), nn.ReLU(inplace=inplace), nn.Linear(50, 2))

    assert peak_memory(network(inplace=True), (4,), batch=1) == held(4, 50, 2)
    assert peak_memory(network(inplace=False), (4,), batch=1) == held(4, 50, 50)


class Scaled(nn.Module):
    """Looks at its parameters in another shape."""

    def __init__(self, size):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(size, 1))

    def forward(self, x):
        return x * self.scale.view(1, -1)


def test_peak_memory_leaves_parameters_and_views_of_them_aside():
    assert peak_memory(Scaled(50), (50,), batch=2) == 2 * held(50, 50)


@pytest.mark.parametrize("name", ["small_cnn", "lenet", "small_resnet", "preact_resnet18"])
def test_peak_memory_is_the_same_without_numbers(name):
    shape = (3, 32, 32)
    spec = build(Annotated[Architecture, ARCHITECTURES], name)
    deployed = build_network(spec, shape, TASKS, seed=0).deployed()
    with torch.device("meta"):
        empty = build_network(spec, shape, TASKS, seed=0).deployed()
    assert peak_memory(empty, shape, batch=2) == peak_memory(deployed, shape, batch=2) > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_peak_memory_is_within_what_a_gpu_allocates():
    shape, batch = (3, 32, 32), 64
    deployed = build_network(LeNet(), shape, TASKS, seed=0).deployed().cuda().eval()
    x = torch.zeros(batch, *shape, device="cuda")
    with torch.inference_mode():
        deployed(x)  # whatever libraries keep
        before = torch.cuda.memory_allocated() - x.nbytes
        torch.cuda.reset_peak_memory_stats()
        deployed(x)
    counted = peak_memory(deployed, shape, batch=batch)
    assert counted <= 1.02 * (torch.cuda.max_memory_allocated() - before)


def test_operations_are_counted_through_gradients_of_leaves():
    layer, x = nn.Linear(8, 2), torch.zeros(3, 8, requires_grad=True)
    with FlopCounter() as counter:
        torch.autograd.grad(layer(x).sum(), x)
    assert counter.total == 2 * 2 * 3 * 8 * 2


@pytest.mark.rotated(3)
@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_flops_of_a_training_step_are_those_of_torchs_own_counter(architecture):
    shape = (3, 64, 64) if architecture == "alexnet" else (3, 16, 16)
    spec = build(Annotated[Architecture, ARCHITECTURES], {"name": architecture})
    net, x = build_network(spec, shape, TASKS, seed=0), torch.zeros(2, *shape)

    def step():
        net(x).sum().backward()

    with FlopCounterMode(display=False) as theirs:
        step()
    with FlopCounter() as ours:
        step()
    assert ours.total == theirs.get_total_flops() > 0


@pytest.mark.parametrize("denoiser", ["gaussian", "embedded_gaussian"])
def test_attention_costs_the_same_on_every_device(denoiser):
    """A campaign's reference point is counted without numbers, its candidates on their device."""
    spec = build(
        CandidateSpec,
        {
            "dataset": "digits",
            "architecture": {"name": "small_cnn", "width": 4, "depth": 2},
            "defenses": {"denoise": {"name": denoiser, "after": [1]}},
        },
    )
    with blank("meta"):
        nowhere = spec.build_network(0).deployed()
    here = spec.build_network(0).deployed()
    attention = 2 * 2 * 64 * 64 * 4  # two products of 64 pixels with 64 pixels, over 4 channels
    assert count_flops(here, (1, 8, 8)) == count_flops(nowhere, (1, 8, 8)) >= attention


def test_layers_are_counted_in_inference_mode_too():
    layers = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    with torch.inference_mode(), FlopCounter() as counter:
        layers(torch.zeros(1, 1, 4, 4))
    assert counter.total == 2 * 4 * 2 * 9 + 2 * 8 * 3
