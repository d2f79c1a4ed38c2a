"""Our residual blocks against torchvision's: the same weights by the same seed, the same numbers."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet

from moosearch.models import blocks


@pytest.mark.parametrize("name", ["BasicBlock", "Bottleneck"])
@pytest.mark.parametrize("stride", [1, 2])
def test_they_are_torchvisions(name, stride):
    made = []
    for module in (blocks, resnet):
        torch.manual_seed(0)
        block = getattr(module, name)
        outputs = 4 * block.expansion
        shortcut = nn.Sequential(module.conv1x1(6, outputs, stride), nn.BatchNorm2d(outputs))
        made.append(block(6, 4, stride, shortcut))
    ours, theirs = made
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[key], rtol=0, atol=0)
    x = torch.rand(3, 6, 8, 8)
    for _ in range(2):
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)
        ours, theirs = ours.eval(), theirs.eval()


@pytest.mark.parametrize("name", ["BasicBlock", "Bottleneck"])
def test_without_a_shortcut_too(name):
    x = torch.rand(2, 4 * getattr(blocks, name).expansion, 5, 5)
    made = []
    for module in (blocks, resnet):
        torch.manual_seed(1)
        made.append(getattr(module, name)(x.shape[1], 4, 1, None))
    torch.testing.assert_close(made[0](x), made[1](x), rtol=0, atol=0)
