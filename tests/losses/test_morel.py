"""MOREL against its formulas, an explicit algorithm 1, and numbers of the published package."""

import math
from typing import Annotated

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from moosearch.errors import SpecError
from moosearch.losses import LOSSES, Loss
from moosearch.losses.classification import Alp, CrossEntropy, Mart, Trades
from moosearch.losses.loat import Loat
from moosearch.losses.morel import ClassAttention, Morel
from moosearch.models.network import Outputs, RobustNet
from moosearch.pareto.scalarization import conic_scalarization
from moosearch.registry import build, to_tree
from moosearch.seeding import seeded_torch, torch_generator

HINT = Annotated[Loss, LOSSES]
Y = torch.tensor([0, 1, 2, 3, 3, 0])
FEATURES, CLASSES = 5, 4


def wave(*shape, rate):
    """Numbers that need no random generator, so that other programs can make them too."""
    return torch.sin(rate * torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)).reshape(shape)


def head(features):
    return Outputs(features, (features @ wave(CLASSES, FEATURES, rate=1.1).T,))


def pair():
    """Clean and adversarial outputs of six images."""
    return head(wave(6, FEATURES, rate=1.3)), head(wave(6, FEATURES, rate=0.7))


def criterion(**fields):
    """A criterion in float64 with the weights of the published numbers."""
    found = Morel(**({"embedding": 8} | fields)).criterion(FEATURES).double()
    with torch.no_grad():
        found.embed.weight.copy_(wave(8, FEATURES, rate=1.4))
        found.embed.bias.copy_(wave(8, rate=2.3))
        if found.attend is not None:
            found.attend.project.weight.copy_(wave(24, 8, rate=1.9))
            found.attend.output.weight.copy_(wave(8, 8, rate=0.6))
    return found


def attention_by_loops(module, rows, y):
    """Algorithm 1 class by class and head by head: (B, b) -> (B, b)."""
    size = rows.shape[1] // module.heads
    weights = module.project.weight.detach().numpy().reshape(3, module.heads, size, -1)
    output = module.output.weight.detach().numpy()
    scale, shift = module.norm.weight.detach().numpy(), module.norm.bias.detach().numpy()
    result = np.full(rows.shape, np.nan)
    for label in set(y.tolist()):
        members = (y == label).numpy()
        group = rows.detach().numpy()[members]
        centered = group - group.mean(axis=1, keepdims=True)
        normed = centered / np.sqrt((centered**2).mean(axis=1, keepdims=True) + 1e-6) * scale + shift
        heads = []
        for j in range(module.heads):
            query, key, value = (normed @ weights[part, j].T for part in range(3))
            scores = np.exp(query @ key.T / math.sqrt(size))
            heads.append(scores / scores.sum(axis=1, keepdims=True) @ value)
        result[members] = group + np.concatenate(heads, axis=1) @ output.T
    return result


def contrastive_by_loops(rows, y, temperature):
    t = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    total = 0.0
    for j in range(len(t)):
        others = [q for q in range(len(t)) if q != j]
        below = sum(math.exp(t[j] @ t[q] / temperature) for q in others)
        positives = [q for q in others if y[q] == y[j]]
        total -= sum(math.log(math.exp(t[j] @ t[p] / temperature) / below) for p in positives) / max(
            len(positives), 1
        )
    return total


def attention(heads=2, embedding=8, seed=0):
    with seeded_torch(seed):
        module = ClassAttention(embedding, heads).double()
        nn.init.normal_(module.norm.weight)
        nn.init.normal_(module.norm.bias)
    return module


def random_rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch_generator(seed), dtype=torch.float64)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    heads=st.sampled_from([1, 2, 4, 8]),
    y=st.lists(st.integers(0, 3), min_size=1, max_size=9),
)
def test_attention_is_algorithm_1_class_by_class_and_head_by_head(seed, heads, y):
    module, y = attention(heads, seed=seed), torch.tensor(y)
    rows = random_rows(2, len(y), 8, seed=seed)
    found = module(rows, y).detach().numpy()
    for group in range(2):
        np.testing.assert_allclose(found[group], attention_by_loops(module, rows[group], y), rtol=1e-9)


