import dataclasses

import pytest
import torch
from torch import nn

from moosearch.data.digits import Digits
from moosearch.errors import SpecError
from moosearch.models import RobustNet, build_network, count_parameters
from moosearch.models.lenet import LeNet
from moosearch.models.network import Normalize
from moosearch.models.resnet import SmallResNet
from moosearch.models.small_cnn import SmallCnn
from moosearch.seeding import torch_generator

TASKS = Digits(auxiliary=("odd_even", "prime_composite")).tasks
MAIN = TASKS[:1]


def images(count=5, shape=(1, 8, 8), seed=0):
    return torch.rand(count, *shape, generator=torch_generator(seed))


def size(architecture, shape=(1, 16, 16)):
    return count_parameters(build_network(architecture, shape, MAIN, seed=0).deployed())


def test_forward_is_the_main_head_of_outputs_and_of_the_deployed_network():
    net = build_network(SmallCnn(width=4, depth=2), (1, 8, 8), TASKS, seed=0).eval()
    x = images()
    assert torch.equal(net(x), net.outputs(x).logits[0])
    assert torch.equal(net(x), net.deployed()(x))


def test_outputs_are_the_heads_on_one_trunk_output():
    net = build_network(SmallCnn(width=4, depth=2), (1, 8, 8), TASKS, seed=0).eval()
    outputs = net.outputs(images())
    assert [logits.shape for logits in outputs.logits] == [(5, 10), (5, 2), (5, 3)]
    for head, logits in zip(net.heads, outputs.logits, strict=True):
        torch.testing.assert_close(logits, outputs.features @ head.weight.T + head.bias)


def test_deployed_shares_parameters_and_leaves_auxiliary_heads_behind():
    net = build_network(SmallCnn(width=4, depth=2), (1, 8, 8), TASKS, seed=0).eval()
    auxiliary = {id(p) for head in net.heads[1:] for p in head.parameters()}
    own = {id(p) for p in net.parameters()}
    assert {id(p) for p in net.deployed().parameters()} == own - auxiliary
    assert len(auxiliary) == 4


def test_normalization_is_the_first_layer_of_forward_outputs_and_deployed():
    net = RobustNet(nn.Flatten(), 2 * 3 * 3, 2, [4, 2])
    x = images(40, (2, 3, 3))
    net.normalize.fit(x.mean((0, 2, 3)), x.std((0, 2, 3)))
    mean, std = x.mean(dim=(0, 2, 3)).reshape(2, 1, 1), x.std(dim=(0, 2, 3)).reshape(2, 1, 1)
    expected = net.heads[0](((x - mean) / std).flatten(1))
    for logits in (net(x), net.outputs(x).logits[0], net.deployed()(x)):
        torch.testing.assert_close(logits, expected)


