"""What layers weigh, and which images are asked about."""

import numpy as np
import pytest

from moosearch.verify import Layers, Piecewise
from moosearch.verify.layered import Question, seen, weights_of
from tests.verify.networks import SHAPE, networks


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("even", [1 / 4, 1 / 4, 1 / 4, 1 / 4]),
        ("inner", [4 / 10, 3 / 10, 2 / 10, 1 / 10]),
        ("outer", [1 / 10, 2 / 10, 3 / 10, 4 / 10]),
        ("area", [1 / 20, 8 / 20, 7 / 20, 4 / 20]),
    ],
)
def test_weights_by_hand(name, expected):
    """A pixel in a 4 x 5 image, with rings of 8, 7 and 4 pixels that are in it."""
    mask = np.zeros((4, 5), dtype=bool)
    mask[1, 1] = True
    np.testing.assert_allclose(weights_of(name, Layers.around(mask)), expected)


def test_an_image_is_asked_about_where_both_objects_are_seen():
    network = Piecewise.of(networks(0)["pooled"], SHAPE)
    x = np.random.default_rng(0).uniform(0, 1, 36)
    first, second, third, _ = map(int, np.argsort(-network(x[None])[0]))
    regions = np.zeros((6, 6), dtype=np.uint8)
    assert seen(network, Question(0, x, regions, first, second))
    assert seen(network, Question(0, x, regions, second, first))
    assert not seen(network, Question(0, x, regions, first, third))
    assert not seen(network, Question(0, x, regions, third, second))
