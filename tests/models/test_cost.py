from types import SimpleNamespace

import pytest
import torch
from torch import nn

from moosearch.data.digits import Digits
from moosearch.models import build_network, cost, count_flops, count_parameters, measure_latency
from moosearch.models.lenet import LeNet
from moosearch.models.small_cnn import SmallCnn

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


class Slow(nn.Module):
    """Advances a clock by given seconds a pass, and notes the batch."""

    def __init__(self, seconds):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seconds = iter(seconds)
        self.now = 0.0
        self.seen = []

    def forward(self, x):
        self.now += next(self.seconds)
        self.seen.append((tuple(x.shape), self.training))
        return x


@pytest.mark.parametrize(
    ("warm_up", "timed", "expected"),
    [(3, [1.0, 4.0, 2.0, 100.0, 3.0], 3000.0), (5, [0.002] * 13 + [1.0] * 12, 2.0)],
)
def test_latency_is_the_median_in_milliseconds_without_the_warm_up(monkeypatch, warm_up, timed, expected):
    network = Slow([77.0] * warm_up + timed)
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: network.now))
    latency = measure_latency(network, (1, 2, 3), batch=7, repeats=len(timed))
    assert latency == pytest.approx(expected)
    assert next(network.seconds, None) is None, "every pass was made"
    assert set(network.seen) == {((7, 1, 2, 3), False)}


def test_latency_of_a_real_network_is_positive():
    deployed = build_network(SmallCnn(width=4, depth=2), (1, 8, 8), TASKS, seed=0).deployed()
    assert measure_latency(deployed, (1, 8, 8), batch=2, repeats=3) > 0
