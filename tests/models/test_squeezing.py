"""Squeezing is what NumPy and SciPy compute, and its gradients are the ones that are told."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from moosearch.data.tasks import Task
from moosearch.errors import SpecError
from moosearch.models import DefenseSpec, build_network
from moosearch.models.defenses.squeezing import BitDepth, MedianFilter
from moosearch.models.frozen import InferenceCopy
from moosearch.models.small_cnn import SmallCnn
from moosearch.registry import build
from moosearch.seeding import torch_generator

SHAPE = (1, 8, 8)
JOINT = {"input": [{"name": "bit_depth", "bits": 5}, {"name": "median_filter", "size": 2}]}
IMAGES = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 6), st.integers(1, 6)),
    elements=st.floats(0, 1, width=32),
)


def images(count, shape=SHAPE, dtype=torch.float32):
    return torch.rand(count, *shape, generator=torch_generator(count), dtype=dtype)


def squeezed(x, bits):
    """As Xu et al. write it, in NumPy."""
    levels = np.float32(2**bits - 1)
    return np.rint(x * levels) / levels


def smoothed(x, size):
    return ndimage.median_filter(x, size=(1, 1, size, size))


@settings(deadline=None, max_examples=60)
@given(x=IMAGES, bits=st.integers(1, 8))
def test_bit_depth_is_rounding_to_shades(x, bits):
    y = BitDepth(bits).layer(x.shape[1:])(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(y, squeezed(x, bits))
    assert len(np.unique(y)) <= 2**bits


@settings(deadline=None, max_examples=60)
@given(x=IMAGES, size=st.sampled_from([2, 3]))
def test_median_filter_is_that_of_scipy_to_the_last_bit(x, size):
    y = MedianFilter(size).layer(x.shape[1:])(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(y, smoothed(x, size))


def test_images_of_eight_bits_have_all_their_shades():
    x = torch.arange(256).float().view(1, 1, 16, 16) / 255
    assert torch.equal(BitDepth(8).layer(SHAPE)(x), x)
    assert torch.equal(BitDepth(1).layer(SHAPE)(x), (x > 0.5).float())


def test_a_schedule_changes_the_bits_of_the_layer_and_of_its_twin():
    before, after = (build(DefenseSpec, {"input": [{"name": "bit_depth", "bits": b}]}) for b in (6, 2))
    tasks = (Task.main("abc"),)
    net = build_network(SmallCnn(width=4, depth=2), SHAPE, tasks, seed=0, defenses=before).eval()
    frozen, x = InferenceCopy(net), images(3)
    after.follow(net.guard, net.trunk)
    assert len(net.guard(x).unique()) == 4
    assert len(frozen.guard(x).unique()) > 4
    frozen.refresh()
    assert torch.equal(frozen.guard(x), net.guard(x))
    assert net.state_dict()["guard.0.bits"] == 2


@pytest.mark.parametrize("bits", [1, 4])
def test_backward_pass_of_bit_depth_is_the_identity(bits):
    x, weights = images(2).requires_grad_(), images(3)[:2]
    (gradient,) = torch.autograd.grad((BitDepth(bits).layer(SHAPE)(x) * weights).sum(), x)
    assert torch.equal(gradient, weights)


@pytest.mark.parametrize("size", [2, 3])
def test_gradient_of_the_median_is_that_of_finite_differences(size):
    """Away from ties, which random images have none of, it is differentiable."""
    layer = MedianFilter(size).layer(SHAPE)
    x = torch.randperm(50, generator=torch_generator(0)).double().view(1, 2, 5, 5).div(50).requires_grad_()
    assert torch.autograd.gradcheck(layer, x, eps=1e-4)


@pytest.mark.parametrize("size", [2, 3])
def test_gradient_of_the_median_is_shared_among_ties(size):
    """In a flat image no pixel alone moves the median; all together do, and get a gradient."""
    x = torch.full((1, 1, 6, 6), 0.3, requires_grad=True)
    (gradient,) = torch.autograd.grad(MedianFilter(size).layer(SHAPE)(x).sum(), x)
    assert (gradient > 0).all()
    assert gradient.std() < 1e-6 or size == 2, "alike"
    torch.testing.assert_close(gradient.sum(), torch.tensor(36.0))


def test_joint_squeezing_is_one_after_the_other():
    guard, x = build(DefenseSpec, JOINT).guard(SHAPE), images(4)
    np.testing.assert_array_equal(guard(x).numpy(), smoothed(squeezed(x.numpy(), 5), 2))
    y = x.clone().requires_grad_()
    z = x.clone().requires_grad_()
    median = MedianFilter(2).layer(SHAPE)
    outputs = ((guard(y), y), (median(guard[0](z)), z))
    gradients = [torch.autograd.grad(output.sum(), image)[0] for output, image in outputs]
    assert torch.equal(*gradients)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"name": "bit_depth", "bits": 0}, "bits: got 0, expected at least 1"),
        ({"name": "bit_depth", "bits": 9}, "bits: got 9, expected at most 8"),
        ({"name": "bit_depth", "bits": 2.5}, "bits: got 2.5"),
        ({"name": "bit_depht"}, "no input defense is called 'bit_depht'. Did you mean 'bit_depth'"),
        ({"name": "median_filter", "size": 4}, "size: got 4, expected 2 or 3"),
        ({"name": "median_filter", "sice": 2}, "no parameter 'sice'. Did you mean 'size'"),
    ],
)
def test_wrong_numbers_are_refused_in_words(node, words):
    with pytest.raises(SpecError, match=words):
        build(DefenseSpec, {"input": [node]})
