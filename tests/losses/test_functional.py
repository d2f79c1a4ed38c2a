"""Losses as formulas, against numpy in float64 and against numbers of the published package."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moosearch.losses import functional
from moosearch.seeding import torch_generator

Y = torch.tensor([0, 1, 2, 3, 3, 0])
TOTALS = {
    "trades": lambda clean, adversarial, y: sum(functional.trades(clean, adversarial, y, beta=6.0)),
    "mart": lambda clean, adversarial, y: sum(functional.mart(clean, adversarial, y, beta=6.0)),
    "alp": lambda clean, adversarial, y: sum(
        functional.alp(clean, adversarial, y, weight=0.5, images="both")
    ),
    "loat_first": lambda clean, adversarial, y: sum(functional.loat(clean, adversarial, y, late=False)),
    "loat_last": lambda clean, adversarial, y: sum(functional.loat(clean, adversarial, y, late=True)),
}


def logits(rows=6, columns=4, seed=0, scale=2.0):
    return scale * torch.randn(rows, columns, generator=torch_generator(seed), dtype=torch.float64)


def wave(*shape, rate):
    """Numbers that need no random generator, so that other programs can make them too."""
    return torch.sin(rate * torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)).reshape(shape)


def probabilities(values):
    return [np.exp(f) / np.exp(f).sum() for f in values.numpy()]


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def mean(values):
    return sum(values) / len(values) if values else 0.0


def trades_of(clean, adversarial, y, beta):
    p, q = probabilities(clean), probabilities(adversarial)
    accuracy = mean([-math.log(a[label]) for a, label in zip(p, y, strict=True)])
    return accuracy, beta * mean([kl(a, b) for a, b in zip(p, q, strict=True)])


def mart_of(clean, adversarial, y, beta):
    rows = list(zip(probabilities(clean), probabilities(adversarial), y.tolist(), strict=True))
    return (
        mean([-math.log(q[label]) for _, q, label in rows]),
        mean([-math.log(1 - max(np.delete(q, label))) for _, q, label in rows]),
        beta * mean([kl(p, q) * (1 - p[label]) for p, q, label in rows]),
    )


def loat_of(clean, adversarial, y, late):
    spread, pairing = {True: [], False: []}, {True: [], False: []}
    for p, q, label in zip(probabilities(clean), probabilities(adversarial), y.tolist(), strict=True):
        right = int(np.argmax(p)) == label
        wrong = np.delete(p, label)
        spread[right].append(((wrong - wrong.mean()) ** 2).sum())
        pairing[right].append(((p - q) ** 2).sum())
    return mean(spread[not late]) - mean(spread[late]), mean(pairing[late])


def contrastive_of(rows, y, temperature):
    """(N,) contributions of the anchors, anchor by anchor."""
    t = (rows / rows.norm(dim=1, keepdim=True)).numpy()
    contributions = []
    for j, label in enumerate(y.tolist()):
        others = [q for q in range(len(y)) if q != j]
        positives = [q for q in others if y[q] == label]
        total = sum(math.exp(t[j] @ t[q] / temperature) for q in others)
        terms = [math.log(math.exp(t[j] @ t[p] / temperature) / total) for p in positives]
        contributions.append(-mean(terms))
    return contributions


@pytest.mark.parametrize("seed", range(3))
def test_trades_is_the_formula(seed):
    clean, adversarial = logits(seed=seed), logits(seed=seed + 10)
    expected = trades_of(clean, adversarial, Y, 6.0)
    assert functional.trades(clean, adversarial, Y, beta=6.0) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_mart_is_the_formula(seed):
    clean, adversarial = logits(seed=seed), logits(seed=seed + 10)
    expected = mart_of(clean, adversarial, Y, 6.0)
    assert functional.mart(clean, adversarial, Y, beta=6.0) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_loat_is_the_formula(seed, late):
    clean, adversarial = logits(seed=seed), logits(seed=seed + 10)
    clean[0, 0], clean[1, 1] = 4.0, 4.0  # some images are classified rightly
    expected = loat_of(clean, adversarial, Y, late)
    assert functional.loat(clean, adversarial, Y, late=late) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("images", "share"), [("both", 0.5), ("adversarial", 0.0)])
def test_alp_is_the_formula(images, share):
    clean, adversarial = logits(seed=1), logits(seed=2)
    natural, _ = trades_of(clean, adversarial, Y, 1.0)
    perturbed, _ = trades_of(adversarial, clean, Y, 1.0)
    expected = (
        share * natural + (1 - share) * perturbed,
        0.7 * ((clean - adversarial).numpy() ** 2).sum() / (6 * 4),
    )
    found = functional.alp(clean, adversarial, Y, weight=0.7, images=images)
    assert found == pytest.approx(expected, rel=1e-12)


def test_numbers_of_the_published_package():
    """`trades_loss` and `mart_loss` of advermorel 0.1.6 on these logits: beta 6, without an attack."""
    clean, adversarial = 2 * wave(6, 4, rate=1.7), 2 * wave(6, 4, rate=0.9)
    assert TOTALS["trades"](clean, adversarial, Y).item() == pytest.approx(8.797909800699806, rel=1e-12)
    # Its guards (1.0001 - p) move the value by 3e-4.
    assert TOTALS["mart"](clean, adversarial, Y).item() == pytest.approx(8.410577263303363, abs=5e-4)


def test_regularizers_of_the_published_package():
    """`loat_loss` of advermorel 0.1.6 (`mse`; pairing weighs 0.05 or is off) less its MART loss."""
    clean, adversarial = 2 * wave(6, 4, rate=1.7), 2 * wave(6, 4, rate=0.9)
    mart = 8.410577263303363
    published = {False: (8.20775714106139, 8.234291823201144), True: (8.613397385545337, 8.62399152069565)}
    for late, (without, with_pairing) in published.items():
        spread, pairing = functional.loat(clean, adversarial, Y, late=late)
        assert spread.item() == pytest.approx(without - mart, rel=1e-6)
        assert 0.05 * pairing.item() == pytest.approx(with_pairing - without, rel=1e-5)


def test_trades_diverges_from_the_clean_prediction_to_the_adversarial_one():
    clean = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log()
    adversarial = torch.tensor([[0.75, 0.25]], dtype=torch.float64).log()
    _, divergence = functional.trades(clean, adversarial, torch.tensor([0]), beta=1.0)
    forwards = 0.5 * math.log(4 / 3)
    backwards = 0.75 * math.log(3 / 2) + 0.25 * math.log(1 / 2)
    assert abs(forwards - backwards) > 0.01, "the two directions can be told apart"
    assert divergence.item() == pytest.approx(forwards, rel=1e-12)


def test_trades_learns_accuracy_from_the_clean_images_and_mart_from_the_adversarial_ones():
    clean, other = logits(), logits(seed=7)
    assert torch.equal(
        functional.trades(clean, other, Y, beta=1.0)[0], functional.trades(clean, clean, Y, beta=1.0)[0]
    )
    for part in (0, 1):
        assert torch.equal(
            functional.mart(clean, other, Y, beta=1.0)[part], functional.mart(other, other, Y, beta=1.0)[part]
        )


@pytest.mark.parametrize("name", ["trades", "mart"])
def test_logits_shifted_by_a_constant_do_not_diverge(name):
    clean = logits()
    divergence = getattr(functional, name)(clean, clean + 3, Y, beta=6.0)[-1]
    assert divergence.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["trades", "mart"])
def test_beta_weighs_the_divergence_alone(name):
    one, six = (
        getattr(functional, name)(logits(seed=1), logits(seed=2), Y, beta=beta) for beta in (1.0, 6.0)
    )
    assert one[:-1] == six[:-1]
    torch.testing.assert_close(six[-1], 6 * one[-1])


def test_mart_asks_nothing_of_images_that_are_certainly_right():
    sure = torch.tensor([[0.0, 800.0]], dtype=torch.float64)
    _, _, divergence = functional.mart(sure, -sure, torch.tensor([1]), beta=6.0)
    assert divergence == 0


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("right", [False, True])
def test_loat_of_a_batch_that_is_all_right_or_all_wrong_has_no_empty_means(late, right):
    clean = torch.tensor([[0.0, 1.0, 3.0]] * 4, dtype=torch.float64)
    y = torch.full((4,), 2 if right else 0)
    spread, pairing = functional.loat(clean, -clean, y, late=late)
    assert (spread < 0) == (right == late), "spreading is rewarded in the group, punished elsewhere"
    assert (pairing > 0) == (right == late)


def test_two_classes_leave_nothing_to_spread():
    spread, _ = functional.loat(logits(columns=2), logits(columns=2, seed=1), Y % 2, late=False)
    assert spread == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("name", TOTALS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("signs", [(1, 1), (1, -1), (-1, 1), (-1, -1)])
def test_logits_of_a_thousand_give_finite_losses_and_gradients(name, dtype, signs):
    y = torch.arange(4)
    pair = [(sign * 1e3 * torch.eye(4, dtype=dtype)).requires_grad_() for sign in signs]
    value = TOTALS[name](*pair, y)
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(tensor.grad).all() for tensor in pair)


def test_margin_of_mart_is_right_where_its_probability_rounds_to_one():
    adversarial = torch.tensor([[0.0, 90.0, -10.0]])
    _, margin, _ = functional.mart(adversarial, adversarial, torch.tensor([0]), beta=1.0)
    assert margin.item() == pytest.approx(90, rel=1e-4)  # -log((1 + e^-10) / e^90)


@pytest.mark.parametrize("which", [0, 1], ids=["clean", "adversarial"])
@pytest.mark.parametrize("name", TOTALS)
def test_gradients_by_finite_differences(name, which):
    pair = [logits(seed=1), logits(seed=2)]
    pair[which].requires_grad_()

    def total(moved):
        return TOTALS[name](*(moved if i == which else pair[i] for i in range(2)), Y)

    assert torch.autograd.gradcheck(total, pair[which])
    (gradient,) = torch.autograd.grad(total(pair[which]), pair[which])
    assert gradient.abs().max() > 1e-3


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), rows=st.integers(1, 8), columns=st.integers(2, 6), scale=st.floats(0, 50))
@pytest.mark.parametrize("name", TOTALS)
def test_order_and_repetition_of_the_batch_do_not_matter(name, seed, rows, columns, scale):
    generator = torch_generator(seed)
    clean, adversarial = (logits(rows, columns, seed + i, scale) for i in (0, 1))
    y = torch.randint(0, columns, (rows,), generator=generator)
    order = torch.randperm(rows, generator=generator)
    expected = TOTALS[name](clean, adversarial, y)
    assert torch.isfinite(expected)
    torch.testing.assert_close(TOTALS[name](clean[order], adversarial[order], y[order]), expected)
    twice = (tensor.repeat(2, *[1] * (tensor.ndim - 1)) for tensor in (clean, adversarial, y))
    torch.testing.assert_close(TOTALS[name](*twice), expected)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), columns=st.integers(2, 6), scale=st.floats(0, 50))
def test_terms_keep_their_ranges(seed, columns, scale):
    clean, adversarial = (logits(8, columns, seed + i, scale) for i in (0, 1))
    y = torch.randint(0, columns, (8,), generator=torch_generator(seed))
    for term in (
        *functional.trades(clean, adversarial, y, beta=6.0),
        *functional.mart(clean, adversarial, y, beta=6.0),
        *functional.alp(clean, adversarial, y, weight=0.5, images="both"),
    ):
        assert term >= -1e-9
    for late in (False, True):
        spread, pairing = functional.loat(clean, adversarial, y, late=late)
        assert -1 < spread < 1
        assert 0 <= pairing <= 2


def test_cosine_is_the_formula():
    first, second = logits(5, 3, seed=1).numpy(), logits(5, 3, seed=2).numpy()
    similarity = (first * second).sum(1) / (np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1))
    found = functional.cosine(torch.tensor(first), torch.tensor(second))
    assert found.item() == pytest.approx(1 - similarity.mean(), rel=1e-12)


def test_cosine_of_the_same_directions_is_0_and_of_opposite_ones_2():
    rows = logits(5, 3)
    assert functional.cosine(rows, 7 * rows).item() == pytest.approx(0, abs=1e-12)
    assert functional.cosine(rows, -rows).item() == pytest.approx(2, abs=1e-12)


@pytest.mark.parametrize("y", [[0, 1, 2, 3, 3, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 2]], ids=str)
def test_contrastive_is_the_formula(y):
    rows, y = logits(6, 3, seed=3), torch.tensor(y)
    expected = contrastive_of(rows, y, 0.1)
    total = functional.contrastive(rows, y, temperature=0.1)
    assert total.item() == pytest.approx(sum(expected), rel=1e-12)
    average = functional.contrastive(rows, y, temperature=0.1, reduction="mean")
    assert average.item() == pytest.approx(sum(expected) / 6, rel=1e-12)


def test_rows_without_a_positive_contribute_nothing_and_push_nobody_else_away():
    rows = logits(4, 3).requires_grad_()
    value = functional.contrastive(rows, torch.arange(4), temperature=0.1)
    value.backward()
    assert value == 0
    assert torch.equal(rows.grad, torch.zeros_like(rows))


def test_a_single_row_has_nothing_to_be_compared_with():
    rows = logits(1, 3).requires_grad_()
    value = functional.contrastive(rows, torch.tensor([5]), temperature=0.1)
    value.backward()
    assert value == 0
    assert torch.equal(rows.grad, torch.zeros_like(rows))


def test_contrastive_looks_at_directions_alone():
    rows, lengths = logits(6, 3), torch.arange(1.0, 7.0).unsqueeze(1)
    torch.testing.assert_close(
        functional.contrastive(rows * lengths, Y, temperature=0.1),
        functional.contrastive(rows, Y, temperature=0.1),
    )


@pytest.mark.parametrize("value", [0.0, 1e3, -1e30])
def test_equal_rows_of_any_length_have_finite_losses_and_gradients(value):
    rows = torch.full((6, 3), value).requires_grad_()
    loss = functional.contrastive(rows, Y, temperature=1e-3) + functional.cosine(rows, rows)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(rows.grad).all()


def test_gradient_of_contrastive_by_finite_differences():
    rows = logits(6, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: functional.contrastive(t, Y, temperature=0.5), rows)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), rows=st.integers(1, 9), temperature=st.floats(0.05, 10))
def test_contrastive_is_the_formula_for_any_batch(seed, rows, temperature):
    y = torch.randint(0, 3, (rows,), generator=torch_generator(seed))
    found = functional.contrastive(logits(rows, 4, seed), y, temperature=temperature)
    expected = sum(contrastive_of(logits(rows, 4, seed), y, temperature))
    assert found.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert found >= 0


def test_same_class_marks_pairs():
    assert functional.same_class(torch.tensor([1, 0, 1])).int().tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
