"""Denoising blocks: filters against plain loops and scipy, and blocks within networks."""

import copy
import itertools
import math
from typing import Annotated

import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from moosearch.data import Task
from moosearch.errors import SpecError
from moosearch.models import ARCHITECTURES, DENOISERS, Architecture, DefenseSpec, build_network
from moosearch.models.cost import count_flops, count_parameters
from moosearch.models.defenses.defense import Denoiser
from moosearch.models.defenses.denoising import DenoisingBlock, NonLocal
from moosearch.models.defenses.filters import bilateral, local_mean, local_median, non_local_means
from moosearch.models.frozen import InferenceCopy
from moosearch.models.lenet import LeNet
from moosearch.models.resnet import SmallResNet
from moosearch.registry import build, to_tree
from moosearch.seeding import seeded_torch, torch_generator
from moosearch.training.regularization import RegularizationSpec, penalties

NAMES = [name for name in DENOISERS if name != "none"]
SIZES = [(6, 5), (3, 3), (1, 4), (2, 2)]
WINDOWS = [3, 5]
TASKS = (Task.main(list("abcd")),)
NETWORKS = {  # with batch normalization and without
    "lenet": (LeNet(width=0.2), (1, 16, 16)),
    "small_resnet": (SmallResNet(width=4), (3, 16, 16)),
}


def maps(*shape, seed=0, scale=2.0):
    return scale * torch.randn(*shape, dtype=torch.float64, generator=torch_generator(seed))


def denoiser(name, **fields):
    return build(Annotated[Denoiser, DENOISERS], {"name": name, **fields})


def lively(module):
    """Give every batch normalization numbers that are not the initial ones, so that blocks do something."""
    with seeded_torch(1):
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.normal_(norm.bias, 0, 0.3)
                nn.init.normal_(norm.running_mean, 0, 0.3)
                nn.init.uniform_(norm.running_var, 0.5, 1.5)
    return module


def network(name, denoise, *, after=(1, -1), parts=1, **fields):
    architecture, shape = NETWORKS[name]
    spec = DefenseSpec(denoise=denoiser(denoise, after=list(after), **fields))
    net = lively(build_network(architecture, shape, TASKS, seed=0, defenses=spec))
    net.parts = parts
    return net


def batch(name, images=8):
    generator = torch_generator(2)
    x = torch.rand(images, *NETWORKS[name][1], generator=generator)
    return x, torch.randint(4, (images,), generator=generator)


def mean_by_loops(query, keys, values):
    """The mean of values, weighted by the exponential of scaled dot products with a query."""
    scores = [sum(a * b for a, b in zip(query, key, strict=True)) / math.sqrt(len(query)) for key in keys]
    weights = [math.exp(score - max(scores)) for score in scores]
    total = sum(weights)
    return [
        sum(w * value[c] for w, value in zip(weights, values, strict=True)) / total
        for c in range(len(values[0]))
    ]


def places(image):
    """The features of a (C, H, W) map, place by place."""
    return image.flatten(1).T.tolist()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("window", WINDOWS)
def test_mean_is_scipys_over_what_is_in_the_map(size, window):
    x = maps(2, 3, *size)
    sums, counts = (
        scipy.ndimage.uniform_filter(array, (1, 1, window, window), mode="constant")
        for array in (x.numpy(), np.ones(x.shape))
    )
    np.testing.assert_allclose(local_mean(x, window), sums / counts, atol=1e-12)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("window", WINDOWS)
def test_median_is_scipys_with_the_border_repeated(size, window):
    x = maps(2, 3, *size)
    x[0, 0] = x[0, 0].relu()  # equal values, as features have
    expected = scipy.ndimage.median_filter(x.numpy(), (1, 1, window, window), mode="nearest")
    np.testing.assert_array_equal(local_median(x, window), expected)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("window", WINDOWS)
def test_bilateral_filter_is_that_of_plain_loops(size, window):
    x, radius = maps(2, 3, *size), window // 2
    expected = torch.zeros_like(x)
    for image, row, column in itertools.product(range(2), range(size[0]), range(size[1])):
        near = [
            x[image, :, r, c].tolist()
            for r in range(row - radius, row + radius + 1)
            for c in range(column - radius, column + radius + 1)
            if 0 <= r < size[0] and 0 <= c < size[1]
        ]
        here = x[image, :, row, column].tolist()
        expected[image, :, row, column] = torch.tensor(mean_by_loops(here, near, near), dtype=x.dtype)
    torch.testing.assert_close(bilateral(x, window), expected)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_non_local_means_are_those_of_a_double_loop(size):
    queries, keys, values = maps(2, 2, *size), maps(2, 2, 3, 2, seed=1), maps(2, 5, 3, 2, seed=2)
    found = non_local_means(queries, keys, values)
    assert found.shape == (2, 5, *size)
    for image in range(2):
        expected = [
            mean_by_loops(query, places(keys[image]), places(values[image]))
            for query in places(queries[image])
        ]
        torch.testing.assert_close(found[image].flatten(1).T, torch.tensor(expected, dtype=values.dtype))


