import math

import numpy as np
import pytest
import torch

from moosearch.data import labels_of
from moosearch.data.digits import Digits
from moosearch.losses import functional
from moosearch.losses.classification import CrossEntropy, Trades
from moosearch.models import Outputs
from moosearch.seeding import torch_generator


def logits(rows=6, columns=4, seed=0, scale=2.0):
    return scale * torch.randn(rows, columns, generator=torch_generator(seed), dtype=torch.float64)


def reference(clean, adversarial, y, beta):
    """TRADES from the formula, image by image."""
    accuracy = robustness = 0.0
    for f, g, label in zip(clean.tolist(), adversarial.tolist(), y.tolist(), strict=True):
        p, q = np.exp(f) / np.exp(f).sum(), np.exp(g) / np.exp(g).sum()
        accuracy -= math.log(p[label])
        robustness += beta * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return accuracy / len(y), robustness / len(y)


def test_trades_is_the_formula():
    clean, adversarial, y = logits(seed=1), logits(seed=2), torch.tensor([0, 1, 2, 3, 3, 0])
    accuracy, robustness = functional.trades(clean, adversarial, y, beta=6.0)
    expected = reference(clean, adversarial, y, 6.0)
    assert accuracy.item() == pytest.approx(expected[0], rel=1e-12)
    assert robustness.item() == pytest.approx(expected[1], rel=1e-12)


def test_trades_diverges_from_the_clean_prediction_to_the_adversarial_one():
    clean = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log()
    adversarial = torch.tensor([[0.75, 0.25]], dtype=torch.float64).log()
    _, robustness = functional.trades(clean, adversarial, torch.tensor([0]), beta=1.0)
    forwards = 0.5 * math.log(4 / 3)
    backwards = 0.75 * math.log(3 / 2) + 0.25 * math.log(1 / 2)
    assert abs(forwards - backwards) > 0.01, "the two directions can be told apart"
    assert robustness.item() == pytest.approx(forwards, rel=1e-12)


def test_trades_learns_accuracy_from_the_clean_images():
    clean, y = logits(), torch.tensor([0, 1, 2, 3, 3, 0])
    first, _ = functional.trades(clean, logits(seed=7), y, beta=1.0)
    second, _ = functional.trades(clean, logits(seed=8), y, beta=1.0)
    assert torch.equal(first, second)


def test_equal_logits_do_not_diverge():
    clean = logits()
    _, robustness = functional.trades(clean, clean.clone(), torch.zeros(6, dtype=torch.int64), beta=6.0)
    assert robustness.item() == pytest.approx(0, abs=1e-15)


def test_logits_shifted_by_a_constant_do_not_diverge():
    clean = logits()
    _, robustness = functional.trades(clean, clean + 3, torch.zeros(6, dtype=torch.int64), beta=6.0)
    assert robustness.item() == pytest.approx(0, abs=1e-12)


def test_beta_weighs_the_divergence_alone():
    clean, adversarial, y = logits(seed=1), logits(seed=2), torch.tensor([0, 1, 2, 3, 3, 0])
    one, six = (functional.trades(clean, adversarial, y, beta=beta) for beta in (1.0, 6.0))
    assert torch.equal(one[0], six[0])
    torch.testing.assert_close(six[1], 6 * one[1])


def test_trades_does_not_depend_on_the_order_of_the_batch():
    clean, adversarial, y = logits(seed=1), logits(seed=2), torch.tensor([0, 1, 2, 3, 3, 0])
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    expected = functional.trades(clean, adversarial, y, beta=6.0)
    torch.testing.assert_close(
        functional.trades(clean[order], adversarial[order], y[order], beta=6.0), expected
    )


@pytest.mark.parametrize("which", ["clean", "adversarial"])
def test_gradient_of_trades_by_finite_differences(which):
    values = {"clean": logits(seed=1), "adversarial": logits(seed=2)}
    y = torch.tensor([0, 1, 2, 3, 3, 0])

    def total(moved):
        return sum(functional.trades(**(values | {which: moved}), y=y, beta=6.0))

    point = values[which].clone().requires_grad_()
    total(point).backward()
    numeric = torch.zeros_like(point)
    for index in np.ndindex(*point.shape):
        shift = torch.zeros_like(values[which])
        shift[index] = 1e-5
        numeric[index] = (total(values[which] + shift) - total(values[which] - shift)) / 2e-5
    assert numeric.abs().max() > 0.01
    torch.testing.assert_close(point.grad, numeric, atol=1e-8, rtol=1e-6)


def test_trades_plug_in_sums_the_two_terms_of_the_main_task():
    tasks = Digits(auxiliary=("odd_even",)).tasks
    clean, adversarial = (
        Outputs(torch.zeros(6, 1), (logits(columns=10, seed=s), logits(columns=2, seed=s))) for s in (1, 2)
    )
    y = torch.tensor([0, 9, 2, 3, 3, 0])
    terms = Trades(beta=3.0)(clean, adversarial, labels_of(tasks, y))
    accuracy, robustness = reference(clean.logits[0], adversarial.logits[0], y, 3.0)
    assert terms.total.item() == pytest.approx(accuracy + robustness, rel=1e-12)
    assert terms.parts["accuracy"].item() == pytest.approx(accuracy, rel=1e-12)
    assert terms.parts["robustness"].item() == pytest.approx(robustness, rel=1e-12)


def test_cross_entropy_is_that_of_the_adversarial_images_on_the_main_task():
    tasks = Digits(auxiliary=("odd_even",)).tasks
    adversarial = Outputs(torch.zeros(6, 1), (logits(columns=10, seed=1), logits(columns=2, seed=1)))
    y = torch.tensor([0, 9, 2, 3, 3, 0])
    expected, _ = reference(adversarial.logits[0], adversarial.logits[0], y, 1.0)
    terms = CrossEntropy()(None, adversarial, labels_of(tasks, y))
    assert terms.total.item() == pytest.approx(expected, rel=1e-12)