def test_rows_see_their_own_class_and_group_alone():
    module, rows = attention(), random_rows(2, 6, 8)
    moved = rows.clone()
    moved[1, 3] += 1.0  # an adversarial row of class 3
    changed = (module(moved, Y) != module(rows, Y)).any(dim=2)
    assert changed.nonzero().tolist() == [[1, 3], [1, 4]]


def test_attention_has_no_biases():
    assert {name for name, _ in attention().named_parameters()} == {
        "norm.weight",
        "norm.bias",
        "project.weight",
        "output.weight",
    }


@pytest.mark.parametrize("contrastive", [True, False])
@pytest.mark.parametrize("attends", [True, False])
@pytest.mark.parametrize("rows", ["both", "natural"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_it_is_the_formula(contrastive, attends, rows, reduction):
    fields = {"alpha": 0.25, "temperature": 0.3, "k1": 0.3, "gamma": 0.2, "reference": (0.1, 20.0)}
    options = {"contrastive": contrastive, "attention": attends, "rows": rows, "reduction": reduction}
    found_criterion = criterion(base=Trades(), **fields, **options)
    clean, adversarial = pair()
    weight = found_criterion.embed.weight.detach().numpy()
    bias = found_criterion.embed.bias.detach().numpy()
    s, s_adv = (z.features.numpy() @ weight.T + bias for z in (clean, adversarial))
    lengths = np.linalg.norm(s, axis=1) * np.linalg.norm(s_adv, axis=1)
    cosine = 1 - ((s * s_adv).sum(axis=1) / lengths).mean()
    groups = [s, s_adv] if rows == "both" else [s]
    if attends and contrastive:
        groups = [attention_by_loops(found_criterion.attend, torch.tensor(group), Y) for group in groups]
    compared, labels = np.concatenate(groups), Y.tolist() * len(groups)
    csl = contrastive_by_loops(compared, labels, 0.3) if contrastive else 0.0
    csl = csl / len(compared) if reduction == "mean" else csl
    first, second = cosine + 0.25 * csl, Trades().criterion(1)(clean, adversarial, (Y,)).total.item()
    total = 0.3 * (first - 0.1) + 0.7 * (second - 20.0) + 0.2 * (abs(first - 0.1) + abs(second - 20.0))

    found = found_criterion(clean, adversarial, (Y,))
    assert found.total.item() == pytest.approx(total, rel=1e-9)
    expected = {"cosine": cosine, "contrastive": csl, "robustness": first, "accuracy": second}
    assert {name: found.parts[name].item() for name in expected} == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("base", "rows", "total", "robustness", "tolerance"),
    [
        (Trades(), "both", 7.754084299672226, 0.9097769579297366, 1e-8),
        (Trades(), "natural", 7.737151968575322, 0.8533396167628011, 1e-8),
        (Mart(), "both", 7.3138204052108025, 0.9097769579297366, 5e-4),  # guards of its MART move it by 3e-4
        (Mart(), "natural", 7.296888074113898, 0.8533396167628011, 5e-4),
    ],
    ids=str,
)
def test_numbers_of_the_published_package(base, rows, total, robustness, tolerance):
    """`morel_loss` of advermorel 0.1.6 on these features and weights, its attack switched off."""
    found = criterion(base=base, k1=0.3, alpha=0.01, rows=rows, reduction="mean")(*pair(), (Y,))
    assert found.total.item() == pytest.approx(total, abs=tolerance)
    assert found.parts["robustness"].item() == pytest.approx(robustness, abs=1e-8)


def test_defaults_are_the_published_ones():
    tree = to_tree(build(HINT, "morel"), HINT)
    assert tree == {
        "name": "morel",
        "base": {"name": "mart", "beta": 6.0},
        "k1": 0.1,
        "k2": None,
        "reference": [0.0, 0.0],
        "gamma": 2e-5,
        "scalarization": "conic",
        "alpha": 1e-5,
        "temperature": 0.1,
        "embedding": 128,
        "heads": 2,
        "attention": True,
        "contrastive": True,
        "rows": "both",
        "reduction": "sum",
    }
    assert Morel().preference == (0.1, 0.9)
    assert Morel(k1=0.3, k2=2.0).preference == (0.3, 2.0)


@pytest.mark.parametrize(
    "base", [CrossEntropy(), Trades(), Mart(), Alp(), Loat(), Loat(base=Mart())], ids=str
)
def test_parts_are_its_own_and_those_of_the_base(base):
    inner = base.criterion(FEATURES)(*pair(), (Y,))
    found = criterion(base=base)(*pair(), (Y,)).parts
    assert found.keys() == inner.parts.keys() | {"cosine", "contrastive", "robustness", "accuracy"}
    assert len(found) == len(inner.parts) + 4, "no name is used twice"
    torch.testing.assert_close(found["accuracy"], inner.total)
    torch.testing.assert_close({name: found[name] for name in inner.parts}, inner.parts)


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.95])
def test_the_base_learns_of_progress(progress):
    base = Loat(base=Mart())
    expected = base.criterion(FEATURES)(*pair(), (Y,), progress=progress).total
    found = criterion(base=base)(*pair(), (Y,), progress=progress)
    torch.testing.assert_close(found.parts["accuracy"], expected)


