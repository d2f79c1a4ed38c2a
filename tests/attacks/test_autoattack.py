import itertools
import warnings

import pytest
import torch
from torch import nn

from moosearch.attacks import AttackWarning, perturb, seek
from moosearch.attacks.autoattack import Apgd, AutoAttack, Fab, Square
from moosearch.errors import SpecError
from moosearch.models import RobustNet
from moosearch.models.frozen import InferenceCopy
from moosearch.seeding import torch_generator


def attacked(attack, net, x, y, seed=0):
    rows = torch.arange(len(x))
    return seek(attack, net, x, (y,), rows=rows, generator=torch_generator(seed))


@torch.no_grad()
def right(net, x, y):
    return net(x).argmax(dim=1) == y


def reference(net, images, *, eps, norm, steps, queries):
    """Return which images withstand the standard version of the library, with less effort."""
    from pyautoattack import AutoAttack as Library
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    common = {"norm": norm, "eps": eps, "n_iter": steps, "device": "cpu"}
    library = Library(
        net, norm=norm, eps=eps, seed=0, version="custom", attacks=["apgd-ce", "apgd-t", "fab-t", "square"]
    )
    library.verbose = False
    library.apgd = APGDAttack(net, n_restarts=1, **common)
    library.apgd_targeted = APGDAttack_targeted(net, n_target_classes=9, **common)
    library.fab.n_iter, library.fab.n_target_classes = steps, 9
    library.square.n_queries = queries
    with torch.random.fork_rng(devices=[]):
        x_adv, _ = library.run_standard_evaluation(images.x, images.y)
    return right(net, x_adv, images.y)


@pytest.mark.rotated(2)
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.13), ("l2", 0.8)])
def test_agrees_with_the_reference_on_the_same_images(victim, norm, eps):
    net, images = InferenceCopy(victim.net), victim.images.first(100)
    expected = reference(net, images, eps=eps, norm={"linf": "Linf", "l2": "L2"}[norm], steps=10, queries=30)
    attack = AutoAttack(eps=eps, norm=norm, steps=10, queries=30)
    robust = right(net, attacked(attack, net, images.x, images.y).x_adv, images.y)
    assert 0.2 < expected.float().mean() < 0.8
    assert abs(int(robust.sum()) - int(expected.sum())) <= 0.01 * len(robust)


def test_standard_version_is_what_the_paper_says():
    assert AutoAttack(eps=0.3, norm="l2").attacks(10) == (
        Apgd(eps=0.3, norm="l2", objective="cross_entropy", steps=100, restarts=1),
        Apgd(eps=0.3, norm="l2", objective="dlr", targets=9, steps=100, restarts=1),
        Fab(eps=0.3, norm="l2", targets=9, steps=100, restarts=1),
        Square(eps=0.3, norm="l2", queries=5000, restarts=1, p_init=0.8),
    )


def test_with_few_classes_it_does_what_is_defined():
    names = [
        [(type(a).__name__, getattr(a, "objective", "")) for a in AutoAttack().attacks(k)] for k in (3, 2)
    ]
    fab_and_square = [("Fab", ""), ("Square", "")]
    assert names[0] == [("Apgd", "cross_entropy"), ("Apgd", "dlr"), *fab_and_square]
    assert names[1] == [("Apgd", "cross_entropy"), *fab_and_square]
    assert AutoAttack().attacks(3)[1].targets == 0


@pytest.mark.parametrize(
    ("attack", "classes"),
    [
        (Apgd(objective="dlr", targets=9), 3),
        (Apgd(objective="dlr"), 2),
        (Apgd(objective="dlr", targets=1), 2),
    ],
)
def test_objective_that_is_not_defined_for_so_few_classes_is_refused(plane, attack, classes):
    net, x, y, _ = plane("linf", classes)
    with pytest.raises(SpecError, match=rf"objective: dlr .* the network has {classes}: expected .*entropy"):
        attacked(attack, net, x, y)
    attack.check(classes=4, shape=(1, 6, 6))


