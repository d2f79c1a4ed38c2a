from typing import Annotated

import pytest
import torch
from torch import nn

from moosearch.errors import SpecError
from moosearch.models import Architecture
from moosearch.models.alexnet import AlexNet
from moosearch.models.architecture import ARCHITECTURES
from moosearch.registry import build
from moosearch.seeding import seeded_torch, torch_generator


@pytest.mark.parametrize(
    ("side", "width", "pixels"),
    [(63, 63, 1), (63, 112, 2), (112, 112, 4), (223, 224, 36), (255, 500, 36)],
)
def test_first_hidden_layer_sees_at_most_six_by_six_pixels(side, width, pixels):
    with torch.device("meta"):
        trunk, features = AlexNet().trunk((3, side, width))
        assert trunk(torch.empty(2, 3, side, width)).shape == (2, features) == (2, 4096)
    first, second = (layer for layer in trunk if isinstance(layer, nn.Linear))
    assert (first.in_features, first.out_features) == (256 * pixels, 4096)
    assert (second.in_features, second.out_features) == (4096, 4096)


def test_width_is_a_factor_on_all_channels_and_hidden_layers():
    trunk, features = AlexNet(width=1 / 32).trunk((3, 64, 64))
    assert [m.out_channels for m in trunk if isinstance(m, nn.Conv2d)] == [2, 6, 12, 8, 8]
    assert [m.out_features for m in trunk if isinstance(m, nn.Linear)] == [128, 128]
    assert features == 128


@pytest.mark.parametrize("shape", [(3, 62, 112), (3, 112, 62), (1, 8, 8)])
def test_images_below_63_pixels_are_refused(shape):
    with pytest.raises(SpecError, match=f"alexnet .* at least 63 x 63: {min(shape[1:])} pixels"):
        AlexNet(width=0.05).trunk(shape)


def test_dropout_is_before_both_hidden_layers_and_in_training_only():
    trunk, _ = AlexNet(width=0.05, dropout=0.25).trunk((3, 64, 64))
    layers = [type(layer) for layer in trunk if isinstance(layer, nn.Dropout | nn.Linear)]
    assert layers == [nn.Dropout, nn.Linear, nn.Dropout, nn.Linear]
    assert {layer.p for layer in trunk if isinstance(layer, nn.Dropout)} == {0.25}
    x = torch.rand(2, 3, 64, 64, generator=torch_generator(0))
    with seeded_torch(0):
        assert not torch.equal(trunk.train()(x), trunk(x))
    assert torch.equal(trunk.eval()(x), trunk(x))
    plain, _ = AlexNet(width=0.05, dropout=0.0).trunk((3, 64, 64))
    assert torch.equal(plain.train()(x), plain(x))


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_dropout_is_a_probability_below_one(dropout):
    with pytest.raises(SpecError, match="dropout"):
        build(Annotated[Architecture, ARCHITECTURES], {"name": "alexnet", "dropout": dropout})