@pytest.mark.parametrize(("embedding", "pool"), [(None, 1), (None, 2), (2, 1), (2, 3), (4, 1)])
def test_non_local_filter_compares_embeddings_with_pooled_ones(embedding, pool):
    x = maps(2, 4, 5, 6)
    layer = NonLocal(4, embedding, pool).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(100)
    found = layer(x)
    theta, phi = (
        x if embedding is None else torch.einsum("dc,bchw->bdhw", each.weight[:, :, 0, 0], x)
        for each in (layer.theta, layer.phi)
    )

    def largest(image):
        rows = [slice(r, r + pool) for r in range(0, 5, pool)]
        columns = [slice(c, c + pool) for c in range(0, 6, pool)]
        return [image[:, r, c].amax(dim=(1, 2)).tolist() for r in rows for c in columns]

    for image in range(2):
        expected = [
            mean_by_loops(query, largest(phi[image]), largest(x[image])) for query in places(theta[image])
        ]
        torch.testing.assert_close(found[image].flatten(1).T, torch.tensor(expected, dtype=x.dtype))


class Sizes(TorchDispatchMode):
    """Notes how many numbers the largest tensor has that is made."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self.largest = max(
            [self.largest, *(leaf.numel() for leaf in tree_leaves(made) if torch.is_tensor(leaf))]
        )
        return made


@pytest.mark.parametrize("embedding", [None, 2])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_no_weights_between_all_pairs_of_places_are_kept(memory_format, embedding):
    x = torch.rand(2, 4, 16, 16).contiguous(memory_format=memory_format).requires_grad_()
    with Sizes() as sizes:
        NonLocal(4, embedding, 1)(x).square().sum().backward()
    assert 0 < sizes.largest < 8 * x.numel() < x.shape[0] * 256 * 256


FILTERS = {
    "mean": lambda x: local_mean(x, 3),
    "median": lambda x: local_median(x, 3),
    "bilateral": lambda x: bilateral(x, 3),
    "gaussian": lambda x: non_local_means(x, x, x),
    "embedded_gaussian": lambda x: non_local_means(x[:, :1], x[:, 1:2], x),
    "pooled gaussian": NonLocal(3, None, 2),
}


@pytest.mark.parametrize("name", FILTERS)
def test_gradients_are_those_of_finite_differences(name):
    x = maps(2, 3, 4, 3, scale=1.0).requires_grad_()
    assert torch.autograd.gradcheck(FILTERS[name], x)


@pytest.mark.parametrize("name", FILTERS)
def test_second_derivatives_too_with_attention_as_plain_products(name):
    x = maps(1, 3, 3, 2, scale=1.0).requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):
        assert torch.autograd.gradgradcheck(FILTERS[name], x)


@pytest.mark.parametrize("name", NAMES)
def test_penalties_on_gradients_can_be_trained_with(name):
    net, (x, y) = network("lenet", name, after=(1,)), batch("lenet", images=4)
    spec = RegularizationSpec(input_gradient=1.0, jacobian=1.0)
    found = penalties(net.train(), x, y, spec, generator=torch_generator(0))
    sum(found.values()).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.trunk[3].parameters())


@pytest.mark.parametrize("name", NAMES)
def test_filters_stay_within_the_range_of_their_image(name):
    x = maps(2, 4, 5, 7)
    found = denoiser(name).block(4).double().filter(x)
    assert found.shape == x.shape
    assert (found <= x.amax(dim=(2, 3), keepdim=True) + 1e-9).all()
    assert (found >= x.amin(dim=(2, 3), keepdim=True) - 1e-9).all()
    flat = torch.full_like(x, 1.5)
    torch.testing.assert_close(denoiser(name).block(4).double().filter(flat), flat)


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_block_is_the_identity_and_learns(name):
    block, x = denoiser(name).block(4), maps(6, 4, 5, 7).float()
    assert isinstance(block, DenoisingBlock)
    assert torch.equal(block.eval()(x), x)
    assert torch.equal(block.train()(x), x)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (block(x) - x.mean(dim=(2, 3), keepdim=True)).square().mean().backward()
        optimizer.step()
    assert all(parameter.grad.abs().sum() > 0 for parameter in block.parameters())
    assert not torch.allclose(block(x), x)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_block_adds_its_strength_of_what_the_convolution_makes_of_the_filtered_map(name, training):
    block = lively(denoiser(name, strength=0.3).block(4)).double().train(training)
    x = maps(6, 4, 5, 7)
    mixed = torch.einsum("oc,bchw->bohw", block.conv.weight[:, :, 0, 0], block.filter(x))
    norm = copy.deepcopy(block.norm)
    mean, variance = (
        (mixed.mean(dim=(0, 2, 3)), mixed.var(dim=(0, 2, 3), unbiased=False))
        if training
        else (norm.running_mean, norm.running_var)
    )
    columns = [t.view(1, -1, 1, 1) for t in (mean, variance, norm.weight, norm.bias)]
    added = (mixed - columns[0]) / (columns[1] + norm.eps).sqrt() * columns[2] + columns[3]
    torch.testing.assert_close(block(x), x + block.strength * added)


def test_strength_is_a_buffer_that_follows_a_spec():
    net, x = network("lenet", "mean", strength=1.0).eval(), batch("lenet")[0]
    assert [n for n, _ in net.named_buffers() if n.endswith("strength")] == [
        "trunk.3.strength",
        "trunk.7.strength",
    ]
    plain = build_network(*NETWORKS["lenet"], TASKS, seed=0).eval()
    spec = DefenseSpec(denoise=denoiser("mean", after=[1, -1], strength=0.0))
    assert not torch.allclose(net(x), plain(x))
    spec.follow(net.guard, net.trunk)
    torch.testing.assert_close(net(x), plain(x))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_memory_format_and_precision_are_kept(name, memory_format):
    block = lively(denoiser(name).block(6)).eval()
    x = maps(3, 6, 5, 7, scale=1.0).float()
    expected = block(x)
    block.to(memory_format=memory_format)
    found = block(x.contiguous(memory_format=memory_format))
    assert found.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(found, expected)
    low = x.bfloat16().contiguous(memory_format=memory_format)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = block(low)
    assert found.is_contiguous(memory_format=memory_format)
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_images_do_not_mix_in_eval_mode(name):
    block, x = lively(denoiser(name).block(4)).eval(), maps(3, 4, 5, 7).float().requires_grad_()
    found = block(x)
    torch.testing.assert_close(found[1:2], block(x[1:2]))
    found[1].sum().backward()
    assert [bool(gradient.any()) for gradient in x.grad] == [False, True, False]


@pytest.mark.parametrize("network_name", NETWORKS)
@pytest.mark.parametrize("name", NAMES)
def test_twin_is_the_same_function_and_follows(name, network_name):
    net, (x, y) = network(network_name, name, strength=0.6), batch(network_name)
    frozen, low = (
        InferenceCopy(net),
        InferenceCopy(net, dtype=torch.bfloat16, memory_format=torch.channels_last),
    )
    torch.testing.assert_close(frozen(x), net.eval()(x), atol=1e-5, rtol=1e-5)
    assert (low(x) - net(x)).abs().max() < 0.02 * net(x).abs().max()
    gradients = []
    for each in (net, frozen):
        images = x.clone().requires_grad_()
        gradients += torch.autograd.grad(F.cross_entropy(each(images), y), images)
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)
    before = frozen(x)
    net.train()(x)
    with torch.no_grad():
        for block in net.trunk:
            if isinstance(block, DenoisingBlock):
                block.strength.fill_(3.0)
                for parameter in block.parameters():
                    parameter.add_(0.1)
    frozen.refresh()
    assert not torch.allclose(frozen(x), before, atol=1e-3)
    torch.testing.assert_close(frozen(x), net.eval()(x), atol=1e-5, rtol=1e-5)


@pytest.mark.rotated(3)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("network_name", NETWORKS)
@pytest.mark.parametrize("name", NAMES)
def test_trunk_in_parts_has_the_gradients_and_statistics_of_the_whole_batch(name, network_name, training):
    x, y = batch(network_name, images=12)
    nets = [network(network_name, name, parts=parts).train(training) for parts in (1, 4)]
    gradients = []
    for net in nets:
        images = x.clone().requires_grad_()
        F.cross_entropy(net(images), y).backward()
        gradients.append([images.grad, *(parameter.grad for parameter in net.parameters())])
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)
    assert all(map(torch.equal, nets[0].buffers(), nets[1].buffers()))


SMALL = {
    "alexnet": ({"width": 0.05}, (3, 112, 112)),
    "lenet": ({"width": 0.1}, (1, 14, 14)),
    "shallow_cnn": ({"width": 4}, (3, 16, 16)),
    "small_cnn": ({"width": 4}, (3, 9, 12)),
    "small_resnet": ({"width": 4}, (3, 9, 12)),
    "wide_resnet": ({"depth": 10, "widen": 1, "width": 0.25}, (3, 9, 12)),
}


@pytest.mark.rotated(3)
@pytest.mark.parametrize(
    ("name", "after"), [*((name, "all") for name in NAMES), ("gaussian", [1]), ("mean", [-1])], ids=str
)
@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_every_architecture_takes_blocks_and_learns_with_them(architecture, name, after):
    fields, shape = SMALL.get(architecture, ({"width": 0.1, "depth": 1}, (3, 16, 16)))
    built = build(Annotated[Architecture, ARCHITECTURES], {"name": architecture, **fields})
    two, three = (
        dict.fromkeys(("lenet", "shallow_cnn", "small_cnn"), 2),
        ("alexnet", "small_resnet", "wide_resnet"),
    )
    everywhere = two | dict.fromkeys(three, 3)
    stages = list(range(1, everywhere.get(architecture, 4) + 1)) if after == "all" else after
    spec = DefenseSpec(denoise=denoiser(name, after=stages))
    net = build_network(built, shape, TASKS, seed=0, defenses=spec)
    x = torch.rand(4, *shape, generator=torch_generator(3))
    torch.testing.assert_close(
        net.eval()(x), build_network(built, shape, TASKS, seed=0).eval()(x), msg="fresh blocks do nothing"
    )
    F.cross_entropy(lively(net).train()(x), torch.arange(4)).backward()
    blocks = [block for block in net.trunk if isinstance(block, DenoisingBlock)]
    assert len(blocks) == len(stages)
    for parameter in net.trunk.parameters():
        assert torch.isfinite(parameter.grad).all()
    for block in blocks:
        assert all(parameter.grad.abs().sum() > 0 for parameter in block.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_costs_are_those_without_numbers_in_the_tensors(name):
    architecture, shape = NETWORKS["lenet"]
    spec = DefenseSpec(denoise=denoiser(name, after=[1, 2]))
    with torch.device("meta"):
        hollow = build_network(architecture, shape, TASKS, seed=0, defenses=spec).deployed()
    net = network("lenet", name, after=(1, 2)).deployed()
    assert count_parameters(hollow) == count_parameters(net)
    assert count_flops(hollow, shape) == count_flops(net, shape)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("mean", {}, 0),
        ("median", {}, 0),
        ("bilateral", {}, 0),
        ("gaussian", {}, 2 * 30 * 30 * (6 + 6)),
        ("gaussian", {"pool": 2}, 2 * 30 * 9 * (6 + 6)),
        ("embedded_gaussian", {}, 2 * (2 * 30 * 6 * 3) + 2 * 30 * 30 * (6 + 6)),
        ("embedded_gaussian", {"embedding": "1/6", "pool": 3}, 2 * (2 * 30 * 6 * 1) + 2 * 30 * 4 * (6 + 6)),
    ],
)
def test_convolutions_and_comparisons_are_counted(name, options, expected):
    """On a map of 5 x 6 with 6 channels; local filters are free, as poolings are.

    Embeddings are filled up to the channels: comparing costs what averaging does.
    """
    block = denoiser(name, **options).block(6)
    assert count_flops(block, (6, 5, 6)) == 2 * 30 * 6 * 6 + expected


def test_even_a_single_channel_is_embedded():
    assert denoiser("embedded_gaussian", embedding=0.01).block(1).filter.theta.out_channels == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "mean", "after": []}, r"after: got \[\], expected stages"),
        ({"name": "gaussian", "after": [1, 0]}, r"after: got \[1, 0\], expected stages, each once: 1, 2"),
        ({"name": "median", "after": [2, -1, 2]}, "each once"),
        ({"name": "median", "window": 4}, "window: got 4, .* from 3 to 15. The nearest are 3 and 5"),
        ({"name": "bilateral", "window": 1}, "window: got 1, expected"),
        ({"name": "mean", "window": 17}, "window: got 17, expected"),
        ({"name": "mean", "strength": -1}, "strength: got -1, expected"),
        ({"name": "gaussian", "pool": 0}, "pool: got 0, expected"),
        ({"name": "embedded_gaussian", "embedding": 0}, "embedding: got 0, expected"),
        ({"name": "gaussian", "window": 3}, "gaussian has no parameter 'window'"),
        ({"name": "gausian"}, "Did you mean 'gaussian'?"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        build(Annotated[Denoiser, DENOISERS], fields)


@pytest.mark.parametrize("name", NAMES)
def test_fields_round_trip_through_plain_data(name):
    plugin = denoiser(name, after=[1, -2], strength=0.5)
    hint = Annotated[Denoiser, DENOISERS]
    assert build(hint, to_tree(plugin, hint)) == plugin
