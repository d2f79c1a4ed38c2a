"""Where blocks stand in trunks."""

from typing import Annotated

import pytest
import torch
from torch import nn

from moosearch.errors import SpecError
from moosearch.models import ARCHITECTURES, Architecture
from moosearch.models.defenses.placement import inserted, stages
from moosearch.registry import build

CIFAR, LARGE = (3, 32, 32), (3, 64, 64)
EXPECTED = [
    # architecture, image, side and channels of each stage, and the layer that ends it
    ({"name": "lenet"}, (1, 28, 28), [(14, 32, "ReLU"), (7, 64, "ReLU")]),
    ({"name": "lenet"}, (1, 5, 5), [(2, 32, "ReLU")]),
    ({"name": "shallow_cnn"}, (1, 28, 28), [(14, 8, "ReLU"), (7, 16, "ReLU")]),
    (
        {"name": "small_cnn", "depth": 4, "width": 4},
        CIFAR,
        [(32, 4, "ReLU"), (16, 8, "ReLU"), (8, 16, "ReLU")],
    ),
    ({"name": "small_cnn", "depth": 3, "width": 4}, (1, 3, 3), [(3, 4, "ReLU"), (2, 8, "ReLU")]),
    ({"name": "alexnet"}, LARGE, [(7, 64, "ReLU"), (3, 256, "ReLU")]),
    ({"name": "alexnet"}, (3, 112, 112), [(13, 64, "ReLU"), (6, 256, "ReLU"), (2, 256, "Identity")]),
    ({"name": "alexnet"}, (3, 300, 300), [(36, 64, "ReLU"), (17, 256, "ReLU"), (8, 256, "ReLU")]),
    (
        {"name": "small_resnet", "depth": 2},
        CIFAR,
        [(32, 16, "BasicBlock"), (16, 32, "BasicBlock"), (8, 64, "BasicBlock")],
    ),
    ({"name": "resnet18"}, CIFAR, [(32 >> i, 64 << i, "BasicBlock") for i in range(4)]),
    (
        {"name": "resnet18", "stem": "imagenet"},
        LARGE,
        [(32, 64, "ReLU"), *((16 >> i, 64 << i, "BasicBlock") for i in range(4))],
    ),
    (
        {"name": "resnet50", "activation": "silu"},
        CIFAR,
        [(32 >> i, 256 << i, "Bottleneck") for i in range(4)],
    ),
    (
        {"name": "preact_resnet18"},
        CIFAR,
        [*((32 >> i, 64 << i, "PreActBlock") for i in range(3)), (4, 512, "ReLU")],
    ),
    (
        {"name": "preact_resnet18", "stem": "imagenet"},
        LARGE,
        [*((16 >> i, 64 << i, "PreActBlock") for i in range(3)), (2, 512, "ReLU")],
    ),
    (
        {"name": "wide_resnet", "depth": 10, "widen": 1},
        CIFAR,
        [(32, 16, "PreActBlock"), (16, 32, "PreActBlock"), (8, 64, "ReLU")],
    ),
]


def trunk_of(node, shape):
    with torch.device("meta"):
        return build(Annotated[Architecture, ARCHITECTURES], node).trunk(shape)[0]


def side_at(trunk, shape, place):
    x = torch.zeros(1, *shape, device="meta")
    for layer in trunk.eval()[:place]:
        x = layer(x)
    return min(x.shape[2:])


def test_every_architecture_is_looked_at():
    assert {node["name"] for node, _, _ in EXPECTED} == set(ARCHITECTURES)


@pytest.mark.parametrize(("node", "shape", "expected"), EXPECTED, ids=str)
def test_stages_end_with_the_last_activation_or_block_of_a_resolution(node, shape, expected):
    trunk = trunk_of(node, shape)
    found = [
        (side_at(trunk, shape, place), channels, type(trunk[place - 1]).__name__)
        for place, channels in stages(trunk, shape)
    ]
    assert found == expected


TRUNK = [
    nn.Conv2d(2, 3, 3, padding=1),
    nn.ReLU(inplace=True),
    nn.Conv2d(3, 3, 3, padding=1),
    nn.GroupNorm(1, 3),
    nn.Dropout2d(),
    nn.MaxPool2d(2),
    nn.ReLU(inplace=True),
    nn.Conv2d(3, 4, 3, padding=1),
    nn.Tanh(),
    nn.InstanceNorm2d(4),
    nn.AdaptiveMaxPool2d(3),
    nn.AdaptiveAvgPool2d(1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(4, 4),
    nn.ReLU(),
]
"""Its stages end before places 2 and 9."""


class Block(nn.Module):
    """Adds one, and knows for how many channels it was made."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        assert x.shape[1] == self.channels
        return x + 1


@pytest.mark.parametrize(
    ("after", "places"),
    [([1], [2]), ([-2], [2]), ([2], [9]), ([-1], [9]), ([1, 2], [2, 10]), ([-1, 1], [2, 10])],
    ids=str,
)
def test_blocks_stand_after_the_stages_that_are_asked_for(after, places):
    trunk = nn.Sequential(*TRUNK).eval()
    found = inserted(trunk, (2, 8, 8), after, Block)
    assert [place for place, layer in enumerate(found) if isinstance(layer, Block)] == places
    assert [layer for layer in found if not isinstance(layer, Block)] == TRUNK
    assert found(torch.rand(2, 2, 8, 8)).shape == (2, 4)


def test_a_block_may_be_nothing():
    trunk = nn.Sequential(*TRUNK)
    assert list(inserted(trunk, (2, 8, 8), [1, 2], lambda _: None)) == TRUNK


@pytest.mark.parametrize("training", [False, True])
def test_looking_for_stages_leaves_no_trace(training):
    norm = nn.BatchNorm2d(2)
    trunk = nn.Sequential(norm, nn.ReLU(), nn.Flatten()).train(training)
    before = torch.get_rng_state()
    assert stages(trunk, (2, 4, 4)) == [(2, 2)]
    assert trunk.training is norm.training is training
    assert norm.num_batches_tracked == 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("after", [[3], [-3], [0], [1, 5]], ids=str)
def test_stages_that_are_not_there_are_refused(after):
    with pytest.raises(
        SpecError, match=rf"denoise.after: got {after[-1]}, expected 1 to 2, .* -1 to -2: .* 2 stages"
    ):
        inserted(nn.Sequential(*TRUNK), (2, 8, 8), after, Block)


def test_a_stage_named_from_both_ends_is_refused():
    with pytest.raises(SpecError, match=r"denoise.after: got \[1, -2\], expected each stage once"):
        inserted(nn.Sequential(*TRUNK), (2, 8, 8), [1, -2], Block)


@pytest.mark.parametrize(
    ("trunk", "message"),
    [
        (nn.Flatten(), "expected a trunk of layers, got Flatten"),
        (
            nn.Sequential(nn.Flatten(), nn.ReLU()),
            "no stage of this network has feature maps",
        ),
    ],
    ids=["one module", "no maps"],
)
def test_trunks_without_stages_are_refused(trunk, message):
    with pytest.raises(SpecError, match=message):
        inserted(trunk, (2, 8, 8), [-1], Block)
