"""Layers of pixels against distances computed one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from moosearch.verify import Box, Layers

MASKS = arrays(bool, (5, 7)).filter(np.any)


@settings(max_examples=50, deadline=None)
@given(MASKS)
def test_a_layer_is_the_pixels_at_one_distance(mask):
    layers = Layers.around(mask)
    objects = np.argwhere(mask)
    for i, j in np.ndindex(mask.shape):
        assert layers.of[i, j] == np.abs(objects - (i, j)).max(axis=1).min()
    assert layers.sizes.sum() == mask.size
    assert layers.count == layers.of.max() + 1


def test_by_hand():
    mask = np.zeros((4, 5), dtype=bool)
    mask[1, 1] = True
    layers = Layers.around(mask)
    expected = [[1, 1, 1, 2, 3], [1, 0, 1, 2, 3], [1, 1, 1, 2, 3], [2, 2, 2, 2, 3]]
    np.testing.assert_array_equal(layers.of, expected)
    np.testing.assert_array_equal(layers.sizes, [1, 8, 7, 4])
    eps = np.array([0.4, 0.3, 0.2, 0.1])
    box = layers.neighborhood(np.full(40, 0.5), eps)
    np.testing.assert_allclose(box.upper.reshape(2, 4, 5)[1, 1], [0.8, 0.9, 0.8, 0.7, 0.6])
    np.testing.assert_allclose(box.lower.reshape(2, 4, 5)[0, 1], [0.2, 0.1, 0.2, 0.3, 0.4])
    distance = np.zeros(40)
    distance[[6, 20 + 9]] = 0.3, 0.2
    np.testing.assert_allclose(layers.largest(distance), [0.3, 0, 0, 0.2])
    np.testing.assert_allclose(layers.mean(distance), [0.15, 0, 0, 0.2 / 8])


def test_boxes_stay_among_images():
    box = Box.around(np.array([0.1, 0.5, 1.0]), np.array([0.3, 0.0, 0.2]))
    np.testing.assert_allclose(box.lower, [0, 0.5, 0.8])
    np.testing.assert_allclose(box.upper, [0.4, 0.5, 1])
    assert box.holds(np.array([0.0, 0.5, 0.8]))
    assert not box.holds(np.array([0.0, 0.51, 0.8]))
    with pytest.raises(ValueError, match="negative"):
        Box.around(np.zeros(2), -0.1)
    with pytest.raises(ValueError, match="no pixels"):
        Layers.around(np.zeros((3, 3), dtype=bool))
