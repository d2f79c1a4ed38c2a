"""Networks to attack: one that was trained to be robust, and linear ones whose distances are known."""

import json
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from moosearch.attacks.gradient import Pgd
from moosearch.data import Split
from moosearch.data.digits import Digits
from moosearch.models import RobustNet
from moosearch.models.small_cnn import SmallCnn
from moosearch.seeding import torch_generator
from moosearch.space.files import dump
from moosearch.training import CandidateSpec, train
from moosearch.training.spec import OptimizerSpec, TrainingSpec, ValidationSpec

ARCHITECTURE = {"name": "small_cnn", "width": 8, "depth": 3}


class Victim(NamedTuple):
    """A trained network and 200 images that it classifies rightly."""

    net: RobustNet
    images: Split


@pytest.fixture(scope="session")
def victim():
    digits = Digits()
    images = digits.load()
    training = TrainingSpec(
        epochs=5,
        batch_size=32,
        attack=Pgd(eps=0.1, step=0.05, steps=3),
        optimizer=OptimizerSpec(lr=0.1),
        validation=ValidationSpec(every=0),
    )
    spec = CandidateSpec(dataset=digits, architecture=SmallCnn(width=8, depth=3), training=training)
    net = train(spec, images.train, seed=0).net.eval()
    with torch.no_grad():
        right = (net(images.val.x).argmax(dim=1) == images.val.y).nonzero().squeeze(1)[:200]
    return Victim(net, Split(images.val.x[right], images.val.y[right]))


class Plane(NamedTuple):
    """A linear network and images whose distances to the nearest wrong class are known."""

    net: RobustNet
    x: Tensor
    y: Tensor
    distances: Tensor


def linear_net(weights: Tensor, biases: Tensor) -> RobustNet:
    """Build a network whose logits are ``weights x + biases``."""
    classes, pixels = weights.shape
    net = RobustNet(nn.Flatten(), pixels, 1, [classes]).eval()
    with torch.no_grad():
        net.heads[0].weight.copy_(weights)
        net.heads[0].bias.copy_(biases)
    return net


@pytest.fixture
def linear():
    """Return `linear_net`."""
    return linear_net


@pytest.fixture
def plane():
    """Return a maker of planes: (norm, classes, count) -> `Plane`."""

    def make(norm, classes=4, count=12):
        generator = torch_generator(classes)
        weights = torch.rand(classes, 36, generator=generator) - 0.5
        x = 0.35 + 0.3 * torch.rand(3 * count, 1, 6, 6, generator=generator)
        biases = -(weights @ x.flatten(1).mean(dim=0))  # boundaries pass near the mean image
        logits = x.flatten(1) @ weights.T + biases
        y = logits.argmax(dim=1)
        gaps = logits.gather(1, y[:, None]) - logits  # (count, classes)
        normals = weights[y][:, None] - weights
        dual = normals.abs().sum(dim=2) if norm == "linf" else normals.norm(dim=2)
        distances = (gaps / dual).scatter(1, y[:, None], torch.inf).amin(dim=1)
        some = (distances > 0.005).nonzero().squeeze(1)[:count]
        assert len(some) == count
        assert distances.max() < 0.3, "the border of [0, 1] is out of reach"
        return Plane(linear_net(weights, biases), x[some], y[some], distances[some])

    return make


@pytest.fixture
def export(tmp_path):
    """Return a writer of what loading an export needs: (net, **options) -> folder."""

    def write(net, *, name="model", shape=(1, 8, 8), classes=10, architecture=None):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        spec = {"candidate": {"architecture": architecture or ARCHITECTURE}}
        (folder / "spec.yaml").write_text(dump(spec))
        manifest = {
            "input": {"shape": ["batch", *shape]},
            "output": {"classes": [str(number) for number in range(classes)]},
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        weights = {name: tensor.contiguous() for name, tensor in net.deployed().state_dict().items()}
        save_file(weights, folder / "weights.safetensors")
        return folder

    return write
