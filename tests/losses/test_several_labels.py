"""Losses of images with several labels, by hand."""

import pytest
import torch

from moosearch.losses.classification import Alp, BinaryCrossEntropy, CrossEntropy, Trades
from moosearch.models.network import Outputs
from moosearch.seeding import torch_generator

Y = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 1]])


def outputs(seed):
    return Outputs(torch.zeros(3, 2), (torch.randn(3, 4, generator=torch_generator(seed)),))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_cross_entropy_by_hand(smoothing):
    adversarial = outputs(0)
    p = adversarial.logits[0].sigmoid()
    target = torch.where(Y > 0, 1 - smoothing / 2, smoothing / 2)
    expected = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
    found = BinaryCrossEntropy().terms(None, adversarial, (Y / 2,), smoothing=smoothing)
    torch.testing.assert_close(found.total, expected)
    single = BinaryCrossEntropy().terms(None, adversarial, (torch.tensor([1, 3, 0]),))
    rows = torch.nn.functional.one_hot(torch.tensor([1, 3, 0]), 4)
    torch.testing.assert_close(single.total, BinaryCrossEntropy().terms(None, adversarial, (rows,)).total)


def test_the_others_take_the_mean_over_labels():
    clean, adversarial = outputs(0), outputs(1)

    def entropy(of):
        return -(of.logits[0].log_softmax(1) * Y / 2).sum(1).mean()

    labels = (Y / 2,)
    torch.testing.assert_close(CrossEntropy().terms(None, adversarial, labels).total, entropy(adversarial))
    parts = Trades(2.0).terms(clean, adversarial, labels).parts
    torch.testing.assert_close(parts["cross_entropy"], entropy(clean))
    parts = Alp().terms(clean, adversarial, labels).parts
    torch.testing.assert_close(parts["cross_entropy"], (entropy(clean) + entropy(adversarial)) / 2)
