import math

import pytest
import torch
from torch import nn

from moosearch.errors import SpecError
from moosearch.models.blocks import BasicBlock, Bottleneck
from moosearch.models.preact import PreActResNet18, WideResNet
from moosearch.models.residual import PreActBlock
from moosearch.models.resnet import ResNet18, ResNet50, SmallResNet
from moosearch.seeding import seeded_torch, torch_generator

BLOCKS = (BasicBlock, Bottleneck, PreActBlock)


def images(shape=(3, 16, 16), count=2):
    return torch.randn(count, *shape, generator=torch_generator(0))


def maps(architecture, shape):
    """Shapes of what comes out of the blocks of a trunk, and of what goes into the first of them."""
    trunk, _ = architecture.trunk(shape)
    shapes, x = [], images(shape, 1)
    for layer in trunk.eval():
        if isinstance(layer, BLOCKS) and not shapes:
            shapes.append(tuple(x.shape[1:]))
        x = layer(x)
        if isinstance(layer, BLOCKS):
            shapes.append(tuple(x.shape[1:]))
    return shapes


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        (
            ResNet18(width=1 / 16),
            [(4, 16, 16)] * 3 + [(8, 8, 8)] * 2 + [(16, 4, 4)] * 2 + [(32, 2, 2)] * 2,
        ),
        (
            PreActResNet18(width=1 / 16, depth=1),
            [(4, 16, 16), (4, 16, 16), (8, 8, 8), (16, 4, 4), (32, 2, 2)],
        ),
        (
            ResNet50(width=1 / 16),
            [(4, 16, 16)] + [(16, 16, 16)] * 3 + [(32, 8, 8)] * 4 + [(64, 4, 4)] * 6 + [(128, 2, 2)] * 3,
        ),
        (
            ResNet50(width=1 / 16, depth=1),
            [(4, 16, 16), (16, 16, 16)] + [(32, 8, 8)] * 2 + [(64, 4, 4)] * 2 + [(128, 2, 2)],
        ),
        (
            WideResNet(depth=16, widen=2, width=0.25),
            [(4, 16, 16)] + [(8, 16, 16)] * 2 + [(16, 8, 8)] * 2 + [(32, 4, 4)] * 2,
        ),
        (SmallResNet(width=4, depth=2), [(4, 16, 16)] * 3 + [(8, 8, 8)] * 2 + [(16, 4, 4)] * 2),
    ],
    ids=str,
)
def test_channels_and_sides_of_the_stages(architecture, expected):
    assert maps(architecture, (3, 16, 16)) == expected
    assert architecture.trunk((3, 16, 16))[1] == expected[-1][0]


@pytest.mark.parametrize("architecture", [ResNet18, PreActResNet18, ResNet50])
def test_stem_of_imagenet_quarters_the_image_before_the_blocks(architecture):
    small = architecture(width=1 / 16, depth=1, stem="imagenet")
    assert maps(small, (3, 64, 32))[0] == (4, 16, 8)
    assert maps(small, (3, 64, 32))[-1][1:] == (2, 1)


def test_rounded_width_keeps_a_channel():
    assert maps(ResNet18(width=1e-9, depth=1), (3, 8, 8)) == [
        (1, 8, 8),
        (1, 8, 8),
        (1, 4, 4),
        (1, 2, 2),
        (1, 1, 1),
    ]


def statistics(block, seed=0):
    """Give a block batch statistics, scales and shifts that are not the initial ones."""
    generator = torch_generator(seed)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.data.uniform_(0.5, 2, generator=generator)
            module.bias.data.normal_(generator=generator)
    return block.eval().double()


def activated(norm, x):
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (
        (x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]
    ).clamp_min(0)


def test_pre_activation_block_passes_its_input_on_untouched():
    """Without weights in the last convolution a block is the identity: no activation after the sum."""
    block = statistics(PreActBlock(3, 3, 1, None))
    x = images().double()
    inner = torch.conv2d(activated(block.bn1, x), block.conv1.weight, padding=1)
    residual = torch.conv2d(activated(block.bn2, inner), block.conv2.weight, padding=1)
    torch.testing.assert_close(block(x), x + residual)
    nn.init.zeros_(block.conv2.weight)
    assert torch.equal(block(x), x)
    assert (x < 0).any()


def test_shortcut_that_changes_the_shape_sees_the_activated_input():
    block = statistics(PreActBlock(3, 5, 2, nn.Conv2d(3, 5, 1, stride=2, bias=False)))
    nn.init.zeros_(block.conv2.weight)
    x = images().double()
    expected = torch.einsum("oi,bihw->bohw", block.downsample.weight[:, :, 0, 0], activated(block.bn1, x))
    torch.testing.assert_close(block(x), expected[:, :, ::2, ::2])