def test_weighted_sum_ignores_the_augmentation():
    values = {
        gamma: criterion(scalarization="weighted_sum", gamma=gamma)(*pair(), (Y,)).total
        for gamma in (0.0, 5.0)
    }
    assert values[0.0] == values[5.0] == criterion(gamma=0.0)(*pair(), (Y,)).total
    assert values[0.0] < criterion(gamma=0.05)(*pair(), (Y,)).total


def test_the_preference_chooses_between_the_losses():
    parts = criterion()(*pair(), (Y,)).parts
    for k1, k2 in ((0.25, 0.75), (0.25, 3.0)):
        found = criterion(k1=k1, k2=k2, gamma=0.0)(*pair(), (Y,)).total
        torch.testing.assert_close(found, k1 * parts["robustness"] + k2 * parts["accuracy"])


def test_normalized_it_is_divided_by_the_weight_of_the_base():
    """Augmentation and reference point included: it is the conic scalarization of (k1 / k2, 1)."""
    fields = {"k1": 0.3, "gamma": 0.2, "reference": (0.1, 20.0), "alpha": 0.25}
    paper, found = (criterion(normalize=n, **fields)(*pair(), (Y,)) for n in (False, True))
    parts = [found.parts["robustness"], found.parts["accuracy"]]
    expected = conic_scalarization(parts, preference=(0.3 / 0.7, 1), reference=(0.1, 20.0), gamma=0.2 / 0.7)
    torch.testing.assert_close(found.total, expected)
    torch.testing.assert_close(found.total, paper.total / 0.7)
    assert found.parts == paper.parts
    only_ratio = criterion(normalize=True, k1=0.3, k2=0.7, gamma=0.0)(*pair(), (Y,)).total
    torch.testing.assert_close(
        criterion(normalize=True, k1=0.6, k2=1.4, gamma=0.0)(*pair(), (Y,)).total, only_ratio
    )


@pytest.mark.parametrize("k1", [0.1, 0.9])
def test_the_paper_form_is_the_normalized_one_at_another_learning_rate(k1):
    """With SGD: k2 times the learning rate, 1 / k2 times the weight decay, exactly."""

    def trained(*, normalize, lr, decay):
        module = criterion(k1=k1, alpha=0.5, normalize=normalize)
        z, z_adv = (nn.Parameter(wave(6, FEATURES, rate=rate)) for rate in (1.3, 0.7))
        optimizer = torch.optim.SGD(
            [z, z_adv, *module.parameters()], lr=lr, momentum=0.9, nesterov=True, weight_decay=decay
        )
        for _ in range(4):
            optimizer.zero_grad()
            module(head(z), head(z_adv), (Y,)).total.backward()
            optimizer.step()
        return [z.detach(), z_adv.detach(), module.embed.weight.detach()]

    k2 = 1 - k1
    paper = trained(normalize=False, lr=0.1, decay=0.02)
    torch.testing.assert_close(paper, trained(normalize=True, lr=0.1 * k2, decay=0.02 / k2))
    assert not torch.allclose(paper[0], trained(normalize=True, lr=0.1, decay=0.02)[0])


