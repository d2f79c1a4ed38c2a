"""Plug-ins hand the main task's logits to the formulas."""

import pytest
import torch
import torch.nn.functional as F

from moosearch.errors import SpecError
from moosearch.losses import functional
from moosearch.losses.classification import Alp, CrossEntropy, Mart, Trades
from moosearch.losses.loat import Loat
from moosearch.losses.loss import LOSSES, Terms
from moosearch.models.network import Outputs
from moosearch.seeding import torch_generator

LABELS = (torch.tensor([0, 9, 2, 3, 3, 0]), torch.tensor([0, 1, 0, 1, 1, 0]))
CASES = {
    "cross_entropy": (
        CrossEntropy(),
        lambda _, adversarial, y: (F.cross_entropy(adversarial, y),),
        ["cross_entropy"],
    ),
    "trades": (
        Trades(beta=3.0),
        lambda *batch: functional.trades(*batch, beta=3.0),
        ["cross_entropy", "divergence"],
    ),
    "mart": (
        Mart(beta=3.0),
        lambda *batch: functional.mart(*batch, beta=3.0),
        ["cross_entropy", "margin", "divergence"],
    ),
    "alp": (
        Alp(weight=3.0),
        lambda *batch: functional.alp(*batch, weight=3.0, images="both"),
        ["cross_entropy", "logit_pairing"],
    ),
    "alp_adversarial": (
        Alp(images="adversarial"),
        lambda *batch: functional.alp(*batch, weight=0.5, images="adversarial"),
        ["cross_entropy", "logit_pairing"],
    ),
}


def outputs(seed):
    """Outputs of a network with two tasks."""
    generator = torch_generator(seed)
    shapes = [(6, 5), (6, 10), (6, 2)]
    features, main, other = (2 * torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return Outputs(features, (main, other))


@pytest.mark.parametrize("name", CASES)
def test_total_is_the_sum_of_the_terms_of_the_main_task(name):
    loss, terms, names = CASES[name]
    clean, adversarial = outputs(1), outputs(2)
    found = loss.criterion(5)(clean, adversarial, LABELS)
    expected = terms(clean.logits[0], adversarial.logits[0], LABELS[0])
    torch.testing.assert_close(found.total, sum(expected))
    torch.testing.assert_close(found.parts, dict(zip(names, expected, strict=True)))


def test_defaults_are_the_published_ones():
    assert Trades().beta == Mart().beta == 6
    assert Alp() == Alp(weight=0.5, images="both")
    assert Loat() == Loat(base=CrossEntropy(), theta=1.0, gamma=0.05, first=0.01, last=0.9)


@pytest.mark.parametrize("name", ["cross_entropy", "trades", "mart", "alp"])
def test_they_have_no_parameters(name):
    assert list(LOSSES.get(name)().criterion(5).parameters()) == []


@pytest.mark.parametrize(
    ("progress", "late", "active"),
    [
        (0.0, False, True),
        (0.0099, False, True),
        (0.01, False, False),
        (0.5, False, False),
        (0.8999, False, False),
        (0.9, True, True),
        (0.999, True, True),
    ],
)
def test_loat_regularizes_the_first_and_the_last_phase(progress, late, active):
    clean, adversarial = outputs(1), outputs(2)
    loss = Loat(base=Mart(), theta=2.0, gamma=3.0)
    found = loss.criterion(5)(clean, adversarial, LABELS, progress=progress)
    base = Mart().criterion(5)(clean, adversarial, LABELS)
    spread, pairing = functional.loat(clean.logits[0], adversarial.logits[0], LABELS[0], late=late)
    added = {"spread": 2 * active * spread, "probability_pairing": 3 * active * pairing}
    torch.testing.assert_close(found.total, base.total + sum(added.values()))
    torch.testing.assert_close(found.parts, base.parts | added)


def test_loat_without_phases_is_its_base():
    clean, adversarial = outputs(1), outputs(2)
    for progress in (0.0, 0.5, 0.999):
        found = Loat(base=Trades(), first=0.0, last=1.0).criterion(5)(
            clean, adversarial, LABELS, progress=progress
        )
        assert torch.equal(found.total, Trades().criterion(5)(clean, adversarial, LABELS).total)


@pytest.mark.parametrize("base", ["loat", "morel"])
def test_loat_takes_no_loss_that_has_a_base(base):
    with pytest.raises(SpecError, match=f"base: got {base}, expected"):
        Loat(base=LOSSES.get(base)())


def test_phases_of_loat_do_not_overlap():
    with pytest.raises(SpecError, match=r"first: got 0\.5, expected at most last \(0\.4\)"):
        Loat(first=0.5, last=0.4)
    assert Loat(first=0.5, last=0.5).last == 0.5


def test_terms_are_summed_and_their_parts_have_no_graph():
    first, second = torch.tensor(1.0, requires_grad=True), torch.tensor(2.0)
    terms = Terms.sum(first=first, second=second)
    assert terms.total == 3
    assert terms.total.requires_grad
    assert terms.parts == {"first": 1, "second": 2}
    assert not terms.parts["first"].requires_grad