@pytest.mark.parametrize(
    "architecture", [PreActResNet18(width=0.1, depth=1), WideResNet(depth=8, widen=1)], ids=str
)
def test_pre_activation_networks_normalize_and_activate_before_pooling_and_not_in_shortcuts(architecture):
    trunk, features = architecture.trunk((3, 16, 16))
    assert [type(layer) for layer in trunk[-4:]] == [
        nn.BatchNorm2d,
        nn.ReLU,
        nn.AdaptiveAvgPool2d,
        nn.Flatten,
    ]
    assert trunk[-4].num_features == features
    assert isinstance(trunk[1], PreActBlock), "the first block normalizes what the stem gives"
    shortcuts = [block.downsample for block in trunk if isinstance(block, PreActBlock)]
    assert {type(shortcut) for shortcut in shortcuts} == {nn.Conv2d, type(None)}


@pytest.mark.parametrize(
    "architecture",
    [
        ResNet18(width=0.5, depth=1),
        PreActResNet18(width=0.5, depth=1),
        ResNet50(width=0.25, depth=1),
        WideResNet(depth=8, widen=4),
    ],
    ids=str,
)
def test_convolutions_start_from_hes_normal_distribution(architecture):
    with seeded_torch(0):
        trunk, _ = architecture.trunk((3, 8, 8))
    for conv in (module for module in trunk.modules() if isinstance(module, nn.Conv2d)):
        outgoing = conv.out_channels * math.prod(conv.kernel_size)
        z = conv.weight.detach().flatten() / (2 / outgoing) ** 0.5
        assert z.std().item() == pytest.approx(1, abs=4 / math.sqrt(2 * len(z)))
        assert z.mean().item() == pytest.approx(0, abs=4 / math.sqrt(len(z)))
        assert z.abs().max() > 2.5, "not a uniform distribution"


def test_small_resnet_starts_as_torch_does():
    with seeded_torch(0):
        trunk, _ = SmallResNet(width=32).trunk((3, 8, 8))
    for conv in (module for module in trunk.modules() if isinstance(module, nn.Conv2d)):
        fan_in = conv.weight[0].numel()
        bound = fan_in**-0.5
        assert conv.weight.abs().max() <= bound
        assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


@pytest.mark.parametrize(
    ("architecture", "smallest"),
    [
        (ResNet18(width=0.05, depth=1), 8),
        (ResNet18(width=0.05, depth=1, stem="imagenet"), 32),
        (PreActResNet18(width=0.05, depth=1), 8),
        (ResNet50(width=0.05, depth=1), 8),
        (WideResNet(depth=8, widen=1, width=0.25), 4),
    ],
    ids=str,
)
def test_smallest_image_ends_as_one_pixel_and_a_smaller_one_is_refused(architecture, smallest):
    assert maps(architecture, (1, smallest, smallest))[-1][1:] == (1, 1)
    for shape in ((1, smallest - 1, 64), (1, 64, smallest - 1)):
        with pytest.raises(SpecError, match=f"at least {smallest} x {smallest}.* {smallest - 1} pixels"):
            architecture.trunk(shape)


@pytest.mark.parametrize(("depth", "blocks"), [(8, 1), (10, 1), (14, 2), (16, 2), (28, 4), (32, 5), (34, 5)])
def test_depth_of_a_wide_resnet_is_counted_in_two_ways(depth, blocks):
    with torch.device("meta"):
        trunk, _ = WideResNet(depth=depth, widen=1).trunk((3, 8, 8))
    found = [layer for layer in trunk if isinstance(layer, PreActBlock)]
    assert len(found) == 3 * blocks
    if depth % 6 == 4:
        with torch.device("meta"):
            trunk, _ = WideResNet(depth=depth, widen=2).trunk((3, 8, 8))
        assert sum(isinstance(module, nn.Conv2d) for module in trunk.modules()) == depth


@pytest.mark.parametrize(
    ("depth", "nearest"),
    [
        (1, "8 and 10"),
        (4, "8 and 10"),
        (7, "8 and 10"),
        (9, "8 and 10"),
        (12, "10 and 14"),
        (30, "28 and 32"),
        (33, "32 and 34"),
        (35, "32 and 34"),
        (36, "34 and 38"),
    ],
)
def test_another_depth_is_refused_with_the_nearest_ones(depth, nearest):
    with pytest.raises(
        SpecError, match=rf"depth {depth}, expected 6n \+ 4 .* 6n \+ 2 .* nearest are {nearest}\."
    ):
        WideResNet(depth=depth)