def test_only_the_dlr_has_a_targeted_form():
    with pytest.raises(SpecError, match="targets: got 3 with objective: cross_entropy, expected"):
        Apgd(targets=3)


def test_small_images_have_no_l2_squares():
    for attack in (Square(norm="l2"), AutoAttack(norm="l2")):
        with pytest.raises(SpecError, match=r"square with norm: l2 needs .* got 4 x 6"):
            attack.check(classes=10, shape=(3, 4, 6))
        attack.check(classes=10, shape=(3, 5, 5))
    Square().check(classes=10, shape=(3, 1, 1))


EXACT = [
    *(
        Apgd(norm=norm, objective="dlr", targets=targets, steps=30)
        for norm in ("linf", "l2")
        for targets in (0, 9)
    ),
    *(Apgd(norm=norm, steps=30) for norm in ("linf", "l2")),
    *(Fab(norm=norm, targets=targets, steps=10) for norm in ("linf", "l2") for targets in (0, 9)),
]


@pytest.mark.rotated(3)
@pytest.mark.parametrize("attack", EXACT, ids=repr)
def test_succeeds_just_above_the_exact_distance_and_fails_just_below(plane, attack):
    classes = 2 if attack == Apgd(norm=attack.norm, steps=30) else 4  # cross-entropy aims at no boundary
    net, x, y, distances = plane(attack.norm, classes, count=3)
    for image, label, distance in zip(x.split(1), y.split(1), distances.tolist(), strict=True):
        for factor, survives in ((0.99, True), (1.06, False)):
            each = type(attack)(**{**vars(attack), "eps": factor * distance})
            x_adv = perturb(each, net, image, (label,), generator=torch_generator(0))
            assert right(net, x_adv, label) == survives


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("targets", [0, 9])
def test_fab_finds_the_distance_of_a_linear_network_also_beyond_the_ball(plane, norm, targets):
    net, x, y, distances = plane(norm)
    eps = distances.median().item()
    found = attacked(Fab(eps=eps, norm=norm, targets=targets, steps=20), net, x, y)
    assert not right(net, found.outside, y).any()
    assert (found.distance >= 0.999 * distances).all()
    beyond = distances > eps
    assert (found.distance[beyond] <= 1.06 * distances[beyond]).all(), "what it overshoots by"


def test_fab_leaves_an_image_alone_that_is_fooled_within_the_ball(plane):
    net, x, y, _ = plane("linf")
    sizes = []
    net.trunk.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    asked = []
    for eps in (1e-4, 1.0):
        sizes.clear()
        attacked(Fab(eps=eps, targets=3, steps=3), net, x, y)
        asked.append(sum(sizes))
    assert 2 * asked[1] < asked[0]


@pytest.mark.parametrize(
    "make", [Fab, lambda **options: Apgd(objective="dlr", **options)], ids=["fab", "apgd"]
)
def test_targets_are_the_most_likely_classes_and_no_more_than_there_are(linear, make):
    # The second class is the likelier one, and far away; the third is near: its logit is steep.
    weights = torch.tensor([[0.0, 0.0], [0.2, 0.0], [0.0, 10.0], [0.0, 0.0]])
    net = linear(weights, torch.tensor([0.0, -0.16, -5.2, -9.0]))
    x, y = torch.full((2, 1, 1, 2), 0.5), torch.tensor([0, 0])
    robust = [right(net, attacked(make(eps=0.1, targets=t), net, x, y).x_adv, y).any() for t in (1, 2, 99)]
    assert robust == [True, False, False]


def test_fab_holds_few_gradients_at_a_time(plane):
    net, x, y, _ = plane("linf", classes=40)
    sizes = []
    net.trunk.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    attacked(Fab(steps=2), net, x, y)
    assert max(sizes) * 40 <= len(x) * 10
    sizes.clear()
    attacked(Fab(steps=2, targets=3), net, x, y)
    assert max(sizes) == len(x)


def test_square_finds_what_no_single_step_of_noise_finds(victim):
    net, x, y = victim.net, victim.images.x, victim.images.y
    few, many = (
        right(net, attacked(Square(eps=0.13, queries=q), net, x, y).x_adv, y).sum() for q in (1, 200)
    )
    assert many < few < len(x)