def test_ids_of_older_candidates_are_what_they_were():
    assert "normalize" not in to_tree(Morel(k1=0.3), HINT)
    found = build(HINT, {"name": "morel", "normalize": True})
    assert found.normalize
    assert build(HINT, to_tree(found, HINT)) == found
    assert build(HINT, "morel") == Morel()


def test_natural_rows_are_compared_without_the_adversarial_ones():
    clean, adversarial = pair()
    other = head(adversarial.features.flip(1))
    for rows, same in (("natural", True), ("both", False)):
        found = [criterion(rows=rows)(clean, b, (Y,)).parts["contrastive"] for b in (adversarial, other)]
        assert torch.equal(*found) == same


@pytest.mark.parametrize(
    "y", [[2], [1, 1, 1, 1, 1, 1], [0, 1, 2, 3]], ids=["one row", "one class", "all classes different"]
)
@pytest.mark.parametrize("rows", ["both", "natural"])
def test_batches_at_the_edge_have_finite_losses_and_gradients(y, rows):
    y = torch.tensor(y)
    module = criterion(rows=rows, alpha=0.5)
    z, z_adv = (wave(len(y), FEATURES, rate=rate).requires_grad_() for rate in (1.3, 0.7))
    found = module(head(z), head(z_adv), (y,))
    found.total.backward()
    assert torch.isfinite(found.total)
    for tensor in (z, z_adv, *module.parameters()):
        assert torch.isfinite(tensor.grad).all()
    # An image and its adversarial twin are a pair, which only a third row can tell apart.
    nothing = len(y) == 1 or (rows == "natural" and len(set(y.tolist())) == len(y))
    assert (found.parts["contrastive"] == 0) == nothing


@pytest.mark.parametrize("scale", [0.0, 1e3])
def test_features_of_any_size_have_finite_losses_and_gradients(scale):
    module = Morel().criterion(FEATURES)
    z, z_adv = (
        (scale * wave(6, FEATURES, rate=rate)).float().detach().requires_grad_() for rate in (1.3, 0.7)
    )
    main = wave(6, CLASSES, rate=1.0).float()
    found = module(Outputs(z, (main,)), Outputs(z_adv, (main,)), (Y,))
    found.total.backward()
    assert torch.isfinite(found.total)
    assert torch.isfinite(z.grad).all()
    assert torch.isfinite(z_adv.grad).all()


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), rows=st.integers(1, 8))
def test_order_of_the_batch_does_not_matter(seed, rows):
    generator = torch_generator(seed)
    y = torch.randint(0, CLASSES, (rows,), generator=generator)
    order = torch.randperm(rows, generator=generator)
    z, z_adv = random_rows(2, rows, FEATURES, seed=seed)
    module = criterion()
    found = module(head(z[order]), head(z_adv[order]), (y[order],))
    expected = module(head(z), head(z_adv), (y,))
    torch.testing.assert_close(found.total, expected.total)
    torch.testing.assert_close(found.parts, expected.parts)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_names_of_the_classes_do_not_matter_to_the_representation(seed):
    names = torch.randperm(CLASSES, generator=torch_generator(seed))
    found = criterion()(*pair(), (names[Y],)).parts["robustness"]
    torch.testing.assert_close(found, criterion()(*pair(), (Y,)).parts["robustness"])


def test_equal_features_cost_no_cosine():
    clean, _ = pair()
    assert criterion()(clean, clean, (Y,)).parts["cosine"].item() == pytest.approx(0, abs=1e-12)


def test_gradients_reach_trunk_head_and_embedding():
    module = criterion(alpha=0.5)
    z, z_adv = (wave(6, FEATURES, rate=rate).requires_grad_() for rate in (1.3, 0.7))
    logits = [wave(6, CLASSES, rate=rate).requires_grad_() for rate in (1.1, 0.5)]
    module(Outputs(z, (logits[0],)), Outputs(z_adv, (logits[1],)), (Y,)).total.backward()
    for name, tensor in [
        ("z", z),
        ("z_adv", z_adv),
        *zip("fg", logits, strict=True),
        *module.named_parameters(),
    ]:
        assert tensor.grad.abs().sum() > 0, name