def test_fitted_normalization_gives_each_channel_mean_zero_and_deviation_one():
    x = images(50, (3, 4, 4)) * torch.tensor([0.2, 0.5, 1.0]).reshape(3, 1, 1)
    normalize = Normalize(3)
    normalize.fit(x.mean((0, 2, 3)), x.std((0, 2, 3)))
    z = normalize(x)
    torch.testing.assert_close(z.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std(dim=(0, 2, 3)), torch.ones(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [0.0, 0.3, 0.5])
def test_constant_channel_is_divided_by_a_thousandth_and_not_by_zero(value):
    normalize = Normalize(1)
    normalize.fit(torch.tensor([value]), torch.zeros(1))
    moved = normalize(torch.full((1, 1, 2, 2), value + 0.1))
    torch.testing.assert_close(moved, torch.full_like(moved, 100.0), atol=1e-2, rtol=0)


def test_normalization_starts_as_the_identity_and_is_saved_with_the_weights():
    normalize = Normalize(2)
    x = images(3, (2, 4, 4))
    assert torch.equal(normalize(x), x)
    assert set(normalize.state_dict()) == {"mean", "std"}
    assert not list(normalize.parameters())


def test_lenet_has_the_published_number_of_parameters():
    tasks = Digits(auxiliary=("odd_even",)).tasks  # the deployed network has no second head
    deployed = build_network(LeNet(width=1), (1, 28, 28), tasks, seed=0).deployed()
    first, second = 1 * 32 * 25 + 32, 32 * 64 * 25 + 64
    hidden, head = 7 * 7 * 64 * 1024 + 1024, 1024 * 10 + 10
    assert count_parameters(deployed) == first + second + hidden + head == 3_274_634


def test_small_resnet_of_depth_3_has_the_parameters_of_resnet_20_with_projection_shortcuts():
    deployed = build_network(SmallResNet(width=16, depth=3), (3, 32, 32), MAIN, seed=0).deployed()

    def conv(inputs, outputs, kernel):  # without bias, then batch normalization
        return inputs * outputs * kernel**2 + 2 * outputs

    stem, head = conv(3, 16, 3), 64 * 10 + 10
    first = 6 * conv(16, 16, 3)
    second = conv(16, 32, 3) + 5 * conv(32, 32, 3) + conv(16, 32, 1)
    third = conv(32, 64, 3) + 5 * conv(64, 64, 3) + conv(32, 64, 1)
    assert count_parameters(deployed) == stem + first + second + third + head == 272_474
    # He et al. (2016, table 6) print 0.27 M.
    assert round(count_parameters(deployed) / 1e6, 2) == 0.27


def test_small_resnet_of_depth_3_has_twenty_weighted_layers_and_ends_at_a_quarter_of_the_size():
    trunk, features = SmallResNet(width=16, depth=3).trunk((3, 32, 32))
    layers = [m for m in trunk.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(layers) + 1 == 20  # and the head
    assert features == 64
    assert trunk[:-2](images(1, (3, 32, 32))).shape == (1, 64, 8, 8)


def test_small_cnn_parameters_by_hand():
    convolutions = 1 * 4 * 9 + 4 * 8 * 9 + 8 * 8 * 9 + 8 * 16 * 9
    normalizations = 2 * (4 + 8 + 8 + 16)
    assert size(SmallCnn(width=4, depth=4)) == convolutions + normalizations + 16 * 10 + 10


def test_small_cnn_halves_the_image_and_doubles_the_width_at_every_second_convolution():
    trunk, features = SmallCnn(width=4, depth=4).trunk((1, 16, 16))
    assert features == 16
    shapes, x = [], images(2, (1, 16, 16))
    for layer in trunk:
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [(4, 16, 16), (8, 8, 8), (8, 8, 8), (16, 4, 4)]


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (SmallCnn(width=4), SmallCnn(width=5)),
        (SmallCnn(depth=2), SmallCnn(depth=3)),
        (SmallResNet(width=4), SmallResNet(width=5)),
        (SmallResNet(width=4, depth=1), SmallResNet(width=4, depth=2)),
        (LeNet(width=0.25), LeNet(width=0.26)),
    ],
    ids=str,
)
def test_more_width_or_depth_is_more_parameters(small, large):
    assert size(small) < size(large)


def test_width_of_lenet_scales_all_three_layers():
    trunk, features = LeNet(width=0.5).trunk((1, 8, 8))
    assert [m.out_channels for m in trunk if isinstance(m, nn.Conv2d)] == [16, 32]
    assert features == 512


def test_tiny_width_of_lenet_keeps_a_channel():
    assert size(LeNet(width=0.001)) > 0


@pytest.mark.parametrize(
    ("architecture", "smallest"),
    [
        (SmallCnn(width=2, depth=1), 1),
        (SmallCnn(width=2, depth=3), 2),
        (SmallCnn(width=2, depth=6), 8),
        (LeNet(width=0.1), 4),
        (SmallResNet(width=2), 4),
    ],
    ids=str,
)
def test_smallest_image_works_and_a_smaller_one_is_refused(architecture, smallest):
    net = build_network(architecture, (1, smallest, smallest + 3), MAIN, seed=0).eval()
    assert net(images(2, (1, smallest, smallest + 3))).shape == (2, 10)
    if smallest > 1:
        for shape in ((1, smallest - 1, 32), (1, 32, smallest - 1)):
            with pytest.raises(SpecError, match=f"{smallest - 1} pixels are too few"):
                build_network(architecture, shape, MAIN, seed=0)


def test_initialization_of_trunk_and_main_head_does_not_depend_on_auxiliary_tasks():
    alone = build_network(SmallCnn(width=4), (1, 8, 8), MAIN, seed=3).state_dict()
    several = build_network(SmallCnn(width=4), (1, 8, 8), TASKS, seed=3).state_dict()
    assert all(torch.equal(tensor, several[name]) for name, tensor in alone.items())


def test_architectures_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SmallCnn().width = 3
