import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moosearch.attacks.ball import BALLS, Norm, uniform_start
from moosearch.seeding import torch_generator

SHAPE = (5, 2, 3, 3)
norms = pytest.mark.parametrize("norm", list(BALLS))


def uniform(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch_generator(seed), dtype=dtype)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch_generator(seed), dtype=dtype)


def lengths(eta, norm):
    """Norm of every image, by numpy: (B, C, H, W) -> (B,)."""
    flat = eta.double().flatten(1).numpy()
    return np.abs(flat).max(axis=1) if norm == "linf" else np.sqrt((flat**2).sum(axis=1))


def test_every_norm_has_a_ball():
    assert set(BALLS) == set(get_args(Norm))


@norms
@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    eps=st.floats(0, 3),
    spread=st.sampled_from([0.0, 1e-6, 0.1, 10.0, 1e20]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 2**32),
)
def test_projection_leads_into_the_ball_and_the_unit_range(norm, eps, spread, dtype, seed):
    x = (1.4 * uniform(*SHAPE, seed=seed, dtype=dtype) - 0.2).clamp(0, 1)
    points = x + spread * normal(*SHAPE, seed=seed + 1, dtype=dtype)
    projected = BALLS[norm](x, eps).project(points)
    assert lengths(projected - x, norm).max() <= eps + 1e-6
    assert projected.min() >= 0
    assert projected.max() <= 1


@norms
def test_projection_leaves_points_of_the_ball_where_they_are(norm):
    x = 0.3 + 0.4 * uniform(*SHAPE)
    points = uniform_start(x, 0.2, torch_generator(1), norm=norm)
    torch.testing.assert_close(BALLS[norm](x, 0.2).project(points), points)


def test_projection_is_the_nearest_point_of_the_ball():
    x, points = uniform(*SHAPE), uniform(*SHAPE, seed=1)
    eta = (points - x).numpy()
    boxed = BALLS["linf"](x, 0.1).project(points)
    assert boxed.numpy() == pytest.approx(x.numpy() + np.clip(eta, -0.1, 0.1))
    length = np.sqrt((eta**2).sum(axis=(1, 2, 3), keepdims=True))
    assert (length > 0.5).all()
    # Between two points of [0, 1] nothing has to be clipped.
    shortened = BALLS["l2"](x, 0.5).project(points)
    assert shortened.numpy() == pytest.approx(x.numpy() + eta * 0.5 / length)


@norms
def test_projection_in_place_is_the_same_and_leaves_the_centers(norm):
    x, points = uniform(*SHAPE), uniform(*SHAPE, seed=1)
    center, ball = x.clone(), BALLS[norm](x, 0.1)
    expected = ball.project(points)
    ball.project(points, out=points)
    assert torch.equal(points, expected)
    assert torch.equal(x, center)


@norms
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30], ids=str)
def test_direction_has_norm_1_and_gains_the_dual_norm(norm, scale):
    gradient = (normal(*SHAPE) * scale).float()
    direction = BALLS[norm](torch.zeros(SHAPE), 1.0).direction(gradient, out=torch.empty(SHAPE))
    assert lengths(direction, norm) == pytest.approx(1, abs=1e-6)
    flat = gradient.double().flatten(1).numpy()
    dual = np.abs(flat).sum(axis=1) if norm == "linf" else np.sqrt((flat**2).sum(axis=1))
    gain = (direction.double() * gradient.double()).sum(dim=(1, 2, 3)).numpy()
    assert gain / dual == pytest.approx(1, abs=1e-6)


@norms
def test_direction_of_a_gradient_at_the_end_of_float32_is_no_longer_than_1(norm):
    gradient = torch.full(SHAPE, 1e-44)
    direction = BALLS[norm](torch.zeros(SHAPE), 1.0).direction(gradient, out=torch.empty(SHAPE))
    assert lengths(direction, norm).max() <= 1


@norms
def test_an_image_without_gradient_does_not_move(norm):
    gradient = normal(*SHAPE)
    gradient[2] = 0
    direction = BALLS[norm](torch.zeros(SHAPE), 1.0).direction(gradient, out=torch.empty_like(gradient))
    assert (direction[2] == 0).all()
    assert lengths(direction, norm)[[0, 1, 3, 4]] == pytest.approx(1)


def test_linf_start_fills_the_box():
    x = torch.full((100, 1, 10, 10), 0.5, dtype=torch.float64)
    noise = uniform_start(x, 0.2, torch_generator(0)) - x
    assert noise.abs().max() <= 0.2
    assert noise.max() > 0.199
    assert noise.min() < -0.199
    assert abs(noise.mean()) < 4 * 0.2 / math.sqrt(3 * noise.numel())
    assert noise.var().item() == pytest.approx(0.2**2 / 3, rel=0.05)


def test_l2_start_fills_the_ball():
    count, pixels = 4000, 4
    x = torch.full((count, 1, 2, 2), 0.5, dtype=torch.float64)
    noise = (uniform_start(x, 0.3, torch_generator(0), norm="l2") - x).flatten(1)
    radius = torch.linalg.vector_norm(noise, dim=1)
    assert radius.max() <= 0.3
    # A ball of half the radius holds a sixteenth of the volume of four dimensions.
    volume = ((radius / 0.3) ** pixels).sort().values
    steps = torch.arange(1, count + 1, dtype=torch.float64) / count
    assert (volume - steps).abs().max() < 1.63 / math.sqrt(count), "Kolmogorov-Smirnov, 1 %"
    # All directions alike: the covariance is that of the ball, r^2 / (d + 2) in every direction.
    assert noise.mean(dim=0).abs().max() < 4 * 0.3 / math.sqrt((pixels + 2) * count)
    assert np.cov(noise.numpy().T) == pytest.approx(np.eye(pixels) * 0.3**2 / (pixels + 2), abs=0.001)


@norms
def test_start_does_not_depend_on_the_memory_format(norm):
    x = uniform(*SHAPE)
    plain = uniform_start(x, 0.1, torch_generator(1), norm=norm)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(uniform_start(last, 0.1, torch_generator(1), norm=norm), plain)