def test_gradient_by_finite_differences():
    module = criterion(alpha=0.5, temperature=1.0)
    z, z_adv = (wave(6, FEATURES, rate=rate).requires_grad_() for rate in (1.3, 0.7))
    assert torch.autograd.gradcheck(lambda a, b: module(head(a), head(b), (Y,)).total, (z, z_adv))


def test_a_step_on_the_criterion_improves_the_embedding():
    module = criterion(alpha=0.5)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    before = module(*pair(), (Y,))
    before.total.backward()
    optimizer.step()
    assert module(*pair(), (Y,)).total < before.total


def test_the_embedding_space_is_no_part_of_the_network():
    net = RobustNet(nn.Linear(3, FEATURES), FEATURES, 3, [CLASSES])
    before = {name: tensor.shape for name, tensor in net.state_dict().items()}
    module = Morel().criterion(net.features)
    assert {name: tensor.shape for name, tensor in net.state_dict().items()} == before
    own = {id(p) for p in module.parameters()}
    assert not own & {id(p) for p in net.parameters()}
    assert sum(p.numel() for p in module.parameters()) == 128 * FEATURES + 128 + 2 * 128 + 4 * 128**2


@pytest.mark.parametrize("off", ["attention", "contrastive"])
def test_parameters_that_nothing_uses_are_not_there(off):
    names = {name for name, _ in Morel(**{off: False}).criterion(FEATURES).named_parameters()}
    assert names == {"embed.weight", "embed.bias"}


def test_the_embedding_is_initialized_from_the_seed():
    def weights(seed):
        with seeded_torch(seed):
            return Morel().criterion(FEATURES).state_dict()

    assert all(torch.equal(a, b) for a, b in zip(weights(0).values(), weights(0).values(), strict=True))
    assert not torch.equal(weights(0)["embed.weight"], weights(1)["embed.weight"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base": "morel"}, "base: got morel, expected another loss"),
        ({"base": {"name": "morel", "base": "trades"}}, "base: got morel"),
        ({"base": "morl"}, "Did you mean 'morel'"),
        ({"reference": [0.0]}, r"reference: got \[0\.0\], expected two numbers"),
        ({"reference": [0.0, -1.0]}, r"reference\.1: got -1\.0, expected at least 0"),
        ({"k1": 0.0}, "k1: got"),
        ({"k1": 1.0}, "k1: got"),
        ({"k2": 0.0}, "k2: got"),
        ({"gamma": -1e-9}, "gamma: got"),
        ({"gamma": 0.1}, r"gamma: got 0\.1, expected less than both weights \(k1, k2\) = \(0\.1, 0\.9\)"),
        ({"k2": 1e-5}, r"gamma: got 2e-05, expected less"),
        ({"alpha": 0.0}, "alpha: got"),
        ({"alpha": 1.0}, "alpha: got"),
        ({"temperature": 0.0}, "temperature: got"),
        ({"heads": 3}, r"heads: got 3, expected a divisor of embedding \(128\)"),
        ({"embedding": 0}, "embedding: got"),
        ({"rows": "adversarial"}, "rows: got"),
        ({"reduction": "none"}, "reduction: got"),
        ({"scalarization": "cone"}, "Did you mean 'conic'"),
    ],
    ids=str,
)
def test_what_is_no_morel_is_refused_with_its_place(fields, message):
    with pytest.raises(SpecError, match=message):
        build(HINT, {"name": "morel"} | fields)


def test_the_weighted_sum_may_have_any_gamma():
    assert Morel(scalarization="weighted_sum", gamma=7.0).gamma == 7.0


def test_yaml_reaches_every_field():
    tree = {
        "name": "morel",
        "base": {"name": "loat", "base": {"name": "trades", "beta": "13/2"}, "gamma": 0},
        "k1": "1/4",
        "k2": 2,
        "reference": [0, "1/2"],
    }
    found = build(HINT, tree)
    assert found == Morel(base=Loat(base=Trades(beta=6.5), gamma=0), k1=0.25, k2=2, reference=(0, 0.5))
    assert build(HINT, to_tree(found, HINT)) == found