def test_every_attack_meets_only_what_withstood_those_before(victim, monkeypatch):
    met = []
    for cls in (Apgd, Fab, Square):
        find = cls.find

        def spy(self, classify, x, y, *, generator, find=find):
            found = find(self, classify, x, y, generator=generator)
            met.append((len(x), int(right(classify, found, y).sum())))
            return found

        monkeypatch.setattr(cls, "find", spy)
    attacked(AutoAttack(eps=0.13, steps=3, queries=5), victim.net, victim.images.x, victim.images.y)
    assert met[0][0] == len(victim.images)
    assert met[1][0] < met[0][0]
    # FAB comes back from beyond the ball too: what it leaves is counted after projection.
    assert met[1][0] == met[0][1]
    assert [left for left, _ in met] == sorted((left for left, _ in met), reverse=True)


class Answers(Apgd):
    """Answers with the same pixel, whatever it is asked."""

    def __init__(self, pixel):
        object.__setattr__(self, "pixel", pixel)

    def find(self, classify, x, y, *, generator):
        return torch.full_like(x, self.pixel)


def test_the_best_is_kept_where_nothing_fools_for_sure(linear, monkeypatch):
    net = linear(torch.tensor([[0.0], [1.0]]), torch.tensor([0.5, 0.0]))  # 1 where the pixel is above 0.5
    x, y = torch.full((1, 1, 1, 1), 0.4), torch.tensor([0])
    for pixels in ((0.50005, 0.45), (0.45, 0.50005)):
        monkeypatch.setattr(AutoAttack, "attacks", lambda *_, p=pixels: tuple(map(Answers, p)))
        found = attacked(AutoAttack(eps=0.2), net, x, y)
        assert found.x_adv.item() == pytest.approx(0.50005)


class Steps(nn.Module):
    """Rounds, with a gradient that is zero everywhere: a masking defence."""

    def forward(self, x):
        return (2 * x).round()


class Jitter(nn.Module):
    """Adds noise: a randomized defence."""

    def forward(self, x):
        return x + 0.3 * torch.randn(x.shape)


def defended(net, defence):
    return RobustNet(nn.Sequential(defence, net.trunk), net.features, 1, [10]).eval()


def warnings_of(attack, net, images):
    with warnings.catch_warnings(record=True) as caught, torch.random.fork_rng(devices=[]):
        warnings.simplefilter("always")
        attacked(attack, net, images.x, images.y)
    assert all(each.category is AttackWarning for each in caught)
    return " | ".join(str(each.message) for each in caught)


def test_doubts_of_the_library_are_warnings(victim):
    images = victim.images.first(60)
    attack = AutoAttack(eps=0.13, steps=2, queries=40, targets=2)
    masked = defended(victim.net, Steps())
    masked.heads[0].load_state_dict(victim.net.heads[0].state_dict())
    with torch.no_grad():
        images = type(images)(images.x, masked(images.x).argmax(dim=1))  # all are right
    said = warnings_of(attack, masked, images)
    assert "points with zero gradient: the accuracy under this attack may be too high" in said
    assert "the attacks by gradient are weaker than Square" in said
    assert "60 points with zero gradient" in warnings_of(Apgd(objective="dlr", steps=2), masked, images)
    assert "randomized defense:" in warnings_of(attack, defended(victim.net, Jitter()), images)


def test_a_healthy_network_raises_no_doubts(victim):
    attack = AutoAttack(eps=0.13, steps=10, queries=50)
    assert warnings_of(attack, victim.net, victim.images.first(60)) == ""


def test_texts_name_what_decides_random_numbers():
    assert repr(AutoAttack(eps=0.3)) == "AutoAttack(eps=0.3)"
    assert repr(Square(norm="l2")) == "Square(eps=0.1, norm='l2', queries=5000, restarts=1)"
    texts = [repr(AutoAttack(steps=s, queries=q)) for s, q in itertools.product((1, 2), (3, 4))]
    assert len(set(texts)) == 4
